"""One run of `auditlog monitor`: signals, progress, the report and the exit code.

Spec: auditlog/spec/monitor.md, "Exit codes". Promises: 1 for anything wrong that was raised in this run, or
ever for what convicts; 3 for anything that should have been read and could not be; notices alone are 0.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from auditlog.cli.monitor_parts import Wanted, build
from auditlog.cli.output import say, say_json, say_note
from auditlog.cli.progress import Bar

if TYPE_CHECKING:
    from auditlog.verify.monitor.running import Monitor
    from auditlog.verify.monitor.status import LogStatus

REPORT_VERSION = "auditlog/monitor-report@v1"
EXIT_FINE, EXIT_WRONG, EXIT_NOT_CHECKED = 0, 1, 3


def run(wanted: Wanted, *, once: bool, as_json: bool, port: int) -> int:
    """Run to the end of it; returns the exit code."""
    bars: list[Bar] = []

    def bar(origin: str) -> Callable[[int, int], None]:
        bars.append(Bar(origin, with_rate=True))
        return bars[-1]

    monitor = build(wanted, bar)
    try:
        if once:
            monitor.once()
        else:
            _follow(monitor, wanted, as_json=as_json, port=port)
        code = exit_code(monitor)
        _report(monitor, code, as_json=as_json)
        return code
    finally:
        for each in bars:
            each.close()
        monitor.close()


def _follow(monitor: Monitor, wanted: Wanted, *, as_json: bool, port: int) -> None:
    from auditlog.verify.monitor.server import StatusServer

    server = StatusServer(("127.0.0.1", port), lambda: list(monitor.statuses.values()), monitor.store)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: monitor.stop())
    say_note(f"status page: {server.url}")
    server.start()
    try:
        monitor.follow(wanted.interval_s, lambda line: _tell(line, as_json=as_json))
    finally:
        server.stop()


def _tell(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(line) + "\n")
    else:
        say(_sentence(line))
    sys.stdout.flush()


def _sentence(line: dict[str, Any]) -> str:
    where = f" ({line['file']})" if "file" in line else ""
    return f"{line['time']} {line['alarm'].upper()} {line['origin']}: {line['detail']}{where}"


def exit_code(monitor: Monitor) -> int:
    """What this run comes to."""
    from auditlog.verify.finding import ALARMS, AlarmClass

    new = {word for _, word in monitor.new_alarms()}
    ever = {word for status in monitor.statuses.values() for word in status.alarms}
    wrong = {word for word in new if ALARMS[word].kind is not AlarmClass.NOTICE}
    wrong |= {word for word in ever if ALARMS[word].kind is AlarmClass.CONVICTS}
    if wrong:
        return EXIT_WRONG
    is_whole = all(not status.unread and status.is_current for status in monitor.statuses.values())
    return EXIT_FINE if is_whole and monitor.statuses else EXIT_NOT_CHECKED


def _report(monitor: Monitor, code: int, *, as_json: bool) -> None:
    statuses = list(monitor.statuses.values())
    new = monitor.new_alarms()
    if as_json:
        value = {
            "v": REPORT_VERSION,
            "exit_code": code,
            "headline": headline(code, len(new), is_blind=is_blind(statuses)),
            "new_alarms": [{"origin": origin, "alarm": word} for origin, word in new],
            "logs": [status.to_json() for status in statuses],
        }
        # Following, alarms were lines of their own; so is the end.
        say_json(value)
        return
    say(headline(code, len(new), is_blind=is_blind(statuses)))
    for status in statuses:
        for line in _lines(status):
            say(line)


def is_blind(statuses: list[LogStatus]) -> bool:
    """Whether of no log any checkpoint was ever accepted."""
    return not any(status.note for status in statuses)


def headline(code: int, new: int, *, is_blind: bool = False) -> str:
    """One sentence."""
    if code == EXIT_WRONG:
        return f"SOMETHING IS WRONG: {new} new alarm(s), see below and in the folder alarms."
    if code == EXIT_NOT_CHECKED and is_blind:
        return "NOTHING COULD BE CHECKED: no checkpoint was read that its key and its tree bear out."
    if code == EXIT_NOT_CHECKED:
        return "NOT EVERYTHING COULD BE CHECKED; nothing wrong was found in what could."
    return "NOTHING WRONG FOUND in all that was checked."


def _lines(status: LogStatus) -> list[str]:
    lines = [
        "",
        f"{status.origin}",
        f"  entries: {status.signed_size} signed, {status.tree_size} in place, {status.entries_size} read",
        f"  cosigned by: {', '.join(status.cosigned) or 'nobody known'}",
        f"  {status.producers} producer(s); {status.anchors_checked} anchor(s) compared with the tree",
    ]
    lines += [f"  {other.kind} {other.name}: {other.sentence}" for other in status.others]
    lines += [f"  ALARM {word}: {count}" for word, count in status.alarms.items()]
    lines += [f"  NOT CHECKED: {text}" for text in status.unread]
    lines += [f"  not asked: {text}" for text in status.reservations]
    return lines

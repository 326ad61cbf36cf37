"""`auditlog doctor`, the capture layer: its settings, routes and state folder, and the log it sends to.

Settings are judged by the same functions as at a start (`capture.settings`, `capture.startup`), so that what
the application's log says and what is said here are one. The slots' own files are read by `checks_slots`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from auditlog.cli.checks_host import check_clock, check_fsync, check_space
from auditlog.cli.checks_slots import check_expiry, check_slots
from auditlog.cli.findings import Finding, ok, problem, warning

if TYPE_CHECKING:
    import httpx

    from auditlog.capture.settings import CaptureSettings

_TIMEOUT_S = 5.0
_MAX_CLOCK_SKEW_S = 2
_NOBODY = "0" * 64
_NEEDED = {
    "AUDITLOG_TOKEN_FILE: expected to read": "token",
    "AUDITLOG_MODEL:": "model",
    "AUDITLOG_STATE:": "state",
}
"""How doubts begin that keep something from working at all, and the check they belong to."""
_WHERE = {"local": "this host's disk", "log": "the log"}


def check_capture(environ: Mapping[str, str]) -> list[Finding]:
    """Check what the capture layer would meet if it started here, now."""
    from auditlog.capture.settings import CaptureSettings

    settings = CaptureSettings.from_environ(environ)
    findings = [*_settings(settings, environ), *_routes(settings), *_state(settings)]
    if settings.log_url:
        findings += [*_log(settings), *check_expiry(settings)]
    return findings


def _settings(settings: CaptureSettings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What a start with this environment would say."""
    from auditlog.capture.startup import doubts

    for text in settings.problems:
        yield problem("capture", text)
    for text in doubts(settings, environ):
        # What is only not as good as meant is a warning; a file that is not there is no matter of taste.
        missing = next((check for begin, check in _NEEDED.items() if text.startswith(begin)), None)
        yield warning("capture", text) if missing is None else problem(missing, text)
    if not settings.enabled:
        yield warning("capture", "AUDITLOG_ENABLED is off: decisions are not recorded")
    else:
        waits = (
            f"waits {settings.wait_ms} ms"
            if settings.mode == "fail_open"
            else f"waits {settings.fail_after_ms} ms"
        )
        yield ok(
            "capture",
            f"{settings.mode}, durable on {_WHERE[settings.durability]}, {waits}, "
            f"merge-by {settings.merge_by_s} s, heartbeat {settings.heartbeat_s or 'off'}",
        )


def _routes(settings: CaptureSettings) -> Iterator[Finding]:
    for rule in settings.routes:
        yield ok("routes", f"{rule.method} {rule.path}: {rule.mode}")
    if not settings.routes:
        yield ok("routes", "none set: known inference routes keep values, other orders are recorded without")


def _state(settings: CaptureSettings) -> Iterator[Finding]:
    yield check_clock([settings.state_dir])
    yield check_space(settings.state_dir)
    yield check_fsync(settings.state_dir)
    yield from _unguarded(settings)
    yield from _disabled(settings)
    yield from check_slots(settings)


def _unguarded(settings: CaptureSettings) -> Iterator[Finding]:
    """Lives on this state directory that let decisions pass."""
    from auditlog.capture.unguarded import list_unguarded

    lives = len(list_unguarded(settings.state_dir))
    if lives:
        yield problem(
            "unrecorded", f"{lives} process(es) let decisions pass; the next that records declares the gap"
        )


def _disabled(settings: CaptureSettings) -> Iterator[Finding]:
    """Starts that were switched off and are not in the log yet."""
    from time import time_ns

    from auditlog.capture.disabled import read_disabled
    from auditlog.core.scalars import format_time

    for mark in read_disabled(settings.state_dir, time_ns() // 1000):
        since = f"from {format_time(mark.first_us)} to {format_time(mark.last_us)}"
        yield warning(
            "disabled",
            f"{mark.starts} start(s) with AUDITLOG_ENABLED=0 {since}; the next that records says so",
        )


def _log(settings: CaptureSettings) -> list[Finding]:
    import httpx

    try:
        token = settings.read_token()
    except OSError as error:
        return [problem("token", f"expected to read the token file, found: {error.strerror}")]
    if token and not (token.isascii() and token.isprintable()):
        return [problem("token", "expected a token of printable ASCII, found another text")]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=settings.log_url + "/", headers=headers, timeout=_TIMEOUT_S) as client:
            findings = [*_described(settings, client.get(settings.log_url))]
            findings.append(_token(client.get(f"producers/{_NOBODY}/head"), has_token=token is not None))
            return findings
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        ValueError,
    ) as error:  # ValueError: a host name DNS cannot have
        return [problem("log", f"expected an answer from {settings.log_url}, found {type(error).__name__}")]


def _described(settings: CaptureSettings, answer: httpx.Response) -> Iterator[Finding]:
    """What the log says of itself: attacker-controlled, and only compared."""
    from auditlog.capture.startup import merge_by_doubt

    try:
        said = json.loads(answer.content) if answer.status_code == 200 else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        yield problem("log", f"expected a log at {settings.log_url}, found status {answer.status_code}")
        return
    origin = said.get("origin")
    if settings.origin is not None and origin != settings.origin:
        yield problem("log", f"expected the origin {settings.origin}, found {origin!a}")
    else:
        yield ok("log", f"{origin!a} answers, {said.get('size')!a} entries")
    yield from _standing(said)
    delay = said.get("max_merge_delay_s")
    doubt = merge_by_doubt(settings, delay if type(delay) is int and 0 < delay < 2**53 else None)
    if doubt is not None:
        yield warning("merge_by", doubt)
    yield from _skew(answer)


def _standing(said: dict[str, object]) -> Iterator[Finding]:
    """Whether the log takes what this host records."""
    standing, successor = said.get("standing"), said.get("successor")
    if standing == "retired":
        goes_on = successor.get("origin") if isinstance(successor, dict) else None
        text = f"the log has ended and takes nothing more; it goes on as {goes_on!a}: drain, record there"
        yield problem("standing", text)
    elif standing in {"quiesced", "read-only"}:
        yield warning("standing", f"the log is {standing}: what is recorded waits here until it is opened")


def _skew(answer: httpx.Response) -> Iterator[Finding]:
    from email.utils import parsedate_to_datetime
    from time import time

    try:
        there = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return
    apart = abs(time() - there)
    if apart > _MAX_CLOCK_SKEW_S:
        yield warning("clock", f"expected this clock and the service's within 2 s, found {apart:.0f} s apart")


def _token(answer: httpx.Response, *, has_token: bool) -> Finding:
    """A producer nobody has asked about: 404 means the token was accepted first."""
    if answer.status_code == 404:
        return ok("token", "the log accepts it")
    if answer.status_code in (401, 403):
        found = f"status {answer.status_code}" if has_token else "none set"
        return problem("token", f"expected a token with scope submit, found {found}")
    return warning("token", f"could not be checked: status {answer.status_code}")

"""The monitor of the demo: `auditlog monitor`, a process that follows the log from before its first decision.

It has what any outsider has (the trust file, the published folder, the witnesses' URLs, the customers'
promises) and a memory of its own. Copies of that memory are then shown what a cheating operator would
publish, each by another process; a third one judges the evidence. Must never: tell the monitor more.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from auditlog.attack import resealing
from auditlog.demo import cheats
from auditlog.demo.cheating import CUT, Check
from auditlog.demo.operator import ORIGIN, Operator
from auditlog.demo.processes import Servers, free_port, run_auditlog
from auditlog.errors import AuditLogError
from auditlog.verify.promise_report import Verdict

INTERVAL_S = 1
NAME = "monitor"
_PATIENCE_S = 60.0
_HOLDS, _STATED = 0, 3
"""Exit codes of `auditlog verify EVIDENCE`: proven to anyone; the monitor's word, which nobody can check."""


@dataclass(frozen=True)
class Seen:
    """What the monitor had checked when the honest part ended."""

    entries: int
    promises: int
    alarms: int


class DemoMonitor:
    """The monitor's process and folder."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self.state = operator.folder / NAME
        self._port = free_port()

    def start(self, servers: Servers) -> None:
        """Start it; returns before it has looked."""
        operator = self._operator
        promises = operator.folder / "promises"
        promises.mkdir(exist_ok=True)
        # The folder, not the service's URL: what it publishes last, while it stops, is read as well.
        arguments = [
            "monitor",
            str(operator.public_log),
            "--trust",
            str(operator.folder / "trust.json"),
            "--json",
        ]
        arguments += ["--state", str(self.state), "--promises", str(promises)]
        for witness in operator.witnesses.each:
            arguments += ["--witness-url", f"{witness.name}={witness.url}"]
        arguments += ["--interval", str(INTERVAL_S), "--port", str(self._port)]
        servers.start(NAME, ["-m", "auditlog.cli.main", *arguments], {})

    def wait_until_seen(self, *, promises: int) -> Seen:
        """Wait until it has checked the whole log and so many promises, or raised an alarm.

        Raises:
            AuditLogError: it has not within a minute.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            status = self._status()
            kept = status.get("promises", {}).get(Verdict.IN_LOG.value, 0)
            seen = Seen(int(status.get("entries_size", 0)), kept, sum(status.get("alarms", {}).values()))
            is_whole = status.get("is_current") and not status.get("unread") and kept >= promises
            if seen.alarms or (is_whole and seen.entries >= self._operator.published_size()):
                return seen
            if time.monotonic() > deadline:
                raise AuditLogError(
                    f"expected the monitor to check the log and {promises} promises, found {seen} and "
                    f"unread: {'; '.join(status.get('unread', [])) or 'nothing'}"
                )
            time.sleep(0.1)

    def _status(self) -> dict[str, Any]:
        """The first log of its status page; empty before the first look."""
        try:
            found: list[dict[str, Any]] = httpx.get(
                f"http://127.0.0.1:{self._port}/status.json", timeout=5.0
            ).json()["logs"]
        except httpx.TransportError:
            found = []
        return found[0] if found else {}


def honest_control(seen: Seen, exit_code: int) -> Check:
    """The monitor saw an honest operator from beginning to end, and raised nothing; its own exit code."""
    said = f"{seen.entries} entries, {seen.promises} promises, {seen.alarms} alarms"
    return Check("the monitor, all along", 0, exit_code or int(seen.alarms > 0), said)


@dataclass(frozen=True)
class AlarmCheck(Check):
    """An alarm of the monitor, and its evidence judged by a third party."""

    alarm: str = ""
    expected_alarm: str = ""
    evidence_exit_code: int = 2
    expected_evidence: int = _HOLDS

    @property
    def is_proven(self) -> bool:
        """Whether the evidence convinces who never saw the log."""
        return self.evidence_exit_code == _HOLDS

    @property
    def is_as_expected(self) -> bool:
        """Whether this alarm was raised, with evidence worth what it should be."""
        is_raised = self.exit_code == self.expected_exit and self.alarm == self.expected_alarm
        return is_raised and self.evidence_exit_code == self.expected_evidence

    def to_json(self) -> dict[str, Any]:
        """The check as a JSON object."""
        more = {"alarm": self.alarm, "expected_alarm": self.expected_alarm}
        return super().to_json() | more | {"evidence_exit_code": self.evidence_exit_code}


class Watched:
    """What the operator would show the monitor, and what its memory says to that."""

    def __init__(self, operator: Operator, scratch: Path, state: Path) -> None:
        self._operator, self._scratch, self._state = operator, scratch, state
        self._entries = cheats.read_entries(operator.public_log)

    def edited(self) -> AlarmCheck:
        """One old decision is another; as many entries as before."""
        forged = list(self._entries)
        victim = cheats.first_decision(forged)
        forged[victim] = cheats.edit_decision(forged[victim])
        return self._judge("monitor shown the edited log", forged, "fork", _HOLDS)

    def cut(self) -> AlarmCheck:
        """The newest entries are gone. Any old checkpoint looks like this, so no file can prove it."""
        return self._judge("monitor shown the cut log", self._entries[:-CUT], "rewind", _STATED)

    def second(self) -> AlarmCheck:
        """One decision left out, and the log grown on from there: a second log, kept for this reader."""
        at = cheats.first_decision(self._entries)
        forged = [*resealing.give_number_away(self._entries, at), *self._entries[-CUT:]]
        return self._judge("monitor shown a second log", forged, "fork", _HOLDS)

    def _judge(self, name: str, entries: list[bytes], expected: str, worth: int) -> AlarmCheck:
        folder = self._scratch / name.replace(" ", "-")
        state, log = folder / "state", folder / "log"
        shutil.copytree(self._state, state)
        cheats.write_log(log, entries, origin=ORIGIN, signer=self._operator.signer())
        trust = str(self._operator.folder / "trust.json")
        arguments = ["monitor", str(log), "--once", "--json", "--trust", trust, "--state", str(state)]
        looked = run_auditlog(arguments, folder=folder)
        raised = _alarms(state)
        alarm = raised[0] if raised else {}
        evidence = str(state / str(alarm.get("file")))
        told = run_auditlog(["verify", evidence, "--trust", trust, "--json"], folder=folder)
        return AlarmCheck(
            name,
            expected_exit=1,
            exit_code=looked.exit_code,
            said=str(alarm.get("detail", looked.output.strip()[-200:])).removeprefix(f"{ORIGIN} "),
            alarm=" ".join(str(each["alarm"]) for each in raised),
            expected_alarm=expected,
            evidence_exit_code=told.exit_code,
            expected_evidence=worth,
        )


def _alarms(state: Path) -> list[dict[str, Any]]:
    path = state / "alarms.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

"""The operator drops one promised decision, in each of the four ways there are; the promise convicts it.

Every way is a world of its own: the honest log and the witnesses as they were before the decision was
cosigned. The operator never lets the entry into what it shows the witnesses, signs everything after it anew,
and gets both cosignatures, since nothing cosigned before is contradicted. Another process then judges, from
the promise in a customer's hands, the trust file and the public folder; a third one judges the evidence.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog.attack import resealing
from auditlog.core.merkle import hash_leaf
from auditlog.core.promise import Promise
from auditlog.core.scalars import parse_time
from auditlog.demo import cheats
from auditlog.demo.cheating import Check
from auditlog.demo.cosigning import DemoWitnesses
from auditlog.demo.operator import ORIGIN, Operator
from auditlog.demo.processes import Servers, run_auditlog
from auditlog.errors import AuditLogError
from auditlog.verify.promise_verdict import read_promise


@dataclass(frozen=True)
class OmissionCheck(Check):
    """One promise judged, and the evidence of that judged by a third party."""

    cause: str = ""
    expected_cause: str = ""
    evidence_exit_code: int = 2

    @property
    def is_as_expected(self) -> bool:
        """Whether it was caught for this very reason, with evidence that holds."""
        is_caught = self.exit_code == self.expected_exit and self.cause == self.expected_cause
        return is_caught and self.evidence_exit_code == 0

    def to_json(self) -> dict[str, Any]:
        """The check as a JSON object."""
        more = {"cause": self.cause, "expected_cause": self.expected_cause}
        return super().to_json() | more | {"evidence_exit_code": self.evidence_exit_code}


@dataclass(frozen=True)
class _World:
    """A folder with a public log that the operator writes as it likes, and witnesses that it cannot."""

    folder: Path
    operator: Operator
    witnesses: DemoWitnesses

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def publish(self, entries: list[bytes]) -> None:
        """Write the log, and have its checkpoint cosigned now; raises AuditLogError if that is refused."""
        cheats.write_log(self.log, entries, origin=ORIGIN, signer=self.operator.signer())
        path = self.log / "checkpoint"
        leaf_hashes = [hash_leaf(entry) for entry in entries]
        path.write_text(self.witnesses.cosign(path.read_text("utf-8"), leaf_hashes), "utf-8")


class Omissions:
    """The four worlds. Making them starts their witnesses, and may be long before the log has its end;
    judging waits until every promise is due.
    """

    def __init__(self, operator: Operator, scratch: Path, servers: Servers, witnesses: DemoWitnesses) -> None:
        """`witnesses` are copies from before some promise was in the log."""
        self._operator, self._servers = operator, servers
        self._known = max(witnesses.known_sizes())
        self._entries: list[bytes] = []
        self._young: list[tuple[int, Path]] = []
        self._worlds = {cause: self._world(scratch / f"world-{cause}", witnesses) for cause in self._ways()}

    def _world(self, folder: Path, witnesses: DemoWitnesses) -> _World:
        world = _World(folder, self._operator, witnesses.copy(folder))
        world.witnesses.start(self._servers)
        return world

    def take(self, promises: Sequence[Path]) -> None:
        """Read the log as it is now; the operator may break any of `promises`.

        Raises:
            AuditLogError: no promise is younger than what the witnesses had cosigned.
        """
        self._entries = cheats.read_entries(self._operator.public_log)
        places = {hash_leaf(entry): index for index, entry in enumerate(self._entries)}
        found = [(places.get(_read(path).leaf_hash, -1), path) for path in promises]
        self._young = sorted(each for each in found if each[0] >= self._known)
        if not self._young:
            raise AuditLogError(f"expected a promise of an entry after {self._known}, found none")

    def _ways(self) -> dict[str, tuple[str, Callable[[_World], tuple[Path, list[Path]]]]]:
        return {
            "CONFLICT": ("gives its number to the next", self._conflict),
            "SKIPPED": ("hides it in a made-up crash", self._skipped),
            "LATE": ("puts it in, but too late", self._late),
            "ABSENT": ("never lets it in", self._absent),
        }

    @property
    def causes(self) -> list[str]:
        """The four, by what the evidence will show."""
        return list(self._worlds)

    def judge(self, cause: str) -> OmissionCheck:
        """Drop the decision in one of the ways, and see whether that is caught."""
        name, way = self._ways()[cause]
        world = self._worlds[cause]
        world.witnesses.wait(self._servers)
        self._wait_until_due()
        promise, kept = way(world)
        trust, evidence = str(self._operator.folder / "trust.json"), world.folder / "evidence.json"
        arguments = ["promise", "check", str(promise), "--trust", trust, "--log", str(world.log)]
        arguments += [part for path in kept for part in ("--checkpoint", str(path))]
        checked = run_auditlog([*arguments, "--evidence", str(evidence), "--json"], folder=world.folder)
        told = run_auditlog(
            ["promise", "evidence", str(evidence), "--trust", trust, "--json"], folder=world.folder
        )
        report = _first_json(checked.output)
        return OmissionCheck(
            name=name,
            expected_exit=1,
            exit_code=checked.exit_code,
            said=str(report.get("headline") or checked.output.strip()[-200:]),
            cause=str(report.get("cause")),
            expected_cause=cause,
            evidence_exit_code=told.exit_code,
        )

    def _conflict(self, world: _World) -> tuple[Path, list[Path]]:
        """One in the middle: what came after it moves up."""
        at, promise = self._young[0]
        world.publish(resealing.give_number_away(self._entries, at))
        return promise, []

    def _skipped(self, world: _World) -> tuple[Path, list[Path]]:
        """One in the middle: the host is said to have crashed just then."""
        at, promise = self._young[0]
        world.publish(resealing.pretend_crash(self._entries, at, self._operator.producer_signer()))
        return promise, []

    def _late(self, world: _World) -> tuple[Path, list[Path]]:
        """The newest, held back and then put in; the customer kept a checkpoint from in between."""
        at, promise = self._young[-1]
        rest, held = resealing.hold_back(self._entries, at)
        world.publish(rest)
        between = world.folder / "between.checkpoint"
        between.write_bytes((world.log / "checkpoint").read_bytes())
        world.publish([*rest, *held])
        return promise, [between]

    def _absent(self, world: _World) -> tuple[Path, list[Path]]:
        """The newest, held back: nothing in the log contradicts that it never was."""
        at, promise = self._young[-1]
        world.publish(resealing.hold_back(self._entries, at)[0])
        return promise, []

    def _wait_until_due(self) -> None:
        """A witness's clock has whole seconds: what is to be dated after merge-by needs one more."""
        due_s = max(parse_time(_read(path).merge_by) for _, path in self._young) / 1_000_000 + 1
        time.sleep(max(0.0, due_s - time.time()))


def _read(path: Path) -> Promise:
    return read_promise(path.read_text(encoding="utf-8"))


def _first_json(output: str) -> dict[str, Any]:
    """The report at the beginning of what was printed; notes for people follow it."""
    try:
        value = json.JSONDecoder().raw_decode(output)[0]
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}

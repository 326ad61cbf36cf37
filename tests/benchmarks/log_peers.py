"""Appending to the log beside other libraries that keep decisions or trees, in one process, each durably.

Ours checks a producer's signature, chains, stages, reads back, signs a checkpoint and moves the high-water
mark for each append; none of the others does. One by one, and 500 at a time where they can. Seconds by the
clock: what all of them wait for is the disk. A library that is not installed is named and left out.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from measure import Result, arguments, report

sys.path.insert(0, str(Path(__file__).parents[2]))
from auditlog.core.batch import encode_batch
from auditlog.log import Batch, Engine
from auditlog.log.aside import Aside
from tests.support.disk_log import DiskLog
from tests.support.testlog import FakeProducer

TOGETHER = 500
PAD = 420
Append = Callable[[Sequence[bytes]], object]


@dataclass(frozen=True)
class Peer:
    """Another library: what its module is called, and how to append with it in a folder."""

    name: str
    module: str
    start: Callable[[Path], Append]
    can_bulk: bool = False


def _pymerkle(folder: Path) -> Append:
    from pymerkle import SqliteTree

    tree = SqliteTree(str(folder / "tree.db"))

    def append(entries: Sequence[bytes]) -> object:
        return tree.append_entries(entries) if len(entries) > 1 else tree.append_entry(entries[0])

    return append


def _pqc(folder: Path) -> Append:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it signs with Ed25519 without liboqs
        from pqc_audit_log_fs import InferenceEvent, LogAppender
        from quantumshield.identity.agent import AgentIdentity

        appender = LogAppender(str(folder), AgentIdentity.create("bench"))

    def append(entries: Sequence[bytes]) -> None:
        for entry in entries:
            text = entry.hex()
            appender.append(InferenceEvent(text[:32], "2026-01-01T00:00:00Z", "did:m", "1", text[:64], text))

    return append


def _attestroot(folder: Path) -> Append:
    os.environ["ATTESTROOT_HOME"] = str(folder)
    from attestroot import ledger, signing

    signing.generate_keypair(overwrite=True)
    event = {"event": "tool_use", "tool_use_id": "t", "adapter": "otel_genai"}

    def append(entries: Sequence[bytes]) -> None:
        for entry in entries:
            ledger.append_event("session", event, entry)

    return append


PEERS = (
    Peer("pymerkle, SqliteTree", "pymerkle", _pymerkle, can_bulk=True),
    Peer("pqc-audit-log-fs", "pqc_audit_log_fs", _pqc),
    Peer("attestroot", "attestroot", _attestroot),
)


class Ours:
    """Our engine on files and SQLite, with processes beside it as in `auditlog serve`, and with what is to be
    sent made ahead of the clock.
    """

    def __init__(self, folder: Path) -> None:
        self._aside = Aside(1)
        self._disk = DiskLog(folder, hands=self._aside.hands)
        self.log = self._disk.create(Engine())
        self.producer = FakeProducer("host")
        done = self.log.enrol("host", self.producer.signer.vkey, self.producer.note).result(timeout=30)
        self.producer.enrolled(done.producer)
        self.send([self.producer.batch([self.producer.start()])])
        self._made = 0

    def batches(self, count: int, size: int) -> list[Batch]:
        """So many batches of so many decisions of 1 KB."""
        made = []
        for _ in range(count):
            numbers = range(self._made, self._made + size)
            batch = self.producer.batch([self.producer.decide(n, pad=PAD) for n in numbers])
            made.append(replace(batch, framed=encode_batch(batch.head_note, batch.entries)))
            self._made += size
        return made

    def send(self, batches: Sequence[Batch]) -> None:
        """One after the other, each acknowledged before the next."""
        for batch in batches:
            self.log.submit(batch).result(timeout=60)

    def send_ahead(self, batches: Sequence[Batch]) -> None:
        """Without waiting in between, as many senders do: what comes together is committed together."""
        for waiting in [self.log.submit(batch) for batch in batches]:
            waiting.result(timeout=60)

    def close(self) -> None:
        """Stop."""
        self._disk.close()
        self._aside.close()


def measured(scratch: Path, *, rounds: int, count: int) -> list[Result]:
    """Every library in turn, round by round, so that a noisy moment disturbs all alike."""
    present = [each for each in PEERS if importlib.util.find_spec(each.module) is not None]
    for each in PEERS:
        if each not in present:
            sys.stderr.write(f"left out: {each.name} is not installed\n")
    lines: list[Result] = []
    for size in (1, TOGETHER):
        theirs = [each for each in present if size == 1 or each.can_bulk]
        lines += _turns(
            scratch / str(size), theirs, size, rounds, count if size == 1 else max(2, count // 50)
        )
    return lines


def _turns(scratch: Path, peers: Sequence[Peer], size: int, rounds: int, count: int) -> list[Result]:
    scratch.mkdir()
    ours = Ours(scratch / "ours")
    appends = {}
    for each in peers:
        (scratch / each.module).mkdir()
        appends[each.name] = each.start(scratch / each.module)
    own_s: list[float] = []
    ahead_s: list[float] = []
    their_s: dict[str, list[float]] = {name: [] for name in appends}
    for turn in range(rounds + 1):  # the first one warms up
        batches = ours.batches(count, size)
        seconds = _timed(lambda batches=batches: ours.send(batches))  # type: ignore[misc]
        others = {name: _timed(lambda a=a: [a(b.entries) for b in batches]) for name, a in appends.items()}  # type: ignore[misc]  # noqa: B023
        if turn:
            own_s.append(seconds)
            ahead_s.append(_ahead(ours, count, size))
            for name, taken in others.items():
                their_s[name].append(taken)
    ours.close()
    how = "one by one" if size == 1 else f"{size} at a time"
    rate = size * count / statistics.median(own_s)
    together = size * count / statistics.median(ahead_s)
    lines = [
        Result(f"our engine, durable appends, {how}", round(rate), "entries/s"),
        Result(f"our engine, {how}, sent without waiting", round(together), "entries/s"),
    ]
    for name, each_s in their_s.items():
        ratios = sorted(b / a for a, b in zip(own_s, each_s, strict=True))
        at = len(ratios) // 10
        lines.append(
            Result(f"{name}, {how}", round(size * count / statistics.median(each_s)), "entries/s",
                   round(statistics.median(ratios), 3), round(ratios[at], 3), round(ratios[-1 - at], 3),
                   against="our engine's rate over its")
        )  # fmt: skip
    return lines


def _ahead(ours: Ours, count: int, size: int) -> float:
    batches = ours.batches(count, size)
    return _timed(lambda: ours.send_ahead(batches))


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Print the rates."""
    options = arguments(__doc__ or "")
    with tempfile.TemporaryDirectory() as scratch:
        rounds, count = (3, 100) if options.quick else (7, 400)
        report(measured(Path(scratch), rounds=rounds, count=count), as_json=options.json)


if __name__ == "__main__":
    main()

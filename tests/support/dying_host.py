"""A host whose process dies at any byte it writes, on the real journal, marks and declarations.

What a life counts and when it writes is as in the writer and the pulse; its disk is copied at the instant of
death, so that nothing a dead process would still have done reaches the next life.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

from auditlog.capture.adoption import Opening
from auditlog.capture.attempts import Attempts
from auditlog.capture.chain import empty_tip
from auditlog.capture.declaring import Declarations
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.frames import SEALED, Record
from auditlog.capture.journal import Journal
from auditlog.capture.metrics import Counters
from auditlog.capture.slots import Slot
from auditlog.capture.spool import Spool
from auditlog.core.entry import Entry, parse_entry
from tests.support.format_world import signer

ORIGIN, PRODUCER = "log.example/test", "ab" * 32
INTERVAL_S = 10
_APPEND = Spool.append


class Died(Exception):
    """The process is gone."""


class Host:
    """One slot and its lives. `omits` makes it answer so many calls, once, of which it writes nothing."""

    def __init__(self, folder: Path, rng: random.Random, *, omits: int = 0, drafts: int = 0) -> None:
        """It is enrolled after `drafts` lives."""
        self.rng, self.omits, self.drafts = rng, omits, drafts
        self.has_omitted = False
        self.now_us = 1_700_000_000_000_000
        self._folder, self._lives = folder, 0
        self._disk = folder / "0"
        self._disk.mkdir()

    def live(self, steps: int, *, dies: bool, owes: bool = False) -> None:
        """One life of so many steps, which dies with one of its writes or ends in order; one that `owes` is
        killed when its last heartbeat has counted calls that nobody wrote.
        """
        doom = self.rng.choice((1, self.rng.randrange(1, steps + 3))) if dies else 0
        life = Life(self, self._disk, self.opening())
        with _dying(self._disk, doom, self.rng, self._next_disk()):
            with suppress(Died):
                life.run(steps, owes=owes)
            if not self._next_disk().exists():
                shutil.copytree(self._disk, self._next_disk())
            life.let_go()
        self._disk = self._next_disk()
        self._lives += 1

    def reboot(self) -> None:
        """Marks of another boot bound nothing."""
        for path in (self._disk / "attempts").glob("*"):
            content = bytearray(path.read_bytes())
            content[12:20] = b"elsewher"
            path.write_bytes(content)

    def entries(self) -> list[Entry]:
        """All that was sealed."""
        copy = self._folder / "read"
        shutil.copytree(self._disk, copy)
        spool = Spool(copy / "spool", SEALED, segment_bytes=4096, start=empty_tip(bytes.fromhex(PRODUCER)))
        found: list[Entry] = []
        while records := spool.read(len(found), max_records=500, max_bytes=1 << 20):
            found += [parse_entry(record.payload) for record in records]
        return found

    def _next_disk(self) -> Path:
        return self._folder / str(self._lives + 1)

    def opening(self) -> Opening | None:
        """What the next life seals with; None before enrolment."""
        if self._lives < self.drafts:
            return None
        enrolment = Enrolment(ORIGIN, "p", PRODUCER, 1, b"", bytes(32))
        return Opening(enrolment, signer("p.example"), "test", self.clock)

    def clock(self) -> int:
        """A millisecond later each time."""
        self.now_us += 1000
        return self.now_us


class Life:
    """One process: calls, what became of them, and what is written."""

    def __init__(self, host: Host, disk: Path, opening: Opening | None) -> None:
        self.host, self._opening = host, opening
        self._instance = host.rng.randbytes(16).hex()
        self._attempts = Attempts(disk, self._instance)
        self._journal = Journal(Slot(disk, "s", None), segment_bytes=8192, max_bytes=1 << 24)
        self._counters = Counters()
        self._losses = Declarations(
            self._journal,
            take_losses=lambda: None,
            attempts=self._attempts,
            clock=host.clock,
            metrics=self._counters,
        )
        self._counts = dict.fromkeys(("started", "finished", "in_flight", "recorded"), 0)
        self._queue = self._late = 0

    def run(self, steps: int, *, owes: bool = False) -> None:
        """From the start to an end in order. Raises Died."""
        rng, now_us = self.host.rng, self.host.clock()
        if rng.random() < 0.3:
            self._call()  # before the slot is open
        self._journal.open(self._opening, instance=self._instance, software="test", now_us=now_us)
        for _ in range(steps):
            rng.choice(
                (
                    self._call,
                    self._call,
                    self._answer,
                    self._answer,
                    self._write,
                    self._enrol,
                    self._lose,
                    self._beat,
                    self._beat,
                )
            )()
        if owes:
            self._owe()
        if self.host.omits and not self.host.has_omitted and steps:
            self._omit()
            self._beat()
        self._stop()

    def let_go(self) -> None:
        """Close what the process held; its disk was copied before."""
        self._attempts.close()
        self._journal.close()

    def _enrol(self) -> None:
        """The log has answered: drafts are sealed, and this life goes on with entries."""
        if self._opening is None:
            self.host.drafts = 0
            self._opening = self.host.opening()
            assert self._opening is not None
            self._journal.adopt(self._opening)

    def _call(self) -> None:
        self._attempts.start()
        self._counts["started"] += 1
        self._counts["in_flight"] += 1

    def _answer(self) -> None:
        if self._counts["in_flight"]:
            self._counts["in_flight"] -= 1
            self._counts["finished"] += 1
            self._queue += 1

    def _omit(self) -> None:
        for _ in range(self.host.omits):
            self._counts["started"] += 1
            self._counts["finished"] += 1

    def _lose(self) -> None:
        if self._queue:
            self._queue -= 1
            self._losses.lose(1)

    def _write(self, keep: int = 0) -> None:
        count = self._queue - keep
        if count <= 0:
            return
        records = self._losses.records()
        for number in range(count):
            records.append(self._journal.add("decision", {"n": number}, self.host.clock())[0])
        self._append(records)
        self._counts["recorded"] += count
        self._queue -= count
        self._attempts.settle(count)

    def _owe(self) -> None:
        for _ in range(self.host.rng.randint(1, 4)):
            self._call()
            self._answer()
        self._beat(keep=self._queue)
        raise Died

    def _beat(self, keep: int = 0) -> None:
        """What had ended by the last one is written; of the rest some may be on their way."""
        self.host.now_us += INTERVAL_S * 1_000_000
        late = max(0, self._queue - self._late)
        self._write(keep=min(late, max(keep, self.host.rng.randint(0, late))))
        records = self._losses.records()
        counts = {**dict.fromkeys(("failed", "refused", "deferred", "late_hangups"), 0), **self._counts}
        body = {
            "interval_s": INTERVAL_S,
            **counts,
            "lost": self._counters.get("lost"),
            "spool": {"entries": 0, "bytes": 0, "oldest_ms": 0},
        }
        self._append([*records, self._journal.add("heartbeat", body, self.host.clock())[0]])
        self._late = self._queue
        self.host.has_omitted = self.host.has_omitted or self._counts["started"] >= self.host.omits > 0

    def _stop(self) -> None:
        self._write()
        self._beat()
        self._append([*self._losses.records(), *self._losses.at_the_end()])
        if self.host.rng.random() < 0.9:
            self._journal.end(self.host.clock())
            self._attempts.end()

    def _append(self, records: list[Record]) -> None:
        self._journal.append(records)
        self._losses.durable()


@contextmanager
def _dying(disk: Path, doom: int, rng: random.Random, image: Path) -> Iterator[None]:
    """The write of that number is the last one, and torn anywhere; `image` is the disk it leaves."""
    left = [doom]

    def append(spool: Spool, records: Sequence[Record], *, is_whole: bool = False) -> None:
        left[0] -= 1
        if left[0] or not records:
            left[0] += not records
            _APPEND(spool, records, is_whole=is_whole)
            return
        before = _files(disk)
        _APPEND(spool, records, is_whole=is_whole)
        shutil.copytree(disk, image)
        _tear(before, disk, image, rng)
        raise Died

    still = (
        patch.object(os, "fdatasync", lambda _handle: None),
        patch.object(os, "fsync", lambda _handle: None),
    )
    with patch.object(Spool, "append", append), still[0], still[1]:
        yield


def _files(disk: Path) -> dict[Path, bytes]:
    return {path.relative_to(disk): path.read_bytes() for path in disk.rglob("*.segment")}


def _tear(before: dict[Path, bytes], disk: Path, image: Path, rng: random.Random) -> None:
    """Of what was added to a file a part is there; a file that was born has its name, or never had it."""
    for path, content in _files(disk).items():
        old = before.get(path)
        if old is None:
            if rng.random() < 0.5:
                (image / path).unlink()
                (image / path).with_name(path.name + ".new").write_bytes(
                    content[: rng.randrange(len(content))]
                )
            continue
        padded = old.ljust(len(content), b"\0")
        changed = [at for at in range(len(content)) if content[at] != padded[at]]
        if not changed:  # closed, and its room cut off
            continue
        cut = rng.randint(changed[0], changed[-1] + 1)
        (image / path).write_bytes(content[:cut].ljust(len(content), b"\0"))

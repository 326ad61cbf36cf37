"""A log growing to ten million entries: what appending costs, by decade; memory and disk it takes.

The engine itself on files and SQLite, in batches of 512 small decisions, without HTTP and without the index,
whose rows are SQL's. Costs are CPU time of this process, what makes the batches taken off. On the way, and at
the end, proofs are made: from tiles in the cache, and by a reader that has read nothing (`proofs.py` compares
them with the ceiling). `--quick` stops at 200,000, `--entries N` anywhere.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import Result, report

sys.path.insert(0, str(Path(__file__).parents[2]))

from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.log import Batch, Log, LogConfig
from auditlog.log.index import Index
from auditlog.log.reader import Reader
from tests.support.disk_log import DiskLog
from tests.support.testlog import ORIGIN, SECRET, FakeProducer

BATCH = 512
GROUP = 8
"""Batches in one commit: what several senders bring."""
FIRST = 10_000
_DECISION = (
    '{"body":{"capture":"asgi","duration_us":1834,"ended":"ok","id":"%s-7000-8000-%012x","mode":"fail_open",'
    '"model":"unregistered","operation":"predict","request":{"commitment":"%s"},"response":{"commitment":"%s"},'
    '"start":"2026-01-01T00:00:00.000000Z"},"instance":"%s","kind":"decision","origin":"%s",'
    '"prev":"%s","producer":"%s","seq":%d,"time":"2026-01-01T00:00:00.000000Z","v":1}'
)


class Inline:
    """Workers without threads: steps run when `run` is called, those of the index never."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def soon(self, step: Callable[[], object]) -> None:
        """Keep the step."""
        self._steps.append(step)

    def later(self, _delay_s: float, step: Callable[[], object]) -> None:
        """Keep the step, unless it is the index's."""
        if not isinstance(getattr(step, "__self__", None), Index):
            self._steps.append(step)

    def run(self) -> None:
        """Run what is there."""
        steps, self._steps = self._steps, []
        for step in steps:
            step()


class Growing:
    """One log, and what its growth cost."""

    def __init__(self, folder: Path) -> None:
        self.disk = DiskLog(folder)
        self.disk.config = LogConfig(
            origin=ORIGIN, visibility="public", receipt_secret=SECRET, max_index_lag=1 << 40,
            publish_interval_s=0.0,
        )  # fmt: skip
        self.workers = Inline()
        self.log: Log = self.disk.create(self.workers)
        self.producer = FakeProducer("host-0")
        self.entry_bytes = 0
        enrolled = self.log.enrol("host-0", self.producer.signer.vkey, self.producer.note)
        self.workers.run()
        self.producer.enrolled(enrolled.result(timeout=0).producer)
        self._commit([self.producer.batch([self.producer.start()])])
        self.prev, self.seq = self.producer.prev, 0
        self.entry_bytes = sum(len(self.log.reader.entry(index)) for index in range(self.log.tree_size))

    def _commit(self, batches: list[Batch]) -> None:
        futures = [self.log.submit(batch) for batch in batches]
        self.workers.run()
        for future in futures:
            future.result(timeout=0)
        self.disk.clock.advance(0.1)

    def _batch(self, size: int) -> Batch:
        entries, hashes, first = [], [], self.seq + 1
        who = self.producer.instance, ORIGIN, self.producer.producer.hex()
        for _ in range(size):
            self.seq += 1
            stamp, one = f"{self.seq:012x}", f"{self.seq:064x}"
            text = _DECISION % (
                f"{stamp[:8]}-{stamp[8:]}", self.seq, one, one[::-1], *who[:2], self.prev.hex(), who[2],
                self.seq,
            )  # fmt: skip
            entries.append(text.encode())
            self.prev = hash_leaf(entries[-1])
            hashes.append(self.prev)
        head = Head(
            ORIGIN, who[2], who[0], first_seq=first, seq=self.seq, leaf_hash=hashes[-1],
            root=root_hash(hashes),
        )  # fmt: skip
        self.entry_bytes += sum(map(len, entries))
        return Batch(sign_head(head, self.producer.signer), entries)

    def grow_to(self, size: int) -> float:
        """CPU seconds an entry took, on the way there."""
        started, used = self.log.tree_size, 0.0
        while (left := size - self.log.tree_size) > 0:
            sizes = [min(BATCH, left - at) for at in range(0, min(left, BATCH * GROUP), BATCH)]
            batches = [self._batch(each) for each in sizes]
            before = time.process_time()
            self._commit(batches)
            used += time.process_time() - before
        return used / (size - started)

    def proofs(self, count: int = 2000) -> tuple[float, float]:
        """CPU seconds of an inclusion proof with its tiles in the cache, and of one from files."""
        size, pick = self.log.tree_size, random.Random(size_seed := 7)
        near = [pick.randrange(size) for _ in range(100)]
        for index in near:
            self.log.reader.inclusion(index, size)
        warm = _each(lambda at: self.log.reader.inclusion(near[at % len(near)], size), count)
        readers = [Reader(self.log._live) for _ in range(50)]
        far = [random.Random(size_seed + 1).randrange(size) for _ in readers]
        return warm, _each(lambda at: readers[at].inclusion(far[at], size), len(readers))

    def beyond(self) -> float:
        """Bytes stored for an entry, besides the entry and SQL."""
        files = [path for path in self.disk.folder.rglob("*") if path.is_file()]
        stored = sum(path.stat().st_size for path in files if not path.name.startswith("state.sqlite"))
        return (stored - self.entry_bytes) / self.log.tree_size


def _each(work: Callable[[int], object], count: int) -> float:
    started = time.process_time()
    for at in range(count):
        work(at)
    return (time.process_time() - started) / count


def _stages(size: int) -> list[int]:
    stages = [FIRST]
    while stages[-1] < size:
        stages.append(min(size, stages[-1] * 10))
    return stages


def measured(growing: Growing, size: int) -> list[Result]:
    """Grow, and look at every decade."""
    lines, costs, warm = [], [], []
    for stage in _stages(size):
        costs.append(growing.grow_to(stage))
        warm_s, cold_s = growing.proofs()
        warm.append(warm_s)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        told = (
            f"CPU; proof {warm_s * 1e6:.0f} us from the cache, {cold_s * 1e6:.0f} us from files; "
            f"{memory} MiB; load {os.getloadavg()[0]:.1f}"
        )
        lines.append(Result(f"an entry, up to {stage:,}", round(costs[-1] * 1e6, 2), "us", against=told))
        sys.stderr.write(f"{lines[-1]}\n")
    flat, slower, beyond = costs[-1] / costs[1], warm[-1] / warm[0], growing.beyond()
    first = Result("entries appended", float(size), "entries", *[round(1 / flat, 3)] * 3,
                   against="cost of an entry in the second decade over that in the last",
                   target="ratio >= 0.8", met=flat <= 1.25)  # fmt: skip
    bounds = [
        ("proof at the end over that at 10,000", round(slower, 2), "times", 2),
        ("resident memory at most", memory, "MiB", 300),
        ("stored beyond entries and SQL", round(beyond, 1), "bytes/entry", 80),
    ]
    return [
        first,
        *lines,
        *(Result(name, float(value), unit, target=f"<= {most}", met=value <= most)
          for name, value, unit, most in bounds),
    ]  # fmt: skip


def main() -> None:
    """Print costs by decade."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="up to 200,000")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--entries", type=int, default=10_000_000, metavar="N", help="grow so far")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        growing = Growing(Path(scratch))
        lines = measured(growing, 200_000 if options.quick else options.entries)
        growing.disk.close()
    report(lines, as_json=options.json)


if __name__ == "__main__":
    main()

"""A log on a file system of its own that becomes full under large commits. A program; its result is JSON.

    unshare --map-root-user --mount python -m tests.support.full_disk FOLDER

mounts a small file system in memory at FOLDER, which no other process sees and which goes with this one.
Large batches come until it is full; then there is room again, and the log has to go on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import TimeoutError as Late
from pathlib import Path

from auditlog.errors import AuditLogError
from auditlog.log.aside import Aside
from auditlog.log.engine import Engine
from auditlog.log.log import Log
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import FolderSource
from tests.support.disk_log import DiskLog
from tests.support.testlog import FakeProducer

MEGABYTES = 24
_FILLER = 15 << 20
_BATCH, _PAD = 400, 2000
_REFUSED = 3
_TRIES = 60


class Writer:
    """A producer that sends the same batch until it is acknowledged."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._producer = FakeProducer("a")
        done = log.enrol("a", self._producer.signer.vkey, self._producer.note)
        self._producer.enrolled(done.result(timeout=30).producer)
        self.waiting = [self._producer.start()]
        self.acknowledged: list[bytes] = []

    def write(self) -> bool:
        """One batch; whether it was acknowledged."""
        first = len(self.acknowledged)
        if not self.waiting:
            self.waiting = [self._producer.decide(first + n, pad=_PAD) for n in range(_BATCH)]
        try:
            self._log.submit(self._producer.batch(self.waiting)).result(timeout=30)
        except (AuditLogError, Late):
            return False
        self.acknowledged += self.waiting
        self.waiting = []
        return True


def main(folder: Path) -> dict[str, object]:
    """Fill it up, make room, go on; what came of it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none", str(folder)], check=True)
    filler = folder / "filler"
    filler.write_bytes(bytes(_FILLER))
    aside, engine = Aside(1), Engine()
    disk = DiskLog(folder / "log", publish_interval_s=0.01, hands=aside.hands)
    writer = Writer(disk.create(engine))
    refused = tries = 0
    while refused < _REFUSED and len(writer.acknowledged) < _BATCH * 50:
        refused += not writer.write()
    full_at = len(writer.acknowledged)
    filler.unlink()
    while not writer.write() and tries < _TRIES:
        tries += 1
        time.sleep(0.5)
    writer.write()
    beside = aside.beside()
    disk.close()
    engine.close()
    aside.close()
    return {"refused": refused, "full_at": full_at, "acknowledged": len(writer.acknowledged)} | {
        "restarts": beside.restarts, "processes": beside.running, **_held(folder / "log", writer)
    }  # fmt: skip


def _held(folder: Path, writer: Writer) -> dict[str, object]:
    """What the next start finds."""
    disk, engine = DiskLog(folder, publish_interval_s=0.01), Engine()
    log = disk.open(engine)
    entries = log.reader.entries(0, log.tree_size)
    while log.published_size != log.tree_size:
        disk.clock.advance(1.0)
        time.sleep(0.05)
    vkey = log.vkey
    disk.close()
    engine.close()
    return {
        "missing": len(set(writer.acknowledged) - set(entries)),
        "twice": len(entries) - len(set(entries)),
        "temporary": [each.name for each in folder.glob(".*.tmp/*") if each.name != "lock"],
        "fsck": fsck(FolderSource(folder / "public"), vkey).exit_code,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))

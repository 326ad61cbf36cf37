"""A log on real files and SQLite, as the service composes it, for tests that need a disk or a process."""

from __future__ import annotations

import sys
from pathlib import Path

from auditlog.core.note import Ed25519Signer
from auditlog.log import Engine, HighWaterFile, Log, LogConfig, Stores, create_log, open_log
from auditlog.log.aside import HERE, Hands
from auditlog.log.engine import Workers
from auditlog.storage.files import FileStore
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.state import SqlState
from tests.support.clock import ManualClock
from tests.support.testlog import ORIGIN, SECRET, FakeProducer


class DiskLog:
    """One log below `folder`: public/, private/, staging/, state.sqlite and outside/high-water."""

    def __init__(
        self,
        folder: Path,
        *,
        visibility: str = "public",
        publish_interval_s: float = 1.0,
        hands: Hands = HERE,
    ) -> None:
        self.folder, self.hands = folder, hands
        self.signer = Ed25519Signer.from_seed(ORIGIN, bytes(32))
        self.config = LogConfig(
            origin=ORIGIN,
            visibility=visibility,
            receipt_secret=SECRET,
            publish_interval_s=publish_interval_s,
            max_pool_entries=200_000,
        )
        self.guard = HighWaterFile(folder / "outside" / "high-water", self.signer.verifier)
        self.clock = ManualClock()
        self.database = Database.open(f"sqlite:///{folder / 'state.sqlite'}")
        self.stores = Stores(
            FileStore(folder / "public"),
            FileStore(folder / "private"),
            FileStore(folder / "staging"),
            SqlState(self.database, ORIGIN),
        )
        self.log: Log | None = None

    def create(self, engine: Workers | None = None) -> Log:
        """Create the log."""
        self.log = create_log(
            self.config,
            self.stores,
            self.signer,
            self.clock,
            outside=[self.guard],
            engine=engine,
            hands=self.hands,
        )
        return self.log

    def open(self, engine: Workers | None = None) -> Log:
        """Open the log."""
        self.log = open_log(
            self.config,
            self.stores,
            self.signer,
            self.clock,
            outside=[self.guard],
            engine=engine,
            hands=self.hands,
        )
        return self.log

    def close(self) -> None:
        """Close what was opened."""
        if self.log is not None:
            self.log.close()
        self.database.close()


def work_until_killed(folder: Path) -> None:
    """Write batches for ever, telling each acknowledged head on standard output. A process, to be killed."""
    disk = DiskLog(folder, publish_interval_s=0.01)
    log = disk.open(Engine()) if (folder / "state.sqlite-made").exists() else disk.create(Engine())
    (folder / "state.sqlite-made").touch()
    producer = FakeProducer("host-0")
    producer.enrolled(log.enrol("host-0", producer.signer.vkey, producer.note).result(timeout=30).producer)
    head = log.head(producer.producer)
    if head is not None:
        # A new life of the host: it follows on what the log holds.
        producer.prev = head.leaf_hash
    producer._starts = log.tree_size  # a start nobody made before
    log.submit(producer.batch([producer.start()])).result(timeout=30)
    while True:
        batch = [producer.decide(producer.seq + n) for n in range(60)]
        log.submit(producer.batch(batch)).result(timeout=30)
        print(producer.prev.hex(), flush=True)


if __name__ == "__main__":
    work_until_killed(Path(sys.argv[1]))

"""From settings to engines: stores, keys, guards, the database they share, the chain. The real `Opener`.

Spec: auditlog/spec/api.md, "Configuration"; design section 6. Promises: keys and secrets are read here
and nowhere else, and go to the engine only. Must never: make a key for a log that is only to be opened,
or create a log on a start.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import auditlog
from auditlog.core.retention import Policy
from auditlog.core.statements import producer_key_name
from auditlog.errors import ConfigurationError, StorageError
from auditlog.log.aside import Aside, Beside
from auditlog.log.clock import SystemClock
from auditlog.log.config import LogConfig, Stores
from auditlog.log.engine import Engine
from auditlog.log.opening import create_log, open_log
from auditlog.log.outcomes import PRODUCER_NAME, Outcomes
from auditlog.log.own_producer import OwnProducer
from auditlog.log.rollback import Guard, HighWaterFile
from auditlog.log.witness_threads import ASKERS, WitnessThreads
from auditlog.service import ledgers
from auditlog.service.secretfiles import make_key, make_receipt_secret, read_log_key, read_receipt_secret
from auditlog.service.settings import LogSettings, Settings
from auditlog.service.stores import StoreOpener
from auditlog.service.witness_parts import WitnessParts
from auditlog.service.witnessing import witnessing_of
from auditlog.storage.owned import FolderLock, make_dir
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.leases import SqlLeases
from auditlog.storage.sql.state import SqlState
from auditlog.storage.sql.tokens import SqlTokens
from auditlog.verify.second_process import usable_cores

if TYPE_CHECKING:
    from auditlog.anchoring.ledger import BlockRef
    from auditlog.anchoring.scheduler import Anchorer
    from auditlog.core.keys import Ed25519Signer
    from auditlog.log.log import Log


_INDEX_INTERVAL_S = 0.05
"""Under load the index follows in transactions of this age: each costs as much as a commit of one entry."""

_MOST_CHECKING = 4


class EngineOpener:
    """Opens the logs of one configuration over one database. `start` first; `close` last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._held: FolderLock | None = None
        self._database: Database | None = None
        self._engine: Engine | None = None
        self._aside = Aside(checking_processes(settings))
        self._witness_threads = WitnessThreads(askers=_most_witnesses(settings))
        self._chain = ledgers.Chain(settings, self._clock)
        self._objects = StoreOpener(settings)
        self._lock = threading.Lock()
        self._outcomes: dict[str, Outcomes] = {}

    def start(self) -> SqlTokens:
        """Make the data directory, open the database and bring it up to date.

        Raises:
            ConfigurationError: another process serves this data directory. StorageError.
        """
        data_dir, url = self._settings.service.data_dir, self._settings.database_url
        _make_data_dir(data_dir)
        if url.startswith("sqlite"):
            # Nothing in such a configuration expects a second writer: it would only ever be told that
            # another one was faster. On PostgreSQL two may take turns.
            self._held = FolderLock(data_dir)
        self._database = Database.open(url)
        self._engine = Engine()
        return SqlTokens(self._database)

    def leases(self) -> SqlLeases | None:
        """Where it is said who sequences; None on SQLite, whose folder is locked."""
        if self._database is None or self._held is not None:
            return None
        return SqlLeases(self._database)

    def open(self, settings: LogSettings) -> Log:
        """Recover a log that exists. Raises RollbackError, StorageError, ConfigurationError."""
        signer = self._signer(settings)
        config, stores = self._config(settings), self._stores(settings)
        witnesses = WitnessParts(settings, signer.verifier, self._clock)
        return open_log(
            config,
            stores,
            signer,
            self._clock,
            outside=self._guards(settings, signer, witnesses),
            engine=self._engine,
            witnesses=witnesses.gatherer(self._witness_threads),
            hands=self._aside.hands,
        )

    def create(self, settings: LogSettings, *, is_key_new: bool = False) -> Log:
        """Create a log, or open it if it exists; its key and receipt secret are made if it has none.

        `is_key_new`: whoever calls has just made the key, and nothing was signed with it. A key that is made
        here is new by itself; one that lay there is not, and silent witnesses then stop the creation.

        Raises:
            GuardUnreachable: the key is older, and too few witnesses say that they know no log of it.
            RollbackError: somebody outside knows a larger log of this origin: its stores are lost, not new.
        """
        paths = self._settings.paths(settings)
        was_made = make_key(paths.key_file, settings.origin, seed=os.urandom(32))
        make_receipt_secret(paths.receipt_secret_file, randomness=os.urandom(32))
        stores = self._stores(settings)
        if stores.state.read() is not None:
            return self.open(settings)
        signer = self._signer(settings)
        witnesses = WitnessParts(settings, signer.verifier, self._clock)
        config = self._config(settings)
        return create_log(
            config,
            stores,
            signer,
            self._clock,
            outside=self._guards(settings, signer, witnesses),
            engine=self._engine,
            witnesses=witnesses.gatherer(self._witness_threads),
            hands=self._aside.hands,
            is_key_new=is_key_new or was_made,
        )

    def anchorer(self, log: Log) -> Anchorer | None:
        """What anchors the log; built once. The first call may take seconds."""
        with self._lock:
            return self._chain.anchorer(log)

    def devnet_vkey(self) -> str | None:
        """What checks the evidence of the devnet anchors in receipts; None where there are none."""
        return self._chain.devnet_vkey()

    def finalized_block(self) -> BlockRef | None:
        """The newest block of the chain that is final; None without a chain. May take seconds."""
        with self._lock:
            return self._chain.finalized_block()

    def outcomes(self, settings: LogSettings, log: Log) -> Outcomes:
        """What writes outcomes into the log; built once, with keys of its own that are made here."""
        with self._lock:
            if log.origin not in self._outcomes:
                self._outcomes[log.origin] = self._open_outcomes(settings, log)
            return self._outcomes[log.origin]

    def _open_outcomes(self, settings: LogSettings, log: Log) -> Outcomes:
        if self._database is None:
            raise ConfigurationError("expected the opener to be started, found it closed")
        paths = self._settings.paths(settings)
        name = producer_key_name(log.origin, PRODUCER_NAME)
        make_key(paths.outcomes_key_file, name, seed=os.urandom(32))
        make_receipt_secret(paths.facts_key_file, randomness=os.urandom(32))
        producer = OwnProducer(
            log,
            read_log_key(paths.outcomes_key_file, name),
            PRODUCER_NAME,
            software=f"auditlog {auditlog.__version__}",
            rng=os.urandom,
            clock=self._clock,
        )
        return Outcomes(
            log,
            SqlState(self._database, log.origin),
            producer,
            store_key=read_receipt_secret(paths.facts_key_file),
            rng=os.urandom,
            clock=self._clock,
        )

    def beside(self) -> Beside:
        """How the processes beside this one do."""
        return self._aside.beside()

    def close(self) -> None:
        """Close the chain's journal and the database."""
        self._chain.close()
        self._witness_threads.close()
        if self._engine is not None:
            self._engine.close()
        self._aside.close()
        if self._database is not None:
            self._database.close()
        if self._held is not None:
            self._held.release()
            self._held = None

    def _signer(self, settings: LogSettings) -> Ed25519Signer:
        return read_log_key(self._settings.paths(settings).key_file, settings.origin)

    def _config(self, settings: LogSettings) -> LogConfig:
        return LogConfig(
            origin=settings.origin,
            name=settings.name,
            visibility=settings.visibility,
            max_merge_delay_s=settings.max_merge_delay_s,
            contact=settings.contact,
            publish_interval_s=settings.publish_interval_s,
            index_interval_s=_INDEX_INTERVAL_S,
            receipt_secret=read_receipt_secret(self._settings.paths(settings).receipt_secret_file),
            allow_unguarded=settings.allow_unguarded_start,
            keep_promises_s=self._settings.service.keep_promises_days * 86400,
            retention=Policy(settings.retention_days, settings.retention_entries),
            awaits_anchors=self._settings.anchoring.mode != "off",
        )

    def _stores(self, settings: LogSettings) -> Stores:
        if self._database is None:
            raise ConfigurationError("expected the opener to be started, found it closed")
        _make_data_dir(self._settings.service.data_dir / "logs" / settings.name)
        return Stores(
            public=self._objects.public(settings),
            private=self._objects.private(settings),
            staging=self._objects.staging(settings),
            state=SqlState(self._database, settings.origin),
        )

    def _guards(self, settings: LogSettings, signer: Ed25519Signer, witnesses: WitnessParts) -> list[Guard]:
        """The high-water file, the anchor slot of a real chain, and the witnesses."""
        path = self._settings.paths(settings).high_water_file
        guards: list[Guard] = []
        if path is not None:
            guards.append(HighWaterFile(path, signer.verifier))
        guards += self._chain.guards(settings.origin)
        return [*guards, *witnesses.guard(is_alone=not guards)]


def checking_processes(settings: Settings) -> int:
    """How many processes check batches: as set, else one for each core but the one that sequences."""
    wanted = settings.service.checking_processes
    return min(_MOST_CHECKING, usable_cores() - 1) if wanted is None else wanted


def _most_witnesses(settings: Settings) -> int:
    """As many askers as the log with the most witnesses needs."""
    known = (witnessing_of(log) for log in settings.logs)
    return max([ASKERS, *(len(each.witnesses) for each in known if each is not None)])


def _make_data_dir(path: Path) -> None:
    try:
        make_dir(path)
    except OSError as error:
        raise StorageError(f"expected to make the folder {path}, found {error.strerror}") from error

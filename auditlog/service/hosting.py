"""The logs of one service: opened at start, found by name, created on request, closed at the end.

Spec: auditlog/spec/api.md, "Logs". Promises: a log that cannot be opened is reported as not ready and
answers 503, the others go on; a configured log is never created by a start, since an unmounted disk would
then become a second history under the same key. Must never: sign anything itself.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from auditlog.errors import AuditLogError, ConfigurationError, LogHalted, NotFoundError, StandingBy
from auditlog.ingest.ports import AWAY, NO_QUEUE
from auditlog.log.regain import may_pass
from auditlog.service.settings import LogSettings, Settings, Visibility
from auditlog.service.settings_checks import refuse_dangerous
from auditlog.service.witnessing import witnessing_of
from auditlog.storage.files import write_durably

if TYPE_CHECKING:
    from auditlog.anchoring.ledger import BlockRef
    from auditlog.anchoring.scheduler import Turn
    from auditlog.log.aside import Beside
    from auditlog.log.cosigning import QuorumStanding
    from auditlog.log.log import Log, LogStatus
    from auditlog.log.outcomes import Outcomes
    from auditlog.log.standing import Standing
    from auditlog.service.tokens import TokenStore
    from auditlog.storage.leases import Leases

LOG_OPENED = "log_opened"
LOG_NOT_OPENED = "log_not_opened"
LOG_NOT_CLOSED = "log_not_closed"
QUORUMS_MAY_PART = "witness_quorums_may_part"
HALTED = "halted"
STANDING_BY = "standing_by"
PUBLICATION_LATE = "publication_late"
QUORUM_MISSING = "quorum_missing"
BLOCK_AGE_S = 5.0
"""The newest final block is asked for once in this time, whoever asks."""


class Anchors(Protocol):
    """Brings one log's newest checkpoint to the chain: `auditlog.anchoring.scheduler.Anchorer`."""

    def run_once(self) -> Turn:
        """Anchor if there is something to anchor. Raises LedgerError."""


class Opener(Protocol):
    """Builds the engine of one log from its settings: `opening.EngineOpener`, or a fake in tests."""

    def start(self) -> TokenStore:
        """Open what the logs share, first of all the database; the tokens live there too."""

    def leases(self) -> Leases | None:
        """Where it is said who sequences; None where a second process cannot be. After `start`."""

    def open(self, settings: LogSettings) -> Log:
        """Recover a log that exists. Raises RollbackError, StorageError, ConfigurationError."""

    def create(self, settings: LogSettings) -> Log:
        """Create a log, or open it if exactly it exists; its key is made if it has none."""

    def anchorer(self, log: Log) -> Anchors | None:
        """What anchors the log; the same object each time; None when anchoring is off. May take seconds."""

    def devnet_vkey(self) -> str | None:
        """What checks the devnet anchors in receipts; None where there are none."""

    def finalized_block(self) -> BlockRef | None:
        """The newest final block of the chain; None without one. Raises LedgerError. May take seconds."""

    def outcomes(self, settings: LogSettings, log: Log) -> Outcomes:
        """What writes outcomes into the log; the same object each time."""

    def beside(self) -> Beside:
        """How the processes beside this one do."""

    def close(self) -> None:
        """Let go of what the logs share."""


class HostedLog:
    """One log as the service sees it: its engine, or the fault that keeps it from having one."""

    def __init__(self, settings: LogSettings, log: Log | None, fault: str | None) -> None:
        self.settings = settings
        self._log = log
        self._fault = fault
        self._prefixes: dict[str, bytes] = {}

    @property
    def name(self) -> str:
        """The name in URLs."""
        return self.settings.name

    @property
    def origin(self) -> str:
        """The identity of the log."""
        return self.settings.origin

    @property
    def visibility(self) -> Visibility:
        """Who may read what."""
        return self.settings.visibility

    @property
    def log(self) -> Log:
        """The engine. Raises LogHalted when it could not be opened."""
        if self._log is None:
            if self._fault == STANDING_BY:
                raise StandingBy("expected the process that sequences this log, found one that stands by")
            raise LogHalted(self._fault or "the log is closed")
        return self._log

    @property
    def fault(self) -> str | None:
        """Why this log is not ready; None when it is."""
        return self._fault if self._log is None else self._log.fault

    @property
    def standing(self) -> Standing | None:
        """Whether it takes entries: `open`, `quiesced`, `read-only`, `retired`; None without an engine."""
        return None if self._log is None else self._log.standing

    def status(self) -> LogStatus | None:
        """Sizes of tree, pool and index; None without an engine."""
        return None if self._log is None else self._log.status()

    @property
    def unready(self) -> str | None:
        """Why this log is not ready, in one word for all to see; None when it is."""
        if self.fault is not None:
            if self._log is None and self._fault == STANDING_BY:
                return STANDING_BY
            return self.fault if self.fault in {AWAY, NO_QUEUE} else HALTED
        if self.publication_lag_s() > self.settings.max_merge_delay_s:
            quorum = self.quorum()
            return QUORUM_MISSING if quorum is not None and quorum.held_s else PUBLICATION_LATE
        return None

    def published(self) -> str:
        """The newest published checkpoint note. Raises NotFoundError before the first."""
        return self.log.published()

    def published_size(self) -> int:
        """Tree size of the newest published checkpoint. Raises NotFoundError before the first."""
        size = self.log.published_size
        if not size:
            raise NotFoundError("expected a published checkpoint, found none yet")
        return size

    def published_size_or_none(self) -> int | None:
        """As `published_size`, None when there is no engine or no checkpoint."""
        try:
            return self.published_size()
        except (LogHalted, NotFoundError):
            return None

    def publication_lag_s(self) -> float:
        """How long the oldest commit that is not published has waited, in seconds; 0 without an engine."""
        return 0.0 if self._log is None else self._log.publication_lag_s

    def index_lag(self) -> int | None:
        """Committed entries that look-ups do not find yet; None without an engine."""
        return None if self._log is None else self._log.index.lag

    def flagged(self) -> dict[str, int]:
        """How many entries were flagged since the start, by flag."""
        return {} if self._log is None else dict(self._log.index.flagged)

    def witness_asks(self) -> dict[tuple[str, str], int]:
        """How often witnesses were asked since the start, by (key name, outcome)."""
        witnesses = None if self._log is None else self._log.witnesses
        return {} if witnesses is None else dict(witnesses.counts)

    def cosignatures(self) -> int | None:
        """How many witnesses cosigned the published checkpoint; None for a log that has none."""
        if self._log is None or self._log.witnesses is None:
            return None
        return self._log.cosignatures

    def quorum(self) -> QuorumStanding | None:
        """How the log stands with its witnesses; None for one that has none, or no engine."""
        return None if self._log is None else self._log.quorum

    def promises(self) -> dict[str, int]:
        """How many promises were kept since the start, and of them contradict another."""
        if self._log is None:
            return {}
        return {"kept": self._log.promises.kept, "conflicting": self._log.promises.conflicting}

    def producer_by_prefix(self, prefix: str) -> bytes | None:
        """The enrolled producer whose id begins with these 16 hex digits (attacker-controlled)."""
        found = self._prefixes.get(prefix)
        if found is None:
            self._prefixes = {each.producer.hex()[:16]: each.producer for each in self.log.producers()}
            found = self._prefixes.get(prefix)
        return found

    def share_of(self, budget: int, *, of_logs: int) -> int:
        """How much of a budget of bytes this log may have: what its settings say, else half where there are
        others.
        """
        own = self.settings.max_waiting_bytes
        return min(budget, own or (budget if of_logs == 1 else budget // 2))

    def receipt_key(self, producer: bytes) -> bytes:
        """The secret a producer's receipt capabilities are made with, 32 bytes."""
        return self.log.receipt_key(producer)

    def close(self) -> None:
        """Drain and stop the engine: what was accepted is committed, what waits is answered."""
        log, self._log, self._fault = self._log, None, "the log is closed"
        if log is not None:
            log.close()


class Hosting:
    """Every log of the service by name."""

    def __init__(self, settings: Settings, opener: Opener) -> None:
        self._settings = settings
        self._opener = opener
        self._hosted: dict[str, HostedLog] = {}
        self._stands_by = False
        self._creating = threading.Lock()
        self._asking_block = threading.Lock()
        self._block: tuple[float, BlockRef | None] | None = None
        self._logger: structlog.typing.FilteringBoundLogger = structlog.get_logger("auditlog.service")

    def known(self) -> list[LogSettings]:
        """Every configured and every registered log. Raises ConfigurationError."""
        return [*self._settings.logs, *self._registered()]

    def stand_by(self) -> None:
        """Know every log and open none: another process sequences them. Raises ConfigurationError."""
        self._stands_by = True
        self._hosted = {each.name: HostedLog(each, None, STANDING_BY) for each in self.known()}

    def start(self) -> None:
        """Open every configured and every registered log.

        Raises:
            AuditLogError: there are logs, and not one of them could be opened.
        """
        failure: AuditLogError | None = None
        self._stands_by = False
        for settings in self.known():
            try:
                self._hosted[settings.name] = HostedLog(settings, self._opener.open(settings), None)
                self._logger.info(LOG_OPENED, log=settings.name, origin=settings.origin)
                self._warn(settings)
            except AuditLogError as error:
                if failure is None or may_pass(failure):
                    # What no waiting mends is the one to tell.
                    failure = error
                self._hosted[settings.name] = HostedLog(settings, None, str(error))
                self._logger.error(LOG_NOT_OPENED, log=settings.name, problem=error.code, error=str(error))
        if failure is not None and all(each.fault is not None for each in self._hosted.values()):
            raise failure

    def _warn(self, settings: LogSettings) -> None:
        """Say at every start what a quorum of this log does not show."""
        witnessing = witnessing_of(settings)
        if witnessing is not None and witnessing.may_part:
            self._logger.warning(
                QUORUMS_MAY_PART,
                log=settings.name,
                detail="two quorums may have no witness in common, and so cosign two histories",
            )

    def get(self, name: str) -> HostedLog:
        """The log of that name (attacker-controlled). Raises NotFoundError."""
        hosted = self._hosted.get(name)
        if hosted is None:
            raise NotFoundError("expected the name of a log of this service, found another")
        return hosted

    @property
    def count(self) -> int:
        """How many logs there are."""
        return len(self._hosted)

    def all(self) -> list[HostedLog]:
        """Every log, in the order of the configuration."""
        return list(self._hosted.values())

    def devnet_vkey(self) -> str | None:
        """What checks the devnet anchors in the receipts of these logs; None where there are none."""
        return self._opener.devnet_vkey()

    def outcomes(self, hosted: HostedLog) -> Outcomes:
        """What writes outcomes into a log. Raises LogHalted, ConfigurationError, StorageError."""
        return self._opener.outcomes(hosted.settings, hosted.log)

    def finalized_block(self) -> BlockRef | None:
        """The newest final block of the chain, as it was `BLOCK_AGE_S` ago at most; None without a chain.

        Raises:
            LedgerError: the node does not answer, or has no final block yet.
        """
        with self._asking_block:
            now = time.monotonic()
            if self._block is None or now - self._block[0] > BLOCK_AGE_S:
                self._block = (now, self._opener.finalized_block())
            return self._block[1]

    def create(self, wanted: LogSettings) -> HostedLog:
        """Create a log and register it, so that the next start opens it.

        The order is key, genesis, registration: dying in between leaves a log that the same request finishes.

        Raises:
            ConfigurationError: the name or origin is taken by a log with other settings, or a path is
            dangerous.
        """
        if self._stands_by:
            raise StandingBy("expected the process that sequences these logs, found one that stands by")
        with self._creating:
            held = self._hosted.get(wanted.name)
            if held is not None:
                if held.settings != wanted:
                    raise ConfigurationError("expected a new log name, found one that is taken")
                return held
            known = [each.settings for each in self.all()]
            refuse_dangerous(self._settings.model_copy(update={"logs": [*known, wanted]}))
            hosted = HostedLog(wanted, self._opener.create(wanted), None)
            write_durably(self._registry / f"{wanted.name}.json", wanted.model_dump_json(indent=1).encode())
            self._hosted[wanted.name] = hosted
            return hosted

    def close_logs(self) -> None:
        """Close every log: what was accepted is committed. Twice is once."""
        for hosted in self.all():  # a log may be created meanwhile
            try:
                hosted.close()
            except Exception as error:
                self._logger.error(LOG_NOT_CLOSED, log=hosted.name, exc_info=error)

    def close(self) -> None:
        """Close every log, then what they share."""
        self.close_logs()
        self._opener.close()

    @property
    def _registry(self) -> Path:
        return self._settings.service.data_dir / "logs.d"

    def _registered(self) -> list[LogSettings]:
        """Logs that were created through the API. Raises ConfigurationError."""
        configured = {log.name for log in self._settings.logs}
        files = sorted(self._registry.glob("*.json")) if self._registry.is_dir() else []
        found = [_read_registered(file) for file in files]
        registered = [log for log in found if log.name not in configured]
        refuse_dangerous(self._settings.model_copy(update={"logs": [*self._settings.logs, *registered]}))
        return registered


def _read_registered(file: Path) -> LogSettings:
    try:
        return LogSettings.model_validate_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"expected a log in {file}, found {type(error).__name__}") from error

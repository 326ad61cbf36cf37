"""The parts of one running capture, made from its settings: which class gets which value, nothing else."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable

from auditlog.capture.adoption import Opening
from auditlog.capture.backlog import write_note
from auditlog.capture.client import LogClient, tls_context
from auditlog.capture.clocks import HostClock
from auditlog.capture.disclosures import DisclosureStore, load_store_key
from auditlog.capture.enrolling import enrol
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.field_roots import FieldRootProcess, root_here
from auditlog.capture.forking import ForkGate
from auditlog.capture.frames import Record
from auditlog.capture.journal import Journal
from auditlog.capture.keeping import QuickKeeping
from auditlog.capture.metrics import Counters
from auditlog.capture.models import ModelNames
from auditlog.capture.preparing import Preparation
from auditlog.capture.redaction import Redactor
from auditlog.capture.retiring import mark_retired
from auditlog.capture.rotation import SlotKeys, open_keys
from auditlog.capture.safety import Guard
from auditlog.capture.sender import Route, Sender
from auditlog.capture.settings import CaptureSettings
from auditlog.capture.slots import Slot
from auditlog.capture.sqlite_store import SqliteDisclosureStore


class Wiring:
    """Makes the parts of one running capture."""

    def __init__(
        self,
        settings: CaptureSettings,
        software: str,
        *,
        clock: HostClock,
        rng: Callable[[int], bytes],
        metrics: Counters,
        guard: Guard,
        redactor: Redactor | None,
        logger: logging.Logger,
        gate: ForkGate | None = None,
    ) -> None:
        self._settings = settings
        self._software = software
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._guard = guard
        self._redactor = redactor
        self._logger = logger
        self._field_roots: FieldRootProcess | None = None
        self._tls: ssl.SSLContext | None = None
        self.gate = gate or ForkGate()
        """Inside it our threads work; a fork waits until they do not."""

    def open(self) -> None:
        """Make what all clients share, before there are threads: it takes time, and OpenSSL's locks."""
        self._tls = tls_context(self._settings.log_url)

    def close(self) -> None:
        """End what was started here: the helper process."""
        if self._field_roots is not None:
            self._field_roots.close()

    def new_preparation(self) -> Preparation:
        """What makes bodies of entries."""
        helper = self._field_roots = FieldRootProcess(self._logger) if self._settings.helper else None
        return Preparation(
            models=ModelNames(is_expected=self._settings.model_path is not None),
            rng=self._rng,
            max_body_bytes=self._settings.max_body_bytes,
            field_roots=helper or root_here,
            redactor=self._redactor,
            metrics=self._metrics,
            guard=self._guard,
        )

    def new_journal(self, slot: Slot) -> Journal:
        """The journal of a slot, not open."""
        settings = self._settings
        return Journal(
            slot,
            segment_bytes=settings.segment_bytes,
            max_bytes=settings.max_spool_bytes,
            commits=self._metrics.commits,
        )

    def new_sender(
        self,
        slot: Slot,
        open_route: Callable[[LogClient], Route],
        *,
        on_acknowledged: Callable[[Route, int, list[Record]], None],
        until_drained: bool,
        on_retired: Callable[[], None] = lambda: None,
    ) -> Sender:
        """The sender of a slot, not running."""

        def retired(producer: str, last: dict[str, object]) -> None:
            on_retired()
            mark_retired(slot.directory, producer, last)

        return Sender(
            open_route=open_route,
            open_client=self.open_client,
            on_conflict=slot.mark_conflict,
            on_retired=retired,
            on_acknowledged=on_acknowledged,
            gathers=self._settings.durability == "local",
            note=lambda state, detail, number: write_note(slot.directory, state, detail, number),
            until_drained=until_drained,
            rng=self._rng,
            metrics=self._metrics,
            guard=self._guard,
            logger=self._logger,
            gate=self.gate,
            max_batch_entries=self._settings.max_batch_entries,
            max_batch_bytes=self._settings.max_batch_bytes,
        )

    def open_client(self) -> LogClient:
        """A client of the log, for the thread that calls this, which is not inside the gate."""
        settings = self._settings
        with self.gate:
            return LogClient(
                settings.log_url,
                settings.read_token,
                timeout_s=settings.request_timeout_s,
                on_time=self._clock.heard,
                tls=self._tls,
            )

    def opening(self, slot: Slot, enrolment: Enrolment) -> Opening:
        """What is needed to write entries of an enrolled slot. Raises ConfigurationError, OSError."""
        keys = open_keys(slot, enrolment, self._rng)
        return Opening(enrolment, keys.sealing, self._software, self._clock, keys)

    def enrol(self, slot: Slot, client: LogClient) -> Opening:
        """Enrol a slot. Raises as `enrolling.enrol`."""
        enrolment, signer = enrol(slot, client, origin=self._settings.origin, rng=self._rng)
        self._logger.info(
            "auditlog: producer %s enrolled with %s",
            enrolment.name,
            enrolment.origin,
            extra={"event": "enrolled", "producer": enrolment.name},
        )
        keys = SlotKeys(slot, enrolment, signer)
        return Opening(enrolment, signer, self._software, self._clock, keys)

    def open_leftover(self, slot: Slot, client: LogClient) -> tuple[Journal, Route]:
        """Open the chain of a slot that another life left, as the next life of that producer."""
        enrolment = slot.load_enrolment()
        opening = self.enrol(slot, client) if enrolment is None else self.opening(slot, enrolment)
        journal = self.new_journal(slot)
        instance = self._rng(16).hex()
        clock = self._clock
        journal.open(opening, instance=instance, software=self._software, now_us=clock(), seen=clock.compare)
        assert journal.spool is not None
        return journal, Route(opening.enrolment, opening.signer, journal.spool, opening.keys)

    def open_store(self, slot: Slot) -> DisclosureStore:
        """The disclosure store of a slot. Raises StorageError, OSError."""
        key, max_bytes = load_store_key(slot.store_key_path, self._rng), self._settings.max_store_bytes
        store = SqliteDisclosureStore(
            slot.store_path, key, self._rng, keep_s=self._settings.keep_s, max_bytes=max_bytes
        )
        return QuickKeeping(
            slot.keeping_dir, store, key, self._rng, max_bytes=max_bytes, gate=self.gate,
            failed=lambda failure: self._guard.failed("disclosure_store", failure),
        )  # fmt: skip

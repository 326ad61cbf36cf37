"""The standing of a log: open, quiesced, read-only, retired. What it takes, what it signs, and how it ends.

Spec: `auditlog/spec/log.md`, "Standing"; design section 5, "a log's key never changes".

    open        everything
    quiesced    nothing new is admitted; what was admitted is committed and published
    read-only   nothing is admitted or signed; reads go on
    retired     final: its last entry is a `successor`, its last checkpoint was signed, and none ever follows

Durable in the row that every commit compares, so that no process can sign past it: `retired` is set by the
very transaction that commits the `successor` entry, and a start derives it from that entry as well. Whatever
is in the log already is acknowledged again when it comes again, under every standing. Must never: let a
retired log admit or sign anything, or lose what was admitted before a change.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from auditlog.core.entry import Entry, parse_entry
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.scalars import check_origin
from auditlog.errors import (
    AuditLogError,
    ConfigurationError,
    LogQuiesced,
    LogReadOnly,
    LogRetired,
    MalformedError,
    Pushback,
    StorageError,
)
from auditlog.log.live import Live
from auditlog.log.reader import Reader
from auditlog.storage.records import COMMITTING, LOG_CHAIN, OPEN, QUIESCED, READ_ONLY, RETIRED

if TYPE_CHECKING:
    from auditlog.log.intake import Intake

Standing = Literal["open", "quiesced", "read-only", "retired"]

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Successor:
    """The log that goes on where one has ended, and where that is said."""

    origin: str
    vkey: str
    index: int


def check_admits(live: Live, reader: Reader) -> None:
    """Whether something new may enter. Under the log's lock.

    Raises:
        LogQuiesced: not now. LogReadOnly: not until it is opened again. LogRetired: never again.
    """
    if live.standing == OPEN and not live.is_ending:
        return
    check_signs(live, reader)
    raise LogQuiesced("expected a log that takes entries, found one that is quiesced; nothing was accepted")


def check_signs(live: Live, reader: Reader) -> None:
    """Whether the log's key may sign. Raises: LogReadOnly, LogRetired."""
    if live.standing == READ_ONLY:
        raise LogReadOnly("expected a log that takes entries, found one that is read-only")
    if live.standing == RETIRED:
        found = successor_of(live, reader)
        goes_on = "" if found is None else f"; it goes on as {found.origin}"
        raise LogRetired(
            f"expected a log that takes entries, found one that has ended{goes_on}",
            successor=None if found is None else {"origin": found.origin, "vkey": found.vkey},
        )


def successor_of(live: Live, reader: Reader) -> Successor | None:
    """What the last entry of the committed tree says, if it is the log's own `successor`.

    Raises:
        StorageError: the bundle cannot be read.
    """
    own, size = live.chains.committed.get(LOG_CHAIN), live.tree.size
    # A successor is the last entry there is; asking for an older one would read what may be pruned.
    if own is None or own.index != size - 1:
        return None
    entry: Entry = parse_entry(reader.entry(own.index))
    if entry.kind != "successor":
        return None
    return Successor(str(entry.body["origin"]), str(entry.body["vkey"]), own.index)


class Standings:
    """Changes the standing of one log, one change at a time. Safe to use from any thread."""

    def __init__(
        self,
        live: Live,
        intake: Intake,
        reader: Reader,
        drain: Callable[[], None],
        publish: Callable[[], None],
    ) -> None:
        """`drain` commits what is in the pool, `publish` shows what is committed, in the caller's thread."""
        self._live = live
        self._intake = intake
        self._reader = reader
        self._drain = drain
        self._publish = publish
        self._turn = threading.Lock()

    def set(self, wanted: str) -> None:
        """Open, quiesce or freeze; asked for again it is done again. See `Log.set_standing`."""
        if wanted not in {OPEN, QUIESCED, READ_ONLY}:
            raise MalformedError(f"standing: expected {OPEN}, {QUIESCED} or {READ_ONLY}, found another word")
        with self._turn:
            self._live.check_running()
            if wanted == OPEN:
                self._move(OPEN)
                return
            if self._read() != wanted:
                self._move(QUIESCED)
            self._settle()
            if wanted == READ_ONLY:
                self._move(READ_ONLY)

    def retire(self, vkey: str) -> Successor:
        """End the log for ever in favour of the one with this key; see `Log.end`."""
        origin = self._check_successor(vkey)
        with self._turn:
            live = self._live
            live.check_running()
            if self._read() == RETIRED:
                return self._repeated(origin, vkey)
            self._move(QUIESCED)
            self._settle()
            with live.lock:
                live.check_running()
                if live.pool or live.inflight:
                    raise Pushback("expected nothing before the last entry of the log, found entries waiting")
                # From here on not even an entry of the log's own gets in: this one is the last.
                item = self._intake.add_own("successor", {"origin": origin, "vkey": vkey}, ends=True)
                live.is_ending = True
            # Dying before the commit leaves a quiesced log, to be resumed or retired again.
            self._drain()
            index = item.future.result(_PATIENCE_S).index
            self._publish()
            return Successor(origin, vkey, index)

    def _check_successor(self, vkey: str) -> str:
        origin = Ed25519Verifier.from_vkey(vkey).name
        check_origin(origin)
        if origin == self._live.config.origin:
            raise ConfigurationError(
                "successor: expected a new origin with its own key, found this log's own"
            )
        return origin

    def _repeated(self, origin: str, vkey: str) -> Successor:
        found = successor_of(self._live, self._reader)
        if found is None or (found.origin, found.vkey) != (origin, vkey):
            check_signs(self._live, self._reader)
            raise StorageError("expected the successor entry of a retired log, found none")
        self._publish()
        return found

    def _read(self) -> str:
        """The durable standing; memory follows it."""
        committed = self._live.stores.state.read()
        if committed is None:
            raise StorageError("expected a committed log, found none")
        if self._live.standing != RETIRED:
            self._live.stand(committed.standing)
        return self._live.standing

    def _move(self, wanted: str) -> None:
        """Change it durably, and in memory: no admission between a stop in memory and one on disk is open."""
        live, current = self._live, self._read()
        check_signs_or_frozen(live, self._reader)
        if wanted == QUIESCED:
            live.stand(QUIESCED)
        try:
            if current != wanted:
                live.stores.state.set_standing(current, wanted)
        except AuditLogError:
            self._read()
            raise
        live.stand(wanted)

    def _settle(self) -> None:
        """Nothing is admitted any more: commit what was, and show it."""
        if self._live.standing in COMMITTING:
            self._drain()
        self._live.check_running()
        self._publish()


def check_signs_or_frozen(live: Live, reader: Reader) -> None:
    """A read-only log may change its standing; a retired one not. Raises: LogRetired."""
    if live.standing == RETIRED:
        check_signs(live, reader)

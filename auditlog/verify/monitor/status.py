"""What a monitor knows of a log at one moment, as plain values: for the page, the metrics and `--json`.

Spec: auditlog/spec/monitor.md, "Status". Promises: a record is never changed after it was made; every text of
a stranger in it is printable.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from auditlog.core.scalars import format_time
from auditlog.verify.finding import ALARMS, AlarmClass
from auditlog.verify.monitor.beside import AHEAD, DISAGREES, SAME, Beside
from auditlog.verify.monitor.following import Follower, Look
from auditlog.verify.monitor.store import Store
from auditlog.verify.steps import check_quorum
from auditlog.verify.wording import printable

MAX_REMARKS: Final = 20


@dataclass(frozen=True, slots=True)
class OtherStatus:
    """One witness or peer."""

    name: str
    kind: str
    size: int
    problem: str
    state: str = ""
    """`same`, `ahead` (not compared), `disagrees`; empty before it was compared."""
    compared: int = 0
    """Entries up to which the histories are known to be the same."""

    @property
    def sentence(self) -> str:
        """What is known of it, in words."""
        if self.state == DISAGREES:
            return "has ANOTHER HISTORY, see the alarms"
        if self.problem:
            return self.problem
        if self.state == AHEAD:
            return f"at {self.size:,} entries, ahead of the log here: not compared yet"
        return f"same history up to {self.compared:,} entries" if self.state == SAME else "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """One log. Sizes are entries; times are in the text form of entries, or empty."""

    origin: str
    signed_size: int = 0
    root: str = ""
    note: str = ""
    tree_size: int = 0
    entries_size: int = 0
    is_current: bool = False
    seen: str = ""
    looked: str = ""
    cosigned: tuple[str, ...] = ()
    quorum_since: str = ""
    producers: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    declared: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    anchored_size: int = 0
    anchors_checked: int = 0
    others: tuple[OtherStatus, ...] = ()
    alarms: dict[str, int] = field(default_factory=dict)
    suppressed: dict[str, int] = field(default_factory=dict)
    promises: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    reservations: tuple[str, ...] = ()

    @property
    def has_alarms(self) -> bool:
        """Whether anything was ever raised that is no mere notice."""
        return any(ALARMS[word].kind is not AlarmClass.NOTICE for word in self.alarms)

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        return {**asdict(self), "has_alarms": self.has_alarms}


def status_of(follower: Follower, look: Look, beside: Beside | None) -> LogStatus:
    """The state after a look."""
    standing, fold, opened = follower.books.standing, follower.books.fold, follower.opened
    if opened is None:
        return LogStatus(
            origin=look.origin,
            alarms=count_alarms(follower.store, look.origin),
            suppressed=dict(standing.suppressed),
            remarks=_remarks(follower.store, look.origin),
            unread=tuple(printable(text, 300) for text in look.unread),
            reservations=tuple(printable(text, 300) for text in look.reservations),
        )
    quorum = check_quorum(opened, follower.log.trust).value
    return LogStatus(
        origin=look.origin,
        signed_size=opened.checkpoint.tree_size,
        root=opened.checkpoint.root_hash.hex(),
        note=opened.note,
        tree_size=standing.tree_size,
        entries_size=standing.entries_size,
        is_current=look.is_current,
        seen=_time(standing.note_us),
        looked=_time(standing.looked_us),
        cosigned=tuple(sorted(quorum.cosigned)),
        quorum_since=quorum.since or "",
        producers=fold.chains.producers,
        kinds=dict(fold.chains.kinds),
        declared=fold.chains.declared.to_json(),
        facts={name: value for name, value in fold.facts.items() if isinstance(value, int | str)},
        anchored_size=0 if standing.anchored is None else standing.anchored[0],
        anchors_checked=standing.anchors_checked,
        others=_others(beside),
        alarms=count_alarms(follower.store, look.origin),
        suppressed=dict(standing.suppressed),
        promises=_promises(follower.store, look.origin),
        remarks=_remarks(follower.store, look.origin),
        unread=tuple(printable(text, 300) for text in look.unread),
        reservations=tuple(printable(text, 300) for text in look.reservations),
    )


def count_alarms(store: Store, origin: str) -> dict[str, int]:
    """How often each alarm was raised."""
    query = "SELECT alarm, count(*) FROM alarm WHERE origin = ? GROUP BY alarm ORDER BY alarm"
    return dict(Counter({row[0]: int(row[1]) for row in store.read(query, (origin,))}))


def _others(beside: Beside | None) -> tuple[OtherStatus, ...]:
    return tuple(
        OtherStatus(
            printable(other.name, 200),
            "monitor" if other.verifier is None else "witness",
            other.newest_size,
            printable(other.problem, 200),
            other.state,
            other.compared,
        )
        for other in (beside.others if beside is not None else [])
    )


def _promises(store: Store, origin: str) -> dict[str, int]:
    query = "SELECT verdict, count(*) FROM promise WHERE origin = ? GROUP BY verdict ORDER BY verdict"
    return {row[0]: int(row[1]) for row in store.read(query, (origin,))}


def _remarks(store: Store, origin: str) -> tuple[str, ...]:
    query = "SELECT producer, text FROM remark WHERE origin = ? ORDER BY number DESC LIMIT ?"
    rows = store.read(query, (origin, MAX_REMARKS))
    return tuple(f"{producer}: {text}" if producer else text for producer, text in rows)


def _time(time_us: int) -> str:
    return format_time(time_us) if time_us else ""

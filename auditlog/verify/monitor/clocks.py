"""What is wrong only because time goes by: nothing new, nobody heard, too few witnesses, no anchor.

Spec: auditlog/spec/monitor.md, "Time". By this machine's clock, and only after a look that read the log to
its newest checkpoint; so a monitor that was off for a week accuses nobody. Must never: raise twice for one
silence, however long it lasts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from auditlog.core.anchor import DEVNET_TYPE
from auditlog.core.scalars import format_time
from auditlog.core.trust import ANCHOR, DEVNET, QUORUM
from auditlog.verify.completeness_lives import LONGEST_DELAY_S, LONGEST_INTERVAL_S, SILENCE_INTERVALS
from auditlog.verify.completeness_watched import Watched
from auditlog.verify.monitor.following import Follower, Look
from auditlog.verify.monitor.raised import Raised
from auditlog.verify.monitor.standing import Standing
from auditlog.verify.steps import check_quorum

_US: Final = 1_000_000
MAX_OUTAGES: Final = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds."""

    stale_s: float = 3600.0
    """Without a new checkpoint, where one is due: some producer is alive, or the entries cannot be read."""
    anchor_s: float = 86_400.0
    """From one anchor to the next, where the log has decisions that are not anchored."""
    slack_s: float = 60.0
    """Allowed for delivery before a producer counts as silent."""


def check_clocks(follower: Follower, look: Look, limits: Limits) -> None:
    """Raise what time shows; what cannot be told is a reservation of the look."""
    _note_outage(follower, look)
    if not look.is_current:
        _check_stale(follower, limits, alive=None)
        return
    alive = _check_silence(follower, look, limits)
    _check_stale(follower, limits, alive=alive)
    _check_quorum(follower, look)
    _check_anchors(follower, look, limits)


def merge_delay_s(facts: Mapping[str, Any], look: Look) -> int:
    """The time the log allows itself to take an entry in, as far as it excuses a silence, in seconds."""
    stated = facts.get("max_merge_delay_s")
    if type(stated) is not int:
        look.reservations.append("merge delay: the log's genesis states none, so none excuses a silence")
        return 0
    if stated > LONGEST_DELAY_S:
        text = f"merge delay: the log allows itself {stated} s; a silence is excused for {LONGEST_DELAY_S}"
        look.reservations.append(text)
    return min(stated, LONGEST_DELAY_S)


def _check_silence(follower: Follower, look: Look, limits: Limits) -> bool | None:
    """Whether any producer is due to be heard; None if that cannot be known."""
    standing, now_us = follower.books.standing, follower.clock_us()
    if standing.entries_why:
        return None
    alive = False
    delay_s = merge_delay_s(follower.books.fold.facts, look) + limits.slack_s
    for identity, heard_us, watched in follower.books.producers.watched.look():
        if not _is_due(watched):
            continue
        alive = True
        assert watched.life is not None
        interval_s = watched.life.interval_s or 0
        if (
            now_us - heard_us - _out_us(standing, heard_us, now_us)
            <= (SILENCE_INTERVALS * interval_s + delay_s) * _US
        ):
            continue
        name, last = watched.summary.name, watched.life.last_time
        detail = (
            f"{name}: nothing since {last}, seen here by {format_time(heard_us)}, where a heartbeat was due "
            f"every {interval_s} s"
        )
        # The same key as that of the silence which the fold finds when it is over.
        follower.books.book.take(Raised(alarm="silent", key=f"silent:{identity}:{last}", detail=detail))
    return alive


def _note_outage(follower: Follower, look: Look) -> None:
    """Whoever could not deliver while the log was away is not silent: that time does not count."""
    standing, now_us = follower.books.standing, follower.clock_us()
    begin_us = standing.outages[-1][0] if standing.outages and not standing.outages[-1][1] else 0
    if not look.is_current or standing.entries_why:
        if not begin_us:
            standing.outages = [*standing.outages[1 - MAX_OUTAGES :], (now_us, 0)]
    elif begin_us and standing.note_us >= begin_us:
        # Only a new checkpoint shows that it takes entries in again.
        standing.outages[-1] = (begin_us, now_us)


def _out_us(standing: Standing, since_us: int, now_us: int) -> int:
    """How much of the time since then the log was away."""
    return sum(max(0, (end or now_us) - max(begin, since_us)) for begin, end in standing.outages)


def _is_due(watched: Watched) -> bool:
    life = watched.life
    if life is None or life.is_stopped or watched.is_retired:
        return False
    return life.interval_s is not None and life.interval_s <= LONGEST_INTERVAL_S


def _check_stale(follower: Follower, limits: Limits, *, alive: bool | None) -> None:
    """Nothing new for long. A log of which everybody took leave has nothing new to say."""
    standing = follower.books.standing
    if alive is False or not standing.note_us or "successor" in follower.books.fold.facts:
        return
    age_us = follower.clock_us() - standing.note_us
    if age_us <= limits.stale_s * _US or "edge" in follower.books.unreached:
        # It has signed something newer: what of that cannot be reached is `tiles_withheld`.
        return
    size = 0 if follower.opened is None else follower.opened.checkpoint.tree_size
    detail = (
        f"the newest checkpoint, of {size} entries, was first seen by {format_time(standing.note_us)}: "
        f"{age_us / 3.6e9:.1f} h without a newer one"
    )
    key = f"stale_checkpoint:{size}:{standing.note_us}"
    follower.books.book.take(Raised(alarm="stale_checkpoint", key=key, detail=detail))


def _check_quorum(follower: Follower, look: Look) -> None:
    opened, trust = follower.opened, follower.log.trust
    assert opened is not None
    if trust.policy.quorum is None:
        look.reservations.append("no witnesses: none are asked for (quorum none)")
        return
    checked = check_quorum(opened, trust)
    if checked.value.is_satisfied:
        return
    if QUORUM not in trust.require:
        look.reservations.append(f"witnesses: {checked.detail}")
        return
    size = opened.checkpoint.tree_size
    # One occasion until a checkpoint has its quorum again.
    mark = follower.books.standing.mark
    key = f"quorum_missing:{0 if mark is None else mark[0]}"
    detail = f"the checkpoint of {size} entries has no quorum: {checked.detail}"
    follower.books.book.take(Raised(alarm="quorum_missing", key=key, detail=detail, notes=(opened.note,)))


def _check_anchors(follower: Follower, look: Look, limits: Limits) -> None:
    """The newest anchor, where the trust file asks for anchors."""
    trust, standing = follower.log.trust, follower.books.standing
    wanted = [word for word in (ANCHOR, DEVNET) if word in trust.require]
    if not wanted:
        look.reservations.append("no anchors: none are asked for")
        return
    if standing.entries_why:
        look.unread.append("anchors: the log's own entries about them could not be read")
        return
    look.reservations.append(
        "anchors: their roots were compared with the tree; whether they are on the chain was not checked here"
        f" ({DEVNET_TYPE} aside, if its notes were given)"
    )
    if not standing.anchor_due_us and follower.books.fold.lives.decisions > standing.anchored_decisions:
        standing.anchor_due_us = follower.clock_us()
    since_us = standing.anchor_due_us
    if since_us and follower.clock_us() - since_us > limits.anchor_s * _US:
        size = standing.anchored[0] if standing.anchored else 0
        detail = (
            f"the newest anchor is of {size} entries; for {(follower.clock_us() - since_us) / 3.6e9:.1f} h "
            "entries have been waiting for one"
        )
        raised = Raised(alarm="anchor_stale", key=f"anchor_stale:{size}", detail=detail)
        follower.books.book.take(raised)

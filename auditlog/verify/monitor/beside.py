"""What others have seen of the log: newest checkpoints of witnesses and monitors, compared with the tree.

Spec: auditlog/spec/monitor.md, "Witnesses and peers"; C2SP tlog-witness, "monitoring". A checkpoint that the
log has signed and that its tree does not contain is a fork, whoever brought it. Promises: what cannot be
compared yet (it is ahead of the log) is kept and compared when the log gets there. Answers are
attacker-controlled and bounded. Must never: believe a checkpoint that the log's own key has not signed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from auditlog.core.cosignature import CosignatureVerifier
from auditlog.errors import EvidenceError, SourceError
from auditlog.verify.evidence_notes import open_signed
from auditlog.verify.monitor.following import Follower, Look, fork_of
from auditlog.verify.monitor.prove import Sight
from auditlog.verify.monitor.raised import Raised
from auditlog.verify.sources import HttpSource, LogSource
from auditlog.verify.steps import Opened
from auditlog.verify.tlogclient import VerifiedTree

ANSWER_S: Final = 10.0
"""Within which a witness or a peer answers."""

SAME, AHEAD, DISAGREES = "same", "ahead", "disagrees"

BEHIND_S: Final = 3600.0
"""A witness that is so long behind a checkpoint of the log is reported."""


@dataclass(slots=True)
class Other:
    """One witness or peer. `name` is the policy's for a witness, else the URL."""

    name: str
    url: str
    verifier: CosignatureVerifier | None = None
    """The key of a witness: its checkpoint must carry its cosignature."""
    newest_size: int = -1
    """What it showed last; -1 before that."""
    state: str = ""
    """`SAME`, `AHEAD` or `DISAGREES`, by the last answer that came; empty before there was one."""
    compared: int = 0
    """Entries up to which its history and this one are known to be the same."""
    problem: str = ""
    source: LogSource | None = field(default=None, repr=False)


def checkpoint_path(origin: str) -> str:
    """Where a witness or a monitor shows what it has of a log."""
    return f"{sha256(origin.encode('utf-8')).hexdigest()}/checkpoint"


def quick_source(url: str) -> LogSource:
    """Of one who has to answer with one small object: not waited for as for a log."""
    return HttpSource(url, object_s=ANSWER_S)


class Beside:
    """All witnesses and peers of one log. Not for several threads."""

    def __init__(
        self,
        others: list[Other],
        *,
        open_source: Callable[[str], LogSource] = quick_source,
        behind_s: float = BEHIND_S,
    ) -> None:
        self.others = others
        self._open_source, self._behind_us = open_source, int(behind_s * 1_000_000)

    def ask(self, follower: Follower, look: Look) -> None:
        """Ask every one, compare, and raise what does not fit."""
        for other in self.others:
            other.problem = ""
            try:
                shown = self._fetch(other, follower)
                other.newest_size = shown.checkpoint.tree_size
                self._compare(other, shown, follower)
                self._unreached(other, follower, look)
            except (SourceError, EvidenceError) as error:
                other.problem = str(error)
                look.unread.append(f"{other.name}: {error}")

    def _fetch(self, other: Other, follower: Follower) -> Opened:
        if isinstance(other.source, HttpSource) and other.source.has_given_up:
            # It was too slow once; it is asked again as if for the first time.
            other.source.close()
            other.source = None
        if other.source is None:
            other.source = self._open_source(other.url)
        note = other.source.fetch(checkpoint_path(follower.log.origin)).decode("utf-8", "replace")
        shown = open_signed(note, follower.log)
        if other.verifier is not None:
            signed = {line.vkey for line in shown.opened.verified}
            if other.verifier.vkey not in signed:
                raise SourceError(
                    "expected a checkpoint with this witness's cosignature, found none", reason="unreachable"
                )
        return shown

    def _compare(self, other: Other, shown: Opened, follower: Follower) -> None:
        newest = follower.opened
        if newest is None:
            return
        if follower.books.book.has(_key(other)):
            other.state = DISAGREES
        kept = follower.books.standing.ahead.get(other.name)
        if kept is not None:
            ahead = open_signed(kept[0], follower.log)
            if ahead.checkpoint.tree_size <= newest.checkpoint.tree_size:
                self._fits(other, ahead, newest, follower)
                del follower.books.standing.ahead[other.name]
        if shown.checkpoint.tree_size > newest.checkpoint.tree_size:
            self._ahead(other, shown, newest, follower)
            return
        if self._fits(other, shown, newest, follower):
            self._time(other, shown, newest, follower)

    def _ahead(self, other: Other, shown: Opened, newest: Opened, follower: Follower) -> None:
        """It has more than the log has shown here: normal for seconds. If the log serves the larger tree,
        it can be compared at once.
        """
        follower.books.standing.ahead.setdefault(other.name, (shown.note, follower.clock_us()))
        if other.state != DISAGREES:
            other.state = AHEAD
        with contextlib.suppress(SourceError, EvidenceError):
            tree = VerifiedTree(follower.source, shown.checkpoint)
            if tree.root_at(newest.checkpoint.tree_size) != newest.checkpoint.root_hash:
                self._raise(other, newest, shown, Sight(tree, shown.note), follower)
            else:
                _same(other, newest.checkpoint.tree_size)

    def _unreached(self, other: Other, follower: Follower, look: Look) -> None:
        """What it has and the log does not get to here: another branch may be behind that, or an old copy."""
        kept, newest = follower.books.standing.ahead.get(other.name), follower.opened
        if kept is None or newest is None or not look.is_current:
            return
        behind_us = follower.clock_us() - kept[1]
        if behind_us <= self._behind_us:
            return
        size, here = open_signed(kept[0], follower.log).checkpoint.tree_size, newest.checkpoint.tree_size
        detail = (
            f"{other.name} has a checkpoint of {size} entries that the log signed; for "
            f"{behind_us / 3.6e9:.1f} h the log has not come to it here, and shows {here}"
        )
        look.unread.append(f"another history cannot be ruled out: {detail}")
        key = f"stale_checkpoint:ahead:{other.name}:{size}"
        raised = Raised(alarm="stale_checkpoint", key=key, detail=detail, notes=(kept[0],))
        follower.books.book.take(raised)

    def _fits(self, other: Other, shown: Opened, newest: Opened, follower: Follower) -> bool:
        size = shown.checkpoint.tree_size
        if size == newest.checkpoint.tree_size:
            if shown.checkpoint.root_hash == newest.checkpoint.root_hash:
                _same(other, size)
                return True
            self._raise(other, shown, newest, None, follower)
            return False
        tree = follower.tree
        if tree is None or tree.checkpoint != newest.checkpoint:
            tree = VerifiedTree(follower.source, newest.checkpoint)
        if tree.root_at(size) == shown.checkpoint.root_hash:
            _same(other, size)
            return True
        self._raise(other, shown, newest, Sight(tree, newest.note), follower)
        return False

    def _raise(
        self, other: Other, smaller: Opened, larger: Opened, sight: Sight | None, follower: Follower
    ) -> None:
        alarm = "fork" if other.verifier is None else "witness_disagrees"
        who = f"witness {other.name}" if other.verifier else f"the monitor at {other.name}"
        detail = (
            f"{who} has a checkpoint of {follower.log.origin} that is not of this history: "
            f"the tree of {larger.checkpoint.tree_size} entries does not begin with that of "
            f"{smaller.checkpoint.tree_size}"
        )
        other.state = DISAGREES
        follower.books.book.take(fork_of(smaller, larger, sight, alarm=alarm, key=_key(other), detail=detail))

    def _time(self, other: Other, shown: Opened, newest: Opened, follower: Follower) -> None:
        """How long it has been behind."""
        size = shown.checkpoint.tree_size
        query = "SELECT min(seen_us) FROM checkpoint WHERE origin = ? AND size > ?"
        ((since_us,),) = follower.store.read(query, (follower.log.origin, size))
        if other.verifier is None or since_us is None:
            return
        behind_us = follower.clock_us() - since_us
        if behind_us > self._behind_us:
            hours = behind_us / 3.6e9
            detail = (
                f"witness {other.name} has cosigned {size} of {newest.checkpoint.tree_size} entries, and has "
                f"not caught up for {hours:.1f} h"
            )
            raised = Raised(
                alarm="witness_behind", key=f"witness_behind:{other.name}:{size}", detail=detail,
                notes=(shown.note,),
            )  # fmt: skip
            follower.books.book.take(raised)


def _key(other: Other) -> str:
    """Of its disagreement, which is one occasion for ever."""
    return f"{'fork' if other.verifier is None else 'witness_disagrees'}:{other.name}"


def _same(other: Other, size: int) -> None:
    # Who has once shown another history is not called the same again.
    if other.state != DISAGREES:
        other.state, other.compared = SAME, size

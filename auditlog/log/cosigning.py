"""What the published checkpoint carries of its witnesses, and whether one without a quorum is published.

Spec: `auditlog/spec/log.md`, "Witnesses". Two rules the operator chooses between: `publish` shows what came;
`hold` keeps the old checkpoint up until enough have cosigned a newer one. While an answer about a held
checkpoint is still to come it is the one asked about, so that a slow witness is not outrun by a busy log;
else the newest. The newest checkpoint that had a quorum is kept when one without takes its place: receipts go
into it as long as they can. Who has cosigned is written down before it is shown: the rollback guard goes by
it (`cosigners`). Called by the publisher, one step at a time. Must never: call a checkpoint cosigned for a
line that was not verified, or whose date cannot be true.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from auditlog.core.entry import parse_entry, parse_time
from auditlog.core.note import parse_signature
from auditlog.errors import StorageError
from auditlog.log.cosigners import QUORUM_CHECKPOINT, Cosigners
from auditlog.log.live import Live
from auditlog.log.reader import Reader
from auditlog.log.recover import open_own
from auditlog.log.tree import Tree
from auditlog.log.witnesses import Prove, Witnesses, WitnessStanding

logger = logging.getLogger("auditlog.log")

_TIME_BYTES = 8


@dataclass(frozen=True, slots=True)
class Offer:
    """A checkpoint that may be shown, with the lines (by vkey) that its note carries."""

    tree: Tree
    note: str
    lines: dict[str, str]


@dataclass(frozen=True, slots=True)
class QuorumStanding:
    """How a log stands with its witnesses, for health, metrics and people."""

    policy: str
    """The tlog-policy text by which cosignatures are counted."""
    has_policy: bool
    """Whether it asks for a quorum at all."""
    must_hold: bool
    """Whether a checkpoint without one is kept back."""
    reached: bool
    """Whether the published checkpoint has one."""
    cosigned: int
    """Witnesses that cosigned it, of `witnesses`."""
    witnesses: int
    size: int | None
    """Tree size of the newest checkpoint that had one; None if none is known."""
    age_s: float | None
    """How long ago the newest cosignature of that checkpoint was made; None if none is known."""
    held_s: float
    """How long a newer checkpoint has been kept back for want of one; 0 if none is."""
    members: tuple[WitnessStanding, ...]


class Cosigning:
    """The cosignatures of one log's checkpoints."""

    def __init__(self, live: Live, witnesses: Witnesses, prove: Prove) -> None:
        """`prove` makes the consistency proofs that witnesses check."""
        self._live = live
        self._witnesses = witnesses
        self._prove = prove
        self._cosigners = Cosigners(live.stores)
        self.lines: dict[str, str] = {}
        """Of the published checkpoint, by vkey of the witness."""
        self._size = 0
        self._held: Offer | None = None
        self._held_since: float | None = None
        self._due_at: float | None = None
        self._refresh_at = 0.0
        self._quorum: tuple[int, str] | None = None
        """Size and note of the newest published checkpoint that has a quorum."""
        self._quorum_unix_s = 0

    def load(self, note: str, size: int, reader: Reader) -> None:
        """Begin with the published note: its lines, and the checkpoint that had a quorum if it has none."""
        # The witnesses saw it some time after genesis: our own clock said then when that was.
        since_s = parse_time(parse_entry(reader.entry(0)).time) // 1_000_000
        self._size, self.lines = size, self._witnesses.remember(note, size, since_s)
        self._cosigners.add(self.lines)
        self._refresh_at = self._live.clock.monotonic() + self._witnesses.refresh_s
        if self._witnesses.is_quorum(self.lines):
            self._set_quorum(size, note, self.lines)
            return
        try:
            self._load_quorum(size, reader, since_s)
        except (StorageError, UnicodeDecodeError) as error:
            # Receipts then go into the newest checkpoint, as if it had never been.
            logger.warning("the last checkpoint with a quorum is unreadable: %s", error)

    def _load_quorum(self, size: int, reader: Reader, since_s: int) -> None:
        found = self._live.stores.private.get(QUORUM_CHECKPOINT)
        if found is None:
            return
        note = found.decode("utf-8")
        checkpoint = open_own(note, self._live.signer.verifier)
        lines = self._witnesses.recognise(note, since_s)
        # The settings may ask for more today, and a store may hold anything.
        if not self._witnesses.is_quorum(lines) or checkpoint.tree_size > size:
            return
        if reader.root_at(checkpoint.tree_size) == checkpoint.root_hash:
            self._set_quorum(checkpoint.tree_size, note, lines)

    def offer(self, tree: Tree) -> Offer | None:
        """Gather for a committed tree; None if it has to wait for a quorum."""
        tree, known = self._candidate(tree)
        note = tree.note
        assert note is not None
        witnesses = self._witnesses
        if witnesses.must_hold and not (witnesses.is_awaited(note) or witnesses.could_be_quorum(known)):
            # Too many are left alone for a while: asking the others would only tire them.
            self._hold(Offer(tree, note, known))
            return None
        lines = witnesses.gather(note, tree.size, self._prove, known, missing_only=True)
        self._cosigners.add(lines)
        found = Offer(tree, witnesses.attach(note, lines), lines)
        if witnesses.must_hold and not witnesses.is_quorum(lines):
            self._hold(found)
            return None
        return found

    def _candidate(self, tree: Tree) -> tuple[Tree, dict[str, str]]:
        """Which tree to gather for, and what has come of it: the held one while an answer about it may still
        come, else the newest.
        """
        held = self._held
        if held is None or held.tree.note is None:
            return tree, {}
        if self._witnesses.is_awaited(held.tree.note):
            return held.tree, held.lines
        return tree, held.lines if tree.note == held.tree.note else {}

    def _hold(self, offer: Offer) -> None:
        if self._held_since is None:
            self._held_since = self._live.clock.monotonic()
            logger.warning(
                "checkpoint of size %d is kept back: expected a quorum of its witnesses, found %d of %d",
                offer.tree.size,
                len(offer.lines),
                len(self._witnesses),
            )
        self._held = offer

    def renew(self, tree: Tree) -> Offer | None:
        """Complete the lines of the published tree, or make all of them anew if they are old; None if none
        came.
        """
        assert tree.note is not None
        is_old = self._live.clock.monotonic() >= self._refresh_at
        lines = self._witnesses.gather(tree.note, tree.size, self._prove, self.lines, missing_only=not is_old)
        self._cosigners.add(lines)
        if is_old:
            self._refresh_at = self._live.clock.monotonic() + self._witnesses.refresh_s
        if lines == self.lines:
            return None
        return Offer(tree, self._witnesses.attach(tree.note, lines), lines)

    @property
    def is_due(self) -> bool:
        """Whether the lines of the published checkpoint are to be completed or made anew by now."""
        return self._due_at is not None and self._live.clock.monotonic() >= self._due_at

    def plan(self) -> float:
        """Note when that is due next; returns the seconds until then."""
        now = self._live.clock.monotonic()
        delay = max(0.0, self._refresh_at - now)
        if not self._witnesses.is_complete(self.lines):
            delay = min(delay, self._witnesses.retry_s)
        self._due_at = now + delay
        return delay

    def keep_quorum(self, published: str, lines: dict[str, str]) -> None:
        """Before a checkpoint with these lines takes the place of the published one: keep that, if it had a
        quorum and the new one has none. Best effort: it serves receipts only.
        """
        if self._quorum is None or self._quorum[1] != published or self._witnesses.is_quorum(lines):
            return
        try:
            self._live.stores.private.replace(QUORUM_CHECKPOINT, published.encode("utf-8"))
        except StorageError as error:
            logger.warning("the last checkpoint with a quorum could not be kept: %s", error)

    def shown(self, note: str, size: int, lines: dict[str, str]) -> None:
        """A checkpoint was published with these lines."""
        if size != self._size:
            self._refresh_at = self._live.clock.monotonic() + self._witnesses.refresh_s
        self._size, self.lines = size, lines
        self._held, self._held_since = None, None
        if self._witnesses.is_quorum(lines):
            self._set_quorum(size, note, lines)

    def _set_quorum(self, size: int, note: str, lines: dict[str, str]) -> None:
        self._quorum = (size, note)
        blobs = [parse_signature(line.removesuffix("\n")).blob for line in lines.values()]
        self._quorum_unix_s = max(int.from_bytes(blob[:_TIME_BYTES], "big") for blob in blobs)

    def last_quorum(self, index: int) -> str | None:
        """The newest checkpoint with a quorum, if it covers the entry."""
        quorum = self._quorum
        return quorum[1] if quorum is not None and index < quorum[0] else None

    def standing(self) -> QuorumStanding:
        """How the log stands with its witnesses. From any thread."""
        witnesses, quorum, since = self._witnesses, self._quorum, self._held_since
        now_s = self._live.clock.unix_us() / 1_000_000
        return QuorumStanding(
            policy=witnesses.policy.text,
            has_policy=witnesses.policy.quorum is not None,
            must_hold=witnesses.must_hold,
            reached=witnesses.is_quorum(self.lines),
            cosigned=len(self.lines),
            witnesses=len(witnesses),
            size=None if quorum is None else quorum[0],
            age_s=None if quorum is None else max(0.0, now_s - self._quorum_unix_s),
            held_s=0.0 if since is None else self._live.clock.monotonic() - since,
            members=tuple(witnesses.standings()),
        )

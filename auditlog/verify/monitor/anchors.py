"""Anchors of the log's slot: each one's root against the tree, so that any two are consistent.

Spec: auditlog/spec/monitor.md, "Anchors"; auditlog/spec/anchor.md. Two ways to hear of an anchor: the log's
own `anchor` entries, and an `AnchorSource`, of which there is one: a folder of `devnet@v0` notes. A reader of
chain events is another. Promises: every anchor heard of is compared once, when the tree has its size.
Must never: say that an anchor is on a chain, which only a reader of that chain can.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from auditlog.core.anchor import DEVNET_TYPE, open_devnet_anchor, parse_address
from auditlog.core.note import NoteVerifier
from auditlog.core.trust import Trust
from auditlog.errors import EvidenceError, SourceError
from auditlog.verify.anchor_claims import Anchored
from auditlog.verify.evidence_build import Exhibits
from auditlog.verify.monitor.books import Books
from auditlog.verify.monitor.raised import Raised
from auditlog.verify.tlogclient import VerifiedTree

if TYPE_CHECKING:
    from auditlog.verify.monitor.following import Follower, Look

MAX_NOTE_BYTES: Final = 64 * 1024
_MAX_KNOWN: Final = 100_000
_MAX_AHEAD: Final = 64
GRACE_S: Final = 60
"""For so many seconds after an anchor was met the log may show fewer entries, by an older look."""


@dataclass(frozen=True, slots=True)
class AnchorEvent:
    """One anchor that somebody outside the log shows. `note` is what shows it, signed."""

    identity: str
    size: int
    root: bytes
    note: str


class AnchorSource(Protocol):
    """Where anchors are heard of beside the log."""

    def events(self, origin: str) -> Iterator[AnchorEvent]:
        """Anchors of a log that were not handed out before. Raises SourceError."""


class DevnetNotes:
    """A folder of notes by the trust file's devnet key, one a file. Files that are none are passed over."""

    def __init__(self, folder: Path, verifier: NoteVerifier) -> None:
        self._folder, self._verifier = folder, verifier
        self._known: set[str] = set()

    def events(self, origin: str) -> Iterator[AnchorEvent]:
        """Every note not met before; attacker-controlled files."""
        try:
            paths = sorted(self._folder.iterdir())
        except OSError as error:
            raise SourceError(
                f"expected the folder of anchors, found: {error.strerror}", reason="missing"
            ) from None
        for path in paths:
            if path.name in self._known or len(self._known) >= _MAX_KNOWN or not path.is_file():
                continue
            self._known.add(path.name)
            try:
                with path.open("rb") as file:
                    note = file.read(MAX_NOTE_BYTES).decode("utf-8")
                anchor = open_devnet_anchor(note, self._verifier)
            except (OSError, UnicodeDecodeError, EvidenceError):
                continue
            if anchor.origin == origin:
                yield AnchorEvent(f"{path.name}", anchor.size, anchor.root, note)


def check_claims(books: Books, tree: VerifiedTree, trust: Trust) -> None:
    """Compare what the log's own entries say of the tree; raises SourceError or EvidenceError, and what was
    not compared stays to be.
    """
    for claim in books.fold.chains.anchored:
        _check_claim(claim, books, tree, trust)
    books.fold.chains.forget_anchored()


def _check_claim(claim: Anchored, books: Books, tree: VerifiedTree, trust: Trust) -> None:
    standing, root = books.standing, tree.root_at(claim.size).hex()
    standing.anchors_checked += 1
    if root != claim.root:
        detail = (
            f"entry {claim.index}: it names the anchored root {claim.root} at size {claim.size}, where the "
            f"tree has {root}"
        )
        key = f"anchor_fork:{claim.index}"
        books.book.take(Raised(alarm="anchor_fork", key=key, detail=detail, index=claim.index))
    elif standing.anchored is None or claim.size > standing.anchored[0]:
        standing.anchored = (claim.size, claim.index, claim.time)
        standing.anchored_decisions, standing.anchor_due_us = books.fold.lives.decisions, 0
    if claim.type == DEVNET_TYPE or not trust.anchors:
        return
    pins = {(pin.chain_id, pin.contract) for pin in trust.anchors}
    if (claim.chain_id, parse_address(claim.contract)) not in pins:
        detail = f"entry {claim.index}: it names an anchor by a contract that the trust file does not pin"
        key = f"anchor_foreign:{claim.index}"
        books.book.take(Raised(alarm="anchor_foreign", key=key, detail=detail, index=claim.index))


def check_anchors(follower: Follower, look: Look, sources: list[AnchorSource]) -> None:
    """Compare what others show with the tree."""
    if follower.tree is None or not look.is_current:
        return
    try:
        for source in sources:
            for event in source.events(follower.log.origin):
                _check_event(event, follower, look)
        _check_ahead(follower)
    except (SourceError, EvidenceError) as error:
        look.unread.append(f"the anchored roots could not be compared: {error}")


def _check_ahead(follower: Follower) -> None:
    """Anchors that were ahead: a log grows and anchors while it is read, so a later look decides."""
    standing, tree = follower.books.standing, follower.tree
    assert tree is not None
    for key, (size, root, note, read_us) in list(standing.anchors_ahead.items()):
        shown = tree.checkpoint.tree_size
        if size > shown and follower.clock_us() - read_us <= GRACE_S * 1_000_000:
            continue
        if size > shown:
            detail = f"an anchor is of {size} entries, and the log still shows {shown}"
            raised = Raised(alarm="rewind", key=f"rewind:anchor:{size}", detail=detail, notes=(note,))
            follower.books.book.take(raised)
        else:
            _compare_event(AnchorEvent(key, size, bytes.fromhex(root), note), follower)
        del standing.anchors_ahead[key]


def _check_event(event: AnchorEvent, follower: Follower, look: Look) -> None:
    """What a note says, now or when the log is as large as it says."""
    assert follower.tree is not None
    shown = follower.tree.checkpoint.tree_size
    if event.size <= shown:
        _compare_event(event, follower)
        return
    ahead, root = follower.books.standing.anchors_ahead, event.root.hex()
    look.unread.append(f"an anchor is of {event.size} entries, and the log shows {shown}: not compared yet")
    if len(ahead) < _MAX_AHEAD:
        ahead.setdefault(f"{event.size}:{root}", (event.size, root, event.note, follower.clock_us()))


def _compare_event(event: AnchorEvent, follower: Follower) -> None:
    """What a note says."""
    tree, opened = follower.tree, follower.opened
    assert tree is not None
    assert opened is not None
    follower.books.standing.anchors_checked += 1
    root = tree.root_at(event.size)
    if root == event.root:
        return
    detail = (
        f"an anchor names the root {event.root.hex()} at size {event.size}, where the tree has {root.hex()}"
    )
    evidence = Exhibits(tree, opened.note).anchor(event.size, event.note)
    raised = Raised(
        alarm="anchor_fork",
        key=f"anchor_fork:{event.size}:{event.root.hex()}",
        detail=detail,
        notes=(event.note,),
        evidence=evidence,
    )
    follower.books.book.take(raised)

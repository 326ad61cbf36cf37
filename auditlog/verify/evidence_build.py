"""Making evidence files: signed notes, entries and proofs in; the bytes of a file out.

Spec: auditlog/spec/evidence.md. Two ways, with the same files as result.

From parts (`Related` is an entry, its index and its inclusion proof into `checkpoint`):

    entries_file(alarm, checkpoint, genesis, entries, *, leaves=None, head=None, producer=None, rotations=())
    fork_file(checkpoint, earlier, *, root, proof)         the newer note, the other one
    anchor_file(checkpoint, *, root, proof, note)          a devnet's note
    anchor_entry_file(checkpoint, *, root, proof, genesis, entry)
    notice_file(alarm, checkpoint, entries, *, earlier=None)
    observed_file(alarm, checkpoint, detail, *, signer, time, shown=())

From a tree that was read and checked (`tlogclient.VerifiedTree`) and its signed note:

    Exhibits(tree, note).entries(alarm, indices, *, with_leaves=False, head=None, producer=None, rotations=())
                        .fork(earlier)   .anchor(size, note)   .anchor_entry(index)
                        .notice(alarm, indices, *, earlier=None)
    indices ascend.

`finding(alarm, detail, file, trust, *, index=None)` makes a `Finding` of a file, graded by checking it. A
promise that was broken has its file already: `promise_evidence.format_evidence(report.evidence)`.

Promises: what is returned parses; whether it is true, `evidence_check.check_evidence` says. Every function
raises `MalformedError` for members of another form and `EvidenceTooLargeError`, a subclass, where no file has
room: say it with `observed_file` then. Must never: sign with anything but the signer given.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.anchor import DEVNET_TYPE
from auditlog.core.checkpoint import parse_checkpoint
from auditlog.core.entry import parse_entry
from auditlog.core.keys import Ed25519Signer
from auditlog.core.note import split_note
from auditlog.core.receipt import Related
from auditlog.core.signed import sign_one
from auditlog.core.statements import MAX_OBSERVED_DETAIL, Observed, observed_text
from auditlog.core.tiles import TILE_WIDTH
from auditlog.core.trust import Trust
from auditlog.errors import MalformedError
from auditlog.verify.evidence_check import check_evidence
from auditlog.verify.evidence_claim import Anchor, Anchored, Claim, Claimed, format_claim
from auditlog.verify.evidence_parts import Earlier, EvidenceTooLargeError, check_leaves
from auditlog.verify.evidence_prove import shown_root
from auditlog.verify.finding import Finding
from auditlog.verify.promise_evidence import Cause, Evidence, format_evidence
from auditlog.verify.report import Grade
from auditlog.verify.tlogclient import VerifiedTree

__all__ = [
    "EvidenceTooLargeError",
    "Exhibits",
    "anchor_entry_file",
    "anchor_file",
    "entries_file",
    "finding",
    "fork_file",
    "notice_file",
    "observed_file",
]


def entries_file(
    alarm: str,
    checkpoint: str,
    genesis: Related,
    entries: Sequence[Related],
    *,
    leaves: Sequence[bytes] | None = None,
    head: str | None = None,
    producer: Related | None = None,
    rotations: Sequence[Related] = (),
) -> bytes:
    """ENTRIES: `alarm` is the rule that the entries break. `leaves`: all leaf hashes of the tree."""
    claim = Claim(
        verdict=Claimed.ENTRIES,
        checkpoint=checkpoint,
        alarm=alarm,
        genesis=genesis,
        entries=tuple(entries),
        leaves=None if leaves is None else tuple(leaves),
        head=head,
        producer=producer,
        rotations=tuple(rotations),
    )
    return format_claim(claim)


def fork_file(checkpoint: str, earlier: str, *, root: bytes, proof: Sequence[bytes]) -> bytes:
    """FORK: `root` is what the tree of `checkpoint` has at the size of `earlier`, and `proof` shows it.

    Both notes are the log's, wherever they come from: a receipt, an anchor, a witness, another monitor.
    """
    other = Earlier(earlier, tuple(proof), root)
    return format_evidence(Evidence(verdict=Cause.FORK, checkpoint=checkpoint, earlier=other))


def anchor_file(checkpoint: str, *, root: bytes, proof: Sequence[bytes], note: str) -> bytes:
    """ANCHOR by a devnet's note: `root` is what the tree has at the anchored size, and `proof` shows it."""
    claim = Claim(
        verdict=Claimed.ANCHOR,
        checkpoint=checkpoint,
        anchored=Anchored(root, tuple(proof)),
        anchor=Anchor(DEVNET_TYPE, note),
    )
    return format_claim(claim)


def anchor_entry_file(
    checkpoint: str, *, root: bytes, proof: Sequence[bytes], genesis: Related, entry: Related
) -> bytes:
    """ANCHOR by the log's own entry: `root` is what the tree has at the size the entry names."""
    claim = Claim(
        verdict=Claimed.ANCHOR,
        checkpoint=checkpoint,
        anchored=Anchored(root, tuple(proof)),
        genesis=genesis,
        entry=entry,
    )
    return format_claim(claim)


def notice_file(
    alarm: str,
    checkpoint: str,
    entries: Sequence[Related],
    *,
    earlier: tuple[str, Sequence[bytes]] | None = None,
) -> bytes:
    """NOTICE. `earlier`, for `backdated` alone: a note, and the consistency proof from it to `checkpoint`."""
    joined = None if earlier is None else Earlier(earlier[0], tuple(earlier[1]))
    claim = Claim(
        verdict=Claimed.NOTICE, checkpoint=checkpoint, alarm=alarm, entries=tuple(entries), earlier=joined
    )
    return format_claim(claim)


def observed_file(
    alarm: str,
    checkpoint: str,
    detail: str,
    *,
    signer: Ed25519Signer,
    time: str,
    shown: Sequence[str] = (),
) -> bytes:
    """OBSERVED: what the holder of `signer` saw at `time` (spelt as in entries).

    `checkpoint` is the newest that it had checked. `detail` may be any text: what is no printable ASCII is
    escaped, what is too long is cut.
    """
    tree = parse_checkpoint(split_note(checkpoint)[0])
    seen = Observed(
        origin=tree.origin,
        alarm=alarm,
        time=time,
        size=tree.tree_size,
        root=tree.root_hash,
        shown=shown_root(shown),
        detail=_plain(detail),
    )
    claim = Claim(
        verdict=Claimed.OBSERVED,
        checkpoint=checkpoint,
        monitor=signer.vkey,
        note=sign_one(observed_text(seen), signer),
        shown=tuple(shown),
    )
    return format_claim(claim)


def _plain(detail: str) -> str:
    one_line = detail.encode("unicode_escape").decode("ascii")
    return one_line if len(one_line) <= MAX_OBSERVED_DETAIL else one_line[: MAX_OBSERVED_DETAIL - 3] + "..."


def finding(alarm: str, detail: str, file: bytes, trust: Trust, *, index: int | None = None) -> Finding:
    """What a file comes to under a trust file: proven where it proves what it says; stated where it is a
    monitor's word; not checked where the trust file lacks what it takes.

    Raises:
        MalformedError: it proves nothing, which is the maker's mistake: nothing may be raised on it.
    """
    told = check_evidence(file, trust)
    if told.origin is None:
        raise MalformedError(f"{alarm}: expected evidence that proves something, found: {told.headline}")
    is_word = told.verdict == Claimed.OBSERVED
    grade = Grade.PROVEN if told.exit_code == 0 else Grade.STATED if is_word else Grade.NOT_CHECKED
    return Finding(alarm, told.origin, detail, file, grade, told.index if index is None else index)


class Exhibits:
    """What can be shown of one signed tree; reads what it needs of it. Not for several threads.

    Every method raises `SourceError` and `EvidenceError` where the log does not serve what it needs.
    """

    def __init__(self, tree: VerifiedTree, note: str) -> None:
        """`note` is the signed checkpoint of `tree`, with whatever cosignatures it has."""
        self._tree = tree
        self._note = note

    def place(self, index: int) -> Related:
        """An entry with its proof."""
        return Related(self._tree.entry(index), index, tuple(self._tree.inclusion(index)))

    def leaves(self) -> list[bytes]:
        """All leaf hashes. Raises EvidenceTooLargeError before reading more than a file has room for."""
        size = self._tree.checkpoint.tree_size
        check_leaves(size)
        return [leaf for number in range(-(-size // TILE_WIDTH)) for leaf in self._tree.tile(0, number)]

    def entries(
        self,
        alarm: str,
        indices: Sequence[int],
        *,
        with_leaves: bool = False,
        head: str | None = None,
        producer: int | None = None,
        rotations: Sequence[int] = (),
    ) -> bytes:
        """ENTRIES of the entries at these indices."""
        return entries_file(
            alarm,
            self._note,
            self.place(0),
            [self.place(index) for index in indices],
            leaves=self.leaves() if with_leaves else None,
            head=head,
            producer=None if producer is None else self.place(producer),
            rotations=[self.place(index) for index in rotations],
        )

    def fork(self, earlier: str) -> bytes:
        """FORK of this tree and a checkpoint of at most its size whose root it does not have."""
        size = parse_checkpoint(split_note(earlier)[0]).tree_size
        return fork_file(self._note, earlier, root=self._root(size), proof=self._tree.consistency(size))

    def anchor(self, size: int, note: str) -> bytes:
        """ANCHOR of a devnet's note over another root at this size."""
        return anchor_file(self._note, root=self._root(size), proof=self._tree.consistency(size), note=note)

    def anchor_entry(self, index: int) -> bytes:
        """ANCHOR of the log's own entry over another root."""
        entry = self.place(index)
        size = parse_entry(entry.entry).body.get("size")
        if type(size) is not int:
            raise MalformedError("anchor entry: expected a size in its body, found none")
        return anchor_entry_file(
            self._note,
            root=self._root(size),
            proof=self._tree.consistency(size),
            genesis=self.place(0),
            entry=entry,
        )

    def notice(self, alarm: str, indices: Sequence[int], *, earlier: str | None = None) -> bytes:
        """NOTICE of the entries at these indices."""
        joined = None
        if earlier is not None:
            size = parse_checkpoint(split_note(earlier)[0]).tree_size
            joined = (earlier, self._tree.consistency(size))
        return notice_file(alarm, self._note, [self.place(index) for index in indices], earlier=joined)

    def _root(self, size: int) -> bytes:
        if size > self._tree.checkpoint.tree_size:
            raise MalformedError(
                f"expected a size of at most {self._tree.checkpoint.tree_size}, found {size}: "
                "show the larger tree instead"
            )
        return self._tree.root_at(size)

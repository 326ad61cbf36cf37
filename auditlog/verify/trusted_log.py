"""What a reader remembers of one log, and what it must therefore never be shown: rollback and fork detection.

Spec: `auditlog/spec/log.md`, "Following a log". No I/O: notes and proofs come in as arguments, and the
newest checkpoint goes out as a note for the caller to keep. A violation raises `InconsistentLogError` with
both signed notes; they are the evidence, so keep them before doing anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.merkle import verify_consistency
from auditlog.core.note import NoteVerifier, OpenedNote
from auditlog.errors import InconsistentLogError


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint its log has signed: the parsed text, the note as received, and who else signed it."""

    checkpoint: Checkpoint
    note: str
    opened: OpenedNote

    @property
    def tree_size(self) -> int:
        """Number of leaves."""
        return self.checkpoint.tree_size

    @property
    def root_hash(self) -> bytes:
        """Root over those leaves."""
        return self.checkpoint.root_hash


class LogKeys:
    """How to open checkpoints of one log: its keys, its origin, its key name."""

    __slots__ = ("_key_name", "_origin", "_verifiers")

    def __init__(
        self, verifiers: Iterable[NoteVerifier], *, origin: str | None = None, key_name: str | None = None
    ) -> None:
        self._verifiers = tuple(verifiers)
        self._origin = origin
        self._key_name = key_name

    def open(self, note: str | bytes) -> SignedCheckpoint:
        """Open a note the log must have signed; `note` is attacker-controlled.

        Raises:
            MalformedError: not a checkpoint note.
            SignatureError: not signed by this log.
        """
        checkpoint, opened = open_checkpoint(note, self._verifiers, self._origin, key_name=self._key_name)
        text = note if isinstance(note, str) else note.decode("utf-8")
        return SignedCheckpoint(checkpoint, text, opened)


class TrustedLog:
    """The newest checkpoint of one log shown to extend all earlier ones. Not to be shared by threads."""

    __slots__ = ("_keys", "_newest")

    def __init__(self, keys: LogKeys, known: str | None = None) -> None:
        """Start from the note kept last time, or from nothing.

        Raises:
            MalformedError, SignatureError: `known` is not a checkpoint of this log.
        """
        self._keys = keys
        self._newest = keys.open(known) if known is not None else None

    @property
    def newest(self) -> SignedCheckpoint | None:
        """The newest checkpoint accepted, or None before the first."""
        return self._newest

    def missing_proof(self, candidate: SignedCheckpoint) -> tuple[int, int] | None:
        """The (old size, new size) of the consistency proof `accept` needs, or None if it needs none."""
        known = self._newest
        if known is None or known.tree_size in (0, candidate.tree_size):
            return None
        return (known.tree_size, candidate.tree_size) if known.tree_size < candidate.tree_size else None

    def accept(self, candidate: SignedCheckpoint, proof: Sequence[bytes] = ()) -> None:
        """Take `candidate` as the newest, if it extends the one known.

        Raises:
            InconsistentLogError: it is smaller than the one known, has another root at the same size, or
            does not
                extend it.
            VerificationError: the proof is not one for these sizes.
        """
        known = self._newest
        if known is not None:
            check_extends(known, candidate, proof)
        if known is None or candidate.tree_size > known.tree_size:
            self._newest = candidate

    def update(self, note: str | bytes, proof: Sequence[bytes] = ()) -> SignedCheckpoint:
        """Open and accept a note in one step; raises what `LogKeys.open` and `accept` raise."""
        candidate = self._keys.open(note)
        self.accept(candidate, proof)
        return candidate


def check_extends(older: SignedCheckpoint, newer: SignedCheckpoint, proof: Sequence[bytes]) -> None:
    """Check that one signed tree is a prefix of another.

    Raises:
        InconsistentLogError: it is not; carries both notes, the smaller tree's first.
        VerificationError: the proof is not one for these sizes.
    """
    if newer.tree_size < older.tree_size:
        raise InconsistentLogError(
            f"expected a checkpoint of size {older.tree_size} or more, found {newer.tree_size}",
            smaller=newer.note,
            larger=older.note,
        )
    try:
        verify_consistency(older.tree_size, newer.tree_size, list(proof), older.root_hash, newer.root_hash)
    except InconsistentLogError as error:
        raise InconsistentLogError(str(error), smaller=older.note, larger=newer.note) from None

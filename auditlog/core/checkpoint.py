"""Checkpoints: what a log signs about its tree. C2SP tlog-checkpoint.

Spec: `auditlog/spec/log.md`, "Checkpoints". The text of a checkpoint note:

    <origin>
    <tree size, decimal>
    <root hash, base64>
    [<extension line>]*          read from other logs, never written by ours

A log of ours signs with a key whose name is its origin. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from auditlog.core.decimals import parse_decimal
from auditlog.core.keys import ED25519
from auditlog.core.note import (
    NoteSigner,
    NoteVerifier,
    OpenedNote,
    Signature,
    open_split,
    sign_note,
    split_note,
)
from auditlog.core.proofs import EMPTY_ROOT, HASH_BYTES, MAX_TREE_SIZE
from auditlog.core.scalars import encode_base64, parse_base64
from auditlog.errors import MalformedError, SignatureError

_NO_LINE = re.compile("[\x00-\x1f\ud800-\udfff]")

MAX_CHECKPOINT_BYTES = 65_536
"""Largest checkpoint text read; origin, size and root need a few hundred bytes."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's statement: its tree of `tree_size` leaves
    has this root. Worth nothing before a key signed it.
    """

    origin: str
    tree_size: int
    root_hash: bytes
    extensions: tuple[str, ...] = ()


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint note (without signatures); `text` is attacker-controlled.

    Raises:
        MalformedError: not what `format_checkpoint` writes for some checkpoint.
    """
    if len(text) > MAX_CHECKPOINT_BYTES:
        raise MalformedError(
            f"expected a checkpoint of at most {MAX_CHECKPOINT_BYTES} characters, found {len(text)}"
        )
    lines = text.split("\n")
    if lines.pop() or len(lines) < 3:
        raise MalformedError(f"expected three or more lines that end in newlines, found {len(lines)}")
    size = parse_decimal(lines[1], "tree size", maximum=MAX_TREE_SIZE)
    root = parse_base64(lines[2], "root hash")
    checkpoint = Checkpoint(lines[0], size, root, tuple(lines[3:]))
    _check(checkpoint)
    return checkpoint


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Text of a checkpoint note.

    Raises:
        MalformedError: a member that no checkpoint can have.
    """
    _check(checkpoint)
    lines = (checkpoint.origin, str(checkpoint.tree_size), encode_base64(checkpoint.root_hash))
    return "".join(f"{line}\n" for line in (*lines, *checkpoint.extensions))


def _check(checkpoint: Checkpoint) -> None:
    if not 0 <= checkpoint.tree_size <= MAX_TREE_SIZE:
        raise MalformedError(f"expected a tree size from 0 to {MAX_TREE_SIZE}, found another")
    if len(checkpoint.root_hash) != HASH_BYTES:
        raise MalformedError(f"expected a root hash of {HASH_BYTES} bytes, found {len(checkpoint.root_hash)}")
    if checkpoint.tree_size == 0 and checkpoint.root_hash != EMPTY_ROOT:
        raise MalformedError("expected the root hash SHA-256 of nothing for tree size 0, found another")
    for line in (checkpoint.origin, *checkpoint.extensions):
        if not line or _NO_LINE.search(line):
            raise MalformedError(
                "expected non-empty checkpoint lines without control characters, found another"
            )


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> str:
    """The signed note of one of our own logs.

    Raises:
        MalformedError: an extension line, or a key whose name is not the origin.
    """
    if checkpoint.extensions:
        raise MalformedError(f"expected no extension lines, found {len(checkpoint.extensions)}")
    if signer.name != checkpoint.origin:
        raise MalformedError(f"expected a key named {checkpoint.origin}, found one named {signer.name}")
    return sign_note(format_checkpoint(checkpoint), [signer])


def open_checkpoint(
    note: str | bytes,
    verifiers: Iterable[NoteVerifier],
    origin: str | None = None,
    *,
    key_name: str | None = None,
) -> tuple[Checkpoint, OpenedNote]:
    """Open a checkpoint note that its log signed; `note` is attacker-controlled.

    A cosignature alone is not enough, nor is the key of another log among
    `verifiers`: a plain signature by a key named like the origin is demanded
    (or like `key_name`, for logs of others whose key has another name).

    Raises:
        MalformedError: not a checkpoint note.
        SignatureError: the log's own signature is missing or wrong, or the origin is not `origin`.
    """
    return open_split_checkpoint(*split_note(note), verifiers, origin, key_name=key_name)


def open_split_checkpoint(
    text: str,
    signatures: Sequence[Signature],
    verifiers: Iterable[NoteVerifier],
    origin: str | None = None,
    *,
    key_name: str | None = None,
) -> tuple[Checkpoint, OpenedNote]:
    """The same for a note that `split_note` has taken apart. Raises as `open_checkpoint`."""
    keys = list(verifiers)
    opened = open_split(text, signatures, keys)
    checkpoint = parse_checkpoint(opened.text)
    if origin is not None and checkpoint.origin != origin:
        raise SignatureError(f"expected a checkpoint of {origin}, found one of another origin")
    wanted = checkpoint.origin if key_name is None else key_name
    log_keys = {key.vkey for key in keys if key.name == wanted and key.algorithm == ED25519}
    if not any(signature.vkey in log_keys for signature in opened.verified):
        raise SignatureError(f"expected a signature by the log key {wanted}, found none")
    return checkpoint, opened

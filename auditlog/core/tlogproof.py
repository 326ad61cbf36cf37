"""Proofs of inclusion to keep and show offline: C2SP tlog-proof.

Spec: `auditlog/spec/log.md`, "tlog-proof".

    c2sp.org/tlog-proof@v1
    [extra <base64>]             not authenticated by anything
    index <decimal>
    <32-byte hash, base64>*      sibling of the leaf first
    <empty line>
    <checkpoint note>

The size and the root are in the checkpoint and nowhere else. Parsing proves nothing: open the checkpoint,
then `verify_inclusion`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.core.checkpoint import parse_checkpoint
from auditlog.core.decimals import parse_decimal
from auditlog.core.note import MAX_NOTE_BYTES, split_note
from auditlog.core.proofs import HASH_BYTES, MAX_TREE_SIZE
from auditlog.core.scalars import encode_base64, parse_base64
from auditlog.errors import MalformedError

HEADER = "c2sp.org/tlog-proof@v1"
"""First line of every such proof."""

MAX_INCLUSION_HASHES = 63
"""A proof in the largest tree accepted is no longer."""

MAX_EXTRA_BYTES = 65_536
_MAX_CHARACTERS = MAX_NOTE_BYTES + 200_000


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An index, its inclusion proof and the whole checkpoint note. `extra` belongs to whoever added it."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None


def format_tlog_proof(proof: TlogProof) -> str:
    """Text of a proof.

    Raises:
        MalformedError: a member no proof can have.
    """
    _check(proof)
    return proof_text(proof)


def proof_text(proof: TlogProof) -> str:
    """The same of a proof that was parsed, without checking it again."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {encode_base64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines += map(encode_base64, proof.hashes)
    return "\n".join(lines) + "\n\n" + proof.checkpoint


def parse_tlog_proof(text: str) -> TlogProof:
    """Read a proof; `text` is attacker-controlled.

    Raises:
        MalformedError: not what `format_tlog_proof` writes for some proof.
    """
    if len(text) > _MAX_CHARACTERS:
        raise MalformedError(f"expected a proof of at most {_MAX_CHARACTERS} characters, found {len(text)}")
    # The proof's own lines are never empty, so the first empty line ends them.
    head, separator, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines[0] != HEADER:
        raise MalformedError(f"expected a proof that begins with {HEADER}, found another text")
    rest = lines[1:]
    extra = parse_base64(rest.pop(0)[6:], "extra") if rest and rest[0].startswith("extra ") else None
    if not rest or not rest[0].startswith("index "):
        raise MalformedError("expected an index line, found none")
    index = parse_decimal(rest[0][6:], "index", maximum=MAX_TREE_SIZE - 1)
    if len(rest) - 1 > MAX_INCLUSION_HASHES:
        raise MalformedError(f"expected at most {MAX_INCLUSION_HASHES} hashes, found {len(rest) - 1}")
    hashes = tuple(parse_base64(line, "proof hash") for line in rest[1:])
    proof = TlogProof(index, hashes, checkpoint, extra)
    _check(proof)
    return proof


def _check(proof: TlogProof) -> None:
    if not 0 <= proof.index < MAX_TREE_SIZE:
        raise MalformedError(f"expected an index from 0 below {MAX_TREE_SIZE}, found another")
    if len(proof.hashes) > MAX_INCLUSION_HASHES:
        raise MalformedError(f"expected at most {MAX_INCLUSION_HASHES} hashes, found {len(proof.hashes)}")
    if any(len(value) != HASH_BYTES for value in proof.hashes):
        raise MalformedError(f"expected proof hashes of {HASH_BYTES} bytes, found another length")
    if proof.extra is not None and not 0 < len(proof.extra) <= MAX_EXTRA_BYTES:
        raise MalformedError(f"expected extra of 1 to {MAX_EXTRA_BYTES} bytes, found another length")
    parse_checkpoint(split_note(proof.checkpoint)[0])

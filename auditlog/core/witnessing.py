"""What a log and a witness say to each other: C2SP tlog-witness, `add-checkpoint`.

Spec: `auditlog/spec/log.md`, "Witnesses". A request, each line ended by a newline:

    old <size of the tree the witness cosigned last, decimal>
    <hash, base64>                   0 to 63 lines: consistency proof from that size
                                     an empty line
    <checkpoint note>

The answer to 200 is one or more signature lines; to 409 it is the size the witness knows. Both sides are
attacker-controlled to the other. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.core.decimals import parse_decimal
from auditlog.core.note import Signature, parse_signature
from auditlog.core.proofs import HASH_BYTES, MAX_TREE_SIZE
from auditlog.core.scalars import encode_base64, parse_base64
from auditlog.errors import MalformedError

ADD_CHECKPOINT = "add-checkpoint"
"""Last part of the path of a request."""
SIZE_MEDIA_TYPE = "text/x.tlog.size"
MAX_REQUEST_BYTES = 128 << 10
"""A proof is at most 3 kB; the rest is for a note with twenty post-quantum signatures."""
MAX_ANSWER_BYTES = 64 << 10
MAX_PROOF_HASHES = 63


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A log asks for a cosignature: its new checkpoint, and the proof from what the witness knows."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str


def format_add_checkpoint(request: AddCheckpoint) -> bytes:
    """The body of a request.

    Raises:
        MalformedError: a size or a proof that no request can have.
    """
    _check(request)
    lines = [f"old {request.old_size}", *map(encode_base64, request.proof), "", request.note]
    return "\n".join(lines).encode("utf-8")


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """Read the body of a request; the note in it is still to be opened. Attacker-controlled.

    Raises:
        MalformedError: not exactly what `format_add_checkpoint` writes.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise MalformedError(f"expected at most {MAX_REQUEST_BYTES} bytes, found {len(body)}")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError("expected a request in UTF-8, found other bytes") from None
    # The first empty line ends the proof; the note has one of its own further on.
    head, separator, note = text.partition("\n\n")
    first, *hashes = head.split("\n")
    if not separator or not first.startswith("old "):
        raise MalformedError("expected a line 'old SIZE', a proof and an empty line, found another text")
    if len(hashes) > MAX_PROOF_HASHES:
        raise MalformedError(f"expected at most {MAX_PROOF_HASHES} hashes, found {len(hashes)}")
    old_size = parse_decimal(first.removeprefix("old "), "old size", maximum=MAX_TREE_SIZE)
    request = AddCheckpoint(old_size, tuple(parse_base64(line, "proof hash") for line in hashes), note)
    _check(request)
    return request


def _check(request: AddCheckpoint) -> None:
    if not 0 <= request.old_size <= MAX_TREE_SIZE:
        raise MalformedError(f"expected an old size from 0 to {MAX_TREE_SIZE}, found another")
    if len(request.proof) > MAX_PROOF_HASHES or any(len(each) != HASH_BYTES for each in request.proof):
        raise MalformedError(
            f"expected at most {MAX_PROOF_HASHES} hashes of {HASH_BYTES} bytes, found others"
        )


def format_tree_size(size: int) -> bytes:
    """The body of a 409: the size of the tree that the witness cosigned last."""
    return b"%d\n" % size


def parse_tree_size(body: bytes) -> int:
    """Read the body of a 409; attacker-controlled.

    Raises:
        MalformedError: not a size and a newline.
    """
    try:
        text = body[:32].decode("ascii")
    except UnicodeDecodeError:
        raise MalformedError("expected a tree size, found other bytes") from None
    if len(body) > 32 or not text.endswith("\n"):
        raise MalformedError("expected a tree size and a newline, found another text")
    return parse_decimal(text[:-1], "tree size", maximum=MAX_TREE_SIZE)


def parse_cosignatures(body: bytes) -> list[Signature]:
    """Read the signature lines of a 200, none of them verified; attacker-controlled.

    Raises:
        MalformedError: something else.
    """
    if len(body) > MAX_ANSWER_BYTES:
        raise MalformedError(f"expected at most {MAX_ANSWER_BYTES} bytes, found {len(body)}")
    try:
        lines = body.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise MalformedError("expected signature lines in UTF-8, found other bytes") from None
    if lines.pop() or not lines:
        raise MalformedError("expected signature lines that end in newlines, found none or a cut one")
    return [parse_signature(line) for line in lines]

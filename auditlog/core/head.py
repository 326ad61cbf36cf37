"""The head: a producer's signature over one batch of its entries (spec/entry.md, "Heads").

    auditlog/head@v1
    <origin>
    <producer, 64 hex digits>
    <instance, 32 hex digits>
    <first_seq>
    <seq>
    <leaf hash of the entry seq, base64>
    <RFC 6962 root over the leaf hashes first_seq..seq, base64>

A receipt carries the head of its entry's batch and the entry's inclusion proof in that little tree
(index = entry.seq - first_seq, size = seq - first_seq + 1). Must never be signed with a log's key.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.core.merkle import verify_inclusion
from auditlog.core.note import NoteSigner, NoteVerifier, Signature, open_split
from auditlog.core.scalars import (
    check_hash,
    check_hash_hex,
    check_instance_hex,
    check_origin,
    encode_base64,
    parse_decimal,
    parse_hash_base64,
    text_lines,
)
from auditlog.core.signed import open_one, sign_one, split_one
from auditlog.errors import InclusionError, MalformedError

HEAD_HEADER = "auditlog/head@v1"


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says. `producer` and `instance` in hex; hashes are 32 bytes."""

    origin: str
    producer: str
    instance: str
    first_seq: int
    seq: int
    leaf_hash: bytes
    root: bytes

    @property
    def size(self) -> int:
        """How many entries the head covers."""
        return self.seq - self.first_seq + 1


@dataclass(frozen=True, slots=True)
class ClaimedHead:
    """A head as its note says it; the signature was not checked yet. Read once, for who needs it before."""

    head: Head
    text: str
    signatures: tuple[Signature, ...]


def format_head_text(head: Head) -> str:
    """Return the text to sign.

    Raises:
        MalformedError: a member out of form, or first_seq after seq.
    """
    text = "\n".join(
        (
            HEAD_HEADER,
            head.origin,
            head.producer,
            head.instance,
            str(head.first_seq),
            str(head.seq),
            encode_base64(check_hash(head.leaf_hash, "head leaf hash")),
            encode_base64(check_hash(head.root, "head root")),
            "",
        )
    )
    parse_head_text(text)
    return text


def parse_head_text(text: str) -> Head:
    """Read the text of a head: attacker-controlled.

    Raises:
        MalformedError: not exactly what `format_head_text` writes.
    """
    origin, producer, instance, first_seq, seq, leaf_hash, root = text_lines(text, HEAD_HEADER, 7)
    head = Head(
        origin=check_origin(origin),
        producer=check_hash_hex(producer, "head producer"),
        instance=check_instance_hex(instance),
        first_seq=parse_decimal(first_seq, "head first_seq"),
        seq=parse_decimal(seq, "head seq"),
        leaf_hash=parse_hash_base64(leaf_hash, "head leaf hash"),
        root=parse_hash_base64(root, "head root"),
    )
    if head.first_seq > head.seq:
        raise MalformedError(f"head: expected first_seq at most seq, found {head.first_seq} and {head.seq}")
    return head


def sign_head(head: Head, signer: NoteSigner) -> str:
    """Return the head as a note signed by the producer."""
    return sign_one(format_head_text(head), signer)


def open_head(note: str | bytes, verifier: NoteVerifier) -> Head:
    """Verify a head's signature and read it.

    Raises:
        MalformedError: not a note, or not a head.
        SignatureError: not signed by `verifier`'s key.
    """
    return parse_head_text(open_one(note, verifier))


def read_claimed(note: str | bytes) -> ClaimedHead:
    """Read a head without believing it: attacker-controlled.

    Raises:
        MalformedError: not a note with one signature line, or not a head.
    """
    text, signatures = split_one(note)
    return ClaimedHead(parse_head_text(text), text, signatures)


def check_claimed(claimed: ClaimedHead, verifier: NoteVerifier) -> Head:
    """Verify the signature of a head that was read before.

    Raises:
        SignatureError: not signed by `verifier`'s key.
    """
    open_split(claimed.text, claimed.signatures, [verifier])
    return claimed.head


def verify_head_path(head: Head, *, seq: int, leaf_hash: bytes, path: list[bytes]) -> None:
    """Check that the entry with number `seq` and `leaf_hash` is in the batch the head covers.

    Raises:
        InclusionError: the number is outside the batch, or the path does not lead to the head's root.
    """
    if not head.first_seq <= seq <= head.seq:
        raise InclusionError(f"head: expected a number from {head.first_seq} to {head.seq}, found {seq}")
    if seq == head.seq and leaf_hash != head.leaf_hash:
        raise InclusionError("head: expected the leaf hash it names for its last number, found another")
    verify_inclusion(leaf_hash, seq - head.first_seq, head.size, path, head.root)

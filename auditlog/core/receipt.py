"""The receipt: one entry and everything needed to believe it offline (spec/receipt.md).

    {"anchors":[{"checkpoint":N,"evidence":E,"proof":[H..],"type":T}..],"disclosures":[..]?,"entry":B,
     "head":{"note":N,"path":[H..]}?,"proof":P,"related":[{"entry":B,"index":I,"proof":[H..]}..],
     "v":"auditlog/receipt@v1"}

Canonical JSON and one newline. B, H: canonical base64 (H of 32 bytes); N: a signed note;
P: a c2sp.org/tlog-proof@v1. `parse_receipt` is strict and total; `format_receipt(parse_receipt(b)) == b`.
Must never: believe anything; parsing proves nothing. Sizes and roots are in the signed checkpoints only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from auditlog.core import canonical
from auditlog.core.anchor import DEVNET_TYPE
from auditlog.core.disclosure import Disclosure, read_disclosures
from auditlog.core.entry import MAX_ENTRY_BYTES
from auditlog.core.members import Members
from auditlog.core.note import split_note
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import check_one
from auditlog.core.tlogproof import (
    MAX_INCLUSION_HASHES,
    TlogProof,
    format_tlog_proof,
    parse_tlog_proof,
    proof_text,
)
from auditlog.errors import MalformedError

RECEIPT_VERSION = "auditlog/receipt@v1"
MAX_RECEIPT_BYTES = 16 * 1024 * 1024
MAX_RELATED = 64
MAX_ANCHORS = 64

_ANCHOR_TYPE = re.compile(r"[a-z][a-z0-9_]{0,31}@v[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class Related:
    """An entry the receipt's entry stands on, and its inclusion proof into the same checkpoint."""

    entry: bytes
    index: int
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ReceiptHead:
    """The producer's signature over the batch, and the entry's inclusion proof in the batch's tree."""

    note: str
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ReceiptAnchor:
    """An anchored checkpoint, the entry's proof into it (same index), and evidence that it is anchored."""

    type: str
    checkpoint: str
    proof: tuple[bytes, ...]
    evidence: Any
    """For `devnet@v0` a signed note (str). For a type this code does not know, JSON it cannot check."""

    @property
    def understood(self) -> bool:
        """Whether this code can check the evidence."""
        return self.type == DEVNET_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A receipt, parsed and not believed."""

    entry: bytes
    proof: TlogProof
    related: tuple[Related, ...] = ()
    head: ReceiptHead | None = None
    anchors: tuple[ReceiptAnchor, ...] = ()
    disclosures: tuple[Disclosure, ...] = ()


def parse_receipt(data: bytes) -> Receipt:
    """Read a receipt: attacker-controlled.

    Raises:
        MalformedError: anything `format_receipt` would not write.
    """
    if len(data) > MAX_RECEIPT_BYTES:
        raise MalformedError(f"receipt: expected at most {MAX_RECEIPT_BYTES} bytes, found {len(data)}")
    if not data.endswith(b"\n"):
        raise MalformedError("receipt: expected one newline at the end, found none")
    members = Members(
        canonical.parse(data[:-1], max_bytes=MAX_RECEIPT_BYTES),
        "receipt",
        required=("anchors", "entry", "proof", "related", "v"),
        optional=("disclosures", "head"),
    )
    if members.value("v") != RECEIPT_VERSION:
        raise members.error("v", RECEIPT_VERSION)
    receipt = Receipt(
        entry=_read_entry(members),
        proof=_read_proof(members.text("proof")),
        related=tuple(map(_read_related, members.array("related", most=MAX_RELATED))),
        head=_read_head(members.value("head")) if "head" in members else None,
        anchors=tuple(map(_read_anchor, members.array("anchors", most=MAX_ANCHORS))),
        disclosures=read_disclosures(members) if "disclosures" in members else (),
    )
    # Belt and braces: whatever the parts let through, a receipt has one spelling.
    # `canonical.parse` has compared the bytes with the members, so comparing the members is enough.
    if _receipt_value(receipt) != members.members:
        raise MalformedError(
            "receipt: expected the canonical form, found another spelling of the same receipt"
        )
    return receipt


def format_receipt(receipt: Receipt) -> bytes:
    """Write a receipt: canonical JSON and one newline.

    Raises:
        MalformedError: a member no receipt can have.
    """
    format_tlog_proof(receipt.proof)  # checks what a parsed proof need not be checked for
    return canonical.encode(_receipt_value(receipt)) + b"\n"


def _receipt_value(receipt: Receipt) -> dict[str, Any]:
    value: dict[str, Any] = {
        "anchors": [_anchor_value(item) for item in receipt.anchors],
        "entry": encode_base64(receipt.entry),
        "proof": proof_text(receipt.proof),
        "related": [_related_value(item) for item in receipt.related],
        "v": RECEIPT_VERSION,
    }
    if receipt.head is not None:
        value["head"] = {"note": receipt.head.note, "path": _hash_texts(receipt.head.path)}
    if receipt.disclosures:
        value["disclosures"] = [item.to_json() for item in receipt.disclosures]
    return value


def _read_entry(members: Members) -> bytes:
    entry = members.data("entry")
    if not 0 < len(entry) <= MAX_ENTRY_BYTES:
        raise members.error("entry", f"1 to {MAX_ENTRY_BYTES} bytes")
    return entry


def _read_proof(text: str) -> TlogProof:
    proof = parse_tlog_proof(text)
    if proof.extra is not None:
        raise MalformedError("receipt proof: expected no extra line, found one")
    if proof.index > canonical.MAX_INTEGER:
        raise MalformedError("receipt proof: expected an index of at most 2^53-1, found a larger one")
    return proof


def _read_related(value: Any) -> Related:
    members = Members(value, "related entry", required=("entry", "index", "proof"))
    return Related(
        _read_entry(members), members.natural("index"), members.hashes("proof", most=MAX_INCLUSION_HASHES)
    )


def _read_head(value: Any) -> ReceiptHead:
    members = Members(value, "receipt head", required=("note", "path"))
    note = members.text("note")
    check_one(note)
    return ReceiptHead(note, members.hashes("path", most=MAX_INCLUSION_HASHES))


def _read_anchor(value: Any) -> ReceiptAnchor:
    members = Members(value, "receipt anchor", required=("checkpoint", "evidence", "proof", "type"))
    anchor_type, checkpoint = members.text("type"), members.text("checkpoint")
    if _ANCHOR_TYPE.fullmatch(anchor_type) is None:
        raise members.error("type", "a name and a version, as name@v1")
    split_note(checkpoint)
    if anchor_type == DEVNET_TYPE:
        check_one(members.text("evidence"))
    proof = members.hashes("proof", most=MAX_INCLUSION_HASHES)
    return ReceiptAnchor(anchor_type, checkpoint, proof, members.value("evidence"))


def _related_value(item: Related) -> dict[str, Any]:
    return {"entry": encode_base64(item.entry), "index": item.index, "proof": _hash_texts(item.proof)}


def _anchor_value(item: ReceiptAnchor) -> dict[str, Any]:
    return {
        "checkpoint": item.checkpoint,
        "evidence": item.evidence,
        "proof": _hash_texts(item.proof),
        "type": item.type,
    }


def _hash_texts(hashes: tuple[bytes, ...]) -> list[str]:
    return [encode_base64(value) for value in hashes]

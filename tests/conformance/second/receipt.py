"""receipt.md, "Bytes"."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import canonical as c
from .canonical import MAX_SAFE, need
from .commitment import Disclosure, parse_disclosures
from .note import TlogProof, parse_checkpoint, parse_note, parse_tlog_proof


class Related(NamedTuple):
    """An entry the receipt's entry stands on."""

    entry: bytes
    index: int
    path: list[bytes]


class HeadPart(NamedTuple):
    """The signature of the producer over the batch."""

    note: str
    path: list[bytes]


class Anchor(NamedTuple):
    """One anchor, not checked."""

    type: str
    checkpoint: str
    path: list[bytes]
    evidence: Any


@dataclass
class Receipt:
    """A receipt, parsed; nothing is proven by that."""

    entry: bytes
    proof: TlogProof
    related: list[Related]
    head: HeadPart | None
    anchors: list[Anchor]
    disclosures: list[Disclosure]


def _entry_bytes(value: Any) -> bytes:
    data = c.unbase64(value)
    need(1 <= len(data) <= 65_535, "an entry has 1 to 65,535 bytes")
    return data


def parse_receipt(data: bytes) -> Receipt:
    """Bytes that are a receipt, or Malformed."""
    need(len(data) <= 16_777_216, "over 16 MiB")
    need(data.endswith(b"\n"), "no final newline")
    value = c.members(c.parse(data[:-1]), "v entry proof related anchors", "head disclosures")
    need(value["v"] == "auditlog/receipt@v1", "not auditlog/receipt@v1")
    entry, proof = _entry_bytes(value["entry"]), parse_tlog_proof(value["proof"])
    need(proof.extra is None, "an extra line")
    need(proof.index <= MAX_SAFE, "index over 2^53-1")
    parse_checkpoint(parse_note(proof.checkpoint).text)
    related = []
    for item in c.array(value["related"], 64):
        c.members(item, "entry index proof")
        need(c.is_int(item["index"]), "index")
        related.append(Related(_entry_bytes(item["entry"]), item["index"], c.hashes(item["proof"])))
    head = None
    if "head" in value:
        part = c.members(value["head"], "note path")
        need(len(parse_note(part["note"]).lines) == 1, "a head with another number of signatures")
        head = HeadPart(part["note"], c.hashes(part["path"]))
    anchors = []
    for item in c.array(value["anchors"], 64):
        c.members(item, "type checkpoint proof evidence")
        kind = item["type"]
        need(isinstance(kind, str) and re.fullmatch(r"[a-z][a-z0-9_]{0,31}@v[0-9]{1,3}", kind), "type")
        parse_note(item["checkpoint"])
        if kind == "devnet@v0":
            need(len(parse_note(item["evidence"]).lines) == 1, "evidence with another number of signatures")
        anchors.append(Anchor(kind, item["checkpoint"], c.hashes(item["proof"]), item["evidence"]))
    disclosures: list[Disclosure] = []
    if "disclosures" in value:
        disclosures = parse_disclosures(value["disclosures"])
        need(disclosures, "disclosures is empty")
    return Receipt(entry, proof, related, head, anchors, disclosures)

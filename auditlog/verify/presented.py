"""Step 1: what was presented. A receipt, or a bare proof of an entry given beside it.

Spec: auditlog/spec/verification.md, "Bare proofs". A bare proof is a `.tlog-proof` (C2SP) or a COSE receipt
(RFC 9942): it shows an entry in a log and nothing about its writer. Everything read here is
attacker-controlled. Must never: let a bare proof say what only a receipt can show.
"""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from auditlog.core.cose import CoseReceipt, is_cose, parse_cose_receipt
from auditlog.core.entry import MAX_ENTRY_BYTES
from auditlog.core.receipt import Receipt, parse_receipt
from auditlog.core.tlogproof import HEADER, TlogProof, parse_tlog_proof
from auditlog.errors import MalformedError
from auditlog.verify.report import Outcome
from auditlog.verify.run import Checked

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Presented:
    """What the other steps look at. Of a bare proof only `receipt.entry` and `receipt.proof` are there."""

    receipt: Receipt
    is_bare: bool = False
    cose: CoseReceipt | None = None

    def owed(self, checked: Checked[T]) -> Checked[T]:
        """What a receipt owes its reader (steps 8 to 10), a bare proof does not."""
        if not self.is_bare or checked.outcome is not Outcome.NOT_CHECKED:
            return checked
        detail = "a bare proof shows nothing of it"
        return dataclasses.replace(checked, is_required=False, detail=detail)


def is_bare_proof(data: bytes) -> bool:
    """Whether bytes begin as a bare proof; no receipt does."""
    return is_cose(data) or data.startswith(HEADER.encode("ascii"))


def read_receipt(data: bytes) -> Checked[Presented]:
    """(1) Parse the receipt, byte for byte."""
    receipt = parse_receipt(data)
    detail = f"well formed, {len(data)} bytes, entry of {len(receipt.entry)} bytes"
    return Checked(Presented(receipt), detail)


def read_proof(data: bytes, entry: bytes) -> Checked[Presented]:
    """(1) Parse a bare proof; the entry is checked in step 7, the bytes it was read from are its leaf."""
    if not 0 < len(entry) <= MAX_ENTRY_BYTES:
        raise MalformedError(f"entry: expected 1 to {MAX_ENTRY_BYTES} bytes, found {len(entry)}")
    if is_cose(data):
        cose = parse_cose_receipt(data)
        receipt = Receipt(entry=entry, proof=cose.proof)
        detail = f"COSE receipt (RFC 9942), {len(data)} bytes, entry of {len(entry)} bytes beside it"
        return Checked(Presented(receipt, is_bare=True, cose=cose), detail)
    receipt = Receipt(entry=entry, proof=_read_tlog_proof(data))
    detail = f"tlog-proof (C2SP), {len(data)} bytes, entry of {len(entry)} bytes beside it"
    if receipt.proof.extra is not None:
        detail += f"; its extra of {len(receipt.proof.extra)} bytes is authenticated by nothing, and ignored"
    return Checked(Presented(receipt, is_bare=True), detail)


def _read_tlog_proof(data: bytes) -> TlogProof:
    try:
        return parse_tlog_proof(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise MalformedError("expected a tlog-proof in UTF-8 or a COSE receipt, found other bytes") from None

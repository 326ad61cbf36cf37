"""Step 3 for whatever was presented: the log's note is opened, and a COSE receipt's own signature checked.

Spec: auditlog/spec/verification.md, "Bare proofs", and auditlog/spec/cose.md. Promises: origin, size and root
come from the signed checkpoint note; a COSE receipt must say the same, signed by the same key. Must never:
take the tree size from the unprotected header, where RFC 9942 puts it and nothing signs it.
"""

from __future__ import annotations

from auditlog.core.cose import kid_of, verify_cose_receipt
from auditlog.errors import SignatureError
from auditlog.verify.presented import Presented
from auditlog.verify.run import Checked
from auditlog.verify.steps import LogTrust, Opened, open_log_checkpoint


def open_presented(found: Presented, log: LogTrust) -> Checked[Opened]:
    """(3) Verify the log's signature; then, and only then, believe origin, size and root."""
    checked = open_log_checkpoint(found.receipt.proof.checkpoint, log)
    if found.cose is None:
        return checked
    keys = [key for key in log.keys if kid_of(key) == found.cose.kid]
    if not keys:
        raise SignatureError("expected a COSE receipt by the key of the log, found the kid of another key")
    verify_cose_receipt(found.cose, checked.value.checkpoint, keys[0])
    return Checked(checked.value, f"{checked.detail}; so is the COSE receipt", checked.facts)

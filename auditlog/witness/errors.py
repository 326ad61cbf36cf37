"""Why a witness gives no cosignature: one error, with the status the protocol has for it."""

from __future__ import annotations

from typing import ClassVar

from auditlog.errors import AuditLogError


class WitnessRefusal(AuditLogError):
    """No cosignature for this request."""

    code: ClassVar[str] = "witness_refusal"

    def __init__(self, status: int, message: str, *, known_size: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """400 malformed, 403 not signed by the log, 404 unknown log, 409 another size is known, 422 not
        consistent, 503 the witness itself cannot sign now.
        """
        self.known_size = known_size
        """With 409: the size of the tree that was cosigned last."""

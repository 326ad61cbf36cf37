"""Why a witness gives no cosignature, keeps no promise, or does not start."""

from __future__ import annotations

from typing import ClassVar

from auditlog.errors import AuditLogError, DamagedStoreError


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


class RestoredStoreError(DamagedStoreError):
    """The store is older than what was signed: a backup, or another copy. Nothing is signed from it."""

    code: ClassVar[str] = "restored"


class DepositRefused(AuditLogError):
    """A promise is not taken into the drop-box."""

    code: ClassVar[str] = "deposit_refused"

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """400 no promise, 404 a log whose promises are not looked up here, 429 too many, 503 full."""
        self.retry_after_s = retry_after_s

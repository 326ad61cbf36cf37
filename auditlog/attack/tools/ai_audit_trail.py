"""ai-audit-trail 0.4: its evidence package (`export_evidence_package`), and the two checks that it ships.

`package` is what `python -m ai_audit verify` runs; it takes the public key from the package itself. `chain`
is `ai_audit.verify_chain` over the receipts in it, with the public key that the reader had before; it sorts
them by their times. Spec: auditlog/attack/README.md, "Other tools". Archives are attacker-controlled.
"""

from __future__ import annotations

import hashlib
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from auditlog.attack.tools.tool import Verdict
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from ai_audit.models import DecisionReceipt

RECEIPTS: Final = "receipts.jsonl"
PUBLIC_KEY: Final = "public_key.hex"
_MAX_BYTES: Final = 256 * 1024 * 1024


class AiAuditTrail:
    """One receipt is one record."""

    name = "ai-audit-trail"
    suffix = ".zip"
    checks: tuple[str, ...] = ("package", "chain")
    claims = '"Hash-chain link -> detects insertions / deletions / reordering"'
    not_asked = "batch seals, which an evidence package does not hold; an earlier export that a reader kept"

    def version(self) -> str:
        """Of the installed package."""
        return version("ai-audit-trail")

    def read(self, path: Path) -> list[Any]:
        """Receipts as its own class."""
        from ai_audit.models import DecisionReceipt

        try:
            lines = _member(path, RECEIPTS).splitlines()
            return [DecisionReceipt.model_validate_json(line) for line in lines if line.strip()]
        except ValueError as error:
            raise ConfigurationError(f"expected receipts in {path}, found: {type(error).__name__}") from None

    def edited(self, record: DecisionReceipt) -> DecisionReceipt:
        """Another answer was given."""
        return record.model_copy(update={"output_hash": "ab" * 32})

    def store(self, source: Path, out: Path, records: list[Any]) -> None:
        """The receipts alone are replaced."""
        data = b"".join(record.model_dump_json().encode() + b"\n" for record in records)
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, data if name == RECEIPTS else old.read(name))

    def sign(self, source: Path, out: Path, records: list[Any], key: str) -> None:
        """Sealed one after the other, and exported, by its own code; times stay in ascending order."""
        del source
        import nacl.signing
        from ai_audit.export import export_evidence_package

        signer = nacl.signing.SigningKey(hashlib.sha256(f"ai-audit-trail {key}".encode()).digest())
        previous, sealed = "", []
        for record, time in zip(records, sorted(each.timestamp for each in records), strict=True):
            receipt = record.model_copy(update={"prev_receipt_hash": previous, "timestamp": time})
            receipt.seal(signer)
            previous = receipt.receipt_hash
            sealed.append(receipt)
        export_evidence_package(sealed, signer.verify_key.encode().hex(), signer, out)

    def verify(self, path: Path, reference: Path) -> list[Verdict]:
        """Its package check, and its chain check under the key of the reference."""
        from ai_audit import verify_chain
        from ai_audit.export import verify_evidence_package

        try:
            is_whole, words = bool(verify_evidence_package(path)), ""
        except (ValueError, KeyError, OSError) as error:
            is_whole, words = False, f" ({type(error).__name__})"
        said = "PASS: all checks passed" if is_whole else f"FAIL: verification failed{words}"
        chain = verify_chain(self.read(path), _member(reference, PUBLIC_KEY).decode().strip())
        text = f"valid, {chain.verified_receipts} of {chain.total_receipts} receipts verified"
        return [Verdict("package", is_whole, said), Verdict("chain", chain.valid, chain.error or text)]


def _member(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(name).file_size > _MAX_BYTES:
                raise ConfigurationError(f"expected at most {_MAX_BYTES} bytes in {name}, found more")
            return archive.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigurationError(
            f"expected an evidence package with {name} at {path}, found: {type(error).__name__}"
        ) from error

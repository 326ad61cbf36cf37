"""What a log says of entries that it no longer serves: its retention document, held against its own rule.

Spec: auditlog/spec/log.md, "Retention". Promises: only a document by the log's key, about this log, whose
minimum its own policy and marks allow, excuses a missing bundle; any other excuses none and is told.
Everything read is attacker-controlled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.note import Ed25519Verifier
from auditlog.core.retention import RETENTION_PATH, Retention, open_retention
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import EvidenceError, SourceError
from auditlog.verify.sources import LogSource


@dataclass(frozen=True, slots=True)
class Told:
    """What a log says. `minimum` is 0 unless the document holds; `fault` says why it does not."""

    document: Retention | None = None
    note: str = ""
    minimum: int = 0
    fault: str = ""

    def covers(self, block: int) -> bool:
        """Whether the bundle of that number may be gone."""
        return (block + 1) * TILE_WIDTH <= self.minimum

    @property
    def line(self) -> str:
        """How much may be gone, and under what."""
        policy = "" if self.document is None else f" (it keeps {self.document.policy})"
        return f"{self.minimum} entries below the published minimum index {self.minimum} were pruned{policy}"


def read_retention(source: LogSource, keys: Iterable[Ed25519Verifier], checkpoint: Checkpoint) -> Told:
    """What the log says about the tree under this checkpoint. Raises nothing: no document is no excuse."""
    try:
        content = source.fetch(RETENTION_PATH)
    except SourceError:
        return Told()
    why = "no key"
    for key in keys:
        try:
            found = open_retention(content, key, checkpoint.origin)
        except EvidenceError as error:
            why = str(error)
            continue
        return _judged(found, content.decode("utf-8"), checkpoint)
    return Told(fault=f"what it serves as its retention document is none that it signed: {why}")


def _judged(found: Retention, note: str, checkpoint: Checkpoint) -> Told:
    if found.minimum > (allowed := found.allowed()):
        text = (
            f"it says that entries below {found.minimum} were pruned, and its own policy (it keeps "
            f"{found.policy}) allows that below {allowed}"
        )
        return Told(found, note, fault=text)
    if found.minimum > checkpoint.tree_size:
        text = f"it says that entries below {found.minimum} were pruned, of {checkpoint.tree_size}"
        return Told(found, note, fault=text)
    return Told(found, note, found.minimum)

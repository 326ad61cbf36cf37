"""A log source over a dictionary: honest, or with whatever a test puts into it. Records what was asked."""

from __future__ import annotations

from auditlog.errors import SourceError


class MemorySource:
    """Serves `files`; paths in `refused` want a token, and `down` takes the whole log away."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.refused: set[str] = set()
        self.down = False
        self.asked: list[str] = []

    def fetch(self, path: str) -> bytes:
        """One object, or `SourceError`."""
        self.asked.append(path)
        if self.down:
            raise SourceError("expected an answer, found none", reason="unreachable")
        if path in self.refused:
            raise SourceError(f"expected a token for {path}, found none", reason="refused")
        if path not in self.files:
            raise SourceError(f"expected {path}, found nothing", reason="missing")
        return self.files[path]

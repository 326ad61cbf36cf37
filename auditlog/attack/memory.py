"""What a log serves, in memory: a source of files by path. Honest, or with whatever an attack put into it."""

from __future__ import annotations

from auditlog.errors import SourceError


class Served:
    """Serves `files`; a path that is not there is missing."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def fetch(self, path: str) -> bytes:
        """One object; raises SourceError."""
        if path not in self.files:
            raise SourceError(f"expected {path}, found nothing", reason="missing")
        return self.files[path]

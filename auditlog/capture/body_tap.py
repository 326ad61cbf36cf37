"""A body on its way: committed to as it flows, and kept up to a cap (spec/commitment.md, "The whole body").

Promises: memory for at most `MAX_KEPT_BYTES` of one body, chunks kept by reference. Must never: hash a body
from which something is to be taken out first; that is done by the writer, over what is left
(`auditlog.capture.redaction`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditlog.core.commitment import BodyCommitment

MAX_KEPT_BYTES = 1 << 20
"""A longer body is committed to, but not kept: neither values nor field roots."""


_MAX_CHUNKS = 4096
"""So many are kept apart: a body that comes in single bytes must not cost fifty times its size."""


class BodyTap:
    """Commits to a body as it flows and keeps its chunks up to the cap."""

    __slots__ = ("_chunks", "_commitment", "_size")

    def __init__(self, commitment: BodyCommitment, *, is_redacted: bool = False) -> None:
        """Feed `commitment`; or, for a body that will be redacted, only keep."""
        self._commitment = None if is_redacted else commitment
        self._chunks: list[bytes] | None = []
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk; bytes are kept by reference, other buffers are copied."""
        if self._commitment is not None:
            self._commitment.update(chunk)
        if self._chunks is not None:
            self._size += len(chunk)
            if self._size > MAX_KEPT_BYTES:
                self._chunks = None
                return
            self._chunks.append(bytes(chunk))
            if len(self._chunks) >= _MAX_CHUNKS:
                self._chunks = [b"".join(self._chunks)]

    def kept(self) -> bytes | None:
        """All bytes of the body, or None if there were more than the cap."""
        return None if self._chunks is None else b"".join(self._chunks)

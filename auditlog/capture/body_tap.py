"""A body on its way: committed to as it flows, and kept up to a cap (spec/commitment.md, "The whole body").

A body of `GATHERED_BYTES` at most is only kept while it flows: its commitment gets it whole, at the end, and
hashes it where the digest is asked for. Promises: memory for at most `MAX_KEPT_BYTES` of one body, chunks
kept by reference. Must never: hash a body from which something is to be taken out first; that is done by the
writer, over what is left (`auditlog.capture.redaction`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditlog.core.commitment import GATHERED_BYTES

if TYPE_CHECKING:
    from auditlog.core.commitment import BodyCommitment

MAX_KEPT_BYTES = 1 << 20
"""A longer body is committed to, but not kept: neither values nor field roots."""


MAX_EARLY_BYTES = 65_536
_MAX_CHUNKS = 4096
"""So many are kept apart: a body that comes in single bytes must not cost fifty times its size."""


class BodyTap:
    """Commits to a body as it flows and keeps its chunks up to the cap."""

    __slots__ = ("_chunks", "_commitment", "_is_flowing", "_size")

    def __init__(self, commitment: BodyCommitment, *, is_redacted: bool = False) -> None:
        """Feed `commitment`; or, for a body that will be redacted, only keep."""
        self._commitment = None if is_redacted else commitment
        self._chunks: list[bytes] | None = []
        self._size = 0
        self._is_flowing = False

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk; bytes are kept by reference, other buffers are copied."""
        self._size += len(chunk)
        if self._size > GATHERED_BYTES and not self._is_flowing:
            self._flow()
        if self._is_flowing and self._commitment is not None:
            self._commitment.update(chunk)
        if self._chunks is not None:
            if self._size > MAX_KEPT_BYTES:
                self._chunks = None
                return
            self._chunks.append(bytes(chunk))
            if len(self._chunks) >= _MAX_CHUNKS:
                self._chunks = [b"".join(self._chunks)]

    def end(self) -> bytes | None:
        """The commitment now has all of the body. All bytes of it, or None if there were more than the cap.

        Nothing is fed after it.
        """
        chunks = self._chunks
        if chunks is None:
            return None
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if not self._is_flowing and self._commitment is not None:
            self._commitment.update(body)  # The same object as is kept: it is there once.
        return body

    def _flow(self) -> None:
        """It is no small body: what was kept so far is hashed, and from now on each chunk as it comes."""
        self._is_flowing = True
        if self._commitment is not None and self._chunks is not None:
            self._commitment.update(b"".join(self._chunks))
            self._commitment.let_go()


def kept_early(early: bytes | None, chunk: bytes) -> bytes | None:
    """What is read of a body before anyone knows that it belongs to a decision: an inner layer may read it
    all before the handler is chosen. None once that is too much: a commitment would be over a part.
    """
    return None if early is None or len(early) + len(chunk) > MAX_EARLY_BYTES else early + chunk

"""Faults at any step: a hook that spoils the n-th write, kills before or after it, or flips a stored bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from auditlog.storage.memory import Fault, MemoryStore
from auditlog.storage.ports import ObjectStore


class Killed(BaseException):
    """The process died here. Not an `Exception`: no code of ours may survive it."""


@dataclass
class NthWrite:
    """A fault hook for the memory stores: counts writes, and spoils one of them (and, if `lasting`, all
    after).
    """

    at: int = -1
    fault: Fault | None = None
    kill: bool = False
    lasting: bool = False
    seen: list[str] = field(default_factory=list)
    hit: str | None = None

    def __call__(self, operation: str, path: str) -> Fault | None:
        """Called before every write."""
        number = len(self.seen)
        self.seen.append(operation)
        if number == self.at or (self.lasting and number > self.at >= 0):
            self.hit = operation
            if self.kill:
                raise Killed
            return self.fault
        return None


class StepStore:
    """An object store that dies after the n-th write took effect. Several share their count by a list."""

    def __init__(self, inner: ObjectStore, left: list[int]) -> None:
        """`left[0]` operations go through; then `Killed`, for ever."""
        self.inner = inner
        self._left = left

    def _done(self) -> None:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise Killed

    def put_new(self, path: str, data: bytes) -> None:
        """Through, then maybe death."""
        self.inner.put_new(path, data)
        self._done()

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """One after the other, so that death can come between them."""
        for path, data in objects:
            self.put_new(path, data)

    def replace(self, path: str, data: bytes) -> None:
        """Through, then maybe death."""
        self.inner.replace(path, data)
        self._done()

    def replace_unless(self, path: str, data: bytes, keeps: Callable[[bytes], bool]) -> bool:
        """Through, then maybe death."""
        done = self.inner.replace_unless(path, data, keeps)
        self._done()
        return done

    def get(self, path: str) -> bytes | None:
        """Reads do not count."""
        return self.inner.get(path)

    def list(self, prefix: str = "") -> list[str]:
        """Reads do not count."""
        return self.inner.list(prefix)

    def delete(self, path: str) -> None:
        """Through, then maybe death."""
        self.inner.delete(path)
        self._done()


def flip_bit(store: MemoryStore, path: str, bit: int) -> None:
    """Change one bit of a stored object, as a bad disk does."""
    data = bytearray(store.objects[path])
    data[(bit // 8) % len(data)] ^= 1 << (bit % 8)
    store.objects[path] = bytes(data)

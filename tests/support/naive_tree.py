"""The tree of RFC 6962 section 2.1 as the RFC writes it: recursive, slow, no code of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache


def leaf(data: bytes) -> bytes:
    """Hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


class NaiveTree:
    """Roots and proofs over fixed leaf hashes; ranges are remembered, so asking for all of them is quick."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = list(leaves)
        self.mth = lru_cache(maxsize=None)(self._mth)

    def _mth(self, start: int, end: int) -> bytes:
        count = end - start
        if count == 0:
            return hashlib.sha256(b"").digest()
        if count == 1:
            return self.leaves[start]
        middle = start + _split(count)
        return hashlib.sha256(b"\x01" + self.mth(start, middle) + self.mth(middle, end)).digest()

    def path(self, index: int, start: int, end: int) -> list[bytes]:
        """PATH(m, D[n]) of section 2.1.1."""
        if end - start <= 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self.path(index, start, middle), self.mth(middle, end)]
        return [*self.path(index, middle, end), self.mth(start, middle)]

    def proof(self, old_size: int, new_size: int) -> list[bytes]:
        """PROOF(m, D[n]) of section 2.1.2, for 0 < m <= n."""
        return self._subproof(old_size, 0, new_size, whole=True)

    def _subproof(self, old_size: int, start: int, end: int, *, whole: bool) -> list[bytes]:
        if old_size == end:
            return [] if whole else [self.mth(start, end)]
        middle = start + _split(end - start)
        if old_size <= middle:
            return [*self._subproof(old_size, start, middle, whole=whole), self.mth(middle, end)]
        return [*self._subproof(old_size, middle, end, whole=False), self.mth(start, middle)]


def _split(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power

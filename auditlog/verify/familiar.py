"""What was verified once of entries that many receipts share: enrolments, starts and models.

Spec: auditlog/spec/verification.md, "Step 8". Everything is kept by leaf hash, after the entry's inclusion
was verified: a changed byte is a stranger, and what is kept is what would be found again. Only what held is
kept. Bounded: small entries, and not many. Must never: stand for a receipt's own inclusion proofs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

T = TypeVar("T")

MAX_ENTRY_BYTES: Final = 8192
"""Of a larger entry nothing is kept."""

_MOST: Final = 1024


class Familiar:
    """A bounded memory of pure functions of an entry's bytes. Safe to share between threads."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def recall(self, what: Hashable, size: int, find: Callable[[], T]) -> T:
        """What `find` returned for the same `what` before, or returns now; `size` of its entry in bytes.

        Raises:
            EvidenceError: from `find`; nothing is kept then.
        """
        known = self._known  # the one dictionary, though another thread may put an empty one in its place
        if what in known:
            found: T = known[what]
            return found
        found = find()
        if size <= MAX_ENTRY_BYTES:
            if len(self._known) >= _MOST:
                # Forgetting all is rare and cheap to make up for; two threads may both forget.
                self._known = {}
            self._known[what] = found
        return found

"""What the `anchor` entries of a log say of its tree: of this log, of a tree it had, one root at a size.

Spec: auditlog/spec/log.md, "fsck". The roots themselves are for the caller to compare with the tree. Entry
bodies are attacker-controlled, and well formed when they come here. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from auditlog.core.anchor import log_id
from auditlog.core.scalars import is_origin
from auditlog.verify.lives import Complain, Complaint


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the `anchor` entry at `index` says of the tree: its root (hex) at a size."""

    index: int
    size: int
    root: str
    type: str = ""
    chain_id: int = 0
    contract: str = ""
    time: str = ""
    """That of its block."""


class AnchorClaims:
    """The claims of one log, one a size."""

    def __init__(self, origin: str, complain: Complain) -> None:
        self._log_id = log_id(origin).hex() if is_origin(origin) else ""
        self._complain = complain
        self._by_size: dict[int, Anchored] = {}

    def in_order(self) -> list[Anchored]:
        """Those seen, smallest size first."""
        return [self._by_size[size] for size in sorted(self._by_size)]

    def forget(self) -> None:
        """Forget them, once they were compared with the tree."""
        self._by_size.clear()

    def put_back(self, claims: Iterable[Sequence[Any]]) -> None:
        """Take back what was not compared before a halt."""
        for claim in claims:
            found = Anchored(*claim)
            self._by_size[found.size] = found

    def take(self, index: int, body: dict[str, Any]) -> None:
        """An anchor of a tree this log did not have before the entry was written is none of its own."""
        names = ("size", "root", "type", "chain_id", "contract", "block_time")
        found = Anchored(index, *(body[name] for name in names))
        if body["log_id"] != self._log_id:
            text = f"entry {index}: expected an anchor of the log id {self._log_id}, found another"
            self._complain(Complaint("anchor_foreign", index, text))
        elif found.size > index:
            text = f"entry {index}: expected an anchored size of at most {index}, found {found.size}"
            self._complain(Complaint("anchor_foreign", index, text))
        elif (known := self._by_size.setdefault(found.size, found)).root != found.root:
            text = f"entry {index}: expected one root anchored at size {found.size}, found a second"
            self._complain(Complaint("anchor_fork", index, text, known.index))

"""The disclosure store as a port: the keys and raw bodies that can open a commitment later.

Spec: commitment.md. What is kept never leaves this host, and is never in clear on its disk. A store may lose
nothing it has taken, may refuse what it cannot take, and destroys for good what it is told to erase. The
embedded store is `sqlite_store`; its key is a file of this host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from auditlog.capture.durable import write_durable
from auditlog.core.content import FORM_JSON, fold_form
from auditlog.errors import StorageError


class KeptBody(msgspec.Struct, frozen=True, array_like=True):
    """The raw bytes of one body and what is needed to read fields from them."""

    data: bytes
    dialect: str | None = None
    fold_version: int = 1
    """Version of the fold, where it is a stream; bodies that were kept before there were two name none."""

    @property
    def form(self) -> str:
        """The `form` of its fields."""
        return FORM_JSON if self.dialect is None else fold_form(self.dialect, self.fold_version)

    def __repr__(self) -> str:
        return f"KeptBody({len(self.data)} bytes)"


class KeptRecord(msgspec.Struct, frozen=True, array_like=True):
    """What opens the commitments of one entry: the keys, and the bodies that were kept."""

    id: str
    kind: str
    exchange_key: bytes | None = None
    facts_key: bytes | None = None
    request: KeptBody | None = None
    response: KeptBody | None = None
    facts: bytes | None = None
    item: str | None = None

    def __repr__(self) -> str:
        return f"KeptRecord({self.id}, {self.kind})"


class StoreFullError(StorageError):
    """The store is at its size limit; what is there is not thrown away for what is new."""

    code = "store_full"


class DisclosureStore(Protocol):
    """Where keys and bodies are kept. One writer thread; every method may raise StorageError."""

    @property
    def size_bytes(self) -> int:
        """Bytes of sealed records held."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing that was kept is still on its way into the store."""

    def keep(self, records: Sequence[KeptRecord], now_us: int) -> None:
        """Keep all of them durably, or none. Raises StoreFullError at the size limit."""

    def find(self, id: str) -> list[KeptRecord]:  # noqa: A002  the word of the format
        """All records of a decision, oldest first (outcomes have its id too)."""

    def erase(self, id: str) -> int:  # noqa: A002  the word of the format
        """Destroy the keys and bytes of a decision; returns how many records there were. Durable
        on return.
        """

    def expire(self, now_us: int) -> int:
        """Destroy what is older than the age limit; returns how many records."""

    def close(self) -> None:
        """Close it. Idempotent."""


def load_store_key(path: Path, rng: Callable[[int], bytes]) -> bytes:
    """The 32-byte key of a store, made on first use, 0600. Raises OSError, StorageError."""
    if not path.exists():
        write_durable(path, rng(32))
    key = path.read_bytes()
    if len(key) != 32:
        raise StorageError(f"store key: expected 32 bytes, found {len(key)}")
    return key

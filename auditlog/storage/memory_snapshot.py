"""The state of a log in memory at one commit, as `auditlog.storage.memory` gives it.

Contract: `auditlog.storage.ports.Snapshot`. Holds copies, so that what is committed later does not show. To
read it after its block is an error here, as it is in a database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from auditlog.storage.records import (
    ChainHead,
    Committed,
    LossRecord,
    ProducerRecord,
    RetirementRecord,
    RotationRecord,
)


@dataclass(slots=True)
class MemorySnapshot:
    """One commit, for the length of a `with` block. Copies what it is given."""

    committed: Committed
    _heads: dict[bytes, ChainHead]
    _producers: list[ProducerRecord]
    _rotations: list[RotationRecord]
    _retirements: list[RetirementRecord]
    _declared_losses: list[LossRecord]
    _is_open: bool = False

    def __post_init__(self) -> None:
        self._heads = dict(self._heads)
        self._producers = list(self._producers)
        self._rotations = list(self._rotations)
        self._retirements = list(self._retirements)
        self._declared_losses = list(self._declared_losses)

    def __enter__(self) -> Self:
        self._is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False

    def _check_open(self) -> None:
        assert self._is_open, "a snapshot is read inside its block"

    def heads(self) -> dict[bytes, ChainHead]:
        """The newest entry of every producer."""
        self._check_open()
        return dict(self._heads)

    def producers(self) -> list[ProducerRecord]:
        """Every enrolled producer."""
        self._check_open()
        return list(self._producers)

    def rotations(self) -> list[RotationRecord]:
        """Every change of a producer's key."""
        self._check_open()
        return list(self._rotations)

    def retirements(self) -> list[RetirementRecord]:
        """Every producer that has ended."""
        self._check_open()
        return list(self._retirements)

    def declared_losses(self) -> list[LossRecord]:
        """Every loss declared for a producer."""
        self._check_open()
        return list(self._declared_losses)

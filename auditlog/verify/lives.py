"""One producer's life as fsck follows it: its keys, its instances, its end; what it declares and counts.

Spec: `auditlog/spec/entry.md`, "Keys of a producer" and "Ends and losses". Everything here was written by
someone who may be dishonest; nothing raises on it. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from auditlog.core.entry import Entry
from auditlog.core.note import Ed25519Verifier
from auditlog.core.signed import open_one
from auditlog.core.statements import open_rotation
from auditlog.errors import EvidenceError

Complain = Callable[[str], None]
"""Takes one problem, as a sentence."""

NEVER_WROTE = "none"
"""`last.instance` in the retirement of a producer without entries."""


@dataclass(slots=True)
class Declared:
    """What a log's writers declare about themselves: counts, for the report."""

    gaps: int = 0
    lost_calls: int = 0
    """Calls in gaps that count them."""
    unknown_gaps: int = 0
    unknown_at_most: int = 0
    """Calls at most in the gaps of unknown count that name a bound."""
    unbounded_gaps: int = 0
    rotations: int = 0
    retirements: int = 0
    declared_lost: int = 0

    def add_gap(self, body: dict[str, Any]) -> None:
        """Count a well-formed gap."""
        self.gaps += 1
        if type(body["count"]) is int:
            self.lost_calls += body["count"]
            return
        self.unknown_gaps += 1
        if "at_most" in body:
            self.unknown_at_most += body["at_most"]
        else:
            self.unbounded_gaps += 1

    def to_json(self) -> dict[str, int]:
        """Members as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    def line(self) -> str:
        """One line for people; empty if nothing was declared."""
        parts = []
        if self.gaps:
            lost = [f"{self.lost_calls} calls lost"]
            if self.unknown_gaps > self.unbounded_gaps:
                lost.append(f"at most {self.unknown_at_most} more")
            if self.unbounded_gaps:
                lost.append(f"and an unknown number in {self.unbounded_gaps} of them")
            parts.append(f"{self.gaps} gap ({', '.join(lost)})")
        for count, word in (
            (self.declared_lost, "declared_lost"),
            (self.rotations, "rotation"),
            (self.retirements, "retirement"),
        ):
            if count:
                parts.append(f"{count} {word}")
        return f"declared: {'; '.join(parts)}" if parts else ""


@dataclass(slots=True)
class ProducerLife:
    """Where one producer's chain stands. `instance` is empty until the first one began."""

    id: str
    name: str
    keys: list[Ed25519Verifier]
    """All it had, in their order; the last is in force."""
    leaf_hash: str
    instance: str = ""
    seq: int = -1
    decisions: int = 0
    """`decision` entries of the current instance."""
    retired_at: int | None = None
    """Index of the entry that ended it."""
    past: dict[str, int] = field(default_factory=dict)
    """Instances that began, each with its place among them."""
    rotated: list[tuple[int, int]] = field(default_factory=list)
    """(place of the instance, number) of each rotation that held."""

    @property
    def key(self) -> Ed25519Verifier:
        """The key in force."""
        return self.keys[-1]

    def last(self) -> tuple[str, int, str]:
        """What a retirement names: instance, number and leaf hash of its newest entry."""
        return (self.instance or NEVER_WROTE, max(self.seq, 0), self.leaf_hash)

    def follow(self, entry: Entry, leaf_hash: str) -> None:
        """Go on to this entry: from what is there, so that each break is named once."""
        if entry.instance != self.instance:
            self.decisions = 0
        self.decisions += entry.kind == "decision"
        self.past.setdefault(entry.instance, len(self.past))
        self.instance, self.seq, self.leaf_hash = entry.instance, entry.seq, leaf_hash

    def take_content(self, index: int, entry: Entry, declared: Declared, complain: Complain) -> None:
        """Check what a well-formed body says about this life, before `follow`."""
        if entry.kind == "gap":
            declared.add_gap(entry.body)
        elif entry.kind == "heartbeat":
            counted = self.decisions if entry.instance == self.instance else 0
            if entry.body["recorded"] != counted:
                complain(
                    f"entry {index}: expected a heartbeat of {self.name} with {counted} recorded, "
                    f"found {entry.body['recorded']}"
                )
        elif entry.kind == "rotation":
            self._rotate(index, entry, declared, complain)
        elif entry.kind == "retirement":
            if entry.body.get("producer", self.id) != self.id:
                complain(
                    f"entry {index}: expected {self.name} to retire itself, found another producer named"
                )
            else:
                self.retire(index, entry.body, declared, complain)

    def retire(self, index: int, body: dict[str, Any], declared: Declared, complain: Complain) -> None:
        """End this life; it must end where the retirement says."""
        declared.retirements += 1
        named = body["last"]
        if (named["instance"], named["seq"], named["leaf_hash"]) != self.last():
            instance, seq, _ = self.last()
            complain(
                f"entry {index}: expected the retirement of {self.name} after number {seq} of {instance}, "
                f"found another last entry named"
            )
        self.retired_at = index if self.retired_at is None else self.retired_at

    def _rotate(self, index: int, entry: Entry, declared: Declared, complain: Complain) -> None:
        try:
            following = open_rotation(entry.body, origin=entry.origin, producer=self.id, keys=self.keys)
        except EvidenceError as error:
            complain(f"entry {index}: {error}")
            return
        declared.rotations += 1
        self.keys.append(following)
        place = self.past.get(entry.instance, len(self.past))
        self.rotated.append((place, entry.seq))

    def opens(self, note: str, instance: str, first: int, last: int) -> None:
        """Check that a head over these numbers is by the key in force for them.

        Raises:
            EvidenceError: it is not. Of an instance the log does not have, any key will do.
        """
        place = self.past.get(instance)
        if place is None:
            keys = self.keys
        else:
            before = sum(rotation < (place, first) for rotation in self.rotated)
            inside = any((place, first) <= rotation < (place, last) for rotation in self.rotated)
            keys = [] if inside else [self.keys[before]]
        if not keys:
            raise EvidenceError("head: expected a batch that ends with its rotation, found one that goes on")
        for key in keys[:-1]:
            try:
                open_one(note, key)
            except EvidenceError:
                continue
            return
        open_one(note, keys[-1])

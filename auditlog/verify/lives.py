"""One producer's life as fsck follows it: its keys, its instances, its end; what it declares and counts.

Spec: `auditlog/spec/entry.md`, "Keys of a producer" and "Ends and losses". Everything here was written by
someone who may be dishonest; nothing raises on it. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from auditlog.core.entry import Entry
from auditlog.core.note import Ed25519Verifier
from auditlog.core.signed import open_one
from auditlog.core.statements import open_rotation
from auditlog.errors import EvidenceError

if TYPE_CHECKING:
    from auditlog.verify.plain_runs import Run

Rule = Literal[
    "entry_malformed",
    "foreign_entry",
    "duplicate_number",
    "broken_chain",
    "broken_head",
    "forged_enrolment",
    "unknown_producer",
    "wrong_key",
    "after_retirement",
    "counter_mismatch",
    "anchor_fork",
    "anchor_foreign",
]
"""What can be broken by entries, in the words of spec/registry.md, "Alarms"."""


class Complaint(str):
    """One problem, as a sentence, with the rule that is broken and where."""

    __slots__ = ("at", "other", "rule")

    rule: Rule
    at: int
    """The index of the entry that breaks it."""
    other: int | None
    """The entry that this one contradicts or does not follow, where there is one."""

    def __new__(cls, rule: Rule, at: int, text: str, other: int | None = None) -> Complaint:
        """The sentence `text`, and what it is about."""
        made = super().__new__(cls, text)
        made.rule, made.at, made.other = rule, at, other
        return made


Complain = Callable[[Complaint], None]
"""Takes one problem."""

MAX_RUNS = 64
"""Runs of entries remembered of one producer: a head is about one of the newest."""

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
    past: MutableMapping[str, int] = field(default_factory=dict)
    """Instances that began, each with its place among them."""
    rotated: list[tuple[int, int]] = field(default_factory=list)
    """(place of the instance, number) of each rotation that held."""
    index: int = -1
    """Where its newest entry is in the log; until there is one, its enrolment."""
    enrolled_at: int = -1
    rotated_at: list[int] = field(default_factory=list)
    """Where the rotations that held are in the log."""
    runs: list[list[int]] = field(default_factory=list)
    """[first number, first index, count] of the newest runs of the current instance: entries that stand side
    by side in the log, as those of one batch do.
    """

    @property
    def key(self) -> Ed25519Verifier:
        """The key in force."""
        return self.keys[-1]

    def last(self) -> tuple[str, int, str]:
        """What a retirement names: instance, number and leaf hash of its newest entry."""
        return (self.instance or NEVER_WROTE, max(self.seq, 0), self.leaf_hash)

    def follow(self, index: int, entry: Entry, leaf_hash: str) -> None:
        """Go on to this entry: from what is there, so that each break is named once."""
        if entry.instance != self.instance:
            self.decisions = 0
            self.runs = []
            if entry.instance not in self.past:
                self.past[entry.instance] = len(self.past)
        self.decisions += entry.kind == "decision"
        if self.runs and index == self.index + 1 and entry.seq == self.seq + 1:
            self.runs[-1][2] += 1
        else:
            self.runs = [*self.runs[1 - MAX_RUNS :], [entry.seq, index, 1]]
        self.instance, self.seq, self.leaf_hash, self.index = entry.instance, entry.seq, leaf_hash, index

    def go_on(self, run: Run) -> None:
        """Follow the rest of a run, whose first entry was followed."""
        for number, (seq, index, count) in enumerate(run.places):
            if number:
                self.runs = [*self.runs[1 - MAX_RUNS :], [seq, index, count]]
            else:
                self.runs[-1][2] += count - 1
        seq, index, count = run.places[-1]
        self.decisions += (run.count() - 1) * (run.kind == "decision")
        self.seq, self.index, self.leaf_hash = seq + count - 1, index + count - 1, run.last

    def places(self, first: int, last: int) -> list[range] | None:
        """Where these numbers of the current instance are in the log; None if that is not remembered."""
        return places_of(self.runs, first, last)

    def take_content(self, index: int, entry: Entry, declared: Declared, complain: Complain) -> None:
        """Check what a well-formed body says about this life, before `follow`."""
        if entry.kind == "gap":
            declared.add_gap(entry.body)
        elif entry.kind == "heartbeat":
            counted = self.decisions if entry.instance == self.instance else 0
            if entry.body["recorded"] != counted:
                text = (
                    f"entry {index}: expected a heartbeat of {self.name} with {counted} recorded, "
                    f"found {entry.body['recorded']}"
                )
                complain(Complaint("counter_mismatch", index, text))
        elif entry.kind == "rotation":
            self._rotate(index, entry, declared, complain)
        elif entry.kind == "retirement":
            if entry.body.get("producer", self.id) != self.id:
                text = f"entry {index}: expected {self.name} to retire itself, found another producer named"
                complain(Complaint("broken_chain", index, text))
            else:
                self.retire(index, entry.body, declared, complain)

    def retire(self, index: int, body: dict[str, Any], declared: Declared, complain: Complain) -> None:
        """End this life; it must end where the retirement says."""
        declared.retirements += 1
        named = body["last"]
        if (named["instance"], named["seq"], named["leaf_hash"]) != self.last():
            instance, seq, _ = self.last()
            text = (
                f"entry {index}: expected the retirement of {self.name} after number {seq} of {instance}, "
                f"found another last entry named"
            )
            complain(Complaint("broken_chain", index, text, self.index))
        self.retired_at = index if self.retired_at is None else self.retired_at

    def _rotate(self, index: int, entry: Entry, declared: Declared, complain: Complain) -> None:
        try:
            following = open_rotation(entry.body, origin=entry.origin, producer=self.id, keys=self.keys)
        except EvidenceError as error:
            complain(Complaint("wrong_key", index, f"entry {index}: {error}"))
            return
        declared.rotations += 1
        self.keys.append(following)
        place = self.past.get(entry.instance, len(self.past))
        self.rotated.append((place, entry.seq))
        self.rotated_at.append(index)

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


def places_of(runs: Iterable[Sequence[int]], first: int, last: int) -> list[range] | None:
    """Where the numbers `first` to `last` are, by runs of [first number, first index, count]; None if
    the runs do not hold so many. `last` is attacker-controlled, and may be far away.
    """
    found: list[range] = []
    for seq, index, count in runs:
        begin, end = max(first, seq), min(last, seq + count - 1)
        if begin <= end:
            found.append(range(index + begin - seq, index + end - seq + 1))
    return found if sum(map(len, found)) == last - first + 1 else None


def rest_of(places: Sequence[Sequence[int]]) -> list[list[int]]:
    """The places of a run but for its first entry."""
    (seq, index, count), *others = places
    first = [[seq + 1, index + 1, count - 1]] if count > 1 else []
    return [*first, *map(list, others)]

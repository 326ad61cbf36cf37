"""What came of the attacks, as data: who noticed, in which words, with which evidence.

Spec: auditlog/attack/README.md, "The table". Promises: an attack that nobody noticed says so; the JSON form
only ever gains members.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

RESULTS_VERSION: Final = "auditlog/attacks@v1"


class Piece(StrEnum):
    """Who could notice. The value is how it is called in the table."""

    FSCK = "fsck"
    RECEIPT = "receipt"
    WITNESS = "witness"
    MONITOR = "monitor"
    GUARD = "guard"
    COMPLETENESS = "completeness"
    PROMISE = "promise"


class By(StrEnum):
    """Who cheats."""

    OPERATOR = "operator"
    THIEF = "thief"
    PRODUCER = "producer"
    CALLER = "caller"


@dataclass(frozen=True, slots=True)
class Proof:
    """One evidence file, as somebody with nothing but the trust file finds it."""

    alarm: str
    grade: str
    """`proven`, `notice`, `stated`, or `not proven`."""
    headline: str
    file: bytes = field(repr=False)

    @property
    def convinces(self) -> bool:
        """Whether it shows what it says to anyone with the trust file."""
        return self.grade in ("proven", "notice")


@dataclass(frozen=True, slots=True)
class Noticed:
    """What one piece made of one attack."""

    piece: Piece
    is_noticed: bool
    said: str
    alarms: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attack, and everybody who looked at it."""

    name: str
    title: str
    by: By
    should: tuple[Piece, ...]
    due: str
    """The evidence that is due: a grade of `Proof`, or empty."""
    noticed: tuple[Noticed, ...]
    why_none: str = ""
    """Where nobody can notice: why not."""

    def of(self, piece: Piece) -> Noticed | None:
        """What a piece made of it; None if it had nothing to look at."""
        return next((each for each in self.noticed if each.piece is piece), None)

    @property
    def missed(self) -> tuple[Piece, ...]:
        """The pieces that should have noticed, and did not."""
        found = {each.piece for each in self.noticed if each.is_noticed}
        return tuple(piece for piece in self.should if piece not in found)

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """All evidence files."""
        return tuple(proof for each in self.noticed for proof in each.proofs)

    @property
    def lacks_evidence(self) -> bool:
        """Whether evidence is due that is not there, or a file was made that does not hold."""
        grades = {proof.grade for proof in self.proofs}
        return bool(self.due and self.due not in grades) or "not proven" in grades

    @property
    def is_as_it_should_be(self) -> bool:
        """Whether every piece that should notice did, with what is due."""
        return not self.missed and not self.lacks_evidence

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "by": self.by.value,
            "should_notice": [piece.value for piece in self.should],
            "why_nobody_can": self.why_none or None,
            "evidence_due": self.due or None,
            "missed_by": [piece.value for piece in self.missed],
            "as_it_should_be": self.is_as_it_should_be,
            "pieces": [
                {
                    "piece": each.piece.value,
                    "noticed": each.is_noticed,
                    "said": each.said,
                    "alarms": list(each.alarms),
                    "evidence": [
                        {"alarm": proof.alarm, "grade": proof.grade, "headline": proof.headline}
                        for proof in each.proofs
                    ],
                }
                for each in self.noticed
            ],
        }


@dataclass(frozen=True, slots=True)
class Control:
    """The honest log, looked at by everybody: nobody may raise anything."""

    rounds: int
    entries: int
    raised: tuple[str, ...]
    noticed: tuple[Noticed, ...]

    @property
    def is_silent(self) -> bool:
        """Whether nothing was raised."""
        return not self.raised

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        return {"rounds": self.rounds, "entries": self.entries, "raised": list(self.raised)}


@dataclass(frozen=True, slots=True)
class Results:
    """A run of the suite."""

    origin: str
    entries: int
    is_twin: bool
    control: Control
    outcomes: tuple[Outcome, ...]

    @property
    def exit_code(self) -> int:
        """0 if every attack was noticed by whoever should notice it and the honest log by nobody, else 1."""
        is_right = self.control.is_silent and all(each.is_as_it_should_be for each in self.outcomes)
        return 0 if is_right else 1

    def lines(self) -> list[str]:
        """The table for people."""
        from auditlog.attack.table import render

        return list(render(self))

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        return {
            "v": RESULTS_VERSION,
            "exit_code": self.exit_code,
            "origin": self.origin,
            "entries": self.entries,
            "keys": "of a twin made by the suite" if self.is_twin else "found in the copy",
            "control": self.control.to_json(),
            "attacks": [each.to_json() for each in self.outcomes],
        }

"""What became of an expectation: three values, and how they combine without claiming more than was shown.

Spec: auditlog/spec/verification.md, "Expectations". Strong Kleene logic: what cannot be checked never turns
into "holds" or "does not hold" by being combined. Promises: a combination rests on the parts that decide it,
with their grade. Must never: make proof of an absence. Whoever hands over a receipt can leave evidence out,
so a "does not hold" that more evidence could undo (`is_final` is false) negates to "cannot be checked".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from auditlog.verify.report import Grade


class Held(StrEnum):
    """Whether an expectation held."""

    YES = "holds"
    NO = "does not hold"
    UNKNOWN = "cannot be checked"


_ALL, _ANY = "all of these", "any of these"
_STRENGTH: Final = (Grade.PROVEN, Grade.STATED, Grade.NOT_CHECKED)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One expectation, judged. `claim` is what was expected, `text` what came of it, both plain sentences."""

    held: Held
    claim: str
    text: str
    grade: Grade = Grade.NOT_CHECKED
    """What the judgement rests on: proven, stated, or nothing (`cannot be checked`)."""
    by: str = ""
    """Who states it, where the grade is `stated`."""
    is_final: bool = True
    """Whether no evidence left out of the receipt could turn `holds` and `does not hold` around."""
    parts: tuple[Judgement, ...] = ()
    heading: str = ""
    """Of a combination: what it is, without its parts."""

    @property
    def graded(self) -> str:
        """The text with its grade: how reports print it."""
        if self.held is Held.UNKNOWN:
            return self.text
        whose = f"stated by {self.by}" if self.grade is Grade.STATED and self.by else self.grade.value
        return f"{self.text} ({whose})"

    def to_json(self) -> dict[str, Any]:
        """The judgement as reports print it."""
        return {
            "held": self.held.value,
            "claim": self.claim,
            "grade": self.grade.value,
            "by": self.by,
            "text": self.text,
            "parts": [part.to_json() for part in self.parts],
        }


def holds(claim: str, grade: Grade, by: str = "", *, is_final: bool = True) -> Judgement:
    """It is so."""
    return Judgement(Held.YES, claim, f"{claim}, as expected", grade, by, is_final)


def fails(claim: str, found: str, grade: Grade, by: str = "", *, is_final: bool = True) -> Judgement:
    """It is not so: `found` is what the receipt shows instead."""
    return Judgement(Held.NO, claim, f"expected that {claim}, found {found}", grade, by, is_final)


def unknown(claim: str, why: str) -> Judgement:
    """Nothing was shown that decides it."""
    return Judgement(Held.UNKNOWN, claim, f"expected that {claim}; {why}", is_final=False)


def all_of(parts: Sequence[Judgement]) -> Judgement:
    """One that fails decides it; without one, one that is unknown leaves it open."""
    claim = f"{_ALL}: {_claims(parts)}"
    for held in (Held.NO, Held.UNKNOWN):
        if deciding := [part for part in parts if part.held is held]:
            return _combined(held, claim, deciding, parts, is_enough=held is Held.NO)
    return _combined(Held.YES, claim, parts, parts, is_enough=False)


def any_of(parts: Sequence[Judgement]) -> Judgement:
    """One that holds decides it; without one, one that is unknown leaves it open."""
    claim = f"{_ANY}: {_claims(parts)}"
    for held in (Held.YES, Held.UNKNOWN):
        if deciding := [part for part in parts if part.held is held]:
            return _combined(held, claim, deciding, parts, is_enough=held is Held.YES)
    return _combined(Held.NO, claim, parts, parts, is_enough=False)


def negated(part: Judgement) -> Judgement:
    """The opposite, where leaving evidence out could not have made it so."""
    claim = f"it is not so that {part.claim}"
    if part.held is Held.UNKNOWN:
        return Judgement(Held.UNKNOWN, claim, f"expected the opposite: {part.text}", is_final=False)
    if part.held is Held.NO and not part.is_final:
        text = f"expected that {claim}; what would show that it is so may have been left out"
        return Judgement(Held.UNKNOWN, claim, text, is_final=False, parts=(part,))
    if part.held is Held.NO:
        return Judgement(Held.YES, claim, f"{claim}, as expected", part.grade, part.by, True, (part,))
    text = f"expected that {claim}, found that it is"
    return Judgement(Held.NO, claim, text, part.grade, part.by, part.is_final, (part,))


def _combined(
    held: Held, claim: str, deciding: Sequence[Judgement], parts: Sequence[Judgement], *, is_enough: bool
) -> Judgement:
    """`is_enough`: one deciding part alone decides, so the strongest counts; else all do, so the weakest."""
    text, heading = "; ".join(part.text for part in deciding), claim.partition(":")[0]
    if held is Held.UNKNOWN:
        return Judgement(held, claim, text, is_final=False, parts=tuple(parts), heading=heading)
    # Where one part is enough, one that no evidence can undo is worth more than one that some could.
    final = [part for part in deciding if part.is_final] if is_enough else list(deciding)
    ranked = sorted(final or deciding, key=lambda part: _STRENGTH.index(part.grade))
    grade = ranked[0 if is_enough else -1].grade
    by = " and ".join(dict.fromkeys(part.by for part in ranked if part.grade is grade and part.by))
    is_final = bool(final) if is_enough else all(part.is_final for part in deciding)
    return Judgement(held, claim, text, grade, by, is_final, tuple(parts), heading)


def _claims(parts: Sequence[Judgement]) -> str:
    return "; ".join(part.claim for part in parts)

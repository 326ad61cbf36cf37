"""The results as a table for people: an attack a line, a column for everybody who could have noticed it.

Spec: auditlog/attack/README.md, "The table". Promises: a column never says more than that piece said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from auditlog.attack.attack import Attack
from auditlog.attack.results import Control, Outcome, Piece, Results

LEGEND: Final = (
    "YES should notice and did   yes did as well   - looked and saw nothing   NO should notice and did not"
)
_HEADS: Final = {
    Piece.FSCK: "fsck",
    Piece.RECEIPT: "receipt",
    Piece.WITNESS: "witness",
    Piece.MONITOR: "monitor",
    Piece.GUARD: "guard",
    Piece.COMPLETENESS: "compl.",
    Piece.PROMISE: "promise",
}
_GRADES: Final = ("proven", "notice", "stated", "not proven")
_NAME, _BY, _COLUMN = 23, 9, 8


def render(results: Results) -> Iterator[str]:
    """The whole table, a line at a time."""
    whose = "keys of a twin log, made by the suite" if results.is_twin else "the keys found in the copy"
    yield f"{results.entries} entries of {results.origin}, attacked on copies with {whose}"
    yield ""
    yield _line("attack", "by", [_HEADS[piece] for piece in Piece], "evidence")
    yield control_line(results.control)
    for raised in results.control.raised:
        yield f"    raised over the honest log: {raised}"
    for outcome in results.outcomes:
        yield attack_line(outcome)
        yield from _complaints(outcome)
    yield ""
    yield LEGEND
    yield from _closing(results)


def control_line(control: Control) -> str:
    """The honest log."""
    looked = {each.piece for each in control.noticed}
    cells = ["" if piece not in looked else "-" for piece in Piece]
    return _line("(honest control)", "nobody", cells, "" if control.is_silent else "WRONG")


def attack_line(outcome: Outcome) -> str:
    """One attack."""
    cells = [_cell(outcome, piece) for piece in Piece]
    grades = {proof.grade for proof in outcome.proofs}
    best = next((grade for grade in _GRADES if grade in grades), "")
    return _line(outcome.name, outcome.by.value, cells, best)


def list_line(attack: Attack) -> str:
    """One attack, not played: name, who does it, what, who should notice."""
    should = ", ".join(piece.value for piece in attack.should) or f"nobody can: {attack.why_none}"
    return f"{attack.name:<{_NAME}}{attack.by.value:<{_BY}} {attack.title} ({should})"


def _cell(outcome: Outcome, piece: Piece) -> str:
    found, is_due = outcome.of(piece), piece in outcome.should
    if found is None:
        return "NO" if is_due else ""
    if found.is_noticed:
        return "YES" if is_due else "yes"
    return "NO" if is_due else "-"


def _line(name: str, by: str, cells: Sequence[str], evidence: str) -> str:
    columns = "".join(f"{cell:<{_COLUMN}}" for cell in cells)
    return f"{name:<{_NAME}}{by:<{_BY}}{columns}{evidence}".rstrip()


def _complaints(outcome: Outcome) -> Iterator[str]:
    for piece in outcome.missed:
        yield f"    NOT NOTICED by {piece.value}"
    if outcome.lacks_evidence:
        yield f"    evidence that holds was due: {outcome.due or 'none that does not'}"


def _closing(results: Results) -> Iterator[str]:
    nobody = [outcome for outcome in results.outcomes if not outcome.should]
    for outcome in nobody:
        yield f"{outcome.name}: nobody can notice, because {outcome.why_none}"
    right = sum(outcome.is_as_it_should_be for outcome in results.outcomes) - sum(
        outcome.is_as_it_should_be for outcome in nobody
    )
    due = len(results.outcomes) - len(nobody)
    yield f"{right} of {due} attacks were noticed by everybody who should; {len(nobody)} cannot be noticed"
    control = results.control
    said = "nothing was raised" if control.is_silent else "SOMETHING WAS RAISED"
    yield f"honest log over {control.rounds} rounds with restarts, {control.entries} entries: {said}"

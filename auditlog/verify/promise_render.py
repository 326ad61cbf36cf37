"""The verdict on a promise for people: the layout and the safety of `auditlog.verify.render`.

Spec: auditlog/spec/promise.md, "Verdicts". Must never: print what did not pass `visible`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from auditlog.verify.evidence_report import EvidenceReport
from auditlog.verify.promise_report import PromiseReport, Verdict
from auditlog.verify.render import Printer, print_facts
from auditlog.verify.report import Fact, Grade, Outcome
from auditlog.verify.wording import printable

_STYLE = {
    Verdict.IN_LOG: "bold green",
    Verdict.BROKEN: "bold red",
    Verdict.DECLARED_LOST: "bold red",
    Verdict.NO_PROMISE: "bold red",
}
_MEANING = {
    Verdict.IN_LOG: "The record you were promised exists and cannot be changed unseen.",
    Verdict.BROKEN: "The operator signed that this record would be in the log, and it is not so. Keep the "
    "promise and the evidence: together they prove it to anyone.",
    Verdict.DECLARED_LOST: "The operator has admitted, in its own log, to have lost this record.",
    Verdict.WITHHELD: "The operator did not show what would decide. That proves nothing, and is worth asking "
    "about.",
    Verdict.NOT_YET_DUE: "Ask again after that time.",
    Verdict.NOT_CHECKED: "Nothing follows from this, neither for nor against the operator.",
    Verdict.NO_PROMISE: "This file binds nobody.",
}


def render_promise(name: str, report: PromiseReport, console: Console | None = None) -> None:
    """Print one report in full."""
    out = Printer(console)
    out.line(printable(name), "dim")
    out.line(report.headline, _STYLE.get(report.verdict, "bold yellow"))
    out.line()
    out.line(_MEANING[report.verdict])
    _print_grades(out, report.facts)
    out.line()
    out.line("STEPS", "bold")
    for step in report.steps:
        is_finding = step.name == "place" and step.outcome is Outcome.FAILED
        detail = printable(step.detail, 500)
        out.step(step.number, step.name, step.outcome, f"broken: {detail}" if is_finding else detail)


def render_promises(reports: Sequence[tuple[str, PromiseReport]], console: Console | None = None) -> None:
    """Print one line per promise, the reason under those that are not in the log, and a count."""
    out = Printer(console)
    for name, report in reports:
        style = _STYLE.get(report.verdict, "bold yellow")
        out.line(printable(name), style, first=f"{report.verdict.upper():<14} ")
        if report.exit_code:
            out.line(report.headline, first="    ")
    counts = Counter(report.verdict for _, report in reports)
    out.line(", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict]))
    for text in dict.fromkeys(text for _, report in reports for text in report.reservations):
        out.line(f"{text[:1].upper()}{text[1:]}.")


def render_evidence(name: str, told: EvidenceReport, console: Console | None = None) -> None:
    """Print what an evidence file proves."""
    out = Printer(console)
    out.line(printable(name), "dim")
    style = {0: "bold green", 3: "bold yellow"}.get(told.exit_code, "bold red")
    out.line(printable(told.headline, 1500), style)
    if told.exit_code == 0:
        out.line()
        out.line(_against(told))
    _print_grades(out, told.facts)


def _against(told: EvidenceReport) -> str:
    """Whom a file that holds convicts."""
    if told.verdict == "DECLARED_LOST":
        return "Nobody else is convicted by this: it is the operator's own word that it lost this."
    if not told.against:
        return "Nobody is convicted by this: nothing is wrong by itself."
    if told.verdict == "FORK" or len(told.against) == 1:
        return f"This convicts: {', '.join(told.against)}."
    return f"One of these did wrong, and this does not show which: {', '.join(told.against)}."


def _print_grades(out: Printer, facts: Sequence[Fact]) -> None:
    print_facts(out, "PROVEN (signatures and hashes)", [f for f in facts if f.grade is Grade.PROVEN])
    stated = [fact for fact in facts if fact.grade is Grade.STATED]
    for by in dict.fromkeys(fact.by for fact in stated):
        heading = f"STATED by {printable(by)}: only its word"
        print_facts(out, heading, [fact for fact in stated if fact.by == by])
    print_facts(out, "NOT CHECKED", [fact for fact in facts if fact.grade is Grade.NOT_CHECKED])

"""The verdict on a promise for people: the layout and the safety of `auditlog.verify.render`.

Spec: auditlog/spec/promise.md, "Verdicts". Must never: print what did not pass `visible`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from auditlog.verify.promise_judge import EvidenceReport
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
    out.line(printable(told.headline, 1000), "bold green" if told.exit_code == 0 else "bold red")
    _print_grades(out, told.facts)


def _print_grades(out: Printer, facts: Sequence[Fact]) -> None:
    headings = {
        Grade.PROVEN: "PROVEN (signatures and hashes)",
        Grade.STATED: "STATED by the producer: only its word",
        Grade.NOT_CHECKED: "NOT CHECKED",
    }
    for grade, heading in headings.items():
        print_facts(out, heading, [fact for fact in facts if fact.grade is grade])

"""The completeness report for people: the layout and the safety of `auditlog.verify.render`.

Spec: auditlog/spec/promise.md, "Completeness". Must never: print what did not pass `visible`.
"""

from __future__ import annotations

from rich.console import Console

from auditlog.verify.completeness_report import CompletenessReport, Finding, ProducerSummary, Weight
from auditlog.verify.render import Printer
from auditlog.verify.wording import printable

_HEADINGS = {
    Weight.CONTRADICTION: "CONTRADICTIONS (no honest log has these)",
    Weight.INCOMPLETE: "NOT CHECKABLE (lost, silent, or not accounted for)",
    Weight.NOTE: "NOTES (stated by the producers)",
}
_STYLES = {0: "bold green", 1: "bold red"}
_SHOWN = 200


def render_completeness(name: str, report: CompletenessReport, console: Console | None = None) -> None:
    """Print one report in full; of very many findings of a kind the first."""
    out = Printer(console)
    out.line(printable(name), "dim")
    out.line(report.headline, _STYLES.get(report.exit_code, "bold yellow"))
    for text in report.reservations:
        out.line(f"{text[:1].upper()}{text[1:]}.")
    out.line()
    out.line(f"Log {printable(report.origin)}, {report.tree_size} entries.")
    if report.since or report.until:
        out.line(f"Counted from {report.since or 'the beginning'} to {report.until or 'the end'}.")
    for producer in report.producers:
        _print_producer(out, producer)
    for weight, heading in _HEADINGS.items():
        _print_findings(out, heading, [item for item in report.findings if item.weight is weight])


def _print_producer(out: Printer, item: ProducerSummary) -> None:
    out.line()
    out.line(f"PRODUCER {printable(item.name)} ({item.identity[:16]})", "bold")
    modes = ", ".join(f"{count} {mode}" for mode, count in sorted(item.modes.items()))
    out.line(
        f"{item.decisions} decisions{f' ({modes})' if modes else ''}, {item.outcomes} outcomes, "
        f"{item.heartbeats} heartbeats, {item.entries} entries in all",
        first="  ",
    )
    out.line(
        f"{item.instances} process lives began, from {item.first or '-'} to {item.last or '-'}", first="  "
    )
    if item.gaps or item.silent_s:
        bounds = f", at most {item.at_most} more" if item.at_most else ""
        open_ended = f", {item.unbounded_gaps} gap(s) of unknown size" if item.unbounded_gaps else ""
        out.line(
            f"{item.gaps} gap(s): {item.lost} calls declared lost{bounds}{open_ended}; "
            f"silent for {item.silent_s:.0f} s",
            first="  ",
        )


def _print_findings(out: Printer, heading: str, findings: list[Finding]) -> None:
    if not findings:
        return
    out.line()
    out.line(heading, "bold")
    for finding in findings[:_SHOWN]:
        who = f"{finding.producer}: " if finding.producer else ""
        out.line(f"{who}{finding.text}", first="  - ")
    if len(findings) > _SHOWN:
        out.line(f"and {len(findings) - _SHOWN} more", first="  - ")

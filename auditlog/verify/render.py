"""The report for people: 80 columns, the grades as headings, a stranger's text as text.

Spec: auditlog/spec/verification.md, "Text report". Promises: everything passes `visible`; a line that goes on
from the one above begins with a bar, and nothing but a heading begins in the first column, so that no
stranger's text can pass for the report's own. Must never: interpret markup in what it shows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.text import Text

from auditlog.verify.judgement import Judgement
from auditlog.verify.plain_words import plain_words, what_to_do
from auditlog.verify.report import Fact, Grade, Outcome, Report
from auditlog.verify.wording import printable, visible

_STYLE = {"verified": "bold green", "failed": "bold red", "not fully checked": "bold yellow"}
_MARK = {
    Outcome.PASSED: ("passed", "green"),
    Outcome.FAILED: ("FAILED", "bold red"),
    Outcome.NOT_CHECKED: ("-", "yellow"),
}
_WIDTH, _LEAST_WIDTH, _MAX_WIDTH = 80, 50, 100
_DETAIL_COLUMN = 31
_MORE = "    | "


class Printer:
    """Wraps and prints styled lines: 80 columns, or what a person's terminal has, up to 100."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
        is_seen = self._console.is_terminal
        self._width = max(_LEAST_WIDTH, min(self._console.width, _MAX_WIDTH)) if is_seen else _WIDTH

    def line(self, text: str = "", style: str = "", *, first: str = "", is_key: bool = False) -> None:
        """Print one paragraph; `first` is the indent of its first line. Words are cut only where they must
        be, and never if `is_key`: a key is there to be copied.
        """
        for line in _wrapped(visible(text), self._width, first, _MORE, is_whole=is_key):
            self._console.print(Text(line, style=style), soft_wrap=True)

    def step(self, number: int, name: str, outcome: Outcome, detail: str) -> None:
        """Print one step: number, name and outcome in columns, the detail wrapped beside them."""
        word, style = _MARK[outcome]
        head = f"{number:>3}  {name:<18} {word:<7}"
        more = "| ".rjust(_DETAIL_COLUMN)
        lines = _wrapped(visible(detail), self._width, head, more)
        self._console.print(Text(lines[0]), soft_wrap=True, style=style if word == "FAILED" else "")
        for line in lines[1:]:
            self._console.print(Text(line), soft_wrap=True)


def render_report(name: str, report: Report, console: Console | None = None) -> None:
    """Print one report in full."""
    out = Printer(console)
    out.line(printable(name), "dim")
    out.line(report.headline, _STYLE[report.verdict])
    _print_time(out, report)
    _print_lines(out, "IN PLAIN WORDS", plain_words(report))
    _print_lines(out, "WHAT YOU CAN DO", what_to_do(report))
    print_facts(out, "PROVEN (signatures and hashes)", report.graded(Grade.PROVEN))
    for by in _writers(report):
        facts = [fact for fact in report.graded(Grade.STATED) if fact.by == by]
        print_facts(out, f"STATED by {by}: only their word", facts)
    print_facts(out, "NOT CHECKED", report.graded(Grade.NOT_CHECKED))
    if report.expectation is not None:
        out.line()
        out.line("EXPECTED", "bold")
        _print_judgement(out, report.expectation)
    out.line()
    out.line("STEPS", "bold")
    for step in report.steps:
        out.step(step.number, step.name, step.outcome, printable(step.detail, 500))


def render_summary(reports: Sequence[tuple[str, Report]], console: Console | None = None) -> None:
    """Print one line per receipt, the reason under those that are not verified, and a count."""
    out = Printer(console)
    for name, report in reports:
        out.line(printable(name), _STYLE[report.verdict], first=f"{report.verdict.upper():<18} ")
        if report.exit_code:
            out.line(report.headline, first="    ")
    counts = ((sum(report.verdict == verdict for _, report in reports), verdict) for verdict in _STYLE)
    out.line(", ".join(f"{count} {verdict}" for count, verdict in counts))
    for text in dict.fromkeys(text for _, report in reports for text in report.reservations):
        out.line(f"{text[:1].upper()}{text[1:]}.")


def _print_lines(out: Printer, heading: str, lines: Sequence[str]) -> None:
    out.line()
    out.line(heading, "bold")
    for line in lines:
        out.line(line, first="  - ")


def _print_judgement(out: Printer, judged: Judgement, indent: str = "  ") -> None:
    """Print an expectation and, under it, the parts that it was made of."""
    text = judged.heading or (judged.claim if judged.parts else judged.graded)
    out.line(f"{judged.held}: {printable(text, 500)}", first=f"{indent}- ")
    for part in judged.parts:
        _print_judgement(out, part, f"{indent}  ")


def _writers(report: Report) -> Iterable[str]:
    """Who states something, in the order they first do."""
    return dict.fromkeys(fact.by for fact in report.graded(Grade.STATED))


def _print_time(out: Printer, report: Report) -> None:
    if not any((report.claimed_time, report.on_record_by, report.on_record_by_devnet)):
        return
    out.line()
    claims, recorded = report.claimed_time or "no time", report.on_record_by or "no independent time"
    out.line(f"Time: claims {claims};")
    out.line(f"on record by {recorded}.", first="      ")
    if report.on_record_by_devnet is not None:
        out.line(f"The devnet says {report.on_record_by_devnet}, which binds nobody.", first="      ")


def print_facts(out: Printer, heading: str, facts: Sequence[Fact]) -> None:
    """Print facts under a heading; nothing if there are none."""
    if not facts:
        return
    out.line()
    out.line(heading, "bold")
    for fact in facts:
        out.line(fact.text, first="  - ", is_key=fact.name == "producer_key")


def _wrapped(text: str, width: int, first: str, rest: str, *, is_whole: bool = False) -> list[str]:
    """Lines of at most `width` columns of a terminal, where some characters take two."""
    room = width - max(len(first), len(rest))
    lines, line, is_begun = [], first, False
    for word in text.split():
        pieces = [word] if is_whole or cell_len(word) <= room else chop_cells(word, room)
        for number, piece in enumerate(pieces):
            if number or (is_begun and cell_len(line) + 1 + cell_len(piece) > width):
                lines.append(line)
                line, is_begun = rest, False
            line, is_begun = (f"{line} {piece}" if is_begun else line + piece), True
    return [*lines, line.rstrip()]

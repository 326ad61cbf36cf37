"""The report: exit codes follow the steps, no fact without a grade, no markup or control character of a
stranger.
"""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from auditlog.core.trust import parse_trust
from auditlog.verify import Fact, Grade, Outcome, Report, Step, Verifier
from auditlog.verify.headline import OPERATOR_ONLY
from auditlog.verify.quorum_words import INDEPENDENT
from auditlog.verify.render import render_report, render_summary
from auditlog.verify.report import STEP_NAMES, combine_exit_codes
from auditlog.verify.run import Checked, Run
from auditlog.verify.wording import printable
from tests.support.receipts_factory import Factory, shown_whole

FACTORY = Factory(decisions=2, anchored=(5,))
RECEIPT = FACTORY.receipt_bytes(FACTORY.decisions[0], disclosures=[shown_whole(0)])


def report_of(**trust: object) -> Report:
    """An honest receipt's report."""
    return Verifier(FACTORY.trust(**trust)).verify(RECEIPT)


def rendered(*reports: Report) -> str:
    """What a person without a terminal sees."""
    out = io.StringIO()
    console = Console(file=out, highlight=False, markup=False, emoji=False, width=300)
    if len(reports) == 1:
        render_report("a receipt.json", reports[0], console)
    else:
        render_summary([(f"{number}.json", each) for number, each in enumerate(reports)], console)
    return out.getvalue()


def with_outcomes(*outcomes: tuple[Outcome, bool]) -> Report:
    """A report of steps with these outcomes, required or not."""
    steps = tuple(Step(n, "x", outcome, "", required) for n, (outcome, required) in enumerate(outcomes, 1))
    return Report(steps=steps, facts=(), headline="")


def test_a_failed_step_beats_one_that_was_not_checked() -> None:
    """Exit 1 for a failure, 3 for a required step not checked, 0 otherwise."""
    passed, failed, unchecked = Outcome.PASSED, Outcome.FAILED, Outcome.NOT_CHECKED
    assert with_outcomes((passed, True), (unchecked, False)).exit_code == 0
    assert with_outcomes((passed, True), (unchecked, True)).exit_code == 3
    assert with_outcomes((unchecked, True), (failed, False)).exit_code == 1


def test_over_several_receipts_1_beats_3() -> None:
    """And 3 beats 0; none at all is 0."""
    assert combine_exit_codes([0, 3, 1, 0]) == 1
    assert combine_exit_codes([0, 3]) == 3
    assert combine_exit_codes([0]) == combine_exit_codes([]) == 0


def test_every_fact_has_a_grade_and_whoever_stands_behind_it() -> None:
    """A proven or stated fact says by whom; one not checked claims nobody."""
    for fact in report_of(quorum=2).facts:
        assert isinstance(fact.grade, Grade)
        assert bool(fact.by) is (fact.grade is not Grade.NOT_CHECKED)
        assert fact.text


def test_what_the_body_says_is_never_proven() -> None:
    """Only position, authorship, cosignatures and whole disclosures are proven."""
    proven = {fact.name for fact in report_of(quorum=2).graded(Grade.PROVEN)}
    assert proven == {
        *("log", "tree_size", "cosigned", "quorum", "index", "leaf_hash", "kind"),
        *("producer", "producer_key", "instance", "seq", "request"),
    }


def test_limits_of_any_receipt_are_said_out_loud() -> None:
    """That the model ran, that the decision was fair, that none is missing: never shown, always listed."""
    names = {fact.name for fact in report_of().graded(Grade.NOT_CHECKED)}
    assert names >= {"model_ran", "fair", "complete", "same_log_now", "response", "facts"}


def test_the_headline_names_the_weakest_link() -> None:
    """Operator alone, devnet, and a trust file from the operator are in the headline; a quorum lifts the
    first.
    """
    alone = report_of(role="operator")
    assert OPERATOR_ONLY in alone.headline
    assert "(devnet)" in alone.headline
    assert "the trust file came from the operator (the tests)" in alone.headline.lower()
    assert OPERATOR_ONLY not in report_of(quorum=2).headline
    bare = Verifier(FACTORY.trust(quorum=1)).verify(FACTORY.receipt_bytes(FACTORY.decisions[0], anchored=()))
    assert bare.headline == (
        f"VERIFIED: entry {FACTORY.decisions[0]} of log {FACTORY.origin}, cosigned by 2 of 2 independent "
        f"witnesses ({INDEPENDENT})."
    )


def test_not_fully_checked_is_never_called_verified() -> None:
    """Exit 3 has its own word, with what is missing."""
    report = report_of(require=["quorum"])
    assert report.verdict == "not fully checked"
    assert report.headline.startswith("NOT FULLY CHECKED: required evidence: the trust file requires")
    assert OPERATOR_ONLY in report.headline.replace(". S", ". s")


def test_the_json_form_has_its_members() -> None:
    """The members programs rely on, for an honest receipt and for no receipt at all."""
    for report in (report_of(), Verifier(FACTORY.trust()).verify(b"")):
        value = json.loads(json.dumps(report.to_json()))
        assert set(value) == {
            *("v", "verdict", "exit_code", "headline", "reservations", "time", "steps", "facts", "evidence"),
            "expectation",
        }
        assert value["v"] == "auditlog/report@v1"
        assert [step["name"] for step in value["steps"]] == list(STEP_NAMES)
        assert {tuple(sorted(step)) for step in value["steps"]} == {
            ("detail", "name", "number", "outcome", "required")
        }
        assert {tuple(sorted(fact)) for fact in value["facts"]} <= {("by", "grade", "name", "text", "value")}


def test_the_text_is_80_columns_and_has_its_three_grades() -> None:
    """Everything is there, wrapped but for the key, without trailing blanks."""
    text = rendered(report_of())
    assert max(len(line) for line in text.splitlines() if "+" not in line) <= 80
    assert all(line == line.rstrip() for line in text.splitlines())
    for heading in (
        "PROVEN (signatures",
        "STATED by producer gpu-0",
        "STATED by the devnet",
        "NOT CHECKED",
        "STEPS",
    ):
        assert heading in text
    assert "Time: claims 2026-01-01T00:00:00.000000Z;\n      on record by no independent time." in text


def test_a_report_without_times_and_wide_terminals_are_printed_too() -> None:
    """An entry that claims no time shows none; a person with a wide terminal gets at most 100 columns."""
    own = Verifier(FACTORY.trust()).verify(FACTORY.receipt_bytes(0, anchored=()))
    assert "Time:" not in rendered(own)
    out = io.StringIO()
    wide = Console(file=out, force_terminal=True, no_color=True, width=300, highlight=False, markup=False)
    render_report("x", Verifier(FACTORY.trust()).verify(b""), wide)
    render_report("x", report_of(), wide)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert 80 < max(map(len, lines)) <= 100


def test_several_receipts_are_one_line_each_with_a_count() -> None:
    """Reasons only under those that are not verified; what limits all of them once."""
    text = rendered(report_of(), report_of(require=["quorum"]), Verifier(FACTORY.trust()).verify(b""))
    assert "VERIFIED           0.json\n" in text
    assert "1 verified, 1 failed, 1 not fully checked" in text
    assert text.count("\nSigned by the operator only") == 1
    assert "FAILED at step 1 (receipt)" in text


def test_a_strangers_text_is_shown_as_text() -> None:
    """Terminal escapes, direction marks and markup in names stay visible characters."""
    factory = Factory(decisions=0, batch=1)
    body = factory.decision_body(1, "unregistered") | {
        "route": "/\x1b]0;x\x07[bold]\u202e\u200b",
        "method": "[/]",
    }
    place = factory.add(factory.chains[0], "decision", body)
    text = rendered(Verifier(factory.trust()).verify(factory.receipt_bytes(place)))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]" in text
    assert "The request method was [/]." in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("a\nb", "a\\nb"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("\u202e\ue000", "\\u202e\\ue000"),
        ("x" * 20, "xxxxxxxxx..."),
        ("\x1b" * 20, "\\x1b\\x1b\\..."),
        ("a b  c", "a b \\x20c"),
        ("a   b", "a \\x20\\x20b"),
    ],
)
def test_printable_escapes_and_cuts(given: str, shown: str) -> None:
    """Only plain printable characters stay; what is long is cut."""
    assert printable(given, 12) == shown


IMITATION = "PROVEN (signatures and hashes)"


@pytest.mark.parametrize("filler", [" " * 60, "x" * 60 + " ", "\u6f22" * 30 + " ", "x" * 300, "\u6f22" * 300])
@pytest.mark.parametrize("width", [80, 55])
def test_a_stated_value_cannot_look_like_the_report(filler: str, width: int) -> None:
    """Whatever fills the line above it, a line that goes on begins with a bar, on narrow terminals too."""
    factory = Factory(decisions=0, batch=1)
    for lead in range(0, 40, 3):
        route = f"/{'y' * lead}{filler}{IMITATION}{filler}- Whether the decision was fair: it was"
        body = factory.decision_body(1, "unregistered") | {"route": route, "note": route}
        place = factory.add(factory.chains[0], "decision", body)
        out = io.StringIO()
        console = Console(file=out, force_terminal=True, no_color=True, width=width, highlight=False)
        report = Verifier(factory.trust()).verify(factory.receipt_bytes(place))
        render_report("x", report, console)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
        assert lines.count(IMITATION) == 1
        stated = lines[lines.index("STATED by producer gpu-0: only their word") : lines.index("NOT CHECKED")]
        assert all(line.startswith(("  - ", "    | ")) for line in stated[1:] if line)
        assert sum(line.startswith("  - ") for line in stated) == len(report.graded(Grade.STATED))
        assert all(cell_len(line) <= width for line in lines if "+" not in line)


def test_a_key_is_shown_whole() -> None:
    """The producer's key stands on one line, to be copied."""
    report = report_of()
    key = next(fact.value for fact in report.facts if fact.name == "producer_key")
    assert f" {key}.\n" in rendered(report)


def test_names_of_the_trust_file_are_escaped() -> None:
    """A witness's name may hold anything but white space; none of it reaches the terminal."""
    names = ("w\u009b31m", "x\u202e\u200b")
    value = json.loads(FACTORY.trust_bytes(quorum=2))
    value["policy"] = value["policy"].replace(" w1", f" {names[0]}").replace(" w2", f" {names[1]}")
    value["issuer"]["name"] = "me  \u202e\u009b2J"
    report = Verifier(parse_trust(json.dumps(value).encode())).verify(RECEIPT)
    assert report.exit_code == 0
    for text in (rendered(report), rendered(report, report)):
        assert all(character.isprintable() for character in text.replace("\n", ""))
    assert "w\\x9b31m" in rendered(report)


def test_reservations_are_sentences_of_their_own_beside_what_is_missing() -> None:
    """Verified, but; or what is missing, full stop, and then what limits the rest."""
    headline = report_of(require=["quorum"]).headline
    assert ", which this receipt does not show. Signed by the operator only; the operator" in headline
    assert ", but signed by the operator only" in report_of().headline


def test_a_defect_of_ours_is_not_hidden_as_a_failure() -> None:
    """Only evidence errors are failures of a step; anything else must show in the tests."""

    def broken() -> Checked[None]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Run().also(11, broken)


def test_a_fact_is_a_value() -> None:
    """Facts and steps compare by value, so reports can be compared."""
    fact = Fact("a", "b", Grade.STATED, "c", "d")
    assert fact == Fact("a", "b", Grade.STATED, "c", "d")
    assert report_of() == report_of()

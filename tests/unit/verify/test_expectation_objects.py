"""Expectations as objects: what can be made, how they combine, and that no missing evidence is ever proof."""

from __future__ import annotations

import doctest
import itertools
from dataclasses import replace

import pytest

import auditlog.verify
from auditlog.core.receipt import Related, format_receipt, parse_receipt
from auditlog.errors import ConfigurationError
from auditlog.verify import (
    AllOf,
    AnchoredOn,
    AnyOf,
    CosignedBy,
    DecidedBetween,
    EntryIs,
    Expectation,
    Grade,
    Held,
    Judgement,
    MaxLag,
    ModelIs,
    Not,
    OperatorIs,
    RecordedBefore,
    Verifier,
    expectations,
)
from auditlog.verify.judgement import all_of, any_of, negated
from tests.support.receipts_factory import MODEL_ROOT, Factory
from tests.support.rotated_world import coverage

FACTORY = Factory(decisions=3, anchored=(5,))
INDEX = FACTORY.decisions[0]
RECEIPT = FACTORY.receipt_bytes(INDEX)
VERIFIER = Verifier(FACTORY.trust(quorum=2))
IS = OperatorIs(FACTORY.origin)
IS_NOT = OperatorIs("other.example")
OPEN = EntryIs("decision", "x")


def judge(expect: Expectation, receipt: bytes = RECEIPT, verifier: Verifier = VERIFIER) -> Judgement:
    """What a receipt says to it."""
    found = verifier.verify(receipt, expect=expect).expectation
    assert found is not None
    return found


def test_the_exit_code_follows() -> None:
    """Holds 0, does not 1, cannot be checked 3; without any, there is nothing to report."""
    codes = [VERIFIER.verify(RECEIPT, expect=each).exit_code for each in (IS, IS_NOT, OPEN)]
    assert codes == [0, 1, 3]
    assert VERIFIER.verify(RECEIPT).expectation is None


@pytest.mark.parametrize(
    ("expect", "held", "grade"),
    [
        (IS, "holds", "proven"),
        (EntryIs("index", str(INDEX)), "holds", "proven"),
        (EntryIs("status", "200"), "holds", "stated"),
        (ModelIs(fingerprint=MODEL_ROOT), "holds", "stated"),
        (ModelIs(fingerprint=f"files-sha256@v1:{MODEL_ROOT}"), "holds", "stated"),
        (ModelIs(name="loan"), "holds", "stated"),
        (ModelIs(leaf_hash=FACTORY.leaves[FACTORY.models[INDEX]].hex()), "holds", "stated"),
        (ModelIs(leaf_hash="00" * 32), "does not hold", "stated"),
        (DecidedBetween(after="2026-01-01", before="2026-01-02"), "holds", "stated"),
        (DecidedBetween(before="2025-12-31"), "does not hold", "stated"),
        (RecordedBefore("2026-01-01T00:06:00Z"), "holds", "proven"),
        (RecordedBefore("2026-01-01T00:05:00Z"), "does not hold", "proven"),
        (MaxLag(360), "holds", "stated"),
        (MaxLag(359), "does not hold", "stated"),
        (CosignedBy("w1"), "holds", "proven"),
        (CosignedBy(FACTORY.witnesses[1].vkey), "holds", "proven"),
        (CosignedBy("w1", "w9", at_least=1), "holds", "proven"),
        (CosignedBy("w1", "w9"), "cannot be checked", "not checked"),
        (CosignedBy(at_least=2), "holds", "proven"),
        (CosignedBy(at_least=3), "cannot be checked", "not checked"),
        (AnchoredOn(chain_id=1337, devnet=True), "holds", "stated"),
        (AnchoredOn(chain_id=1337), "cannot be checked", "not checked"),
        (AnchoredOn(chain_id=1, devnet=True), "cannot be checked", "not checked"),
    ],
)
def test_each_is_judged_with_its_grade(expect: Expectation, held: str, grade: str) -> None:
    """Three values, and the grade of what they rest on."""
    found = judge(expect)
    assert (found.held, found.grade) == (held, grade), found.text


@pytest.mark.parametrize(
    "make",
    [
        AllOf,
        AnyOf,
        lambda: AllOf("origin"),  # type: ignore[arg-type]
        lambda: Not(None),  # type: ignore[arg-type]
        lambda: OperatorIs(""),
        lambda: EntryIs("colour", "blue"),
        lambda: EntryIs("index", "01"),
        ModelIs,
        lambda: ModelIs(name="a", leaf_hash="00" * 32),
        lambda: ModelIs(fingerprint="abc"),
        DecidedBetween,
        lambda: DecidedBetween(after="2026-01-02", before="2026-01-01"),
        lambda: RecordedBefore("soon"),
        lambda: MaxLag(-1),
        lambda: MaxLag(True),
        CosignedBy,
        lambda: CosignedBy("w1", "w1"),
        lambda: CosignedBy("w1", at_least=2),
        lambda: CosignedBy(at_least=0),
        lambda: AnchoredOn(chain_id=-1),
        lambda: AnchoredOn(chain_id=1, contract="0x12"),
    ],
)
def test_what_means_nothing_is_refused_when_it_is_made(make: type[Expectation]) -> None:
    """An empty combination above all: of nothing everything is true."""
    with pytest.raises(ConfigurationError, match="expected"):
        make()


def _three_values(*values: Held) -> list[Judgement]:
    return [Judgement(held, str(held), str(held), Grade.PROVEN) for held in values]


def test_combinations_are_strong_kleene() -> None:
    """All of is the least, any of the greatest of no < unknown < yes; not turns them around."""
    order = [Held.NO, Held.UNKNOWN, Held.YES]
    for values in itertools.product(order, repeat=3):
        parts = _three_values(*values)
        assert all_of(parts).held == min(values, key=order.index)
        assert any_of(parts).held == max(values, key=order.index)
    for value in order:
        assert negated(_three_values(value)[0]).held == order[2 - order.index(value)]


def test_what_cannot_be_checked_stays_so_unless_it_cannot_matter() -> None:
    """One that fails decides `AllOf`, one that holds decides `AnyOf`; an open one decides nothing."""
    assert judge(AllOf(IS, OPEN)).held is Held.UNKNOWN
    assert judge(AllOf(IS_NOT, OPEN)).held is Held.NO
    assert judge(AnyOf(IS, OPEN)).held is Held.YES
    assert judge(AnyOf(IS_NOT, OPEN)).held is Held.UNKNOWN
    assert judge(Not(OPEN)).held is Held.UNKNOWN


def test_a_combination_has_the_grade_of_what_decides_it() -> None:
    """The weakest where all are needed, the strongest where one is enough."""
    stated = EntryIs("status", "200")
    assert judge(AllOf(IS, stated)).grade is Grade.STATED
    assert judge(AllOf(IS, stated)).by == "producer gpu-0"
    assert judge(AnyOf(IS, stated)).grade is Grade.PROVEN
    assert judge(AllOf(IS_NOT, EntryIs("status", "500"))).grade is Grade.PROVEN
    assert judge(AnyOf(IS_NOT, EntryIs("status", "500"))).grade is Grade.STATED


ABSENCES = [
    Not(CosignedBy("w1")),
    Not(CosignedBy(at_least=1)),
    Not(AnchoredOn(chain_id=1337, devnet=True)),
    Not(RecordedBefore("2026-01-01T00:06:00Z")),
    Not(MaxLag(360)),
    Not(AllOf(IS, CosignedBy("w1"))),
    Not(Not(Not(CosignedBy("w1")))),
    AllOf(IS, Not(RecordedBefore("2026-01-01T00:06:00Z"))),
]


@pytest.mark.parametrize("expect", ABSENCES)
def test_leaving_evidence_out_never_makes_anything_hold(expect: Expectation) -> None:
    """Cosignatures and anchors dropped in every combination: what did not hold never comes to hold."""
    assert judge(expect).held is Held.NO
    receipt = parse_receipt(RECEIPT)
    lines = receipt.proof.checkpoint.splitlines(keepends=True)
    verifier = Verifier(FACTORY.trust(quorum=1))
    for anchors in (receipt.anchors, ()):
        for left in ((), (-1,), (-2,), (-2, -1)):
            note = "".join(line for at, line in enumerate(lines, -len(lines)) if at not in left)
            thinner = replace(receipt, proof=replace(receipt.proof, checkpoint=note), anchors=anchors)
            for each in (VERIFIER, verifier):
                assert judge(expect, format_receipt(thinner), each).held is not Held.YES


def answered(*shown: int, at_once: str = "model") -> bytes:
    """The receipt of a `pending` decision with those of the later entries 1 (which answers), 2 and 3."""
    factory = Factory(decisions=0, batch=1)
    chain = factory.chains[0]
    place = factory.add(chain, "decision", factory.decision_body(9, "pending"))
    bodies = {
        kind: {"name": kind, "fingerprint": {"method": "files-sha256@v1", "root": root * 32, "files": 5}}
        for kind, root in (("first", "aa"), ("other", "bb"))
    }
    gone = coverage(model="unregistered")
    begun = ("model", bodies["first"]) if at_once == "model" else ("coverage", gone)
    later = [factory.add(chain, *each) for each in (begun, ("coverage", gone), ("model", bodies["other"]))]
    receipt = factory.receipt(place)
    size = len(factory.entries)
    more = [Related(factory.entries[at], at, factory.path(at, size)) for at in (later[n - 1] for n in shown)]
    return format_receipt(replace(receipt, related=(*receipt.related, *more)))


OF_MODELS = (
    ModelIs(name="other"),
    ModelIs(name="first"),
    ModelIs(fingerprint="bb" * 32),
    ModelIs(fingerprint="aa" * 32),
    ModelIs(fingerprint="pending"),
    ModelIs(leaf_hash="00" * 32),
)


@pytest.mark.parametrize("shown", [(), (2,), (3,)])
@pytest.mark.parametrize("expect", OF_MODELS, ids=repr)
def test_of_a_pending_model_nothing_is_known_unless_the_answer_is_next(
    expect: Expectation, shown: tuple[int, ...]
) -> None:
    """Whoever hands over the receipt picks which later entry goes along: neither yes nor no is decided."""
    verifier, receipt = Verifier(Factory(decisions=0).trust(require=())), answered(*shown)
    for each in (expect, Not(expect), AnyOf(expect, ModelIs(name="x")), AllOf(expect, expect)):
        report = verifier.verify(receipt, expect=each)
        assert report.expectation is not None
        assert (report.expectation.held, report.exit_code) == (Held.UNKNOWN, 3)
        assert "the decision says pending" in report.expectation.text


def test_the_next_entry_answers_a_pending_model_for_good() -> None:
    """A model entry with the very next number names it; a coverage entry there says that nothing does."""
    verifier = Verifier(Factory(decisions=0).trust(require=()))
    for receipt, true in (
        (answered(1), OF_MODELS[1::2][:2]),
        (answered(1, at_once="coverage"), OF_MODELS[4:5]),
    ):
        for each in OF_MODELS[:5]:
            found = judge(each, receipt, verifier)
            if found.held is Held.UNKNOWN:  # nobody named a model, so there is no name to compare
                assert each in OF_MODELS[:2]
                continue
            assert (found.held is Held.YES) == (each in true)
            assert judge(Not(each), receipt, verifier).held is not found.held


def test_a_named_model_is_not_another() -> None:
    """Of a decision that names its model by leaf hash the opposite is final."""
    assert judge(Not(ModelIs(fingerprint=MODEL_ROOT)), RECEIPT).held is Held.NO
    assert judge(Not(ModelIs(fingerprint="00" * 32)), RECEIPT).held is Held.YES


def test_a_claim_later_than_its_record_is_out_of_bounds_for_good() -> None:
    """A decision on record before the time it claims: the lag is over, and no evidence brings it back."""
    factory = Factory(decisions=0, batch=1)
    body = factory.decision_body(0, "unregistered") | {"start": "2026-01-01T01:00:00.000000Z"}
    place = factory.add(factory.chains[0], "decision", body)
    receipt, verifier = factory.receipt_bytes(place), Verifier(factory.trust(quorum=2))
    assert judge(MaxLag(60), receipt, verifier).held is Held.NO
    assert judge(Not(MaxLag(60)), receipt, verifier).held is Held.YES
    assert judge(MaxLag(3600), receipt, verifier).held is Held.YES


def test_nothing_is_known_of_an_expectation_that_was_not_reached() -> None:
    """A receipt that fails before step 14 is judged by nobody."""
    report = VERIFIER.verify(b"", expect=IS)
    assert (report.exit_code, report.expectation) == (1, None)


def test_the_json_of_a_report_has_every_part() -> None:
    """A program reads what a person does."""
    found = VERIFIER.verify(RECEIPT, expect=AnyOf(IS, Not(IS))).to_json()["expectation"]
    assert found["held"] == "holds"
    assert [part["held"] for part in found["parts"]] == ["holds", "does not hold"]
    assert set(found) == {"held", "claim", "grade", "by", "text", "parts"}


def test_the_examples_run(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the docstrings show is what happens."""
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    (tmp_path / "receipt.json").write_bytes(RECEIPT)
    (tmp_path / "trust.json").write_bytes(FACTORY.trust_bytes(quorum=2, require=["quorum"]))
    monkeypatch.chdir(tmp_path)
    known = {"Path": Path, "Verifier": Verifier, "trust": FACTORY.trust(), "receipt": RECEIPT}
    for module in (auditlog.verify, expectations):
        flags = doctest.IGNORE_EXCEPTION_DETAIL
        found = doctest.testmod(module, extraglobs=known, optionflags=flags)
        assert found.attempted > 2
        assert found.failed == 0

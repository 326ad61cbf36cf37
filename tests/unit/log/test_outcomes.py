"""Outcomes are in the log before anyone is told, open with what is kept, and are found by keyed digests."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future

import pytest

from auditlog.core.commitment import commit_body
from auditlog.core.disclosure import FieldDisclosure, WholeDisclosure, parse_disclosures
from auditlog.core.entry import parse_entry
from auditlog.core.holder import check_opened
from auditlog.core.keys import Ed25519Signer
from auditlog.core.statements import producer_key_name
from auditlog.errors import (
    DisclosureError,
    FactsError,
    LogHalted,
    NotFoundError,
    Pushback,
    StorageError,
    SubmissionRefused,
)
from auditlog.log.disclosing import disclose_outcome
from auditlog.log.outcomes import OutcomeKept, Outcomes
from auditlog.log.own_producer import OwnProducer
from auditlog.storage.memory import Fault
from tests.support.testlog import ORIGIN, TestBench, decision_body

DECISION = decision_body(1)["id"]
KEY = b"k" * 32


def outcomes_of(bench: TestBench) -> Outcomes:
    """What writes outcomes in this life of the log. Its enrolment is settled at once."""
    log = bench.log
    assert log is not None
    signer = Ed25519Signer.from_seed(producer_key_name(ORIGIN, "outcomes"), b"o" * 32)
    # The bench has no threads: steps run when the writer waits for its enrolment.
    enrol = log.enrol

    def settled(*arguments: str) -> Future[object]:
        future = enrol(*arguments)
        bench.settle()
        return future

    log.enrol = settled  # type: ignore[method-assign, assignment]
    producer = OwnProducer(log, signer, "outcomes", software="test", rng=os.urandom, clock=bench.clock)
    return Outcomes(log, bench.state, producer, store_key=KEY, rng=os.urandom, clock=bench.clock)


def kept(bench: TestBench, future: Future[OutcomeKept]) -> OutcomeKept:
    """The result, once its commit is made and indexed."""
    bench.settle()
    return future.result(timeout=0)


@pytest.fixture
def bench() -> TestBench:
    """A log with one decision."""
    bench = TestBench(visibility="public")
    bench.create()
    producer = bench.started("p")
    bench.send(producer, [producer.decide(1)])
    return bench


def test_an_outcome_is_an_entry_that_what_is_kept_opens(bench: TestBench) -> None:
    """Decision and item are readable, the facts only with the key that is kept."""
    outcomes = outcomes_of(bench)
    facts = {"label": "repaid", "score": "0.93", "subject": "S-77"}
    done = kept(bench, outcomes.record(DECISION, facts, item="instances/17"))
    log = bench.log
    assert log is not None
    data = log.reader.entry(done.index)
    assert hashlib.sha256(b"\x00" + data).digest() == done.leaf_hash
    assert done.is_known
    entry = parse_entry(data)
    assert (entry.kind, entry.body["decision"], entry.body["item"]) == ("outcome", DECISION, "instances/17")
    assert b"repaid" not in data
    assert b"S-77" not in data
    ((leaf_hash, record),) = outcomes.kept(DECISION)
    assert leaf_hash == done.leaf_hash
    commitment = commit_body(record.facts_key, "facts", record.facts).hex()
    assert commitment == entry.body["facts"]["commitment"]
    assert b'"label":"repaid"' in record.facts
    bench.publish()
    bench.audit()


def test_an_outcome_is_opened_as_far_as_it_is_asked_for(bench: TestBench) -> None:
    """Some facts, or all whole; each opens the commitment in the entry. Never the key, or another entry."""
    outcomes, log = outcomes_of(bench), bench.log
    assert log is not None
    facts = {"label": "repaid", "reason_codes": ["A1", "B2"], "subject": "S-77"}
    done = kept(bench, outcomes.record(DECISION, facts))
    other = kept(bench, outcomes.record(DECISION, {"label": "overturned"}))
    entry = parse_entry(log.reader.entry(done.index))
    data = disclose_outcome(outcomes, log.reader, done.index, ["label", "facts:/reason_codes"])
    shown = parse_disclosures(data)
    assert shown.id == DECISION
    check_opened(entry, shown.items)
    values = {item.pointer: item.value for item in shown.items if isinstance(item, FieldDisclosure)}
    assert values["/label"] == b'"repaid"'
    assert "/subject" not in values
    [whole] = parse_disclosures(disclose_outcome(outcomes, log.reader, done.index, [])).items
    check_opened(entry, [whole])
    assert isinstance(whole, WholeDisclosure)
    assert b"S-77" in whole.data
    with pytest.raises(DisclosureError):
        check_opened(parse_entry(log.reader.entry(other.index)), [whole])
    ((_, record), *_) = outcomes.kept(DECISION)
    assert record.facts_key not in whole.salts
    for names in (["no-such"], ["request:/label"], ["label", "/subject/0"]):
        with pytest.raises(DisclosureError):
            disclose_outcome(outcomes, log.reader, done.index, names)
    for index in (0, done.index - 1, 10_000):
        with pytest.raises(NotFoundError):
            disclose_outcome(outcomes, log.reader, index, ["label"])


def test_many_outcomes_make_one_chain_over_restarts(bench: TestBench) -> None:
    """Handed over without waiting, each follows the one before; a restart begins a new instance."""
    first = outcomes_of(bench)
    futures = [first.record(DECISION, {"n": number}) for number in range(5)]
    assert len({kept(bench, each).index for each in futures}) == 5
    bench.restart()
    done = kept(bench, outcomes_of(bench).record(DECISION, {"n": 9}))
    assert done.index == bench.log.tree_size - 1  # type: ignore[union-attr]
    bench.publish()
    bench.audit()
    assert [each.name for each in bench.log.producers()] == ["p", "outcomes"]  # type: ignore[union-attr]


def test_an_unknown_decision_is_recorded_and_told(bench: TestBench) -> None:
    """It may be on its way, or in another log."""
    outcomes = outcomes_of(bench)
    done = kept(bench, outcomes.record(decision_body(2)["id"], {"label": "x"}))
    assert not done.is_known
    assert outcomes.unknown == 1


def test_the_private_index_finds_by_name_and_value(bench: TestBench) -> None:
    """Strings, numbers, booleans and members of lists; nothing of them is in the store in clear."""
    outcomes = outcomes_of(bench)
    facts = {"subject": "S-77", "codes": ["R1", "R2"], "n": 7, "ok": True, "deep": {"x": "hidden"}}
    done = kept(bench, outcomes.record(DECISION, facts, item="data/3"))
    kept(bench, outcomes.record(DECISION, {"subject": "other"}))
    for name, value in (("subject", "S-77"), ("codes", "R2"), ("n", "7"), ("ok", "true")):
        (found,) = outcomes.find(name, value)
        assert (found.decision, found.item, found.index) == (DECISION, "data/3", done.index)
    for name, value in (("subject", "R2"), ("codes", "S-77"), ("deep", "hidden"), ("subject", "s-77")):
        assert outcomes.find(name, value) == []
    rows = repr(bench.state.outcomes_of(DECISION)).encode() + bench.state.outcomes_of(DECISION)[0].sealed
    assert b"S-77" not in rows


def test_another_store_key_opens_nothing(bench: TestBench) -> None:
    """Neither the records nor the index: losing the key loses both."""
    kept(bench, outcomes_of(bench).record(DECISION, {"subject": "S-77"}))
    other = outcomes_of(bench)
    other._wrapping = type(other._wrapping)(b"x" * 32)
    other._index_key = b"x" * 32
    assert other.find("subject", "S-77") == []
    with pytest.raises(StorageError):
        other.kept(DECISION)


def test_the_same_request_is_one_outcome(bench: TestBench) -> None:
    """While it is under way, after it, and after a restart; another outcome under its key is refused."""
    outcomes = outcomes_of(bench)
    running = outcomes.record(DECISION, {"label": "x"}, request="one")
    assert outcomes.record(DECISION, {"label": "x"}, request="one") is running
    with pytest.raises(SubmissionRefused):
        outcomes.record(DECISION, {"label": "y"}, request="one")
    done = kept(bench, running)
    assert kept(bench, outcomes.record(DECISION, {"label": "x"}, request="one")) == done
    bench.restart()
    again = outcomes_of(bench)
    assert kept(bench, again.record(DECISION, {"label": "x"}, request="one")) == done
    for decision, facts, item in (
        (DECISION, {"label": "y"}, None),
        (DECISION, {"label": "x"}, "data/1"),
        (decision_body(2)["id"], {"label": "x"}, None),
    ):
        with pytest.raises(SubmissionRefused):
            again.record(decision, facts, item=item, request="one")
    assert kept(bench, again.record(DECISION, {"label": "x"}, request="two")) != done


def test_facts_that_cannot_be_recorded_are_refused(bench: TestBench) -> None:
    """Before anything is written."""
    outcomes = outcomes_of(bench)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for facts in (
        {},
        {"a": float("nan")},
        {"a": object()},
        {"a": "\ud800"},
        {"a": "x" * 50_000},
        {"a": deep},
        *(
            {"score": score}
            for score in (float("nan"), float("inf"), "NaN", "Infinity", "1e40000", "abc", "")
        ),
        *({"score": score} for score in (True, 10**400, 10**5000, "0x1", " 1", [1], {})),
    ):
        with pytest.raises(FactsError):
            outcomes.record(DECISION, facts)
    assert bench.state.outcomes_of(DECISION) == []


def test_what_opens_an_outcome_is_durable_before_the_log_has_it(bench: TestBench) -> None:
    """A store that fails keeps the outcome out of the log; the chain goes on."""
    outcomes = outcomes_of(bench)
    kept(bench, outcomes.record(DECISION, {"label": "first"}))
    size = bench.log.tree_size  # type: ignore[union-attr]
    for fault in (Fault.REFUSED, Fault.STORED):
        bench.fault = lambda name, _, fault=fault: fault if name == "state.add_outcome" else None
        with pytest.raises(StorageError):
            outcomes.record(DECISION, {"label": "lost"}, request="r")
        bench.fault = None
        bench.settle()
        assert bench.log.tree_size == size  # type: ignore[union-attr]
    done = kept(bench, outcomes.record(DECISION, {"label": "lost"}, request="r"))
    assert done.index == size
    bench.publish()
    bench.audit()


def test_a_commit_that_fails_fails_all_behind_it_and_the_next_goes_on(bench: TestBench) -> None:
    """Nobody is told of an outcome that is not in the log, and no number is used twice."""
    outcomes = outcomes_of(bench)
    kept(bench, outcomes.record(DECISION, {"label": "first"}))
    bench.fault = lambda name, _: Fault.REFUSED if name.startswith("staging.") else None
    futures = [outcomes.record(DECISION, {"n": n}, request=f"r{n}") for n in range(3)]
    bench.settle()
    bench.fault = None
    for each in futures:
        with pytest.raises(Pushback):
            each.result(timeout=0)
    assert outcomes.find("n", "1") == []
    again = [kept(bench, outcomes.record(DECISION, {"n": n}, request=f"r{n}")) for n in range(3)]
    assert [outcomes.find("n", str(n))[0].index for n in range(3)] == [each.index for each in again]
    bench.publish()
    bench.audit()


def test_a_log_that_stopped_takes_no_outcome(bench: TestBench) -> None:
    """The sender is told, and sends again."""
    outcomes = outcomes_of(bench)
    assert bench.log is not None
    bench.log.close()
    with pytest.raises(LogHalted):
        outcomes.record(DECISION, {"label": "x"})

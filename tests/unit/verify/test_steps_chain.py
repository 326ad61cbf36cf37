"""Steps 7 to 10: content, related entries, head, and that all of them speak of the same chain."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from auditlog.core.entry import PRODUCER_KINDS, SHARED_KINDS, encode_entry, parse_entry
from auditlog.core.head import Head, parse_head_text, sign_head
from auditlog.core.merkle import hash_leaf, prove_inclusion, root_hash
from auditlog.core.note import Ed25519Signer, split_note
from auditlog.core.receipt import Receipt, ReceiptHead, Related, format_receipt
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from auditlog.verify import Grade, Outcome, Report, Verifier
from tests.support.receipts_factory import MODEL_ROOT, Chain, Factory, seed
from tests.support.rotated_world import coverage

FACTORY = Factory(decisions=8, producers=2, batch=3)
FIRST, SECOND = FACTORY.chains
INDEX = FACTORY.decisions[2]


def verify(receipt: Receipt, factory: Factory = FACTORY) -> Report:
    """Verify under a trust file that requires nothing more."""
    return Verifier(factory.trust()).verify(format_receipt(receipt))


def expect(report: Report, number: int, code: int = 1) -> None:
    """The run ended at this step with this exit code."""
    assert report.exit_code == code, report.headline
    found = report.first_failure
    assert found is not None
    assert found.number == number, report.headline


def rebuilt(place: int, **changes: object) -> Factory:
    """A log whose entry at `place` says something else, with everything after it as before."""
    factory = Factory(decisions=8, producers=2, batch=3)
    entry = dataclasses.replace(parse_entry(factory.entries[place]), **changes)
    factory.entries[place] = encode_entry(entry)
    factory.leaves[place] = hash_leaf(factory.entries[place])
    return factory


@pytest.mark.parametrize("place", range(1, len(FACTORY.entries)))
def test_every_kind_of_honest_entry_is_verified(place: int) -> None:
    """Entries of the log, of either producer, and of every kind in the log verify."""
    report = verify(FACTORY.receipt(place))
    assert report.exit_code == 0, report.headline


def test_genesis_is_verified_without_head_and_related() -> None:
    """The log's own entries stand on nothing but the log's signature."""
    report = verify(FACTORY.receipt(0))
    assert report.exit_code == 0
    assert any(fact.name == "visibility" and fact.by == f"log {FACTORY.origin}" for fact in report.facts)


def test_an_unknown_kind_is_included_but_not_understood() -> None:
    """Inclusion, authorship and number are proven; the content is not understood; exit 3."""
    factory = Factory(decisions=2)
    place = factory.add(factory.chains[0], "weights", {"new": 1, "deep": {"er": [True, None]}})
    factory.close_batch(factory.chains[0])
    report = verify(factory.receipt(place), factory)
    assert report.exit_code == 3
    assert [step.outcome for step in report.steps[5:10]] == [
        Outcome.PASSED,
        Outcome.NOT_CHECKED,
        Outcome.PASSED,
        Outcome.PASSED,
        Outcome.PASSED,
    ]
    values = {fact.value for fact in report.facts if fact.name == "not_understood"}
    assert values == {"new=1", "deep/er/0=true", "deep/er/1=null"}


def test_an_unknown_version_is_included_but_not_understood() -> None:
    """A later version of a known kind is not read as if it were this one."""
    factory = Factory(decisions=1)
    place = factory.add(factory.chains[0], "decision", {"model": 7}, v=2)
    factory.close_batch(factory.chains[0])
    report = verify(factory.receipt(place), factory)
    assert report.exit_code == 3
    assert not {fact.name for fact in report.facts} & {"model", "model_name", "start"}


@pytest.mark.parametrize("kind", sorted((PRODUCER_KINDS | SHARED_KINDS) - {"instance"}))
def test_no_kind_of_a_later_version_is_read(kind: str) -> None:
    """An empty body of version 2 is not understood, whatever the kind meant in version 1."""
    factory = Factory(decisions=1, batch=1)
    place = factory.add(factory.chains[0], kind, {}, v=2)
    assert verify(factory.receipt(place), factory).exit_code == 3


def test_an_instance_entry_of_a_later_version_is_not_checked() -> None:
    """Its start statement is nothing this version can read: steps 7 and 8 are not checked."""
    factory = Factory(decisions=1, batch=1)
    chain = factory.chains[0]
    chain.instance, chain.seq = "ab" * 16, 0
    chain.start = factory.add(chain, "instance", {}, v=2)
    report = verify(factory.receipt(chain.start), factory)
    assert [step.outcome for step in report.steps[6:8]] == [Outcome.NOT_CHECKED] * 2
    assert report.exit_code == 3


def test_an_unknown_member_is_stated_not_understood() -> None:
    """A member of a later version does not spoil a decision, and is told as what it is."""
    factory = Factory(decisions=1)
    body = {**factory.decision_body(7, "unregistered"), "mood": "blue", "sampling": {"top_p": "0.9"}}
    place = factory.add(factory.chains[0], "decision", body)
    factory.close_batch(factory.chains[0])
    report = verify(factory.receipt(place), factory)
    assert report.exit_code == 0
    facts = {(fact.name, fact.value): fact for fact in report.facts}
    assert facts["not_understood", "mood=blue"].grade is Grade.STATED
    assert facts["sampling/top_p", "0.9"].text == "sampling/top_p was 0.9."
    assert facts["model", "unregistered"].grade is Grade.STATED


def test_a_body_of_a_wrong_form_fails_step_7() -> None:
    """A known kind with a known member of another type is in the log, and is not a decision."""
    factory = Factory(decisions=1)
    body = {**factory.decision_body(7, "unregistered"), "status": "two hundred"}
    place = factory.add(factory.chains[0], "decision", body)
    factory.close_batch(factory.chains[0])
    expect(verify(factory.receipt(place), factory), 7)


def test_an_entry_of_another_origin_fails_step_7() -> None:
    """A log may hold what was sealed for another one; it is not this log's entry."""
    factory = Factory(decisions=2)
    factory.origin, kept = "other.example/log", factory.origin
    place = factory.add(factory.chains[0], "notice", {"what": "stopped"})
    factory.origin = kept
    factory.close_batch(factory.chains[0])
    expect(verify(factory.receipt(place), factory), 7)


def test_related_entries_must_be_included() -> None:
    """A related entry is believed only with its own path into the same checkpoint."""
    receipt = FACTORY.receipt(INDEX)
    first = receipt.related[0]
    for other in (
        dataclasses.replace(first, index=first.index + 1),
        dataclasses.replace(first, proof=first.proof[:-1]),
        dataclasses.replace(first, entry=FACTORY.entries[0]),
    ):
        expect(verify(dataclasses.replace(receipt, related=(other, *receipt.related[1:]))), 8)


def test_a_missing_related_entry_is_not_checked() -> None:
    """Without producer, instance or model entry the receipt cannot be checked fully: exit 3."""
    receipt = FACTORY.receipt(INDEX)
    for place in range(3):
        kept = tuple(item for number, item in enumerate(receipt.related) if number != place)
        report = verify(dataclasses.replace(receipt, related=kept))
        assert report.exit_code == 3
        assert report.steps[7].outcome is Outcome.NOT_CHECKED
        assert report.claimed_time is None
        assert report.graded(Grade.STATED) == ()


def test_a_related_entry_nothing_refers_to_fails_step_8() -> None:
    """Nothing rides along: another producer's entries, another decision, the same entry twice."""
    receipt = FACTORY.receipt(INDEX)
    other = FACTORY.receipt(FACTORY.decisions[1])
    genesis = dataclasses.replace(
        receipt.related[0], entry=FACTORY.entries[0], index=0, proof=FACTORY.path(0, len(FACTORY.entries))
    )
    for more in (other.related[0], receipt.related[0], genesis):
        expect(verify(dataclasses.replace(receipt, related=(*receipt.related, more))), 8)
    expect(verify(dataclasses.replace(receipt, related=other.related)), 8)


def test_log_entries_take_no_related_entry_and_no_head() -> None:
    """What the log writes itself stands on nothing, so anything beside it is a failure."""
    receipt, own = FACTORY.receipt(INDEX), FACTORY.receipt(0)
    expect(verify(dataclasses.replace(own, related=receipt.related[:1])), 8)
    expect(verify(dataclasses.replace(own, head=receipt.head)), 9)


def test_a_producer_entry_must_enrol_its_own_key() -> None:
    """Key name, note text and signature of the enrolment must all be of this name in this log."""
    home, name, key = FIRST.home, FIRST.name, FIRST.key
    assert key is not None
    body = parse_entry(FACTORY.entries[home]).body
    stranger = Ed25519Signer.from_seed("stranger", bytes(32))
    for changed in (
        {"vkey": stranger.vkey},
        {"vkey": "no key"},
        {"name": "gpu-9"},
        {"note": sign_one(producer_text(FACTORY.origin, name), stranger)},
        {"note": sign_one(producer_text("other.example/log", name), key)},
        {"note": "no note"},
    ):
        factory = _with_producer_body({**body, **changed})
        expect(verify(factory.receipt(factory.decisions[0]), factory), 8)


def _with_producer_body(body: dict[str, Any]) -> Factory:
    """A log whose first producer is enrolled by this body, and everything it writes refers to that entry."""

    class Odd(Factory):
        def add(self, chain: Chain, kind: str, given: dict[str, Any], **options: Any) -> int:
            return super().add(chain, kind, body if kind == "producer" else given, **options)

    return Odd(decisions=2)


def test_an_instance_entry_must_be_signed_by_the_producer() -> None:
    """The start of a run is the producer's statement about this run; the log cannot make one up."""
    key = FIRST.key
    assert key is not None
    entry = parse_entry(FACTORY.entries[FIRST.start])
    stranger = Ed25519Signer.from_seed(key.name, bytes(32))
    text = instance_text(entry.origin, entry.producer, entry.instance, entry.prev)
    other = instance_text(entry.origin, entry.producer, "0" * 32, entry.prev)
    for note in (sign_one(text, stranger), sign_one(other, key), "no note"):
        factory = rebuilt(FIRST.start, body={**entry.body, "note": note})
        expect(verify(factory.receipt(INDEX), factory), 8)
        expect(verify(factory.receipt(FIRST.start), factory), 8)


def test_an_instance_entry_of_another_run_fails_step_8() -> None:
    """The related instance entry is that of this entry's run."""
    factory = rebuilt(FIRST.start, instance="0" * 32)
    expect(verify(factory.receipt(INDEX), factory), 8)
    factory = rebuilt(FIRST.start, seq=5)
    expect(verify(factory.receipt(INDEX), factory), 8)


def test_a_head_must_be_signed_by_the_producer() -> None:
    """The log, another producer or a stranger cannot sign for the producer."""
    receipt = FACTORY.receipt(INDEX)
    assert receipt.head is not None
    head = parse_head_text(split_note(receipt.head.note)[0])
    assert SECOND.key is not None
    for key in (SECOND.key, FACTORY.log_key, Ed25519Signer.from_seed(_key_name(), bytes(32))):
        expect(verify(_with_head(receipt, head, key)), 9)


def test_a_head_must_cover_the_entry() -> None:
    """The number is in its range, and the path leads from the entry to its root."""
    receipt = FACTORY.receipt(INDEX)
    assert receipt.head is not None
    assert FIRST.key is not None
    head = parse_head_text(split_note(receipt.head.note)[0])
    shifted = dataclasses.replace(head, first_seq=head.first_seq + 100, seq=head.seq + 100)
    expect(verify(_with_head(receipt, shifted, FIRST.key)), 9)
    expect(verify(_with_head(receipt, dataclasses.replace(head, root=bytes(32)), FIRST.key)), 9)
    for path in ((), receipt.head.path[:-1], (*receipt.head.path, bytes(32))):
        changed = dataclasses.replace(receipt, head=ReceiptHead(receipt.head.note, path))
        if path != receipt.head.path:
            expect(verify(changed), 9)


def test_a_missing_head_is_not_checked() -> None:
    """Without its head an entry is not shown to be the producer's: exit 3, and nothing is stated by it."""
    report = verify(dataclasses.replace(FACTORY.receipt(INDEX), head=None))
    assert report.exit_code == 3
    assert report.steps[8].outcome is Outcome.NOT_CHECKED
    assert report.graded(Grade.STATED) == ()


def test_a_head_of_another_run_or_log_fails_step_10() -> None:
    """A head that the producer signed for another run, or in another log, does not bind this entry."""
    receipt = FACTORY.receipt(INDEX)
    assert receipt.head is not None
    assert FIRST.key is not None
    head = parse_head_text(split_note(receipt.head.note)[0])
    for other in (
        dataclasses.replace(head, instance="0" * 32),
        dataclasses.replace(head, producer="0" * 64),
        dataclasses.replace(head, origin="other.example/log"),
    ):
        expect(verify(_with_head(receipt, other, FIRST.key)), 10)


def test_only_an_instance_entry_has_number_0() -> None:
    """A run begins with its instance entry."""
    factory = Factory(decisions=1, batch=1)
    chain = factory.chains[0]
    chain.seq = 0
    place = factory.add(chain, "notice", {"what": "stopped"})
    expect(verify(factory.receipt(place), factory), 10)


def test_number_1_follows_the_instance_entry() -> None:
    """The link from the first entry of a run to its start is shown by every receipt that holds both."""
    factory = Factory(decisions=0, batch=1)
    model = factory.chains[0].start + 1
    assert parse_entry(factory.entries[model]).seq == 1
    assert verify(factory.receipt(model), factory).exit_code == 0
    broken = dataclasses.replace(parse_entry(factory.entries[model]), prev="0" * 64)
    factory.entries[model] = encode_entry(broken)
    factory.leaves[model] = hash_leaf(factory.entries[model])
    expect(verify(factory.receipt(model), factory), 10)


def test_a_chain_is_in_the_log_in_its_own_order() -> None:
    """A number cannot stand at an earlier index than the numbers before it need."""
    factory = Factory(decisions=1, batch=1)
    chain = factory.chains[0]
    chain.seq = 50
    place = factory.add(chain, "notice", {"what": "stopped"})
    expect(verify(factory.receipt(place), factory), 10)


def test_a_model_that_was_pending_is_resolved_by_a_later_model_entry() -> None:
    """`pending` is resolved, as stated, by the next model entry of the same run; one before it does not
    count.
    """
    factory = Factory(decisions=1, batch=1)
    chain = factory.chains[0]
    place = factory.add(chain, "decision", factory.decision_body(9, "pending"))
    unresolved = verify(factory.receipt(place), factory)
    assert unresolved.exit_code == 0
    assert any(fact.text.startswith("The model was still being measured") for fact in unresolved.facts)
    earlier = factory.models[factory.decisions[0]]
    factory.models[place] = earlier
    expect(verify(factory.receipt(place), factory), 10)
    fingerprint = {"method": "files-sha256@v1", "root": "ab" * 32, "files": 1}
    factory.models[place] = factory.add(chain, "model", {"name": "late", "fingerprint": fingerprint})
    report = verify(factory.receipt(place), factory)
    assert report.exit_code == 0
    assert any("registered after this decision" in fact.text for fact in report.facts)


def test_a_pending_model_that_never_came_is_told() -> None:
    """A later coverage entry without a model says that nothing resolves the decision; the report names it."""
    factory = Factory(decisions=1, batch=1)
    chain = factory.chains[0]
    place = factory.add(chain, "decision", factory.decision_body(9, "pending"))
    factory.models[place] = factory.add(chain, "coverage", coverage(model="unregistered"))
    report = verify(factory.receipt(place), factory)
    assert report.exit_code == 0
    [told] = [fact for fact in report.facts if fact.name == "model"]
    assert (told.value, told.grade) == ("pending", Grade.STATED)
    assert f"was never named: entry {factory.models[place]} says" in told.text


@pytest.mark.parametrize("kind", ["model", "coverage"])
def test_an_answer_that_may_not_be_the_first_is_no_fact(kind: str) -> None:
    """With other numbers between, the report says what the decision said, and why no more is known."""
    factory = Factory(decisions=1, batch=1)
    chain = factory.chains[0]
    place = factory.add(chain, "decision", factory.decision_body(9, "pending"))
    factory.add(chain, "decision", factory.decision_body(10, "unregistered"))
    fingerprint = {"method": "files-sha256@v1", "root": "ab" * 32, "files": 1}
    body = {"name": "late", "fingerprint": fingerprint} if kind == "model" else coverage(model="unregistered")
    factory.models[place] = factory.add(chain, kind, body)
    report = verify(factory.receipt(place), factory)
    assert report.exit_code == 0
    facts = {fact.name: fact for fact in report.facts}
    assert (facts["model"].value, facts["model"].grade) == ("pending", Grade.STATED)
    assert facts["pending_model"].grade is Grade.NOT_CHECKED
    assert "may have answered first" in facts["pending_model"].text
    assert not {"model_name", "model_files"} & set(facts)


def test_a_pending_model_of_another_run_fails_step_10() -> None:
    """Another producer's model entry resolves nothing."""
    factory = Factory(decisions=0, producers=2, batch=1)
    place = factory.add(factory.chains[0], "decision", factory.decision_body(9, "pending"))
    fingerprint = {"method": "files-sha256@v1", "root": "ab" * 32, "files": 1}
    factory.models[place] = factory.add(
        factory.chains[1], "model", {"name": "late", "fingerprint": fingerprint}
    )
    expect(verify(factory.receipt(place), factory), 10)


def test_the_model_is_stated_with_its_adapters() -> None:
    """Fingerprint, name and adapters are the producer's statements, never proven."""
    factory = Factory(decisions=0, batch=1)
    chain = factory.chains[0]
    fingerprint = {"method": "files-sha256@v1", "root": "cd" * 32, "files": 2}
    body = {
        "name": "base",
        "fingerprint": fingerprint,
        "adapters": [{"name": "lora", "fingerprint": fingerprint}],
    }
    model = factory.add(chain, "model", body)
    place = factory.add(chain, "decision", factory.decision_body(9, factory.leaves[model].hex()))
    factory.models[place] = model
    facts = {fact.name: fact for fact in verify(factory.receipt(place), factory).facts}
    assert facts["model"].value == "cd" * 32
    assert facts["adapter"].value == f"lora {'cd' * 32}"
    assert {facts[name].grade for name in ("model", "model_name", "adapter")} == {Grade.STATED}
    assert MODEL_ROOT != "cd" * 32


def _with_head(receipt: Receipt, head: Head, key: Ed25519Signer) -> Receipt:
    assert receipt.head is not None
    return dataclasses.replace(receipt, head=ReceiptHead(sign_head(head, key), receipt.head.path))


def _key_name() -> str:
    return producer_key_name(FACTORY.origin, FIRST.name)


def test_the_factory_is_reproducible() -> None:
    """Two logs of the same arguments are the same bytes, so a receipt kept for ever can be made again."""
    again = Factory(decisions=8, producers=2, batch=3)
    assert again.receipt_bytes(INDEX) == FACTORY.receipt_bytes(INDEX)
    assert root_hash(again.leaves) == root_hash(FACTORY.leaves)
    assert prove_inclusion(again.leaves, 1) == prove_inclusion(FACTORY.leaves, 1)
    assert seed("a") != seed("b")


def test_a_related_entry_of_another_origin_or_kind_fails_step_8() -> None:
    """An entry of another log, or of a kind nobody knows, is nothing this one stands on."""
    factory = Factory(decisions=1, batch=1)
    factory.origin, kept = "other.example/log", factory.origin
    foreign = factory.add(factory.chains[0], "notice", {"what": "stopped"})
    factory.origin = kept
    unknown = factory.add(factory.chains[0], "weights", {})
    receipt = factory.receipt(factory.decisions[0])
    for place in (foreign, unknown):
        more = Related(factory.entries[place], place, factory.path(place, len(factory.entries)))
        expect(verify(dataclasses.replace(receipt, related=(*receipt.related, more)), factory), 8)


def test_an_instance_entry_comes_after_its_producers() -> None:
    """A run cannot be in the log before its producer was enrolled, whatever is signed."""
    factory = Factory(decisions=1, batch=1)
    chain, size = factory.chains[0], len(factory.entries)
    home = factory.entries[chain.home]
    factory.entries.append(home)
    factory.leaves.append(factory.leaves[chain.home])
    receipt = factory.receipt(factory.decisions[0])
    again = Related(home, size, factory.path(size, size + 1))
    expect(verify(dataclasses.replace(receipt, related=(again, *receipt.related[1:])), factory), 10)

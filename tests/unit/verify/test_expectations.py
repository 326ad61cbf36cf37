"""Step 14: what the caller insists on, refused early if it cannot be read, and never passed for want of
evidence.
"""

from __future__ import annotations

import pytest

from auditlog.errors import ConfigurationError
from auditlog.verify import Outcome, Report, Verifier, parse_expectation, parse_expectations
from auditlog.verify.expectation_text import KEYS
from tests.support.receipts_factory import MODEL_ROOT, Factory, decision_id

FACTORY = Factory(decisions=3, anchored=(5,))
INDEX = FACTORY.decisions[0]
RECEIPT = FACTORY.receipt_bytes(INDEX)


def verify(*expected: str, receipt: bytes = RECEIPT, quorum: int = 0) -> Report:
    """Verify and insist."""
    return Verifier(FACTORY.trust(quorum=quorum)).verify(receipt, expect=parse_expectations(expected))


HOLDS = [
    f"origin={FACTORY.origin}",
    f"operator={FACTORY.origin}",
    f"index={INDEX}",
    "kind=decision",
    f"leaf={FACTORY.leaves[INDEX].hex()}",
    f"leaf={FACTORY.leaves[INDEX].hex().upper()}",
    "producer=gpu-0",
    f"producer={FACTORY.chains[0].producer}",
    f"instance={FACTORY.chains[0].instance}",
    "seq=2",
    f"model={MODEL_ROOT}",
    f"model=sha256:{MODEL_ROOT.upper()}",
    f"model=files-sha256@v1:{MODEL_ROOT}",
    "model-name=loan",
    f"id={decision_id(0)}",
    "operation=predict",
    "status=200",
    "ended=ok",
    "mode=fail_open",
    "capture=asgi",
    "method=POST",
    "route=/decide",
    "after=2026-01-01",
    "after=2026-01-01T00:00:00Z",
    "before=2026-01-01T00:00:00.0Z",
    "before=2027-01-01",
]

FAILS = [
    "origin=other.example",
    "index=0",
    "kind=outcome",
    f"leaf={'0' * 64}",
    "producer=gpu-1",
    "seq=3",
    f"model={'0' * 64}",
    "model=unregistered",
    "status=500",
    "route=/decid",
    "after=2026-01-01T00:00:00.000001Z",
    "before=2025-12-31T23:59:59.999999Z",
]


@pytest.mark.parametrize("text", HOLDS)
def test_what_holds_passes(text: str) -> None:
    """Each key compares with what the receipt shows."""
    report = verify(text)
    assert report.exit_code == 0, report.headline
    assert report.steps[13].outcome is Outcome.PASSED


@pytest.mark.parametrize("text", FAILS)
def test_what_does_not_hold_fails_and_says_what_was_found(text: str) -> None:
    """Exit 1, with what was expected and what was found."""
    report = verify(text)
    assert report.exit_code == 1
    assert report.first_failure is not None
    assert report.first_failure.number == 14
    assert "expected " in report.first_failure.detail
    assert "found " in report.first_failure.detail


def test_all_expectations_must_hold() -> None:
    """One that fails fails the step, whatever the others do."""
    assert verify("index=4", "kind=decision").exit_code == 0
    assert verify("index=4", "kind=outcome").exit_code == 1


def test_what_the_receipt_does_not_show_is_not_checked() -> None:
    """No model, no parent, no time on record: exit 3, never passed."""
    start = FACTORY.receipt_bytes(FACTORY.chains[0].start)
    assert verify(f"model={MODEL_ROOT}", receipt=start).exit_code == 3
    assert verify("recorded-before=2030-01-01").exit_code == 3
    assert verify("decision=x").exit_code == 3


def test_the_time_on_record_is_compared_with_the_quorums() -> None:
    """`recorded-before` rests on witnesses, not on the producer's clock."""
    assert verify("recorded-before=2026-01-01T00:06:00Z", quorum=2).exit_code == 0
    assert verify("recorded-before=2026-01-01T00:05:59Z", quorum=2).exit_code == 1


def test_a_swapped_model_is_caught() -> None:
    """A decision that names another fingerprint than the approved one fails the expectation."""
    factory = Factory(decisions=0)
    chain = factory.chains[0]
    fingerprint = {"method": "files-sha256@v1", "root": "ab" * 32, "files": 5}
    model = factory.add(chain, "model", {"name": "loan", "fingerprint": fingerprint})
    place = factory.add(chain, "decision", factory.decision_body(9, factory.leaves[model].hex()))
    factory.models[place] = model
    factory.close_batch(chain)
    expect = parse_expectation(f"model={MODEL_ROOT}")
    report = Verifier(factory.trust()).verify(factory.receipt_bytes(place), expect=expect)
    assert report.exit_code == 1
    assert MODEL_ROOT in report.headline


def test_an_unregistered_model_is_not_the_expected_one() -> None:
    """`unregistered` is a value, and fails a fingerprint; what became of `pending` is not known."""
    factory = Factory(decisions=0, batch=1)
    for word, codes in (("unregistered", [1, 0]), ("pending", [3, 3])):
        place = factory.add(factory.chains[0], "decision", factory.decision_body(9, word))
        verifier, receipt = Verifier(factory.trust()), factory.receipt_bytes(place)
        asked = [parse_expectation(f"model={value}") for value in (MODEL_ROOT, word)]
        assert [verifier.verify(receipt, expect=each).exit_code for each in asked] == codes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model",
        "model=",
        "=x",
        "colour=blue",
        "model=abc",
        "model=" + "g" * 64,
        "index=-1",
        "index=01",
        "index=1e3",
        "index=\u0661",
        "seq=" + "9" * 30,
        "after=yesterday",
        "after=2026-02-30",
        "before=2026-01-01T00:00:00",
        "before=2026-01-01T00:00:00.1234567Z",
        "before=2026-01-01T25:00:00Z",
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    """An unknown key or an impossible value is a usage error, before anything is verified."""
    with pytest.raises(ConfigurationError, match="expected"):
        parse_expectation(text)


def test_every_key_of_the_list_is_readable() -> None:
    """The keys the error message offers are keys."""
    decimals = ("index", "seq", "status", "max-lag", "cosigned-by-at-least", "anchored-on")
    values = {"model": "ab" * 32, "model-leaf": "ab" * 32} | dict.fromkeys(decimals, "1")
    for key in KEYS:
        assert parse_expectation(f"{key}={values.get(key, '2026-01-01')}")


def test_a_strangers_text_in_a_message_is_escaped() -> None:
    """A name with control characters cannot act on the terminal of whoever reads the failure."""
    factory = Factory(decisions=0, batch=1)
    body = factory.decision_body(1, "unregistered") | {"route": "/\x1b[31m"}
    place = factory.add(factory.chains[0], "decision", body)
    expect = parse_expectation("route=/decide")
    report = Verifier(factory.trust()).verify(factory.receipt_bytes(place), expect=expect)
    assert "\x1b" not in report.headline
    assert "\\x1b[31m" in report.headline

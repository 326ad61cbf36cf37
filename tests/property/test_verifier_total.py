"""The verifier is total, and no mutation of a receipt makes it say more than the original.

Any bytes give a report; nothing but a report comes out; and of every mutation of honest receipts none is
accepted.
"""

from __future__ import annotations

import itertools
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditlog.verify import Verifier
from auditlog.verify.report import STEP_NAMES, Report
from tests.support.mutations import Mutator, damage, gained
from tests.support.receipts_factory import Factory, shown_field, shown_whole

FACTORY = Factory(decisions=12, producers=2, batch=3, anchored=(12, 17))
OTHER_LOG = Factory(origin="other.example/log", decisions=3, anchored=(6,))
INDEX = FACTORY.decisions[1]
RECEIPT = FACTORY.receipt_bytes(INDEX, disclosures=[shown_field(1), shown_whole(1, "response")])
OTHERS = [
    *(
        FACTORY.receipt_bytes(index, disclosures=[shown_field(number)])
        for number, index in enumerate(FACTORY.decisions)
    ),
    OTHER_LOG.receipt_bytes(OTHER_LOG.decisions[0]),
]
TRUSTS = [
    FACTORY.trust(),
    FACTORY.trust(quorum=2, require=["quorum", "devnet"]),
    FACTORY.trust(quorum=1, require=["quorum"], devnet=False),
]

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def _is_report(report: Report) -> bool:
    json.dumps(report.to_json())
    return report.exit_code in (0, 1, 3) and [step.name for step in report.steps] == list(STEP_NAMES)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_give_a_report(data: bytes) -> None:
    """Bytes of any kind are a failed first step, never an exception."""
    report = Verifier(TRUSTS[0]).verify(data)
    assert _is_report(report)
    assert report.exit_code == 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["v", "entry", "proof", "related", "head", "anchors", "disclosures"]), _json
    )
)
def test_any_json_in_a_receipts_members_gives_a_report(members: dict[str, object]) -> None:
    """Members of any type are a failed step, alone or in the place of an honest one."""
    value = {**json.loads(RECEIPT), **members}
    for attempt in (members, value):
        report = Verifier(TRUSTS[0]).verify(json.dumps(attempt).encode() + b"\n")
        assert _is_report(report)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=500) | _json.map(lambda value: json.dumps(value).encode() + b"\n"))
def test_any_disclosure_file_gives_a_report(data: bytes) -> None:
    """A disclosure file of any bytes is a failed step 11."""
    report = Verifier(TRUSTS[0]).verify(RECEIPT, disclosures=data)
    assert _is_report(report)
    assert report.exit_code == 1
    assert report.first_failure is not None
    assert report.first_failure.number == 11


@pytest.mark.parametrize("trust", TRUSTS, ids=["alone", "quorum and devnet", "no devnet key"])
def test_no_mutation_is_accepted(trust: object) -> None:
    """A thousand mutations under each of three trust files: none verifies and says more than the original."""
    _expect_none_accepted(trust, random.Random(20_260_101), 1000)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", range(10))
def test_no_mutation_of_a_hundred_thousand_is_accepted(block: int) -> None:
    """A hundred thousand mutations, a third under each trust file: none is accepted."""
    for place, trust in enumerate(TRUSTS):
        _expect_none_accepted(trust, random.Random(1000 * block + place), 3334)


def _expect_none_accepted(trust: object, rng: random.Random, count: int) -> None:
    verifier = Verifier(trust)  # type: ignore[arg-type]
    original = verifier.verify(RECEIPT)
    assert original.exit_code == 0
    for mutated in itertools.islice(Mutator(RECEIPT, OTHERS, rng), count):
        report = verifier.verify(mutated)
        assert not gained(original, report), mutated


def test_no_damaged_disclosure_file_is_accepted() -> None:
    """A disclosure file with damaged bytes never opens more than the honest one."""
    from auditlog.core.disclosure import Disclosures, format_disclosures
    from tests.support.receipts_factory import decision_id

    verifier, rng = Verifier(TRUSTS[0]), random.Random(7)
    receipt = FACTORY.receipt_bytes(INDEX)
    honest = format_disclosures(Disclosures(decision_id(1), (shown_field(1), shown_whole(1))))
    original = verifier.verify(receipt, disclosures=honest)
    assert original.exit_code == 0
    for _ in range(300):
        assert not gained(original, verifier.verify(receipt, disclosures=damage(honest, rng)))

"""The verdict in words: by how many it was cosigned, which groups lack whom, and what nobody checked."""

from __future__ import annotations

import dataclasses

import pytest

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.note import Ed25519Signer, Signature, format_signature
from auditlog.core.policy import parse_policy
from auditlog.core.receipt import format_receipt
from auditlog.core.trust import Issuer, Trust
from auditlog.verify.headline import OPERATOR_ONLY
from auditlog.verify.quorum_words import INDEPENDENT, MLDSA44_BLOB_BYTES, PARTING, cosigned_words
from auditlog.verify.report import Outcome, Report
from auditlog.verify.verifier import Verifier
from tests.support.receipts_factory import Factory

FACTORY = Factory()
INDEX = FACTORY.decisions[0]
SIGNERS = [CosignatureSigner.from_seed(f"eu{n}.example", bytes([n + 70]) * 32) for n in range(3)]
SIGNERS += [CosignatureSigner.from_seed(f"us{n}.example", bytes([n + 80]) * 32) for n in range(2)]
NESTED = "group eu 2 eu0 eu1 eu2\ngroup us any us0 us1\ngroup both all eu us\nquorum both\n"


def trust_of(rest: str) -> Trust:
    """A trust file with all five witnesses and these groups."""
    lines = [f"log {FACTORY.log_key.vkey}"]
    lines += [f"witness {each.name.partition('.')[0]} {each.vkey}" for each in SIGNERS]
    return Trust(
        policy=parse_policy("".join(f"{line}\n" for line in lines) + rest),
        issuer=Issuer("the tests", "self"),
        require=(),
    )


def report_of(rest: str, *names: str, more: str = "") -> Report:
    """A receipt cosigned by these witnesses, with more lines below."""
    note = FACTORY.checkpoint(witnesses=0)
    text = note.split("\n\n")[0] + "\n"
    note += "".join(each.sign(text, 1_800_000_000) for each in SIGNERS if each.name.split(".")[0] in names)
    receipt = FACTORY.receipt(INDEX, anchored=())
    proof = dataclasses.replace(receipt.proof, checkpoint=note + more)
    data = format_receipt(dataclasses.replace(receipt, proof=proof))
    return Verifier(trust_of(rest)).verify(data)


def test_the_headline_says_by_how_many() -> None:
    """Of those the quorum depends on, and what is known of their independence."""
    report = report_of("group g 2 eu0 eu1 eu2\nquorum g\n", "eu0", "eu2", "us0")
    assert report.headline.endswith(f", cosigned by 2 of 3 independent witnesses ({INDEPENDENT}).")
    assert report.steps[3].outcome is Outcome.PASSED
    alone = report_of("quorum eu1\n", "eu1", "eu2")
    assert alone.headline.endswith(
        ", cosigned by the one witness that the quorum of the trust file asks for."
    )
    only = trust_of("quorum eu1\n")
    text = f"log {FACTORY.log_key.vkey}\nwitness eu1 {SIGNERS[1].vkey}\nquorum eu1\n"
    assert cosigned_words(only.policy, {"eu1"}).endswith("asks for")
    assert cosigned_words(parse_policy(text), {"eu1"}) == "cosigned by the one witness of the trust file"


def test_the_headline_says_that_two_quorums_may_part() -> None:
    """One of two is enough: the other could cosign another history. Not if both did, or most are needed."""
    parting = report_of("group g any eu0 eu1\nquorum g\n", "eu0")
    assert parting.exit_code == 0
    assert parting.headline.startswith("VERIFIED")
    assert parting.headline.endswith(f", but {PARTING}.")
    assert PARTING not in report_of("group g any eu0 eu1\nquorum g\n", "eu0", "eu1").headline
    assert PARTING not in report_of("group g 2 eu0 eu1 eu2\nquorum g\n", "eu0", "eu1").headline


@pytest.mark.parametrize(
    ("names", "passes", "words"),
    [
        (
            ("eu0", "eu1", "us1"),
            True,
            "group eu: 2 of 3, needs 2, group us: 1 of 2, needs 1, group both: 2 of 2",
        ),
        (("eu0", "us0", "us1"), False, "3 of 5 witnesses of the trust file cosigned, too few for its quorum"),
        (("eu0", "eu1", "eu2"), False, "group us: 0 of 2, needs 1"),
        ((), False, "0 of 5 witnesses"),
    ],
)
def test_groups_within_groups_are_judged_and_told(names: tuple[str, ...], passes: bool, words: str) -> None:
    """Step 4 says how far each group is; too few is never a quorum, and the headline says so."""
    report = report_of(NESTED, *names)
    assert (report.steps[3].outcome is Outcome.PASSED) is passes
    assert words in report.steps[3].detail
    assert (OPERATOR_ONLY in report.headline) is not passes
    assert ("Too few" in report.headline or "too few" in report.headline) is (not passes and bool(names))


def test_quorums_that_could_miss_each_other_are_named() -> None:
    """One of two is enough for nobody who asks whether there are two histories."""
    report = report_of("group g any us0 us1\nquorum g\n", "us0")
    assert "two quorums of this trust file may have no witness in common" in report.steps[3].detail
    assert "no witness in common" not in report_of(NESTED, "eu0", "eu1", "us0").steps[3].detail


def test_lines_nobody_checked_are_told_by_their_names() -> None:
    """Strangers are ignored; a line in the form of ML-DSA-44 is not checked; none of them is a fact."""
    stranger = Ed25519Signer.from_seed("stranger.example", bytes(32))
    text = FACTORY.checkpoint(witnesses=0).split("\n\n")[0] + "\n"
    large = Signature("pq.example", b"abcd", bytes(MLDSA44_BLOB_BYTES))
    more = stranger.sign(text) + format_signature(large)
    report, plain = report_of(NESTED, "eu0", more=more), report_of(NESTED, "eu0")
    detail = report.steps[2].detail
    assert "; 1 signature line(s) by keys that the trust file lacks ignored (stranger.example)" in detail
    assert "; 1 line(s) in the form of ML-DSA-44 not checked (pq.example)" in detail
    assert report.facts == plain.facts


def test_names_of_strangers_are_cut_and_escaped() -> None:
    """Five of them, one with a mark that turns text around."""
    strangers = "".join(
        format_signature(Signature(f"s{n}\u202e" + "x" * 90, b"abcd", b"1" * 64)) for n in range(5)
    )
    detail = report_of("quorum none\n", more=strangers).steps[2].detail
    assert "\u202e" not in detail
    assert "s3" in detail
    assert "s4" not in detail
    assert len(detail) < 450

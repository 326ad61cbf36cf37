"""Policies: the grammar, the rules about names and keys, and when a quorum is met."""

from __future__ import annotations

import pytest

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.keys import format_vkey
from auditlog.core.note import Ed25519Signer, open_note
from auditlog.core.policy import Policy, parse_policy
from auditlog.errors import MalformedError

LOG = Ed25519Signer.from_seed("log.example/one", b"\x01" * 32)
WITNESSES = [CosignatureSigner.from_seed(f"witness.example/{n}", bytes([n + 10]) * 32) for n in range(6)]
TEXT = "log.example/one\n7\nAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n"
X1, X2, X3, Y1, Y2, Y3 = WITNESSES
TWO_LEVELS = f"""\
# the example of the standard
log {LOG.vkey} https://log.example/one

witness X1 {X1.vkey}
\twitness  X2\t{X2.vkey}   https://witness.example/
witness X3 {X3.vkey}
group X-witnesses 2 X1 X2 X3
witness Y1 {Y1.vkey}
witness Y2 {Y2.vkey}
witness Y3 {Y3.vkey}
group Y-witnesses any Y1 Y2 Y3
group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def cosigned(
    policy: Policy, *witnesses: CosignatureSigner, time: int = 100
) -> tuple[bool, list[tuple[str, int]]]:
    """Whether these cosignatures satisfy the policy, and who is counted."""
    note = TEXT + "\n" + LOG.sign(TEXT) + "".join(witness.sign(TEXT, time) for witness in witnesses)
    result = policy.check_quorum(TEXT, open_note(note, policy.verifiers()))
    return result.satisfied, result.cosigners


def test_the_example_of_the_standard_is_read() -> None:
    """Logs, witnesses, groups, URLs, tabs, comments and empty lines."""
    policy = parse_policy(TWO_LEVELS)
    assert [(log.verifier.name, log.url) for log in policy.logs] == [
        ("log.example/one", "https://log.example/one")
    ]
    assert [witness.name for witness in policy.witnesses] == ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    assert policy.witnesses[1].url == "https://witness.example/"
    assert [(group.name, group.threshold) for group in policy.groups] == [
        ("X-witnesses", 2),
        ("Y-witnesses", 1),
        ("X-and-Y", 2),
    ]
    assert (policy.quorum, policy.text) == ("X-and-Y", TWO_LEVELS)
    assert len(policy.verifiers()) == 7
    assert policy.log_verifier("log.example/one") is policy.logs[0].verifier
    assert policy.log_verifier("log.example/two") is None


def test_groups_count_their_members() -> None:
    """Two of X and one of Y satisfy the example; less does not."""
    policy = parse_policy(TWO_LEVELS)
    assert cosigned(policy, X1, X3, Y2) == (True, [("X1", 100), ("X3", 100), ("Y2", 100)])
    assert cosigned(policy, *WITNESSES)[0]
    for too_few in ((), (X1,), (X1, X2, X3), (X1, Y1, Y2, Y3)):
        assert not cosigned(policy, *too_few)[0]


def test_a_single_witness_may_be_the_quorum() -> None:
    """The quorum line may name a witness; others do not count."""
    policy = parse_policy(f"witness w {X1.vkey}\nwitness v {X2.vkey}\nlog {LOG.vkey}\nquorum w\n")
    assert cosigned(policy, X1)[0]
    assert cosigned(policy, X2) == (False, [("v", 100)])


def test_quorum_none_is_never_a_quorum() -> None:
    """Without a quorum nobody but the log vouches; cosignatures are still reported."""
    policy = parse_policy(f"log {LOG.vkey}\nwitness w {X1.vkey}\nquorum none\n")
    note = TEXT + "\n" + LOG.sign(TEXT) + X1.sign(TEXT, 5)
    result = policy.check_quorum(TEXT, open_note(note, policy.verifiers()))
    assert (result.satisfied, result.is_none, result.cosigners) == (False, True, [("w", 5)])


def test_the_earliest_of_two_times_counts() -> None:
    """A witness that cosigned twice is one witness, and had seen the tree by the earlier time."""
    policy = parse_policy(
        f"log {LOG.vkey}\nwitness w {X1.vkey}\nwitness v {X2.vkey}\ngroup g 2 w v\nquorum g\n"
    )
    note = TEXT + "\n" + LOG.sign(TEXT) + X1.sign(TEXT, 9) + X1.sign(TEXT, 7)
    result = policy.check_quorum(TEXT, open_note(note, policy.verifiers()))
    assert (result.satisfied, result.cosigners) == (False, [("w", 7)])


def test_signatures_verified_under_other_keys_do_not_count() -> None:
    """The whole key is compared, not its name and 32-bit ID; another text is refused."""
    policy = parse_policy(f"log {LOG.vkey}\nwitness w {X1.vkey}\nquorum w\n")
    opened = open_note(TEXT + "\n" + X2.sign(TEXT, 9), [X2.verifier])
    assert not policy.check_quorum(TEXT, opened).satisfied
    with pytest.raises(MalformedError):
        policy.check_quorum(TEXT.replace("\n7\n", "\n8\n"), opened)


def test_names_may_be_any_word_but_none() -> None:
    """`all`, numbers and non-ASCII names are names; look-alikes are different ones."""
    policy = parse_policy(
        f"witness all {X1.vkey}\nwitness 2 {X2.vkey}\nwitness K {X3.vkey}\nwitness \u212a {Y1.vkey}\n"
        f"group any all all 2 K\nquorum \u212a\n"
    )
    assert policy.groups[0].members == ("all", "2", "K")
    assert policy.quorum == "\u212a"


def test_as_many_lines_as_the_standard_asks_for() -> None:
    """32 logs, witnesses and groups."""
    lines = []
    for number in range(32):
        log = Ed25519Signer.from_seed(f"log.example/{number}", bytes([number]) * 32)
        witness = CosignatureSigner.from_seed(f"witness.example/{number}", bytes([number + 100]) * 32)
        lines += [f"log {log.vkey}", f"witness w{number} {witness.vkey}", f"group g{number} any w{number}"]
    policy = parse_policy("\n".join([*lines, "quorum g31"]))
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups)) == (32, 32, 32)


WITNESS_LINE = f"witness w {X1.vkey}\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "quorum w\n",
        "quorum none\nquorum none\n",
        "quorum\n",
        "quorum none extra\n",
        "Quorum none\n",
        "policy x\nquorum none\n",
        "quorum none\r\n",
        "quorum\u00a0none\n",
        "quorum none\x00\n",
        "quorum none\x7f\n",
        "quorum none\ud800\n",
        "log\nquorum none\n",
        f"log {LOG.vkey} url extra\nquorum none\n",
        f"log {X1.vkey}\nquorum none\n",
        f"log {LOG.vkey}x\nquorum none\n",
        f"log {LOG.vkey}\nlog {LOG.vkey}\nquorum none\n",
        f"log {LOG.vkey}\nlog {Ed25519Signer.from_seed('other', bytes([1]) * 32).vkey}\nquorum none\n",
        f"witness w {LOG.vkey}\nquorum w\n",
        f"witness w {format_vkey('w', 6, bytes(1312))}\nquorum w\n",
        f"witness none {X1.vkey}\nquorum none\n",
        f"witness w {X1.vkey}\nwitness w {X2.vkey}\nquorum w\n",
        f"witness w {X1.vkey}\nwitness v {X1.vkey}\nquorum w\n",
        f"{WITNESS_LINE}group g 0 w\nquorum g\n",
        f"{WITNESS_LINE}group g 2 w\nquorum g\n",
        f"{WITNESS_LINE}group g 01 w\nquorum g\n",
        f"{WITNESS_LINE}group g -1 w\nquorum g\n",
        f"{WITNESS_LINE}group g most w\nquorum g\n",
        f"{WITNESS_LINE}group g any\nquorum g\n",
        f"{WITNESS_LINE}group g any v\nquorum g\n",
        f"{WITNESS_LINE}group g any none\nquorum g\n",
        f"{WITNESS_LINE}group g any w w\nquorum g\n",
        f"{WITNESS_LINE}group g any g\nquorum g\n",
        f"{WITNESS_LINE}group g any w\ngroup h any w\nquorum g\n",
        f"{WITNESS_LINE}group w any w\nquorum w\n",
        f"quorum w\n{WITNESS_LINE}",
        "# " + "x" * 1_000_000,
    ],
)
def test_what_breaks_a_rule_is_refused(text: str) -> None:
    """Each text breaks one rule of the grammar, of names, of members or of keys."""
    with pytest.raises(MalformedError):
        parse_policy(text)


@pytest.mark.parametrize(
    ("rule", "names", "expected"),
    [
        ("group q 1 X1", "X1", True),
        ("group q any X1 X2", "X1", False),
        ("group q any X1 X2", "X1 X2", True),
        ("group q 2 X1 X2 X3", "X1 X2", True),
        ("group q 2 X1 X2 X3 Y1", "X1 X2", False),
        ("group q 2 X1 X2 X3 Y1", "X1 X2 X3", True),
        ("group q all X1 X2", "X1", False),
        ("group q all X1 X2", "X1 X2", True),
        ("group a any X1 X2\ngroup b any Y1 Y2\ngroup q all a b", "X1 Y1", False),
        ("group a any X1 X2\ngroup b any Y1 Y2\ngroup q all a b", "X1 X2 Y1", True),
        ("group a 2 X1 X2 X3\ngroup b any Y1 Y2\ngroup q any a b", "X1 X2 Y1", False),
        ("group a 2 X1 X2 X3\ngroup b any Y1 Y2\ngroup q any a b", "X1 X2 Y1 Y2", True),
    ],
)
def test_a_quorum_decides_if_no_other_is_left(rule: str, names: str, expected: bool) -> None:
    """The witnesses that remain must not be a quorum themselves; groups within groups count as groups."""
    witnesses = "".join(
        f"witness {name} {key.vkey}\n"
        for name, key in zip(("X1", "X2", "X3", "Y1", "Y2"), WITNESSES, strict=False)
    )
    policy = parse_policy(f"log {LOG.vkey}\n{witnesses}{rule}\nquorum q\n")
    assert policy.is_decided_by(set(names.split())) is expected
    assert not parse_policy(f"log {LOG.vkey}\n{witnesses}quorum none\n").is_decided_by(set(names.split()))

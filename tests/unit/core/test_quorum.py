"""What follows from a policy, against a judge that tries every set of witnesses."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.policy import Policy, parse_policy
from auditlog.core.quorum import can_part, counted, group_standings, majority_of, witnesses_policy

KEYS = [CosignatureSigner.from_seed(f"w{n}.example", bytes([n + 1]) * 32) for n in range(6)]
NAMES = [f"w{n}" for n in range(6)]
Tree = str | tuple[int, list["Tree"]]


def judge(tree: Tree, names: frozenset[str]) -> bool:
    """Whether these witnesses satisfy the tree: by the words of the standard, and nothing else."""
    if isinstance(tree, str):
        return tree in names
    threshold, members = tree
    return sum(judge(member, names) for member in members) >= threshold


def leaves(tree: Tree) -> list[str]:
    """The witnesses in a tree."""
    return [tree] if isinstance(tree, str) else [name for member in tree[1] for name in leaves(member)]


def written(tree: Tree, more: tuple[str, ...] = ()) -> Policy:
    """The policy text of a tree, parsed; `more` are witnesses that it does not need."""
    lines = [
        f"witness {name} {KEYS[int(name[1:])].vkey}" for name in sorted({*leaves(tree), *more}, reverse=True)
    ]

    def write(part: Tree) -> str:
        if isinstance(part, str):
            return part
        threshold, members = part
        below = [write(member) for member in members]
        name = f"g{len(lines)}"
        rules = {1: "any", len(members): "all"}
        rule = rules.get(threshold, str(threshold)) if len(lines) % 2 else str(threshold)
        lines.append(f"group {name} {rule} {' '.join(below)}")
        return name

    top = write(tree)
    return parse_policy("".join(f"{line}\n" for line in [*lines, f"quorum {top}"]))


def every_set(names: list[str]) -> list[frozenset[str]]:
    """All sets of these names."""
    return [
        frozenset(each) for each in chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))
    ]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A random tree of groups over one to six witnesses, each once."""
    parts: list[Tree] = []
    parts += draw(st.permutations(NAMES))[: draw(st.integers(1, 6))]
    while len(parts) > 1 or draw(st.booleans()):
        members = [parts.pop() for _ in range(draw(st.integers(1, len(parts))))]
        parts.insert(0, (draw(st.integers(1, len(members))), members))
        if len(parts) == 1 and draw(st.booleans()):
            break
    return parts[0]


@settings(max_examples=150, deadline=None)
@given(trees())
def test_random_policies_agree_with_the_judge(tree: Tree) -> None:
    """Quorum, decisive sets and disjoint quorums, for every set of witnesses of every policy."""
    policy, names = written(tree), leaves(tree)
    sets = every_set(names)
    quorums = {each for each in sets if judge(tree, each)}
    for each in sets:
        assert policy.is_quorum(each) == (each in quorums)
        assert policy.is_decided_by(each) == (each in quorums and frozenset(names) - each not in quorums)
    assert can_part(policy) == any(frozenset(names) - each in quorums for each in quorums)
    assert sorted(counted(policy)) == sorted(names)


@settings(max_examples=50, deadline=None)
@given(trees(), st.sets(st.sampled_from(NAMES)))
def test_the_standing_of_every_group_leads_to_the_verdict(tree: Tree, names: set[str]) -> None:
    """The quorum's own group stands last, and is satisfied exactly if the quorum is."""
    policy = written(tree, more=tuple(NAMES))
    standings = group_standings(policy, names)
    if isinstance(tree, str):
        assert standings == ()
    else:
        assert standings[-1].name == policy.quorum
        assert standings[-1].is_satisfied == policy.is_quorum(names)
        assert (standings[-1].threshold, standings[-1].members) == (tree[0], len(tree[1]))
    assert sorted(counted(policy)) == sorted(leaves(tree))


@pytest.mark.parametrize(
    ("threshold", "of", "parts"), [(1, 1, False), (1, 2, True), (2, 3, False), (2, 4, True), (3, 4, False)]
)
def test_a_majority_is_what_keeps_quorums_together(threshold: int, of: int, parts: bool) -> None:
    """At most half of the witnesses: two quorums may miss each other."""
    policy = parse_policy(witnesses_policy([key.vkey for key in KEYS[:of]], threshold))
    assert can_part(policy) is parts
    assert (threshold >= majority_of(of)) is not parts


def test_a_policy_of_a_list_calls_witnesses_by_their_keys() -> None:
    """Of none it is `quorum none`, under which nothing counts."""
    policy = parse_policy(witnesses_policy([key.vkey for key in KEYS[:3]], 2))
    assert policy.is_quorum({"w0.example", "w2.example"})
    nobody = parse_policy(witnesses_policy([KEYS[0].vkey], 0))
    assert (nobody.quorum, counted(nobody), can_part(nobody), group_standings(nobody, ())) == (
        None, (), False, (),
    )  # fmt: skip

"""What fsck makes of producers' lives: rotations, ends, losses, heartbeats that count."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
from typing import Any

import pytest

from auditlog.core.entry import encode_entry, parse_entry
from auditlog.core.head import sign_head
from auditlog.core.merkle import hash_leaf
from auditlog.verify.chains import ChainChecker
from tests.support import format_world as fixed
from tests.support.format_world import ORIGIN, Chain
from tests.support.rotated_world import RotatedWorld, coverage, heartbeat


class Everyone(Container[tuple[str, str]]):
    """Every instance there is."""

    def __contains__(self, _name: object) -> bool:
        return True


def follow(world: RotatedWorld, entries: list[bytes] | None = None) -> tuple[ChainChecker, list[str]]:
    """The checker after these entries, and its complaints."""
    problems: list[str] = []
    chains = ChainChecker(ORIGIN, problems.append, vkey=world.log_key.vkey, heads_of=Everyone())
    for index, data in enumerate(world.entries if entries is None else entries):
        chains.take(index, hash_leaf(data), data)
    return chains, problems


def leaves(world: RotatedWorld) -> Callable[[range], list[bytes]]:
    """Leaf hashes of the world's entries."""
    return lambda indices: [world.leaf(index) for index in indices]


def third_chain(world: RotatedWorld) -> Chain:
    """The producer's newest instance, to go on from."""
    last = parse_entry(world.entries[world.at["redacted"]])
    return Chain(last.producer, last.instance, world.leaf(world.at["redacted"]).hex(), last.seq + 1)


def log_chain(world: RotatedWorld) -> Chain:
    """The log's own chain, to go on from."""
    last = parse_entry(world.entries[world.at["retirement"]])
    return Chain("log", "log", world.leaf(world.at["retirement"]).hex(), last.seq + 1)


def without_end() -> RotatedWorld:
    """The world before the producer was retired."""
    world = RotatedWorld()
    del world.entries[world.at["retirement"] :]
    return world


def test_an_honest_life_has_no_findings_and_is_counted() -> None:
    """Two rotations, two gaps, a loss and an end: no problem, and all of it in the report."""
    chains, problems = follow(RotatedWorld())
    assert problems == []
    assert chains.odd_bodies == 0
    assert chains.declared.to_json() == {
        "gaps": 2,
        "lost_calls": 0,
        "unknown_gaps": 2,
        "unknown_at_most": 3,
        "unbounded_gaps": 1,
        "rotations": 2,
        "retirements": 1,
        "declared_lost": 1,
    }
    assert chains.declared.line() == (
        "declared: 2 gap (0 calls lost, at most 3 more, and an unknown number in 1 of them); "
        "1 declared_lost; 2 rotation; 1 retirement"
    )


def test_a_log_that_declares_nothing_says_nothing() -> None:
    """No line where there is nothing to tell."""
    assert follow(RotatedWorld(), [])[0].declared.line() == ""


@pytest.mark.parametrize(
    ("fault", "index", "problem"),
    [
        ("old-twice", "rotation", "new key"),
        ("new-twice", "rotation", "old key"),
        ("to-another-name", "rotation", "another name"),
        ("of-another-producer", "rotation", "another text"),
        ("back-to-the-first", "rotation_2", "had before"),
        ("old-start", "instance_3", "instance: "),
    ],
)
def test_a_rotation_that_does_not_hold_is_found(fault: str, index: str, problem: str) -> None:
    """Not by both keys, of something else, to an old key; or a start by a key no longer in force."""
    world = RotatedWorld(fault=fault)
    _, problems = follow(world)
    assert any(found.startswith(f"entry {world.at[index]}: ") and problem in found for found in problems)


def test_heads_are_checked_with_the_key_in_force() -> None:
    """Each batch by its own key; an old key, or a batch that goes on behind a rotation, is found."""
    world = RotatedWorld()
    chains, _ = follow(world)
    found: list[str] = []
    for first, last, _, key in world.runs:
        assert chains.check_head(
            sign_head(world.head(first, last), world.keys[key]), leaves(world), found.append
        )
    assert found == []
    after = world.head(world.at["after"], world.at["after"])
    chains.check_head(sign_head(after, world.keys[0]), leaves(world), found.append)
    chains.check_head(sign_head(after, world.keys[2]), leaves(world), found.append)
    goes_on = world.head(world.at["coverage"], world.at["after"])
    chains.check_head(sign_head(goes_on, world.keys[1]), leaves(world), found.append)
    assert len(found) == 3
    assert "goes on" in found[2]


def test_a_head_of_an_instance_the_log_lacks_is_missing_entries() -> None:
    """Signed by any key the producer had: the log does not have what it covers."""
    world = RotatedWorld()
    chains, _ = follow(world)
    lost = replace(world.head(world.at["after"], world.at["after"]), instance="d" * 32)
    for key in world.keys:
        found: list[str] = []
        assert chains.check_head(sign_head(lost, key), leaves(world), found.append)
        assert "found 0 of that instance" in found[0]


def test_nothing_comes_after_a_retirement() -> None:
    """An entry of a producer that the log has retired is a finding."""
    world = RotatedWorld()
    third_chain(world).add(world, "coverage", coverage())
    _, problems = follow(world)
    assert problems == [
        (
            f"entry {len(world.entries) - 1}: expected nothing by gpu-0 after its retirement at "
            f"{world.at['retirement']}, found a coverage"
        )
    ]


@pytest.mark.parametrize("change", [{"seq": 2}, {"instance": "e" * 32}, {"leaf_hash": "0" * 64}])
def test_a_retirement_names_the_last_entry(change: dict[str, Any]) -> None:
    """A number, instance or leaf hash that is not the newest is a finding."""
    world = without_end()
    chain = third_chain(world)
    last = {"instance": chain.instance, "seq": chain.seq - 1, "leaf_hash": chain.prev}
    chain.add(world, "retirement", {"last": last | change})
    _, problems = follow(world)
    assert len(problems) == 1
    assert "another last entry named" in problems[0]
    chain = third_chain(honest := without_end())
    chain.add(honest, "retirement", {"last": last})
    assert follow(honest)[1] == []


def test_a_producer_retires_itself_alone_and_the_log_somebody() -> None:
    """Another producer's id, no id, an unknown one: ends nobody, and is a finding."""
    world = without_end()
    chain = third_chain(world)
    last = {"instance": chain.instance, "seq": chain.seq - 1, "leaf_hash": chain.prev}
    chain.add(world, "retirement", {"last": last, "producer": "0" * 64})
    assert "another producer named" in follow(world)[1][0]
    world = RotatedWorld()
    chain = log_chain(world)
    for body in ({"last": last}, {"last": last, "producer": "0" * 64}):
        chain.add(world, "retirement", body)
    lost = parse_entry(world.entries[world.at["declared_lost"]]).body
    chain.add(world, "notice", {**lost, "detail": {**lost["detail"], "producer": "0" * 64}})
    found = [problem.split(": ")[1] for problem in follow(world)[1]]
    assert found == ["expected the retirement of an enrolled producer, found none"] * 2 + [
        "expected the loss of an enrolled producer, found none"
    ]


@pytest.mark.parametrize("recorded", [0, 2])
def test_a_heartbeat_counts_what_is_there(recorded: int) -> None:
    """One decision more or less than the chain has is a finding."""
    world = without_end()
    third_chain(world).add(world, "heartbeat", heartbeat(recorded))
    _, problems = follow(world)
    assert problems == [
        f"entry {len(world.entries) - 1}: expected a heartbeat of gpu-0 with 1 recorded, found {recorded}"
    ]


def test_a_heartbeat_counts_its_own_instance() -> None:
    """A new life counts from nothing."""
    world = without_end()
    chain = Chain(third_chain(world).producer, "f" * 32, third_chain(world).prev)
    world._start_with(chain, world.keys[2])
    chain.add(world, "heartbeat", heartbeat(0))
    assert follow(world)[1] == []


def test_a_malformed_gap_is_odd_and_not_counted() -> None:
    """Its body is recorded as it came; it declares nothing."""
    world = RotatedWorld()
    entry = parse_entry(world.entries[world.at["gap"]])
    world.entries[world.at["gap"]] = encode_entry(replace(entry, body={"count": 7}))
    chains, _ = follow(world)
    assert (chains.odd_bodies, chains.declared.gaps) == (1, 1)


def test_a_producer_that_never_wrote_can_be_retired() -> None:
    """Its last entry is none: its id stands for it."""
    world = RotatedWorld()
    chain = log_chain(world)
    name = "gpu-1"
    key = fixed.signer(fixed.producer_key_name(ORIGIN, name))
    note = fixed.sign_one(fixed.producer_text(ORIGIN, name), key)
    chain.add(world, "producer", {"name": name, "vkey": key.vkey, "note": note})
    last = {"instance": "none", "seq": 0, "leaf_hash": chain.prev}
    chain.add(world, "retirement", {"producer": chain.prev, "last": last})
    assert follow(world)[1] == []

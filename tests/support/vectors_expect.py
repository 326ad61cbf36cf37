"""Vectors of expectations about those outside: witnesses, chains, lags; and of a model's entry."""

from __future__ import annotations

from collections.abc import Iterator

from auditlog.core.entry import parse_entry
from auditlog.core.receipt import format_receipt
from tests.support.format_world import Chain, World
from tests.support.rotated_world import coverage
from tests.support.vectors_receipt import Checks
from tests.support.vectors_strict import lone_receipt
from tests.support.vectors_values import Vector


def expectation_vectors(world: World) -> Iterator[Vector]:
    """Good, bad, open and unreadable ones, each of one receipt with two witnesses and a devnet anchor."""
    checks = Checks(world)
    receipt = world.receipt(world.at["decision"])
    data = format_receipt(receipt)
    leaf = world.leaf(world.at["model"]).hex()
    witness = checks.trust["policy"].split("witness w1 ")[1].split("\n")[0]
    contract = "0x" + world.anchor(8).contract.hex()
    cases: dict[str, tuple[tuple[str, ...], int]] = {
        "good-expects-model-leaf": ((f"model-leaf={leaf.upper()}",), 0),
        "bad-expects-other-model-leaf": ((f"model-leaf={'0' * 64}",), 1),
        "usage-expects-short-model-leaf": ((f"model-leaf={leaf[:-1]}",), 2),
        "good-expects-witness": (("cosigned-by=w1", "cosigned-by=w2"), 0),
        "good-expects-witness-by-vkey": ((f"cosigned-by={witness}",), 0),
        "open-expects-unknown-witness": (("cosigned-by=w3",), 3),
        "good-expects-two-witnesses": (("cosigned-by-at-least=2",), 0),
        "open-expects-three-witnesses": (("cosigned-by-at-least=3",), 3),
        "usage-expects-no-witness": (("cosigned-by-at-least=0",), 2),
        "good-expects-lag": (("max-lag=7d",), 0),
        "bad-expects-no-lag": (("max-lag=0",), 1),
        "usage-expects-lag-in-weeks": (("max-lag=1w",), 2),
        "usage-expects-negative-lag": (("max-lag=-1",), 2),
        "usage-expects-lag-over-2-to-the-53": (("max-lag=999999999999d",), 2),
        "good-expects-devnet": ((f"anchored-on=devnet:1337/{contract}",), 0),
        "good-expects-devnet-by-chain": (("anchored-on=devnet:1337",), 0),
        "open-expects-other-devnet-contract": ((f"anchored-on=devnet:1337/0x{'00' * 20}",), 3),
        "open-expects-chain-named-by-devnet": (("anchored-on=1337",), 3),
        "usage-expects-chain-by-name": (("anchored-on=mainnet",), 2),
        "usage-expects-empty-contract": (("anchored-on=1/",), 2),
        "bad-expects-open-and-failed": (("cosigned-by=w3", "status=500"), 1),
    }
    for name, (texts, code) in cases.items():
        *place, vector = checks.vector(name, data, code, 14 if code == 1 else None)
        yield place[0], place[1], vector | {"expect": list(texts)}
    unwitnessed = format_receipt(world.receipt(world.at["decision"], witnesses=0))
    for name, text in (
        ("open-expects-absent-witness", "cosigned-by=w1"),
        ("open-expects-lag-without-witness", "max-lag=7d"),
    ):
        *place, vector = checks.vector(name, unwitnessed, 3, None, require=[])
        yield place[0], place[1], vector | {"expect": [text]}


def pending_vectors() -> Iterator[Vector]:
    """A `pending` decision is resolved only by the entry with the very next number: anybody may have left out
    one that came before another.
    """
    world = World()
    checks, said = Checks(World()), coverage(model="unregistered")
    last = parse_entry(world.entries[world.at["notice"]])
    chain = Chain(last.producer, last.instance, world.leaf(world.at["notice"]).hex(), last.seq + 1)
    body = parse_entry(world.entries[world.at["pending"]]).body
    model = parse_entry(world.entries[world.at["model"]]).body
    first = chain.add(world, "decision", body)
    answer = chain.add(world, "model", {**model, "name": "the first"})
    ended = chain.add(world, "coverage", said)
    later = chain.add(world, "model", {**model, "name": "another"})
    second = chain.add(world, "decision", body)
    never = chain.add(world, "coverage", said)
    root = model["fingerprint"]["root"]
    cases = {
        "good-expects-model-name-of-answered-pending": (first, answer, "model-name=the first", 0),
        "bad-expects-other-model-name-of-answered-pending": (first, answer, "model-name=another", 1),
        "open-expects-model-name-of-pending-answered-later": (first, later, "model-name=another", 3),
        "open-expects-other-model-name-of-pending-answered-later": (first, later, "model-name=the first", 3),
        "open-expects-model-of-pending-answered-later": (first, later, f"model={root}", 3),
        "open-expects-model-leaf-of-pending-answered-later": (
            first, later, f"model-leaf={world.leaf(later).hex()}", 3,
        ),
        "open-expects-pending-answered-later": (first, later, "model=pending", 3),
        "open-expects-pending-ended-later": (first, ended, "model=pending", 3),
        "open-expects-model-of-pending-ended-later": (first, ended, f"model={root}", 3),
        "good-expects-pending-ended-at-once": (second, never, "model=pending", 0),
        "bad-expects-model-of-pending-ended-at-once": (second, never, f"model={root}", 1),
    }  # fmt: skip
    for name, (place, shown, text, code) in cases.items():
        related = world.at["producer"], world.at["instance_2"], shown
        data = format_receipt(lone_receipt(world, place, place, *related))
        *where, vector = checks.vector(name, data, code, 14 if code == 1 else None)
        yield where[0], where[1], vector | {"expect": [text]}

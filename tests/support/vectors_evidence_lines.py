"""Vectors of lines below a checkpoint that do not hold, and of the genesis that a log must have begun with.

What a vector demands is written here by hand: no verifier is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditlog.core import canonical
from tests.support import format_world as fixed
from tests.support import vectors_claims as claims
from tests.support.evidence_world import LATER_S
from tests.support.vectors_evidence import conflict, encoded, fork, late, text_of, vector
from tests.support.vectors_evidence_bad import bad
from tests.support.vectors_values import Vector


def evidence_vectors() -> Iterator[Vector]:
    """All of them."""
    yield from _wrong_lines()
    yield from _geneses()


def _wrong_lines() -> Iterator[Vector]:
    """Lines that do not hold, by keys of the trust file: they are none, and the log's own line convicts."""
    devnet = fixed.signer("devnet.example")
    for verdict, (world, value) in {"conflict": conflict(), "fork": fork(), "late": late()}.items():
        text = text_of(value["checkpoint"])
        wrong = {
            "witness": world.witnesses[1].sign(text + "x\n", LATER_S),
            "log": world.log_key.sign(text + "x\n"),
            "devnet": devnet.sign(text + "x\n"),
        }
        trust = world.trust(devnet=devnet.vkey)
        for name, line in {**wrong, "every-key": "".join(wrong.values())}.items():
            made = {**value, "checkpoint": f"{text}\n{line}" + value["checkpoint"][len(text) + 1 :]}
            yield vector(
                f"good-{verdict}-wrong-line-of-{name}", encoded(made), trust, 0, verdict=value["verdict"]
            )
    world, value = fork()
    earlier = value["earlier"]
    text = text_of(earlier["checkpoint"])
    junk = earlier["checkpoint"] + world.witnesses[0].sign(text + "x\n", LATER_S)
    made = {**value, "earlier": {**earlier, "checkpoint": junk}}
    yield vector("good-fork-wrong-line-below-the-earlier", encoded(made), world.trust(), 0, verdict="FORK")
    world, value = late(9, LATER_S, None)
    earlier = value["earlier"]
    text = text_of(earlier["checkpoint"])
    junk = earlier["checkpoint"] + world.witnesses[1].sign(text + "x\n", LATER_S)
    made = {**value, "earlier": {**earlier, "checkpoint": junk}}
    yield vector("bad-late-second-witness-only-wrong", encoded(made), world.trust(), 1, failed_rule=5)


def _geneses() -> Iterator[Vector]:
    """ENTRIES asks for a genesis that names the key that signed, and for nothing else of it."""
    other = fixed.signer("other.example").vkey
    bodies: dict[str, dict[str, Any]] = {
        "of-another-key": {"vkeys": [other]},
        "without-keys": {"vkeys": None},
        "keys-in-a-text": {"vkeys": "KEY"},
        "keys-in-an-object": {"vkeys": {"KEY": 1}},
        "keys-twice-removed": {"vkeys": [["KEY"]]},
    }
    for name, changes in bodies.items():
        world = claims.duplicate()[0]
        text = canonical.encode(changes).replace(b"KEY", world.log_key.vkey.encode())
        yield bad(f"entries-genesis-{name}", *_begun(canonical.parse(text)), 3)
    world = claims.duplicate()[0]
    odd = {"vkeys": [other, 7, world.log_key.vkey], "visibility": "nobody"}
    world, value = _begun(odd)
    yield vector(
        "good-entries-genesis-odd-but-of-this-key", encoded(value), world.trust(), 0, verdict="ENTRIES"
    )


def _begun(changes: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A log whose genesis has these members in its body, and two entries of one number."""
    world, value = claims.duplicate()
    genesis = canonical.parse(world.entries[0])
    world.entries[0] = canonical.encode({**genesis, "body": {**genesis["body"], **changes}})
    indices = [item["index"] for item in value["entries"]]
    return world, world.claim("duplicate_number", *indices)

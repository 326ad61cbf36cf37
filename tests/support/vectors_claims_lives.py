"""Vectors of evidence about producers that proves what it says: keys, ends, counts of heartbeats, heads."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from tests.support import format_world as fixed
from tests.support.claims_world import Case, ClaimWorld, Value, other_start


def keys() -> Iterator[Case]:
    """Starts and changes of keys that the key in force did not sign."""
    other = fixed.signer(fixed.producer_key_name(fixed.ORIGIN, fixed.PRODUCER) + "x")
    world = ClaimWorld()
    index = other_start(world, other)
    yield "entries-key-of-a-start", world, world.claim("wrong_key", *range(1, index + 1))
    world = ClaimWorld()
    old = world.key
    world.rotate()
    index = other_start(world, old)
    yield "entries-key-of-a-start-after-rotation", world, world.claim("wrong_key", *range(1, index + 1))
    world = ClaimWorld()
    index = rotated_by(world, other)
    yield "entries-key-of-a-rotation", world, world.claim("wrong_key", *range(1, index + 1))
    world = ClaimWorld()
    index = world.life.add(world, "rotation", {"vkey": other.vkey})
    yield "entries-key-of-a-malformed-rotation", world, world.claim("wrong_key", *range(1, index + 1))
    world = ClaimWorld()
    other_life = world.begin(world.life.prev)
    index = len(world.entries) - 1
    world.entries[index] = world.entries[index].replace(b"software", b"softwear").replace(b"note", b"nota")
    assert other_life.seq == 1
    yield "entries-key-no-note", world, world.claim("wrong_key", *range(1, index + 1))


def rotated_by(world: ClaimWorld, key: fixed.Ed25519Signer) -> int:
    """A rotation by somebody who is not the producer."""
    own, world.key = world.key, key
    index = world.rotate(world.nth_key(1))
    world.key = own
    return index


def ends() -> Iterator[Case]:
    """Entries behind the end."""
    for name, by_log in {"by-the-log": True, "by-itself": False}.items():
        world = ClaimWorld()
        end = world.end(by_log=by_log)
        yield f"entries-retired-{name}", world, world.claim("after_retirement", end, world.decide(5))


def counted() -> tuple[ClaimWorld, Value]:
    """A heartbeat that leaves a decision out."""
    world = ClaimWorld()
    index = world.beat(3)
    return world, world.claim("counter_mismatch", *range(2, index + 1))


def counts() -> Iterator[Case]:
    """Heartbeats that cannot be so."""
    for name, changes in {
        "more-ended": {"finished": 9},
        "more-recorded-than-started": {"started": 3, "finished": 3, "failed": 0, "in_flight": 0},
        "more-deferred-than-started": {"deferred": 10},
    }.items():
        world = ClaimWorld()
        yield f"entries-counts-{name}", world, world.claim("counter_mismatch", world.beat(4, **changes))
    world = ClaimWorld()
    yield "entries-counts-more-than-numbers", world, world.claim("counter_mismatch", world.beat(5))
    yield "entries-counts-from-the-start", *counted()
    world = ClaimWorld()
    first = world.beat(4)
    for number in range(5, 8):
        world.decide(number)
    value = world.claim("counter_mismatch", *range(first, world.beat(6) + 1))
    yield "entries-counts-between", world, value
    world = ClaimWorld()
    first = world.beat(4)
    world.decide(5)
    world.decide(6)
    value = world.claim("counter_mismatch", first, world.beat(6, started=8, finished=6))
    yield "entries-counts-fallen", world, value
    world = ClaimWorld()
    first = world.beat(1)
    world.decide(5)
    yield "entries-counts-grown-too-far", world, world.claim("counter_mismatch", first, world.beat(4))


def headed() -> tuple[ClaimWorld, Value]:
    """A head was signed over an entry, and the log has another in its place."""
    world = ClaimWorld()
    before = copy.copy(world.life)
    note = world.signed_head([world.decide(5)])
    world.entries.pop()
    world.life = before
    return world, world.headed(note, world.decide(6))


def heads() -> Iterator[Case]:
    """Heads over other entries."""
    yield "entries-head-last", *headed()
    world = ClaimWorld()
    yield (
        "entries-head-batch",
        world,
        world.headed(world.signed_head([3, 4, 5, 6], root=bytes(32)), 3, 4, 5, 6),
    )
    world = ClaimWorld()
    rotation = world.rotate()
    index = world.decide(5)
    note = world.signed_head([index], leaf_hash=bytes(32))
    yield "entries-head-after-rotation", world, world.headed(note, index, rotations=(rotation,))

"""Vectors of evidence of entries, anchors, notices and observations that proves what it says.

`cases` gives (name, world, value); the bad ones (vectors_claims_bad) are honest logs, or these with one thing
broken. What a vector demands is written here by hand: no verifier is asked.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from auditlog.core.scalars import encode_base64
from tests.support import format_world as fixed
from tests.support import vectors_claims_lives as lives
from tests.support import vectors_evidence as promises
from tests.support.claims_world import Case, ClaimWorld, Value
from tests.support.evidence_world import LATER_S, gap_body
from tests.support.rotated_world import coverage
from tests.support.vectors_evidence import encoded, text_of, vector
from tests.support.vectors_values import Vector

PIN: Value = {
    "chain_id": 1,
    "contract": "0x" + "ab" * 20,
    "code_hash": "0x" + "cd" * 32,
    "owner": "0x" + "ef" * 20,
}


def evidence_vectors() -> Iterator[Vector]:
    """What holds, what is only stated, and what the trust file cannot tell."""
    for name, world, value in cases():
        yield vector(f"good-{name}", encoded(value), world.trust(), 0, verdict=value["verdict"])
    world, value = pinned()
    trust = world.trust(anchors=[PIN])
    yield vector("good-notice-anchor-not-pinned", encoded(value), trust, 0, verdict="NOTICE")
    yield vector("open-notice-anchor-no-pins", encoded(value), world.trust(), 3, verdict="NOTICE")
    for name, world, value in observations():
        yield vector(f"open-{name}", encoded(value), world.trust(), 3, verdict="OBSERVED")
    world, value = backdated()
    yield vector(
        "open-notice-backdated-no-quorum", encoded(value), world.trust(quorum="none"), 3, verdict="NOTICE"
    )
    world, value = devnet()
    yield vector("open-anchor-devnet-not-known", encoded(value), _no_devnet(world), 3, verdict="ANCHOR")
    later = {**value, "anchor": {"type": "evm@v1", "evidence": {"header": "0x00"}}}
    yield vector("open-anchor-type-not-known", encoded(later), world.trust(), 3, verdict="ANCHOR")


def _no_devnet(world: ClaimWorld) -> bytes:
    return super(ClaimWorld, world).trust()


def cases() -> Iterator[Case]:
    """Everything that proves what it says to the plain trust file."""
    yield from malformed()
    yield from numbers()
    yield from chains()
    yield from enrolments()
    yield from lives.keys()
    yield from lives.ends()
    yield from lives.counts()
    yield from lives.heads()
    yield from anchors()
    yield from notices()
    yield from forks()


def malformed() -> Iterator[Case]:
    """What is no entry, or one of another log."""
    for name, data in {"text": b"not an entry", "empty": b"", "array": b"[]"}.items():
        world = ClaimWorld()
        yield f"entries-malformed-{name}", world, world.claim("entry_malformed", world.raw(data))
    world = ClaimWorld()
    index = world.raw(world.entries[6].replace(b'"kind":"decision"', b'"kind":"genesis"'))
    yield "entries-malformed-kind-of-the-log", world, world.claim("entry_malformed", index)
    world = ClaimWorld()
    yield "entries-foreign", world, world.claim("foreign_entry", foreign(world))


def foreign(world: ClaimWorld) -> int:
    """An entry of another log."""
    return world.odd("decision", world.body(5), origin="other.example/log")


def duplicate() -> tuple[ClaimWorld, Value]:
    """One number, given twice."""
    world = ClaimWorld()
    before = copy.copy(world.life)
    first = world.decide(5)
    world.life = before
    return world, world.claim("duplicate_number", first, world.decide(6))


def numbers() -> Iterator[Case]:
    """One number twice."""
    yield "entries-duplicate-number", *duplicate()
    world = ClaimWorld()
    yield (
        "entries-duplicate-same-bytes",
        world,
        world.claim("duplicate_number", 6, world.raw(world.entries[6])),
    )
    world = ClaimWorld()
    world.fill(8)
    world.log.seq -= 1
    index = world.log.add(world, "notice", {"what": "unguarded_start"})
    yield "entries-duplicate-number-of-the-log", world, world.claim("duplicate_number", 7, index)


def hole() -> tuple[ClaimWorld, Value]:
    """A decision is left out, and the next one follows it all the same."""
    world = ClaimWorld()
    world.withheld(5)
    index = world.decide(6)
    return world, world.claim("broken_chain", index, leaves=world.tiles())


def successor() -> tuple[ClaimWorld, Value]:
    """The next number follows another entry."""
    world = ClaimWorld()
    world.life.prev = "0" * 64
    return world, world.claim("broken_chain", 6, world.decide(5))


def chains() -> Iterator[Case]:
    """Every form of a broken chain."""
    world = ClaimWorld()
    yield "entries-chain-start-in-between", world, world.claim("broken_chain", world.odd("instance", {}))
    world = ClaimWorld()
    index = world.odd("decision", world.body(5), seq=0)
    yield "entries-chain-number-0-no-start", world, world.claim("broken_chain", index)
    world = ClaimWorld()
    world.life.seq = 900
    yield "entries-chain-number-before-its-place", world, world.claim("broken_chain", world.decide(5))
    world = ClaimWorld()
    world.log.seq = 900
    index = world.log.add(world, "notice", {"what": "restored"})
    yield "entries-chain-number-of-the-log-before-its-place", world, world.claim("broken_chain", index)
    world = ClaimWorld()
    yield "entries-chain-second-genesis", world, world.claim("broken_chain", world.raw(_genesis(world)))
    yield "entries-chain-follows-nothing", *hole()
    yield "entries-chain-successor", *successor()
    world = ClaimWorld()
    world.life.seq = 1
    yield "entries-chain-smaller-number", world, world.claim("broken_chain", 6, world.decide(5))
    world = ClaimWorld()
    world.life.seq = 7
    yield "entries-chain-numbers-left-out", world, world.claim("broken_chain", 6, world.decide(5))
    world, start, other = branched()
    yield "entries-chain-branch", world, world.claim("broken_chain", start, other)
    world = ClaimWorld()
    world.life.prev = world.leaf(0).hex()
    yield "entries-chain-follows-the-log", world, world.claim("broken_chain", 0, world.decide(5))
    world = ClaimWorld()
    world.life.prev = world.leaf(4).hex()
    world.life.instance = "1" * 32
    yield "entries-chain-life-begins-in-between", world, world.claim("broken_chain", 4, world.decide(5))
    world = ClaimWorld()
    world.decide(5)
    world.entries[6:8] = world.entries[7], world.entries[6]
    yield "entries-chain-order-swapped", world, world.claim("broken_chain", 6, 7)
    world = ClaimWorld()
    old, world.life = world.life, world.begin(world.life.prev)
    start, world.life = len(world.entries) - 1, old
    world.life.prev = world.leaf(start).hex()
    yield "entries-chain-past-life", world, world.claim("broken_chain", 6, start, world.decide(5))


def _genesis(world: ClaimWorld) -> bytes:
    """A second genesis entry, later."""
    other = ClaimWorld()
    chain = type(other.log)("log", "log", "0" * 64)
    chain.add(other, "genesis", {"anything": len(world.entries)})
    return other.entries[-1]


def branched() -> tuple[ClaimWorld, int, int]:
    """Two lives that begin on one entry."""
    world = ClaimWorld()
    on = world.life.prev
    world.begin(on)
    world.begin(on)
    return world, len(world.entries) - 2, len(world.entries) - 1


class ForgedWorld(ClaimWorld):
    """Whose enrolment nobody signed."""

    def enrolled(self) -> Value:
        """The statement of another."""
        note = fixed.sign_one(fixed.producer_text(fixed.ORIGIN, "gpu-9"), self.key)
        return {**super().enrolled(), "note": note}


class KeylessWorld(ClaimWorld):
    """Whose enrolment has no key."""

    def enrolled(self) -> Value:
        """A body without a vkey."""
        return {"name": fixed.PRODUCER, "note": "none"}


def enrolments() -> Iterator[Case]:
    """Who never enrolled."""
    for name, made in {"statement": ForgedWorld, "malformed": KeylessWorld}.items():
        world = made()
        yield f"entries-enrolment-{name}", world, world.claim("forged_enrolment", 1)
    world, index = stranger("ab" * 32)
    value = world.claim("unknown_producer", index, leaves=world.tiles())
    yield "entries-producer-unknown", world, value
    world, index = stranger(ClaimWorld().leaf(0).hex())
    yield "entries-producer-is-no-enrolment", world, world.claim("unknown_producer", 0, index)
    world = ClaimWorld()
    world.decide(5)
    world.entries[1:8] = [*world.entries[2:8], world.entries[1]]
    yield "entries-producer-enrolled-later", world, world.claim("unknown_producer", 1, 7)


def stranger(producer: str) -> tuple[ClaimWorld, int]:
    """An entry by somebody who is no producer."""
    world = ClaimWorld()
    chain = type(world.log)(producer, "1" * 32, "0" * 64, 1)
    return world, chain.add(world, "decision", world.body(5))


def devnet() -> tuple[ClaimWorld, Value]:
    """The devnet has a root of five entries that the log never had."""
    world = ClaimWorld()
    note = world.anchor_note(5, root=bytes(32))
    return world, world.anchored(5, anchor={"type": "devnet@v0", "evidence": note})


def anchors() -> Iterator[Case]:
    """Anchors of another log, or another history."""
    yield "anchor-devnet", *devnet()
    world = ClaimWorld()
    index = world.anchor_entry(5, root="0" * 64)
    yield "anchor-entry", world, world.anchored(5, genesis=0, entry=index)
    world = ClaimWorld()
    index = world.anchor_entry(5, log_id="0" * 64)
    yield "entries-anchor-of-another-log", world, world.claim("anchor_foreign", index)
    world = ClaimWorld()
    index = world.anchor_entry(5, size=8)
    yield "entries-anchor-of-a-later-tree", world, world.claim("anchor_foreign", index)


def pinned() -> tuple[ClaimWorld, Value]:
    """An anchor by a contract of a chain."""
    world = ClaimWorld()
    return world, world.noticed("anchor_foreign", world.anchor_entry(5, type="evm@v1"))


def backdated(size: int = 6) -> tuple[ClaimWorld, Value]:
    """An entry that claims to be of the time before an earlier checkpoint without it."""
    world = ClaimWorld()
    value = world.noticed("backdated", 6)
    return world, {**value, "earlier": {"checkpoint": world.signed(size), "proof": world.consistency(size)}}


def notices() -> Iterator[Case]:
    """What is only worth knowing."""
    world = ClaimWorld()
    lost = world.life
    world.life = world.begin(lost.prev)
    index = world.gap(lost.instance, lost.seq - 1)
    yield "notice-gap", world, world.noticed("gap", index)
    world = ClaimWorld()
    yield (
        "notice-coverage",
        world,
        world.noticed("coverage_changed", world.cover(), world.cover(mode="fail_closed")),
    )
    world = ClaimWorld()
    yield "notice-model", world, world.noticed("model_changed", world.model(b"one"), world.model(b"two"))
    yield "notice-backdated", *backdated()


def forks() -> Iterator[Case]:
    """Two histories that witnesses have seen."""
    for name, when in {"cosigned": (None, LATER_S), "cosigned-twice": (LATER_S, LATER_S)}.items():
        world, value = promises.fork()
        text = text_of(value["earlier"]["checkpoint"])
        for who, at in zip(world.witnesses, when, strict=True):
            value["earlier"]["checkpoint"] += who.sign(text, at) if at else ""
        value["checkpoint"] += world.witnesses[0].sign(text_of(value["checkpoint"]), LATER_S)
        yield f"fork-{name}", ClaimWorld(), value


def observations() -> Iterator[tuple[str, ClaimWorld, Value]]:
    """What a monitor says."""
    world = ClaimWorld()
    yield "observed", world, world.observed()
    yield "observed-an-alarm-of-tomorrow", world, world.observed("something_new")
    shown = (world.signed(5), world.signed(3, None, None), fixed.sign_one("hello\n", world.key))
    yield "observed-with-notes", world, world.observed("rewind", shown)
    world = ClaimWorld()
    world.entries.clear()
    yield "observed-an-empty-log", world, world.observed("stale_checkpoint")


def gap_of(world: ClaimWorld, **changes: Any) -> int:
    """A gap of the running life."""
    return world.life.add(world, "gap", {**gap_body(world.life.instance, 3), **changes})


def covers(world: ClaimWorld, count: int) -> list[int]:
    """Coverage entries that say the same."""
    return [world.life.add(world, "coverage", coverage()) for _ in range(count)]


def b64(data: bytes) -> str:
    """Canonical base64."""
    return encode_base64(data)

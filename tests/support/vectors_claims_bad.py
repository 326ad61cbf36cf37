"""Vectors of evidence of entries, anchors, notices and observations that proves nothing.

Honest entries under every rule, and every rule of "Checking" broken once. Each says which rule is the first
that does not hold (`failed_rule`), by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from tests.support import format_world as fixed
from tests.support import vectors_claims as good
from tests.support import vectors_claims_lives as lives
from tests.support.claims_world import ClaimWorld, Value, other_start
from tests.support.evidence_world import LATER_S
from tests.support.vectors_claims import PIN, gap_of
from tests.support.vectors_evidence import text_of
from tests.support.vectors_evidence_bad import bad, changed
from tests.support.vectors_values import Vector

_H = encode_base64(bytes(32))


def evidence_vectors() -> Iterator[Vector]:
    """Every bad one."""
    yield from _members()
    yield from _parts()
    yield from _trees()
    yield from _honest_chains()
    yield from _honest_lives()
    yield from _honest_counts()
    yield from _heads()
    yield from _anchors()
    yield from _notices()
    yield from _observations()


def _members() -> Iterator[Vector]:
    """Rule 1: members of another shape."""
    starts = {
        "entries": good.duplicate(),
        "chain-leaves": good.hole(),
        "head": lives.headed(),
        "anchor": good.devnet(),
        "notice-backdated": good.backdated(),
        "observed": next((world, value) for _, world, value in good.observations()),
    }
    for name, (world, value) in starts.items():
        for member in sorted(set(value) - {"v", "verdict", "leaves"}):
            missing = {key: item for key, item in value.items() if key != member}
            yield bad(f"{name}-without-{member}", world, missing, 1)
        yield bad(f"{name}-unknown-member", world, {**value, "said_by": "me"}, 1)
    world, value = starts["entries"]
    yield bad("entries-rule-unknown", world, {**value, "alarm": "something_new"}, 1)
    yield bad("entries-rule-of-a-notice", world, {**value, "alarm": "gap"}, 1)
    yield bad("entries-rule-is-no-rule-of-entries", world, {**value, "alarm": "silent"}, 1)
    yield bad("entries-rule-an-array", world, {**value, "alarm": ["duplicate_number"]}, 1)
    yield bad("entries-as-a-notice", world, {**value, "verdict": "NOTICE"}, 1)
    yield bad("entries-none", world, {**value, "entries": []}, 1)
    yield bad("entries-descending", world, {**value, "entries": value["entries"][::-1]}, 1)
    yield bad("entries-one-twice", world, {**value, "entries": value["entries"][:1] * 2}, 1)
    yield bad("entries-16385", world, {**value, "entries": [{}] * 16_385}, 1)
    yield bad("entries-leaves-of-another-rule", world, {**value, "leaves": world.tiles()}, 1)
    yield bad("entries-genesis-empty", world, changed(value, "genesis/entry", ""), 1)
    yield bad(
        "entries-65536-bytes", world, changed(value, "entries/0/entry", encode_base64(bytes(65_536))), 1
    )
    yield bad("entries-proof-of-127", world, changed(value, "entries/0/proof", [_H] * 127), 1)
    world, value = starts["head"]
    yield bad(
        "head-two-lines", world, {**value, "head": value["head"] + fixed.signer("x.example").sign("x")}, 1
    )
    yield bad("head-62-rotations", world, {**value, "rotations": [value["producer"]] * 62}, 1)


def _parts() -> Iterator[Vector]:
    """Rule 1: parts of another form."""
    world, value = good.devnet()
    for name, item in {"no-version": "devnet", "upper-case": "Devnet@v0", "number": 1}.items():
        yield bad(f"anchor-type-{name}", world, changed(value, "anchor/type", item), 1)
    yield bad("anchor-note-an-object", world, changed(value, "anchor/evidence", {}), 1)
    yield bad("anchor-note-no-note", world, changed(value, "anchor/evidence", "trust me"), 1)
    yield bad("anchor-root-of-31-bytes", world, changed(value, "anchored/root", encode_base64(bytes(31))), 1)
    both = {"genesis": world.placed(0), "entry": world.placed(1)}
    yield bad("anchor-both-sets", world, {**value, **both}, 1)
    world = ClaimWorld()
    value = world.observed()
    yield bad("observed-17-notes", world, {**value, "shown": [value["note"]] * 17}, 1)
    yield bad("observed-shown-no-note", world, {**value, "shown": ["hello\n"]}, 1)
    yield bad("observed-by-a-witness-key", world, {**value, "monitor": world.witnesses[0].vkey}, 1)
    yield bad("observed-by-no-key", world, {**value, "monitor": "me"}, 1)
    yield bad("observed-with-an-alarm", world, {**value, "alarm": "silent"}, 1)


def _trees() -> Iterator[Vector]:
    """Rules 2 and 3: another log, another tree, another genesis."""
    world, value = good.duplicate()
    stranger = fixed.Ed25519Signer.from_seed(fixed.ORIGIN, fixed.seed("stranger"))
    yield bad("entries-not-signed-by-the-log", world, {**value, "checkpoint": world.signed(key=stranger)}, 2)
    retired = [{"origin": fixed.ORIGIN, "size": 8, "root": "0" * 64}]
    yield bad("entries-beyond-the-end-of-a-log", world, value, 2, retired=retired)
    yield bad("entries-at-another-index", world, changed(value, "entries/1/index", 7 + 2), 3)
    yield bad("entries-altered", world, changed(value, "entries/1/entry", value["entries"][0]["entry"]), 3)
    yield bad("entries-genesis-is-another-entry", world, {**value, "genesis": world.placed(1)}, 3)
    yield bad("entries-genesis-altered", world, changed(value, "genesis/entry", encode_base64(b"{}")), 3)
    plain = ClaimWorld()
    plain.entries[0] = plain.entries[1]
    plain.raw(b"hello")
    yield bad(
        "entries-of-a-log-of-another-kind", plain, plain.claim("entry_malformed", len(plain.entries) - 1), 3
    )
    mixed = ClaimWorld()
    index = good.foreign(mixed)
    yield bad("entries-foreign-under-another-rule", mixed, mixed.claim("duplicate_number", 6, index), 3)
    world, value = good.hole()
    yield bad("entries-chain-leaf-left-out", world, {**value, "leaves": ClaimWorld().tiles()}, 5)


def _honest_chains() -> Iterator[Vector]:
    """Rule 5: an honest chain under the rules of chains."""
    world = ClaimWorld()
    world.fill(9)
    world.life = world.begin(world.life.prev)
    start = len(world.entries) - 1
    world.decide(5)
    cases: dict[str, tuple[str, tuple[int, ...]]] = {
        "two-numbers": ("duplicate_number", (5, 6)),
        "one-number-of-two-lives": ("duplicate_number", (2, start)),
        "duplicate-of-one": ("duplicate_number", (6,)),
        "chain-genesis": ("broken_chain", (0,)),
        "chain-enrolment": ("broken_chain", (1,)),
        "chain-start": ("broken_chain", (2,)),
        "chain-decision": ("broken_chain", (3,)),
        "chain-of-the-log": ("broken_chain", (0, 1)),
        "chain-start-on-enrolment": ("broken_chain", (1, 2)),
        "chain-log-and-start-on-enrolment": ("broken_chain", (2, 7)),
        "chain-next-number": ("broken_chain", (3, 4)),
        "chain-later-number": ("broken_chain", (3, 6)),
        "chain-next-life": ("broken_chain", (6, start)),
        "chain-two-lives": ("broken_chain", (5, 6, start)),
        "chain-four": ("broken_chain", (3, 4, 5, 6)),
        "malformed-an-entry": ("entry_malformed", (6,)),
        "malformed-two": ("entry_malformed", (5, 6)),
        "foreign-own": ("foreign_entry", (6,)),
        "enrolment-that-holds": ("forged_enrolment", (1,)),
        "enrolment-is-none": ("forged_enrolment", (0,)),
        "producer-enrolled": ("unknown_producer", (1, 2)),
        "producer-unrelated": ("unknown_producer", (0, 2)),
        "producer-alone": ("unknown_producer", (2,)),
    }
    for name, (alarm, indices) in cases.items():
        yield bad(f"entries-{name}", world, world.claim(alarm, *indices), 5)
    for name, alarm, index in (
        ("producer-enrolled-in-leaves", "unknown_producer", 6),
        ("producer-of-the-log-in-leaves", "unknown_producer", 1),
        ("chain-follows-in-leaves", "broken_chain", 6),
        ("chain-genesis-in-leaves", "broken_chain", 0),
    ):
        yield bad(f"entries-{name}", world, world.claim(alarm, index, leaves=world.tiles()), 5)
    world = ClaimWorld()
    data = world.odd("decision", {"anything": 1}, v=2)
    yield bad("entries-malformed-later-version", world, world.claim("entry_malformed", data), 5)
    world = ClaimWorld()
    yield bad("entries-malformed-odd-body", world, world.claim("entry_malformed", world.odd("gap", {})), 5)
    world = ClaimWorld()
    yield bad("entries-foreign-no-entry", world, world.claim("foreign_entry", world.raw(b"{}")), 5)


def _honest_lives() -> Iterator[Vector]:
    """Rule 5: keys changed as they should be, and ends at the end."""
    world = ClaimWorld()
    rotation = world.rotate()
    world.life = world.begin(world.life.prev)
    start = len(world.entries) - 1
    world.rotate()
    chain = tuple(range(1, start + 2))
    yield bad("entries-key-of-a-start-that-holds", world, world.claim("wrong_key", *chain[:-1]), 5)
    yield bad("entries-key-of-a-rotation-that-holds", world, world.claim("wrong_key", *chain), 5)
    left_out = tuple(index for index in chain[:-1] if index != rotation)
    yield bad("entries-key-rotation-left-out", world, world.claim("wrong_key", *left_out), 5)
    yield bad("entries-key-enrolment-alone", world, world.claim("wrong_key", 1), 5)
    yield bad("entries-key-of-a-decision", world, world.claim("wrong_key", 1, 2, 3), 5)
    yield bad("entries-key-without-enrolment", world, world.claim("wrong_key", 2, 3), 5)
    world = ClaimWorld()
    later = world.odd("rotation", {"anything": 1}, v=2)
    chain = tuple(range(1, later + 1))
    yield bad("entries-key-rotation-of-later-version", world, world.claim("wrong_key", *chain), 5)
    world = ClaimWorld()
    broken = lives.rotated_by(world, fixed.signer("x.example"))
    index = other_start(world, world.nth_key(1))
    yield bad(
        "entries-key-behind-a-broken-rotation", world, world.claim("wrong_key", *range(1, index + 1)), 5
    )
    assert broken < index
    world = ClaimWorld()
    end, other = world.end(by_log=True), world.another_producer()
    index = other.add(world, "decision", world.body(5))
    yield bad("entries-retired-another-producer", world, world.claim("after_retirement", end, index), 5)
    yield bad("entries-retired-before", world, world.claim("after_retirement", 6, end), 5)
    world = ClaimWorld()
    end = world.end(by_log=True, last="none")
    yield bad("entries-retired-malformed", world, world.claim("after_retirement", end, world.decide(5)), 5)
    world = ClaimWorld()
    end = world.end(by_log=False, producer="1" * 64)
    yield bad(
        "entries-retired-names-another", world, world.claim("after_retirement", end, world.decide(5)), 5
    )
    world = ClaimWorld()
    end = world.log.add(world, "retirement", {"last": {"instance": "none", "seq": 0, "leaf_hash": "0" * 64}})
    yield bad("entries-retired-nobody", world, world.claim("after_retirement", end, world.decide(5)), 5)


def _honest_counts() -> Iterator[Vector]:
    """Rule 5: heartbeats that fit."""
    world = ClaimWorld()
    first = world.beat(4)
    world.decide(5)
    second = world.beat(5)
    cases: dict[str, tuple[int, ...]] = {
        "alone": (second,),
        "from-the-start": tuple(range(2, first + 1)),
        "between": (first, first + 1, second),
        "two": (first, second),
        "hole": (2, 3, first),
        "not-a-heartbeat": (2, 3),
        "from-a-decision": (6, first),
        "another-writer": (1, first),
    }
    for name, indices in cases.items():
        yield bad(f"entries-counts-{name}", world, world.claim("counter_mismatch", *indices), 5)
    world = ClaimWorld()
    index = world.life.add(world, "heartbeat", {"recorded": 900})
    yield bad("entries-counts-malformed", world, world.claim("counter_mismatch", index), 5)
    world = ClaimWorld()
    world.beat(4)
    world.life = world.begin(world.life.prev)
    index = world.beat(0)
    yield bad("entries-counts-of-two-lives", world, world.claim("counter_mismatch", 7, index), 5)


def _heads() -> Iterator[Vector]:
    """Rules 4 and 5: heads of others, and of what the log has."""
    world, value = lives.headed()
    other = fixed.signer(fixed.producer_key_name(fixed.ORIGIN, fixed.PRODUCER) + "x")
    text = text_of(value["head"])
    yield bad("head-by-another-key", world, {**value, "head": sign_one(text, other)}, 4)
    moved = text.replace(fixed.ORIGIN, "other.example/log", 1)
    yield bad("head-of-another-log", world, {**value, "head": sign_one(moved, world.key)}, 4)
    yield bad("head-producer-is-another-entry", world, {**value, "producer": world.placed(2)}, 4)
    yield bad("head-is-a-promise", world, {**value, "head": world.promise(world.entries[6])}, 4)
    world = ClaimWorld()
    rotation = world.rotate()
    index = world.decide(5)
    note = world.signed_head([index], leaf_hash=bytes(32))
    yield bad("head-key-not-shown", world, world.headed(note, index), 4)
    value = world.headed(world.signed_head([index]), index, rotations=(rotation,))
    yield bad("head-of-the-entry", world, value, 5)
    value = world.headed(note, index - 2, rotations=(rotation,))
    yield bad("head-another-number", world, value, 5)
    world = ClaimWorld()
    whole = world.signed_head([3, 4, 5, 6])
    yield bad("head-of-the-batch", world, world.headed(whole, 3, 4, 5, 6), 5)
    wrong = world.signed_head([3, 4, 5, 6], root=bytes(32))
    yield bad("head-batch-not-whole", world, world.headed(wrong, 4, 5, 6), 5)
    yield bad("head-batch-too-much", world, world.headed(wrong, 2, 3, 4, 5, 6), 5)


def _anchors() -> Iterator[Vector]:
    """Rule 5: anchors of this history, and of nobody's."""
    world = ClaimWorld()
    shown = {"type": "devnet@v0", "evidence": world.anchor_note(5)}
    yield bad("anchor-of-this-tree", world, world.anchored(5, anchor=shown), 5)
    world, value = good.devnet()
    other = world.anchor_note(5, fixed.signer("x.example"), root=bytes(32))
    yield bad("anchor-by-another-devnet", world, changed(value, "anchor/evidence", other), 5)
    moved = world.anchor_note(5, origin="other.example/log", root=bytes(32))
    yield bad("anchor-note-of-another-log", world, changed(value, "anchor/evidence", moved), 5)
    larger = world.anchor_note(9, root=bytes(32))
    yield bad("anchor-of-a-larger-tree", world, changed(value, "anchor/evidence", larger), 5)
    yield bad("anchor-root-not-proven", world, changed(value, "anchored/root", _H), 5)
    yield bad(
        "anchor-proof-short", world, changed(value, "anchored/proof", value["anchored"]["proof"][1:]), 5
    )
    world = ClaimWorld()
    index = world.anchor_entry(5)
    yield bad("anchor-entry-of-this-tree", world, world.anchored(5, genesis=0, entry=index), 5)
    yield bad("anchor-entry-is-none", world, world.anchored(5, genesis=0, entry=1), 5)
    yield bad("entries-anchor-of-this-log", world, world.claim("anchor_foreign", index), 5)
    yield bad("entries-anchor-is-none", world, world.claim("anchor_foreign", 6), 5)
    world = ClaimWorld()
    index = world.anchor_entry(5, root="0" * 64, log_id="0" * 64)
    yield bad("anchor-entry-of-another-log", world, world.anchored(5, genesis=0, entry=index), 5)
    world = ClaimWorld()
    index = world.anchor_entry(5, log_id=7)
    yield bad("entries-anchor-malformed", world, world.claim("anchor_foreign", index), 5)


def _notices() -> Iterator[Vector]:
    """Rule 5: what the word does not say."""
    world = ClaimWorld()
    a, b = good.covers(world, 2)
    yield bad("notice-coverage-the-same", world, world.noticed("coverage_changed", a, b), 5)
    yield bad("notice-coverage-alone", world, world.noticed("coverage_changed", a), 5)
    yield bad("notice-gap-is-none", world, world.noticed("gap", a), 5)
    first, second = world.model(b"one"), world.model(b"one", name="another name")
    yield bad("notice-model-the-same", world, world.noticed("model_changed", first, second), 5)
    yield bad("notice-model-and-coverage", world, world.noticed("model_changed", a, first), 5)
    other = world.another_producer()
    third = other.add(world, "model", world._model("smol", b"two"))
    yield bad("notice-model-of-another", world, world.noticed("model_changed", first, third), 5)
    yield bad("notice-gap-malformed", world, world.noticed("gap", gap_of(world, count=-1)), 5)
    world, value = good.backdated(7)
    yield bad("notice-backdated-was-there", world, value, 5)
    world, value = good.backdated()
    early = changed(value, "earlier/checkpoint", world.signed(6, 1, LATER_S))
    yield bad("notice-backdated-not-dated", world, early, 5)
    unproven = changed(value, "earlier/proof", [])
    yield bad("notice-backdated-not-joined", world, unproven, 5)
    stranger = fixed.Ed25519Signer.from_seed(fixed.ORIGIN, fixed.seed("stranger"))
    yield bad(
        "notice-backdated-not-by-the-log",
        world,
        changed(value, "earlier/checkpoint", world.signed(6, key=stranger)),
        5,
    )
    world, value = good.pinned()
    slot: dict[str, Any] = {"chain_id": 1337, "contract": "0x" + world.anchor(5).contract.hex()}
    yield bad("notice-anchor-pinned", world, value, 5, anchors=[PIN, {**PIN, **slot}])
    world = ClaimWorld()
    index = world.anchor_entry(5)
    yield bad("notice-anchor-of-a-devnet", world, world.noticed("anchor_foreign", index), 5, anchors=[PIN])


def _observations() -> Iterator[Vector]:
    """Rule 5: a word about something else, or by somebody else."""
    world = ClaimWorld()
    faults: dict[str, Value] = {
        "another-log": world.observed(origin="other.example/log"),
        "another-size": world.observed(size=6),
        "another-root": world.observed(root=bytes(32)),
        "other-notes": world.observed(shown=(world.signed(5),)) | {"shown": [world.signed(4)]},
        "notes-left-out": world.observed(shown=(world.signed(5),)) | {"shown": []},
    }
    own = world.observed()
    faults["another-key"] = {**own, "monitor": fixed.signer("x.example").vkey}
    text = text_of(own["note"])
    for name, said in {
        "two-lines": text + "and more\n",
        "not-ascii": text.replace("heard", "he\u00e4rd"),
        "501-characters": text + "",
        "time-of-another-form": text.replace("2026-", "26-", 1),
        "word-of-another-form": text.replace("silent", "Silent", 1),
        "another-header": text.replace("observed@v1", "observed@v2", 1),
    }.items():
        lines = said.split("\n")
        if name == "501-characters":
            lines[-2] = "x" * 501
        faults[name] = {**own, "note": sign_one("\n".join(lines), fixed.signer("monitor.example"))}
    for name, value in faults.items():
        yield bad(f"observed-{name}", world, value, 5)

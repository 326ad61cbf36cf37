"""Vectors of evidence whose every part is real and that proves nothing: an honest entry, another's, a date
too early.

Rule 5 of spec/evidence.md, "Checking"; the others are in vectors_evidence_bad and vectors_evidence_whose.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditlog.core.merkle import root_hash
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from tests.support import format_world as fixed
from tests.support import vectors_evidence as good
from tests.support.evidence_world import LATER_S, EvidenceWorld, gap_body
from tests.support.vectors_evidence import MERGE_BY_S, text_of
from tests.support.vectors_evidence_bad import Value, bad, changed
from tests.support.vectors_values import Vector


def evidence_vectors() -> Iterator[Vector]:
    """Every one of them."""
    yield from _conflicts()
    yield from _successors()
    yield from _gaps()
    yield from _lives()
    yield from _lates()
    yield from _absents()
    yield from _losses()
    yield from _forks()


def _conflicts() -> Iterator[Vector]:
    world = EvidenceWorld()
    index = world.decide(5)
    promise = world.promise(world.entries[index])
    for name, at in {"promised-entry": index, "entry-before": index - 1, "genesis": 0}.items():
        yield bad(f"conflict-{name}", world, world.evidence("CONFLICT", promise, entry=at), 5)
    world = EvidenceWorld()
    promise = world.promise(world.left_out(5))
    seq, other = world.life.seq, world.another_producer()
    other.seq = seq
    index = other.add(world, "decision", world.body(6))
    yield bad("conflict-another-producer", world, world.evidence("CONFLICT", promise, entry=index), 5)
    world.life = world.begin(world.life.prev)
    world.life.seq = seq
    value = world.evidence("CONFLICT", promise, entry=world.decide(6))
    yield bad("conflict-another-life", world, value, 5)
    for name, kind, envelope in (("later-version", "decision", {"v": 2}), ("unknown-kind", "dream", {})):
        world = EvidenceWorld()
        index = world.odd(kind, {"request": 1}, **envelope)
        shape = world.promised(EvidenceWorld().withheld(5))
        promise = world.promise(EvidenceWorld().withheld(5), leaf_hash=world.leaf(index), seq=shape.seq)
        value = world.evidence("CONFLICT", promise, entry=index)
        yield bad(f"conflict-promised-hash-of-{name}", world, value, 5)


def _successors() -> Iterator[Vector]:
    world = EvidenceWorld()
    first = world.decide(5)
    second, third = world.decide(6), world.decide(7)
    promise = world.promise(world.entries[first])
    for name, index in {"stands-on-it": second, "after-next": third, "itself": first}.items():
        yield bad(f"successor-{name}", world, world.evidence("SKIPPED", promise, successor=index), 5)
    life, other = world.life, world.another_producer()
    other.seq = life.seq - 2
    index = other.add(world, "decision", world.body(8))
    yield bad("successor-another-producer", world, world.evidence("SKIPPED", promise, successor=index), 5)
    world.life = world.begin(life.prev)
    world.life.seq = life.seq - 2
    value = world.evidence("SKIPPED", promise, successor=world.decide(8))
    yield bad("successor-another-life", world, value, 5)


def _gaps() -> Iterator[Vector]:
    def lost() -> tuple[EvidenceWorld, str, str, int]:
        world = EvidenceWorld()
        promise, life = world.promise(world.left_out(5)), world.life
        return world, promise, life.instance, life.seq

    for name, instance, after in (
        ("after-the-promised-number", "", 0),
        ("of-another-instance", "0" * 32, -1),
    ):
        world, promise, own, seq = lost()
        world.life = world.begin(world.life.prev)
        index = world.gap(instance or own, seq + after)
        yield bad(f"gap-{name}", world, world.evidence("SKIPPED", promise, gap=index), 5)
    world, promise, own, seq = lost()
    index = world.gap(own, seq - 1)
    yield bad("gap-inside-a-running-life", world, world.evidence("SKIPPED", promise, gap=index), 5)
    world, promise, own, seq = lost()
    told = {**gap_body(own, seq - 1), "to": "2025-01-01T00:00:00.000000Z"}
    for name, kind, body, envelope in (
        ("malformed", "gap", told, {}),
        ("of-later-version", "gap", gap_body(own, seq - 1), {"v": 2}),
        ("is-a-notice", "notice", {**gap_body(own, seq - 1), "what": "stopped"}, {}),
    ):
        world, promise, own, seq = lost()
        world.life = world.begin(world.life.prev)
        index = world.odd(kind, body, **envelope)
        yield bad(f"gap-{name}", world, world.evidence("SKIPPED", promise, gap=index), 5)
    world, promise, own, seq = lost()
    other = world.another_producer()
    other.instance = "1" * 32
    index = other.add(world, "gap", gap_body(own, seq - 1))
    yield bad("gap-of-another-producer", world, world.evidence("SKIPPED", promise, gap=index), 5)
    notice = world.lost()
    yield bad("gap-is-a-declared-loss", world, world.evidence("SKIPPED", promise, gap=notice), 5)


def _lives() -> Iterator[Vector]:
    world = EvidenceWorld()
    base = len(world.entries) - 1
    promised = world.decide(5)
    last, life = world.decide(6), world.life
    promise, before = world.promise(world.entries[promised]), world.at["producer"] + 1
    first = life.prev
    world.life = world.begin(first)
    start = len(world.entries) - 1
    after = world.decide(7)
    honest = {
        "stands-behind-the-promised-number": {"start": start, "base": last},
        "stands-on-another-entry": {"start": start, "base": base},
        "is-the-promised-life": {"start": before, "base": world.at["producer"], "life": promised},
        "is-no-start": {"start": after, "base": start, "life": promised},
        "behind-and-with-a-life": {"start": start, "base": last, "life": promised},
    }
    for name, own in honest.items():
        yield bad(f"next-life-{name}", world, world.evidence("SKIPPED", promise, **own), 5)
    yield from _bases()


def _bases() -> Iterator[Vector]:
    world, value = good.next_life()
    index = world.at["producer"] + 1
    yield bad("next-life-with-a-life", world, {**value, "life": world.placed(index)}, 5)
    world, value = good.left_aside()
    without = {key: item for key, item in value.items() if key != "life"}
    yield bad("life-left-aside-without-the-life", world, without, 5)
    start, base = value["start"]["index"], value["base"]["index"]
    for name, at in {"is-the-base": base, "is-the-start": start}.items():
        yield bad(f"life-left-aside-life-{name}", world, {**value, "life": world.placed(at)}, 5)
    begun = world.promise(EvidenceWorld().withheld(5), instance=world.life.instance)
    yield bad("life-left-aside-of-another-life", world, {**value, "promise": begun}, 5)
    yield from _outside()
    for name, base in {"genesis": 0, "a-notice-of-the-log": 7}.items():
        world = EvidenceWorld()
        promise = world.promise(world.left_out(5))
        world.fill(8)
        lived = world.decide(6)
        world.life = world.begin(world.leaf(base).hex())
        value = world.evidence("SKIPPED", promise, start=lived + 1, base=base, life=lived)
        yield bad(f"next-life-on-{name}", world, value, 5)
    world = EvidenceWorld()
    promise, other = world.promise(world.left_out(5)), world.another_producer()
    other.instance = "1" * 32
    base, lived = other.add(world, "notice", {"what": "stopped"}), world.decide(6)
    world.life = world.begin(world.leaf(base).hex())
    value = world.evidence("SKIPPED", promise, start=lived + 1, base=base, life=lived)
    yield bad("next-life-on-another-producers-entry", world, value, 5)
    world, other_start = _of_another()
    promise = world.promise(EvidenceWorld().withheld(5))
    value = world.evidence("SKIPPED", promise, start=other_start, base=world.at["base"])
    yield bad("next-life-of-another-producer", world, value, 5)
    world, value = good.left_aside()
    other = world.another_producer()
    other.instance = value["promise"].split("\n")[3]
    lived = other.add(world, "notice", {"what": "stopped"})
    world.life = world.begin(world.leaf(value["base"]["index"]).hex())
    value = world.evidence(
        "SKIPPED", value["promise"], start=lived + 1, base=value["base"]["index"], life=lived
    )
    yield bad("life-left-aside-life-of-another-producer", world, value, 5)


def _outside() -> Iterator[Vector]:
    """Entries of the promised life that are not between the base, of another life, and the start on it."""
    world = EvidenceWorld()
    first = world.life
    world.life = second = world.begin(first.prev)
    begun = len(world.entries) - 1
    promise = world.promise(world.left_out(5))
    world.life = first
    base = world.decide(6)
    world.life = world.begin(world.leaf(base).hex())
    start, world.life = len(world.entries) - 1, second
    for name, at in {"before-the-base": begun, "behind-the-start": world.decide(7)}.items():
        value = world.evidence("SKIPPED", promise, start=start, base=base, life=at)
        yield bad(f"life-left-aside-life-{name}", world, value, 5)


def _of_another() -> tuple[EvidenceWorld, int]:
    """A start of another producer that stands on an entry of the promised life."""
    world = EvidenceWorld()
    world.at["base"] = len(world.entries) - 1
    other = world.another_producer()
    other.instance, other.prev = "1" * 32, world.leaf(world.at["base"]).hex()
    return world, other.add(world, "instance", {"note": "none", "software": "none"})


def _lates() -> Iterator[Vector]:
    for name, (size, *times) in {
        "earlier-may-hold-it": (10, LATER_S, LATER_S),
        "in-the-second-of-merge-by": (9, MERGE_BY_S, MERGE_BY_S),
        "one-witness-too-early": (9, LATER_S, MERGE_BY_S),
        "one-witness-without-time": (9, LATER_S, 0),
        "one-witness-missing": (9, LATER_S, None),
        "not-cosigned": (9, None, None),
    }.items():
        yield bad(f"late-{name}", *good.late(size, *times), 5)
    world, value = good.late()
    leaf, earlier = value["leaf"], value["earlier"]
    for name, path, item in (
        ("proof-short", "earlier/proof", earlier["proof"][:-1]),
        ("proof-changed", "earlier/proof/0", encode_base64(bytes(32))),
        ("leaf-at-another-index", "leaf/index", leaf["index"] + 1),
        ("leaf-proof-changed", "leaf/proof/0", encode_base64(bytes(32))),
        ("earlier-of-another-history", "earlier/checkpoint", good.fork()[1]["earlier"]["checkpoint"]),
        ("earlier-of-another-log", "earlier/checkpoint", _elsewhere(earlier["checkpoint"])),
        ("earlier-is-the-newer", "earlier/checkpoint", value["checkpoint"]),
    ):
        yield bad(f"late-{name}", world, changed(value, path, item), 5)
    promise = world.promise(world.entries[4])
    yield bad("late-another-leaf", world, {**value, "promise": promise}, 5)
    placed = {name: item for name, item in world.placed(4).items() if name != "entry"}
    yield bad("late-not-late", world, {**value, "promise": promise, "leaf": placed}, 5)
    world, value = good.late(10)
    yield bad("late-earlier-may-hold-it-and-no-quorum", world, value, 5, quorum="none")
    world, value = good.late(9, LATER_S, MERGE_BY_S)
    yield bad("late-other-witness-is-the-quorum", world, value, 5, quorum="w2")


def _elsewhere(note: str) -> str:
    text = text_of(note).replace(fixed.ORIGIN, "other.example", 1)
    return sign_one(text, fixed.signer("other.example"))


def _absents() -> Iterator[Vector]:
    for name, times in {
        "in-the-second-of-merge-by": (MERGE_BY_S, MERGE_BY_S),
        "one-witness-too-early": (MERGE_BY_S - 1, LATER_S),
        "not-cosigned": (None, None),
    }.items():
        world, value = good.absent()
        yield bad(f"absent-{name}", world, {**value, "checkpoint": world.signed(None, *times)}, 5)
    world = EvidenceWorld()
    promise = world.promise(world.entries[world.decide(5)])
    yield bad("absent-it-is-there", world, world.evidence("ABSENT", promise, leaves=world.tiles()), 5)


def _losses() -> Iterator[Vector]:
    for name, changes in {
        "after-the-promised-number": {"after_seq": EvidenceWorld().life.seq},
        "of-another-instance": {"instance": "0" * 32},
        "of-another-producer": {"producer": "0" * 64},
        "malformed": {"to": "2025-01-01T00:00:00.000000Z"},
    }.items():
        yield bad(f"declared-lost-{name}", *good.lost(**changes), 5)
    world, value = good.lost()
    detail = world.loss()
    for name, index in {
        "by-the-producer": world.life.add(world, "notice", {"what": "declared_lost", "detail": detail}),
        "another-notice": world.log.add(world, "notice", {"what": "restored", "detail": detail}),
    }.items():
        made = world.evidence("DECLARED_LOST", value["promise"], notice=index)
        yield bad(f"declared-lost-{name}", world, made, 5)
    world, value = good.gap()
    notice = world.evidence("DECLARED_LOST", value["promise"], notice=value["gap"]["index"])
    yield bad("declared-lost-is-a-gap", world, notice, 5)


def _forks() -> Iterator[Vector]:
    world, value = good.fork()
    size = 9
    root = encode_base64(root_hash(world.hashes()[:size]))
    honest = {"checkpoint": world.signed(size), "root": root, "proof": world.consistency(size)}
    same = {"checkpoint": world.signed(), "root": encode_base64(root_hash(world.hashes())), "proof": []}
    empty = {"checkpoint": world.signed(0), "root": encode_base64(root_hash([])), "proof": []}
    other_root = encode_base64(root_hash(world.hashes()[:8]))
    for name, earlier in {
        "one-history": honest,
        "the-same-checkpoint": same,
        "from-nothing": empty,
        "from-nothing-and-another-root": {**empty, "root": root},
        "root-not-proven": {**honest, "root": other_root},
        "proof-short": {**value["earlier"], "proof": value["earlier"]["proof"][:-1]},
        "earlier-of-another-log": {**value["earlier"], "checkpoint": _elsewhere(honest["checkpoint"])},
        "earlier-not-signed-by-the-log": {**value["earlier"], "checkpoint": _unsigned(world, value)},
    }.items():
        yield bad(f"fork-{name}", world, good.forked(world, earlier), 5)
    both = (world.log_key.vkey, fixed.signer("other.example").vkey)
    other = {**value["earlier"], "checkpoint": _elsewhere(value["earlier"]["checkpoint"])}
    yield bad("fork-of-two-logs", world, good.forked(world, other), 5, log_keys=both)
    world.fill(13)
    larger = {**value["earlier"], "checkpoint": world.signed()}
    yield bad("fork-earlier-is-larger", world, {**value, "earlier": larger}, 5)
    world, value = good.fork(9, total=9)
    final = [{"origin": fixed.ORIGIN, "size": 9, "root": root_hash(world.hashes()).hex()}]
    yield bad("fork-against-a-retired-log", world, value, 5, retired=final)


def _unsigned(world: EvidenceWorld, value: Value) -> str:
    text = text_of(value["earlier"]["checkpoint"])
    return text + "\n" + world.witnesses[0].sign(text, LATER_S)

"""Leaving an entry out of a log: what is left is a whole log, in which nothing but the entry is missing."""

from __future__ import annotations

from auditlog.attack import resealing
from auditlog.core.canonical import parse
from auditlog.core.entry import format_time, parse_entry
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.signed import open_one
from auditlog.core.statements import parse_instance_text
from tests.support.promise_world import World

COUNTS = ("started", "finished", "recorded")


def busy_log() -> tuple[World, int]:
    """Eight decisions, then an anchor and a heartbeat that count them; the index of the fourth decision."""
    world = World()
    for _ in range(8):
        world.decide()
    size = len(world.entries)
    root = root_hash([hash_leaf(entry) for entry in world.entries]).hex()
    world.write_log("anchor", {"type": "devnet@v0", "size": size, "root": root})
    counts = dict.fromkeys(COUNTS, 8) | {"head": "a note", "failed": 0}
    world.write("heartbeat", counts)
    world.decide()
    return world, 6


def is_whole(entries: list[bytes]) -> bool:
    """Every writer's numbers are dense in each life, and each entry names the one before it."""
    last: dict[str, tuple[str, int, str]] = {}
    for entry in map(parse_entry, entries):
        instance, seq, leaf_hash = last.get(entry.producer, ("", -1, ""))
        if entry.instance != instance and entry.producer != "log":
            seq = -1
        if entry.seq != seq + 1 or (leaf_hash and entry.prev != leaf_hash):
            return False
        last[entry.producer] = (entry.instance, entry.seq, hash_leaf(_bytes(entries, entry)).hex())
    return True


def _bytes(entries: list[bytes], entry: object) -> bytes:
    return next(data for data in entries if parse_entry(data) == entry)


def body_of(entries: list[bytes], kind: str) -> dict[str, object]:
    """The body of the only entry of a kind."""
    (found,) = [parse(entry) for entry in entries if parse(entry)["kind"] == kind]
    return dict(found["body"])


def test_a_number_given_away_leaves_a_whole_log() -> None:
    """One entry less, the chain dense, anchor and heartbeat true of what is there; the past is untouched."""
    world, at = busy_log()
    forged = resealing.give_number_away(world.entries, at)
    assert is_whole(world.entries)
    assert is_whole(forged)
    assert forged[:at] == world.entries[:at]
    assert len(forged) == len(world.entries) - 1
    assert world.entries[at] not in forged
    dropped, there = parse_entry(world.entries[at]), parse_entry(forged[at])
    assert (there.instance, there.seq) == (dropped.instance, dropped.seq)
    assert {name: body_of(forged, "heartbeat")[name] for name in COUNTS} == dict.fromkeys(COUNTS, 7)
    assert "head" not in body_of(forged, "heartbeat")
    anchor = body_of(forged, "anchor")
    leaves = [hash_leaf(entry) for entry in forged]
    assert anchor["root"] == root_hash(leaves[: int(str(anchor["size"]))]).hex()


def test_a_made_up_crash_is_a_life_and_a_gap() -> None:
    """The new life is signed by the producer, the gap says one call was lost, all else follows."""
    world, at = busy_log()
    forged = resealing.pretend_crash(world.entries, at, world.key)
    dropped = parse_entry(world.entries[at])
    assert is_whole(forged)
    assert world.entries[at] not in forged
    start, gap = parse_entry(forged[at]), parse_entry(forged[at + 1])
    statement = parse_instance_text(open_one(start.body["note"], world.key.verifier))
    assert (statement.instance, statement.prev) == (start.instance, dropped.prev)
    assert (gap.kind, gap.body["instance"], gap.body["after_seq"]) == (
        "gap",
        dropped.instance,
        dropped.seq - 1,
    )
    assert {parse_entry(entry).instance for entry in forged[at:]} == {start.instance, "log"}
    assert body_of(forged, "heartbeat")["recorded"] == 4


def test_what_is_held_back_is_all_its_writer_added() -> None:
    """The log goes on with the others' entries; put at the end, what was held back is still a whole chain."""
    world, at = busy_log()
    rest, held = resealing.hold_back(world.entries, at)
    assert [parse(entry)["producer"] for entry in rest[at:]] == ["log"]
    assert held[0] == world.entries[at]
    assert is_whole(rest)
    assert is_whole([*rest, *held])
    assert format_time(world.now_s * 1_000_000) == parse(held[0])["time"]

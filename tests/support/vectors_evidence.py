"""Vectors of evidence that proves what it says: every verdict in every form, and what only a quorum decides.

`cases` gives (name, world, value) of each; the bad ones (vectors_evidence_bad) are these with one thing
broken. What a vector demands is written here by hand: no verifier is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from auditlog.core import canonical
from auditlog.core.commitment import commit_body
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from auditlog.core.statements import rotation_text
from tests.support import format_world as fixed
from tests.support.evidence_world import LATER_S, MERGE_S, START_S, EvidenceWorld
from tests.support.vectors_values import Vector

Case = tuple[str, EvidenceWorld, dict[str, Any]]
MERGE_BY_S = START_S + MERGE_S
"""The whole second in which every promise of these worlds is due: merge-by is half a second later."""


def encoded(value: Any) -> bytes:
    """An evidence file."""
    return canonical.encode(value) + b"\n"


def vector(name: str, data: bytes, trust: bytes, code: int, **more: Any) -> Vector:
    """One vector; `parses` is whether it is an evidence file at all."""
    given = {"evidence_b64": encode_base64(data), "trust_b64": encode_base64(trust)}
    return "evidence", name, {**given, "exit_code": code, "ok": code != 1, "parses": True, **more}


def evidence_vectors() -> Iterator[Vector]:
    """Good ones, ones that need a quorum, and who signs what."""
    for name, world, value in cases():
        yield vector(f"good-{name}", encoded(value), world.trust(), 0, verdict=value["verdict"])
        if value["verdict"] in ("LATE", "ABSENT") and name in ("late", "absent"):
            trust = world.trust(quorum="none")
            yield vector(f"open-{name}-without-quorum", encoded(value), trust, 3, verdict=value["verdict"])
    yield from _trusted()
    yield from _overlapping()


def cases() -> Iterator[Case]:
    """Everything that proves what it says."""
    yield from conflicts()
    yield from contents()
    yield from skipped()
    yield from lives()
    yield from dated()
    yield from absences()
    yield from losses()
    yield from keys()
    yield from forks()


def conflict() -> tuple[EvidenceWorld, dict[str, Any]]:
    """The promised entry is left out and its number given to the next."""
    world = EvidenceWorld()
    promise = world.promise(world.left_out(5))
    return world, world.evidence("CONFLICT", promise, entry=world.decide(6))


def conflicts() -> Iterator[Case]:
    """Another entry at the promised number."""
    yield "conflict-other-entry", *conflict()
    for name, kind, envelope in (
        ("later-version", "decision", {"v": 2}),
        ("unknown-kind", "dream", {}),
    ):
        world = EvidenceWorld()
        promise = world.promise(world.left_out(5))
        index = world.odd(kind, {"anything": 1}, **envelope)
        yield f"conflict-other-entry-of-{name}", world, world.evidence("CONFLICT", promise, entry=index)
    world = EvidenceWorld()
    promise = world.promise(world.left_out(5))
    index = world.odd("decision", {"id": 1})
    yield "conflict-other-entry-malformed", world, world.evidence("CONFLICT", promise, entry=index)


def contents() -> Iterator[Case]:
    """The promised entry is there, and says something else than the promise."""
    other = commit_body(fixed.seed("exchange key"), "response", b"approved")
    for name, changes in {
        "response": {"response": other},
        "request": {"request": other},
        "model": {"model": "pending"},
        "number": {"seq": 77},
        "instance": {"instance": "0" * 32},
    }.items():
        world = EvidenceWorld()
        index = world.decide(5)
        promise = world.promise(world.entries[index], **changes)
        yield f"conflict-other-{name}", world, world.evidence("CONFLICT", promise, entry=index)
    world = EvidenceWorld()
    of_genesis = world.promise(world.entries[world.decide(5)], leaf_hash=hash_leaf(world.entries[0]))
    yield "conflict-hash-of-another-writer", world, world.evidence("CONFLICT", of_genesis, entry=0)
    odd: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
        "no-decision": ("notice", {"what": "stopped"}, {}, {}),
        "no-decision-malformed": ("notice", {"what": 7}, {}, {}),
        "no-decision-same-members": ("outcome", EvidenceWorld().body(5), {}, {}),
        "decision-without-request": ("decision", EvidenceWorld().body(5, request=None), {}, {}),
        "later-version-other-number": ("decision", EvidenceWorld().body(5), {"v": 2}, {"seq": 77}),
    }
    for name, (kind, body, envelope, changes) in odd.items():
        world = EvidenceWorld()
        data = world.entries[world.decide(5)]
        index = world.odd(kind, body, **envelope)
        leaf, seq = hash_leaf(world.entries[index]), world.life.seq - 1
        promise = world.promise(data, **{"leaf_hash": leaf, "seq": seq, **changes})
        yield f"conflict-{name}", world, world.evidence("CONFLICT", promise, entry=index)


def successor() -> tuple[EvidenceWorld, dict[str, Any]]:
    """The promised number is left out."""
    world = EvidenceWorld()
    before = world.life.prev
    promise = world.promise(world.withheld(5))
    world.life.prev = before
    return world, world.evidence("SKIPPED", promise, successor=world.decide(6))


def gap() -> tuple[EvidenceWorld, dict[str, Any]]:
    """A crash is pretended, and a gap declared over the promised number."""
    world = EvidenceWorld()
    promise, lost = world.promise(world.left_out(5)), world.life
    world.life = world.begin(lost.prev)
    return world, world.evidence("SKIPPED", promise, gap=world.gap(lost.instance, lost.seq - 1))


def skipped() -> Iterator[Case]:
    """The next number, or a gap."""
    yield "skipped-successor", *successor()
    world = EvidenceWorld()
    promise = world.promise(world.withheld(5))
    index = world.odd("decision", {"anything": 1}, v=2, prev="0" * 64)
    yield "skipped-successor-of-later-version", world, world.evidence("SKIPPED", promise, successor=index)
    yield "skipped-gap", *gap()
    world = EvidenceWorld()
    last, life = world.life.prev, world.life
    promise = world.promise(world.withheld(5))
    life.prev = last
    yield (
        "skipped-gap-of-the-same-life",
        world,
        world.evidence("SKIPPED", promise, gap=world.gap(life.instance, life.seq - 2)),
    )


def next_life() -> tuple[EvidenceWorld, dict[str, Any]]:
    """The next life goes on from before the promised number."""
    world = EvidenceWorld()
    promise, base = world.promise(world.left_out(5)), len(world.entries) - 1
    world.life = world.begin(world.life.prev)
    return world, world.evidence("SKIPPED", promise, start=len(world.entries) - 1, base=base)


def left_aside() -> tuple[EvidenceWorld, dict[str, Any]]:
    """A whole life is left aside: the one after it goes on from before its start."""
    world = EvidenceWorld()
    base, prev = len(world.entries) - 1, world.life.prev
    world.life = world.begin(prev)
    life = len(world.entries) - 1
    promise = world.promise(world.left_out(5))
    world.life = world.begin(prev)
    start = len(world.entries) - 1
    return world, world.evidence("SKIPPED", promise, start=start, base=base, life=life)


def lives() -> Iterator[Case]:
    """The next life."""
    yield "skipped-next-life", *next_life()
    yield "skipped-life-left-aside", *left_aside()
    world = EvidenceWorld()
    first = world.at["producer"] + 1
    promise = world.promise(world.left_out(5))
    world.life = world.begin(world.leaf(first).hex())
    start = len(world.entries) - 1
    yield "skipped-next-life-on-its-start", world, world.evidence("SKIPPED", promise, start=start, base=first)
    world = EvidenceWorld()
    promise = world.promise(world.left_out(5))
    world.life = world.begin(world.producer)
    start, base = len(world.entries) - 1, world.at["producer"]
    value = world.evidence("SKIPPED", promise, start=start, base=base, life=start - 1)
    yield "skipped-life-left-aside-on-enrolment", world, value
    world = EvidenceWorld()
    promise, base = world.promise(world.left_out(5)), len(world.entries) - 1
    last = world.life.prev
    world.life = world.begin(last)
    world.entries.pop()
    world.life.seq, world.life.prev = 0, last
    start = world.odd("instance", {"anything": 1}, v=2)
    value = world.evidence("SKIPPED", promise, start=start, base=base)
    yield "skipped-next-life-of-later-version", world, value


def late(size: int = 9, *times: int | None) -> tuple[EvidenceWorld, dict[str, Any]]:
    """The entry, at index 9 of 11, is held back until after an earlier checkpoint of so many entries."""
    world = EvidenceWorld()
    held = world.withheld(5)
    world.fill(9)
    promise = world.promise(held)
    world.entries.append(held)
    world.fill(11)
    earlier = world.signed(size, *times)
    leaf = {name: item for name, item in world.placed(9).items() if name != "entry"}
    joined = {"checkpoint": earlier, "proof": world.consistency(size)}
    return world, world.evidence("LATE", promise, leaf=leaf, earlier=joined)


def dated() -> Iterator[Case]:
    """Late, by checkpoints of various sizes and dates."""
    yield "late", *late()
    yield "late-earlier-a-power-of-two", *late(8)
    yield "late-earlier-empty", *late(0)
    yield "late-in-the-first-whole-second", *late(9, MERGE_BY_S + 1, MERGE_BY_S + 1)
    world, value = late(9, MERGE_BY_S - 30, LATER_S)
    again = world.witnesses[0].sign(text_of(value["earlier"]["checkpoint"]), LATER_S)
    value["earlier"]["checkpoint"] += again
    yield "late-cosigned-again", world, value
    world, value = late(9, 0, LATER_S)
    value["earlier"]["checkpoint"] += world.witnesses[0].sign(
        text_of(value["earlier"]["checkpoint"]), LATER_S
    )
    yield "late-cosigned-without-time-and-again", world, value
    world, value = late()
    value["checkpoint"] = world.signed(None, None, None)
    yield "late-newer-not-cosigned", world, value
    value = {**value, "checkpoint": value["checkpoint"] + fixed.signer("stranger.example").sign("x")}
    yield "late-line-of-an-unknown-key", world, value


def text_of(note: str) -> str:
    """The signed text of a note."""
    return note[: note.rindex("\n\n") + 1]


def absent(size: int = 9) -> tuple[EvidenceWorld, dict[str, Any]]:
    """The producer stops after its promise, and nothing stands where the entry should."""
    world = EvidenceWorld()
    promise = world.promise(world.withheld(5))
    world.fill(size)
    return world, world.evidence("ABSENT", promise, leaves=world.tiles())


def absences() -> Iterator[Case]:
    """Absent from trees of one tile, of one whole tile, and of more."""
    yield "absent", *absent()
    yield "absent-from-256", *absent(256)
    yield "absent-from-257", *absent(257)


def lost(**changes: Any) -> tuple[EvidenceWorld, dict[str, Any]]:
    """The host died with its disk, and the log says so."""
    world = EvidenceWorld()
    promise = world.promise(world.left_out(5))
    return world, world.evidence("DECLARED_LOST", promise, notice=world.lost(**changes))


def losses() -> Iterator[Case]:
    """Declared lost."""
    yield "declared-lost", *lost()
    yield "declared-lost-whole-life", *lost(after_seq=-1)


def rotated(count: int = 2) -> tuple[EvidenceWorld, tuple[int, ...], bytes, int]:
    """So many rotations, then a conflict; the withheld entry and the one in its place."""
    world = EvidenceWorld()
    rotations = tuple(world.rotate() for _ in range(count))
    data = world.left_out(5)
    return world, rotations, data, world.decide(6)


def keys() -> Iterator[Case]:
    """Whose promise: any key of the producer will do."""
    world, rotations, data, index = rotated()
    for number, key in enumerate((world.producer_key, world.nth_key(1), world.nth_key(2))):
        value = world.evidence("CONFLICT", world.promise(data, key), rotations, entry=index)
        yield f"key-{number}-of-three", world, value
    value = world.evidence("CONFLICT", world.promise(data, world.nth_key(1)), rotations[:1], entry=index)
    yield "key-no-more-rotations-than-needed", world, value
    value = world.evidence("CONFLICT", world.promise(data, world.producer_key), (), entry=index)
    yield "key-enrolled-and-rotations-not-shown", world, value
    world = EvidenceWorld()
    promise = world.promise(world.left_out(5))
    value = world.evidence("CONFLICT", promise, (index := world.rotate(),), entry=index)
    yield "key-rotation-in-the-promised-place", world, value
    yield from _beside_a_bad_rotation()


def _beside_a_bad_rotation() -> Iterator[Case]:
    """The log holds a rotation that does not hold: it changes no key, and is not shown."""
    for name, number in (("the-enrolled-key", 0), ("the-key-behind-it", 1)):
        world = EvidenceWorld()
        other = Ed25519Signer.from_seed(world.producer_key.name, fixed.seed("a key without leave"))
        text = rotation_text(fixed.ORIGIN, world.producer, other.vkey)
        world.life.add(world, "rotation", {"vkey": other.vkey, "notes": [sign_one(text, other)] * 2})
        rotations = tuple(world.rotate() for _ in range(number))
        promise = world.promise(world.left_out(5), world.key)
        value = world.evidence("CONFLICT", promise, rotations, entry=world.decide(6))
        yield f"key-bad-rotation-beside-{name}", world, value


def fork(size: int = 9, *, total: int = 11) -> tuple[EvidenceWorld, dict[str, Any]]:
    """Two histories: the first checkpoint has another entry at its end."""
    world = EvidenceWorld()
    world.fill(size - 1)
    world.log.add(world, "notice", {"what": "unguarded_start"})
    earlier = world.signed(size, None, None)
    world.log.seq, world.log.prev = world.log.seq - 1, "0" * 64
    world.entries.pop()
    world.fill(total)
    root = encode_base64(root_hash(world.hashes()[:size]))
    joined = {"checkpoint": earlier, "root": root, "proof": world.consistency(size)}
    return world, forked(world, joined)


def forked(world: EvidenceWorld, earlier: dict[str, Any]) -> dict[str, Any]:
    """A FORK of everything and an earlier checkpoint."""
    names = {"v": "auditlog/evidence@v1", "verdict": "FORK"}
    return {**names, "checkpoint": world.signed(None, None, None), "earlier": earlier}


def forks() -> Iterator[Case]:
    """Two checkpoints of one origin."""
    yield "fork", *fork()
    yield "fork-earlier-a-power-of-two", *fork(8)
    yield "fork-same-size", *fork(9, total=9)


def _trusted() -> Iterator[Vector]:
    """Trust files that matter to what is proven."""
    world, value = conflict()
    root, size = root_hash(world.hashes()).hex(), len(world.entries)
    for name, final in {"at-its-end": size, "before-its-end": size + 1}.items():
        retired = [{"origin": fixed.ORIGIN, "size": final, "root": root if final == size else "0" * 64}]
        trust = world.trust(retired=retired)
        yield vector(f"good-retired-log-{name}", encoded(value), trust, 0, verdict="CONFLICT")
    world, value = fork()
    second = fixed.Ed25519Signer.from_seed(fixed.ORIGIN, fixed.seed("second log key"))
    value["checkpoint"] = world.signed(None, None, None, key=second)
    both = world.trust(log_keys=(world.log_key.vkey, second.vkey))
    yield vector("bad-fork-by-two-keys-of-one-name", encoded(value), both, 1, failed_rule=5)
    own, other = (key.sign(text_of(value["checkpoint"])) for key in (world.log_key, second))
    value = {**value, "checkpoint": f"{text_of(value['checkpoint'])}\n{other}{own}"}
    yield vector("good-fork-one-of-two-keys-on-both", encoded(value), both, 0, verdict="FORK")
    for name, (world, value), quorum in (
        ("late-one-witness-is-a-quorum", late(9, LATER_S, MERGE_BY_S), "w1"),
        ("absent-one-witness-is-a-quorum", absent(), "w2"),
        ("conflict-without-quorum", conflict(), "none"),
        ("fork-without-quorum", fork(), "none"),
    ):
        yield vector(f"good-{name}", encoded(value), world.trust(quorum=quorum), 0, verdict=value["verdict"])


def _overlapping() -> Iterator[Vector]:
    """Quorums that need not overlap: what one saw late, another may have seen in time."""
    one_of_two = ("group both any w1 w2",)
    nested = ("group first any w1", "group second all w2", "group both 1 first second")
    early = (LATER_S, MERGE_BY_S), (LATER_S, None), (None, LATER_S)
    for name, groups in {"one-of-two": one_of_two, "one-of-two-groups": nested}.items():
        for number, times in enumerate(early, start=1):
            world, value = late(9, *times)
            trust = world.trust(groups=groups)
            yield vector(f"open-late-{name}-{number}", encoded(value), trust, 3, verdict="LATE")
        world, value = late()
        trust = world.trust(groups=groups)
        yield vector(f"good-late-{name}-by-both", encoded(value), trust, 0, verdict="LATE")
        world, value = absent()
        trust = world.trust(groups=groups)
        yield vector(f"good-absent-{name}-by-both", encoded(value), trust, 0, verdict="ABSENT")
        value["checkpoint"] = world.signed(None, LATER_S, MERGE_BY_S)
        yield vector(f"open-absent-{name}", encoded(value), trust, 3, verdict="ABSENT")

"""Vectors of evidence that proves nothing: each rule of spec/evidence.md and spec/promise.md broken once.

Every one says which rule of "Checking" is the first that does not hold (`failed_rule`), by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from auditlog.core import canonical
from auditlog.core.note import Ed25519Signer
from auditlog.core.scalars import encode_base64, parse_base64
from auditlog.core.signed import sign_one
from tests.support import format_world as fixed
from tests.support import vectors_evidence as good
from tests.support.evidence_world import EvidenceWorld
from tests.support.vectors_evidence import encoded, vector
from tests.support.vectors_values import Vector

Value = dict[str, Any]
Change = Callable[[Value], Any]


def evidence_vectors() -> Iterator[Vector]:
    """Every bad one."""
    yield from _bytes()
    yield from _members()
    yield from _scalars()
    yield from _checkpoints()
    yield from _entries()


def bad(name: str, world: EvidenceWorld, value: Value, rule: int, **trust: Any) -> Vector:
    """A vector in which this rule is the first that does not hold."""
    parses = {"parses": False} if rule == 1 else {}
    return vector(f"bad-{name}", encoded(value), world.trust(**trust), 1, failed_rule=rule, **parses)


def _bytes() -> Iterator[Vector]:
    world, value = good.conflict()
    data = encoded(value)
    faults = {
        "empty": b"",
        "no-newline": data[:-1],
        "two-newlines": data + b"\n",
        "carriage-return": data[:-1] + b"\r\n",
        "white-space": data.replace(b'":', b'": ', 1),
        "members-in-another-order": b'{"verdict":"CONFLICT",'
        + data[1:].replace(b',"verdict":"CONFLICT"', b"", 1),
        "member-twice": data.replace(b'{"checkpoint"', b'{"checkpoint":"","checkpoint"', 1),
        "byte-order-mark": b"\xef\xbb\xbf" + data,
        "an-array": b"[" + data[:-1] + b"]\n",
        "cut": data[: len(data) // 2],
    }
    for name, faulty in faults.items():
        yield vector(f"bad-bytes-{name}", faulty, world.trust(), 1, failed_rule=1, parses=False)


def _members() -> Iterator[Vector]:
    starts: dict[str, tuple[EvidenceWorld, Value]] = {
        "conflict": good.conflict(),
        "successor": good.successor(),
        "gap": good.gap(),
        "next-life": good.next_life(),
        "life-left-aside": good.left_aside(),
        "late": good.late(),
        "absent": good.absent(),
        "declared-lost": good.lost(),
        "fork": good.fork(),
    }
    for name, (world, value) in starts.items():
        own = set(value) - {"v", "verdict", "checkpoint", "promise", "producer", "rotations", "life"}
        for member in sorted(own | (set(value) if name == "conflict" else set())):
            missing = {key: item for key, item in value.items() if key != member}
            yield bad(f"{name}-without-{member}", world, missing, 1)
        yield bad(f"{name}-unknown-member", world, {**value, "note": "trust me"}, 1)
    fork, conflict = starts["fork"], starts["conflict"][1]
    more = {"promise": conflict["promise"], "producer": conflict["producer"], "rotations": []}
    yield bad("fork-with-a-promise", fork[0], {**fork[1], **more}, 1)
    world, value = starts["gap"]
    yield bad("skipped-two-sets", world, {**value, "successor": value["gap"]}, 1)
    yield bad("conflict-of-a-gap", world, {**value, "verdict": "CONFLICT"}, 1)
    yield bad("verdict-lower-case", world, {**value, "verdict": "skipped"}, 1)
    yield bad("verdict-unknown", world, {**value, "verdict": "BROKEN"}, 1)
    yield bad("verdict-an-array", world, {**value, "verdict": ["SKIPPED"]}, 1)
    yield bad("version-2", world, {**value, "v": "auditlog/evidence@v2"}, 1)
    world, value = starts["late"]
    rooted = {**value["earlier"], "root": encode_base64(bytes(32))}
    yield bad("late-earlier-with-root", world, {**value, "earlier": rooted}, 1)
    entry = {**value["leaf"], "entry": encode_base64(world.entries[9])}
    yield bad("late-leaf-with-entry", world, {**value, "leaf": entry}, 1)


def changed(value: Value, path: str, item: Any) -> Value:
    """A copy with one member replaced; the path is joined by `/`."""
    made = copy.deepcopy(value)
    *parents, last = path.split("/")
    at: Any = made
    for name in parents:
        at = at[int(name) if isinstance(at, list) else name]
    at[int(last) if isinstance(at, list) else last] = item
    return made


def _scalars() -> Iterator[Vector]:
    world, value = good.conflict()
    entry, stranger = value["entry"]["entry"], fixed.signer("stranger.example")
    promise = value["promise"]
    second = promise + stranger.sign(promise[: promise.rindex("\n\n") + 1])
    rotations = [value["producer"]] * 62
    for name, (path, item) in {
        "index-text": ("entry/index", "7"),
        "index-negative": ("entry/index", -1),
        "index-2-to-the-53": ("entry/index", None),
        "index-true": ("entry/index", True),
        "entry-empty": ("entry/entry", ""),
        "entry-65536-bytes": ("entry/entry", encode_base64(bytes(65_536))),
        "entry-base64-without-padding": ("producer/entry", value["producer"]["entry"].rstrip("=")[:-1]),
        "entry-base64-with-newline": ("entry/entry", entry[:8] + "\n" + entry[8:]),
        "entry-unknown-member": ("entry/leaf_hash", "00"),
        "proof-hash-of-31-bytes": ("entry/proof/0", encode_base64(bytes(31))),
        "proof-stray-bits": ("entry/proof/0", _stray(value["entry"]["proof"][0])),
        "proof-an-object": ("entry/proof", {}),
        "promise-two-signature-lines": ("promise", second),
        "promise-signed-twice": ("promise", promise + promise.split("\n\n")[1]),
        "promise-without-signature": ("promise", promise[: promise.rindex("\n\n") + 2]),
        "promise-no-note": ("promise", "I promise."),
        "checkpoint-no-note": ("checkpoint", "log.example/loans\n8\n"),
        "rotations-an-object": ("rotations", {}),
        "rotations-62": ("rotations", rotations),
    }.items():
        if name == "index-2-to-the-53":
            data = encoded(value).replace(b'"index":7', b'"index":9007199254740992', 1)
            yield vector(f"bad-{name}", data, world.trust(), 1, failed_rule=1, parses=False)
            continue
        yield bad(name, world, changed(value, path, item), 1)
    world, value = good.fork()
    yield bad("fork-root-of-31-bytes", world, changed(value, "earlier/root", encode_base64(bytes(31))), 1)
    yield from _tiles()


def _stray(text: str) -> str:
    """The same 32 bytes with a bit set that no byte of them has."""
    return text[:-2] + chr(ord(text[-2]) + 1) + "="


def _tiles() -> Iterator[Vector]:
    world, value = good.absent(257)
    first, last = (parse_base64(tile, "tile") for tile in value["leaves"])
    everything = first + last
    faults = {
        "tile-of-257": ([everything], 1),
        "tile-short-before-the-last": ([first[:-32], first[-32:] + last], 1),
        "tile-half-a-hash": ([first, last[:-1]], 1),
        "tile-empty": ([first, last, b""], 1),
        "leaf-left-out": ([first], 5),
        "leaf-too-many": ([first, last + last], 5),
        "leaf-changed": ([first, bytes(32)], 5),
        "leaves-swapped": ([first[32:64] + first[:32] + first[64:], last], 5),
        "no-tiles": ([], 5),
    }
    for name, (tiles, rule) in faults.items():
        made = {**value, "leaves": [encode_base64(tile) for tile in tiles]}
        yield bad(f"absent-{name}", world, made, rule)
    yield bad("absent-leaves-text", world, {**value, "leaves": value["leaves"][0]}, 1)


def _checkpoints() -> Iterator[Vector]:
    """Rule 2."""
    world, value = good.conflict()
    other = Ed25519Signer.from_seed(fixed.ORIGIN, fixed.seed("another log key"))
    text, size = good.text_of(value["checkpoint"]), len(world.entries)
    lines = value["checkpoint"][len(text) + 1 :].splitlines(keepends=True)
    devnet = Ed25519Signer.from_seed(fixed.ORIGIN, fixed.seed("devnet"))
    notes: dict[str, tuple[str, dict[str, Any]]] = {
        "by-another-key": (world.signed(key=other), {}),
        "by-witnesses-alone": (text + "\n" + "".join(lines[1:]), {}),
        "by-the-devnet-key-named-like-the-log": (sign_one(text, devnet), {"devnet": devnet.vkey}),
        "of-a-log-not-trusted": (value["checkpoint"], {"log_keys": (fixed.signer("other.example").vkey,)}),
        "wrong-signature": (text + "\n" + lines[0].replace(lines[0][60:64], "AAAA") + "".join(lines[1:]), {}),
        "wrong-signature-twice": (text + "\n" + 2 * world.log_key.sign(text + "x\n"), {}),
        "wrong-signature-and-cosignatures": (
            text + "\n" + world.log_key.sign(text + "x\n") + "".join(lines[1:]),
            {},
        ),
        "larger-than-retired": (
            value["checkpoint"],
            {"retired": [{"origin": fixed.ORIGIN, "size": size - 1, "root": "0" * 64}]},
        ),
        "another-than-the-final-root": (
            value["checkpoint"],
            {"retired": [{"origin": fixed.ORIGIN, "size": size, "root": "0" * 64}]},
        ),
        "size-with-leading-zero": (sign_one(text.replace(f"\n{size}\n", f"\n0{size}\n"), world.log_key), {}),
    }
    for name, (note, trust) in notes.items():
        yield bad(f"checkpoint-{name}", world, {**value, "checkpoint": note}, 2, **trust)


def _entries() -> Iterator[Vector]:
    """Rule 3."""
    world, value = good.conflict()
    index, proof = value["entry"]["index"], value["entry"]["proof"]
    entry = canonical.parse(world.entries[index])
    altered = encode_base64(canonical.encode({**entry, "time": "2026-01-02T00:00:00.000000Z"}))
    earlier = EvidenceWorld()
    earlier.fill(5)
    for name, (path, item) in {
        "at-another-index": ("entry/index", index - 1),
        "at-an-index-beyond": ("entry/index", len(world.entries)),
        "proof-short": ("entry/proof", proof[:-1]),
        "proof-long": ("entry/proof", [*proof, encode_base64(bytes(32))]),
        "proof-other-hash": ("entry/proof/0", encode_base64(bytes(32))),
        "altered": ("entry/entry", altered),
        "producer-of-another-tree": ("producer/proof", proof),
    }.items():
        yield bad(f"entry-{name}", world, changed(value, path, item), 3)
    odd: dict[str, Change] = {
        "of-another-log": lambda e: {**e, "origin": "other.example"},
        "without-time": lambda e: {key: item for key, item in e.items() if key != "time"},
        "by-the-log-and-a-decision": lambda e: {**e, "producer": "log", "instance": "log"},
    }
    for name, change in odd.items():
        world = EvidenceWorld()
        promise = world.promise(world.left_out(5))
        index = world.decide(6)
        world.entries[index] = canonical.encode(change(canonical.parse(world.entries[index])))
        yield bad(f"entry-{name}", world, world.evidence("CONFLICT", promise, entry=index), 3)
    world = EvidenceWorld()
    promise = world.promise(world.left_out(5))
    index = world.decide(6)
    world.entries[index] = world.entries[index].replace(b'":', b'": ', 1)
    yield bad("entry-not-canonical", world, world.evidence("CONFLICT", promise, entry=index), 3)
    world, rotations, data, index = good.rotated()
    value = world.evidence("CONFLICT", world.promise(data), rotations, entry=index)
    yield bad("rotation-not-in-the-tree", world, changed(value, "rotations/1/index", 0), 3)

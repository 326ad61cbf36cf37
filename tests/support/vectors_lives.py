"""Vectors of a producer's life: bodies of heartbeats, coverage, rotations, ends and losses; receipts behind a
rotation; what a declared loss covers.

Each function yields (folder, file name, vector), as in vectors_values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from auditlog.core import canonical
from auditlog.core.bodies import HEARTBEAT_COUNTS
from auditlog.core.entry import parse_entry
from auditlog.core.losses import declared_lost_covers, gap_covers
from auditlog.core.note import Ed25519Signer
from auditlog.core.receipt import format_receipt
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from auditlog.core.statements import rotation_text
from tests.support import format_world as fixed
from tests.support.format_world import ORIGIN
from tests.support.rotated_world import KEY_NAME, RotatedWorld, coverage, heartbeat, producer_keys
from tests.support.vectors_receipt import Checks
from tests.support.vectors_values import Vector, bad_entry, changed, good_entry

NEW = ("coverage", "heartbeat", "rotation", "gap_at_most", "redacted", "declared_lost", "retirement")


def life_entry_vectors() -> Iterator[Vector]:
    """Good entries of the kinds that 0.1 did not write, and bodies that are none."""
    world = RotatedWorld()
    for name in NEW:
        yield good_entry(f"good-{name.replace('_', '-')}", world.entries[world.at[name]])
    for name, (of, changes) in _understood().items():
        entry = json.loads(world.entries[world.at[of]])
        yield good_entry(f"good-{name}", canonical.encode(changed(entry, changes)))
    for name, (of, changes) in _bad().items():
        entry = json.loads(world.entries[world.at[of]])
        yield bad_entry(f"bad-{name}", changed(entry, changes), "body")


def _understood() -> dict[str, tuple[str, dict[str, Any]]]:
    disabled = {"from": fixed.format_time(0), "to": fixed.format_time(0), "starts": 2}
    return {
        "heartbeat-least": ("heartbeat", {"body": heartbeat(0)}),
        "heartbeat-unknown-members": ("heartbeat", {"body/mood": 1, "body/spool/colour": "blue"}),
        "heartbeat-engine-decimals": ("heartbeat", {"body/engine": {"a": "-0", "b": "1.50e-7", "": "9"}}),
        "coverage-unknown-words": (
            "coverage",
            {
                "body": coverage(
                    durability="moon",
                    model="later",
                    routes=[{"method": "POST", "path": "/x", "record": "half", "colour": 1}],
                )
            },
        ),
        "coverage-nothing": ("coverage", {"body": coverage(routes=[], ports=[], workers=0)}),
        "redacted-unknown-word": ("redacted", {"body/redacted": ["facts", "memory"]}),
        "retirement-by-its-producer": (
            "rotation",
            {
                "kind": "retirement",
                "body": {"last": {"instance": "a" * 32, "seq": 9, "leaf_hash": "b" * 64}},
            },
        ),
        "retirement-of-one-that-never-wrote": (
            "retirement",
            {"body/last": {"instance": "none", "seq": 0, "leaf_hash": "c" * 64}},
        ),
        "notice-disabled": ("rotation", {"kind": "notice", "body": {"what": "disabled", "detail": disabled}}),
        "notice-stopped-with-detail": (
            "rotation",
            {"kind": "notice", "body": {"what": "stopped", "detail": 7}},
        ),
        "notice-lost-unknown-member": ("declared_lost", {"body/detail/by": "hand"}),
        "gap-unknown-and-at-most-0": ("gap_at_most", {"body/at_most": 0}),
    }


def _bad() -> dict[str, tuple[str, dict[str, Any]]]:
    notes = RotatedWorld()
    one = parse_entry(notes.entries[notes.at["rotation"]]).body["notes"]
    missing = {
        f"heartbeat-without-{name}": ("heartbeat", {f"-body/{name}": 0})
        for name in ("interval_s", "spool", *HEARTBEAT_COUNTS)
    }
    return {
        **missing,
        "heartbeat-interval-0": ("heartbeat", {"body/interval_s": 0}),
        "heartbeat-count-negative": ("heartbeat", {"body/started": -1}),
        "heartbeat-count-text": ("heartbeat", {"body/started": "1"}),
        "heartbeat-spool-member-missing": ("heartbeat", {"-body/spool/bytes": 0}),
        "heartbeat-block-hash-short": ("heartbeat", {"body/block/hash": "0x12"}),
        "heartbeat-engine-number": ("heartbeat", {"body/engine": {"a": 1}}),
        "heartbeat-engine-not-decimal": ("heartbeat", {"body/engine": {"a": "NaN"}}),
        "heartbeat-engine-plus-sign": ("heartbeat", {"body/engine": {"a": "+1"}}),
        "heartbeat-engine-65-characters": ("heartbeat", {"body/engine": {"a": "1" * 65}}),
        "heartbeat-engine-other-digits": ("heartbeat", {"body/engine": {"a": "１"}}),
        "coverage-without-routes": ("coverage", {"-body/routes": 0}),
        "coverage-route-without-path": ("coverage", {"body/routes": [{"method": "POST", "record": "skip"}]}),
        "coverage-ports-text": ("coverage", {"body/ports": ["8000"]}),
        "coverage-model-number": ("coverage", {"body/model": 7}),
        "rotation-one-note": ("rotation", {"body/notes": one[:1]}),
        "rotation-three-notes": ("rotation", {"body/notes": [*one, one[0]]}),
        "retirement-producer-name": ("retirement", {"body/producer": "gpu-0"}),
        "notice-lost-without-detail": ("declared_lost", {"-body/detail": 0}),
        "notice-lost-after-seq-text": ("declared_lost", {"body/detail/after_seq": "1"}),
        "notice-lost-to-before-from": ("declared_lost", {"body/detail/to": "2025-01-01T00:00:00.000000Z"}),
        "notice-disabled-without-detail": ("declared_lost", {"body": {"what": "disabled"}}),
        "redacted-text": ("redacted", {"body/redacted": "request"}),
        "gap-at-most-negative": ("gap_at_most", {"body/at_most": -1}),
    }


def rotation_vectors() -> Iterator[Vector]:
    """Bodies of `rotation` entries against the keys a producer had."""
    first, second, third = producer_keys()
    producer = RotatedWorld().leaf(1).hex()
    other = Ed25519Signer.from_seed(f"{KEY_NAME}x", fixed.seed("x"))

    def made(*signers: Ed25519Signer, to: Ed25519Signer = second, said: str | None = None) -> dict[str, Any]:
        text = said or rotation_text(ORIGIN, producer, to.vkey)
        return {"vkey": to.vkey, "notes": [sign_one(text, signer) for signer in signers]}

    swapped = made(first, second)
    swapped["notes"].reverse()
    enrolled = [first.vkey]
    text = rotation_text(ORIGIN, producer, second.vkey)
    elsewhere = text.replace(ORIGIN + "\n", "other.example\n")
    many = [Ed25519Signer.from_seed(KEY_NAME, fixed.seed(f"key {n}")) for n in range(63)]
    cases: dict[str, tuple[dict[str, Any], list[str], bool]] = {
        "good-first": (made(first, second), enrolled, True),
        "good-second": (made(second, third, to=third), [first.vkey, second.vkey], True),
        "good-61st": (made(many[60], many[61], to=many[61]), [key.vkey for key in many[:61]], True),
        "bad-62nd": (made(many[61], many[62], to=many[62]), [key.vkey for key in many[:62]], False),
        "bad-old-key-twice": (made(first, first), enrolled, False),
        "bad-new-key-twice": (made(second, second), enrolled, False),
        "bad-notes-swapped": (swapped, enrolled, False),
        "bad-key-not-in-force": (made(first, third, to=third), [first.vkey, second.vkey], False),
        "bad-same-key": (made(first, first, to=first), enrolled, False),
        "bad-key-it-had-before": (made(second, first, to=first), [first.vkey, second.vkey], False),
        "bad-other-name": (made(first, other, to=other), enrolled, False),
        "bad-other-log": (made(first, second, said=elsewhere), enrolled, False),
        "bad-other-producer": (made(first, second, said=text.replace(producer, "0" * 64)), enrolled, False),
        "bad-other-next-key": (
            made(first, second, said=rotation_text(ORIGIN, producer, third.vkey)),
            enrolled,
            False,
        ),
        "bad-second-line-decimal": (
            made(first, second, said=text.replace(ORIGIN + "\n", "14\n")),
            enrolled,
            False,
        ),
        "bad-extra-line": (made(first, second, said=text + "more\n"), enrolled, False),
    }
    for name, (body, keys, ok) in cases.items():
        vector = {"origin": ORIGIN, "producer": producer, "keys": keys, "body": body, "ok": ok}
        yield "rotation", name, {**vector, "expect": {"vkey": body["vkey"]}} if ok else vector


def covers_vectors() -> Iterator[Vector]:
    """Which numbers a gap and a declared loss speak of."""
    world = RotatedWorld()
    producer = world.leaf(world.at["producer"]).hex()
    for name in ("gap", "gap_at_most", "declared_lost", "notice", "retirement"):
        data = world.entries[world.at[name]]
        body = parse_entry(data).body
        told = body if name.startswith("gap") else body.get("detail", {})
        yield from _covered(name, data, producer, told.get("instance", "a" * 32), told.get("after_seq", 3))
    gap = json.loads(world.entries[world.at["gap"]])
    own = {"body/instance": gap["instance"], "body/after_seq": gap["seq"] - 1}
    inside = canonical.encode(changed(gap, own))
    yield from _covered("gap-inside-a-running-life", inside, producer, gap["instance"], gap["seq"] - 1)
    late = canonical.encode(changed(gap, {**own, "seq": 9}))
    yield from _covered("gap-behind-its-numbers", late, producer, gap["instance"], 6)
    lost = json.loads(world.entries[world.at["declared_lost"]])
    told = lost["body"]["detail"]
    by_itself = {"producer": producer, "instance": told["instance"], "seq": 9}
    stated = canonical.encode(changed(lost, by_itself))
    yield from _covered("lost-by-the-producers-word", stated, producer, told["instance"], told["after_seq"])
    odd = canonical.encode(changed(gap, {"-body/to": 0}))
    yield from _covered("gap-malformed", odd, producer, gap["body"]["instance"], gap["body"]["after_seq"])


def _covered(name: str, data: bytes, producer: str, instance: str, after: int) -> Iterator[Vector]:
    entry = parse_entry(data)
    asked = {
        "at-its-bound": (producer, instance, after),
        "above": (producer, instance, after + 1),
        "far-above": (producer, instance, after + 1000),
        "other-instance": (producer, "0" * 32, after + 1),
        "other-producer": ("0" * 64, instance, after + 1),
    }
    for case, (whose, life, seq) in asked.items():
        wanted = {"producer": whose, "instance": life, "seq": seq}
        covers = gap_covers(entry, **wanted) or declared_lost_covers(entry, **wanted)
        vector = {"entry_b64": encode_base64(data), **wanted, "ok": True, "expect": {"covers": covers}}
        yield "covers", f"good-{name.replace('_', '-')}-{case}", vector


def rotated_receipt_vectors() -> Iterator[Vector]:
    """Receipts of entries behind rotations, honest and not."""
    world = RotatedWorld()
    checks = Checks(world)
    for name in ("coverage", "heartbeat", "rotation", "after", "instance_3", "rotation_2", "redacted"):
        title = f"good-rotated-{name.replace('_', '-')}"
        yield checks.vector(title, format_receipt(world.later_receipt(name)), 0)
    after, last = world.later_receipt("after"), world.later_receipt("redacted")
    kept = ("producer", "instance_3")
    changes: dict[str, tuple[Any, int, int | None]] = {
        "bad-rotation-left-out": (world.with_related(after, "producer", "instance_2"), 1, 9),
        "bad-first-rotation-left-out": (world.with_related(last, *kept, "rotation_2"), 1, 8),
        "bad-last-rotation-left-out": (world.with_related(last, *kept, "rotation"), 1, 9),
        "bad-rotations-swapped": (world.with_related(last, *kept, "rotation_2", "rotation"), 1, 8),
        "bad-rotation-twice": (
            world.with_related(after, "producer", "rotation", "rotation", "instance_2"),
            1,
            8,
        ),
        "bad-rotation-behind-the-entry": (
            world.with_related(after, "producer", "rotation", "instance_2", "rotation_2"),
            1,
            8,
        ),
        "bad-rotation-beside-an-earlier-entry": (
            world.with_related(world.later_receipt("coverage"), "producer", "instance_2", "rotation"),
            1,
            8,
        ),
        "good-rotations-behind-the-others": (
            world.with_related(last, "instance_3", "rotation", "producer", "rotation_2"),
            0,
            None,
        ),
        "open-rotated-without-producer": (world.with_related(after, "rotation", "instance_2"), 3, None),
    }
    for name, (receipt, code, step) in changes.items():
        yield checks.vector(name, format_receipt(receipt), code, step)
    faults = {
        "old-twice": ("after", 8),
        "new-twice": ("rotation", 8),
        "to-another-name": ("rotation", 8),
        "of-another-producer": ("after", 8),
        "back-to-the-first": ("redacted", 8),
        "old-head": ("after", 9),
        "old-start": ("gap_at_most", 8),
        "batch-goes-on": ("after", 10),
    }
    for fault, (name, step) in faults.items():
        data = format_receipt(RotatedWorld(fault=fault).later_receipt(name))
        yield checks.vector(f"bad-rotated-{fault}", data, 1, step)
    batch = format_receipt(RotatedWorld(fault="batch-goes-on").later_receipt("rotation"))
    yield checks.vector("bad-rotated-batch-goes-on-of-the-rotation", batch, 1, 9)

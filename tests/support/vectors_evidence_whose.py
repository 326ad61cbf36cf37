"""Vectors of promises: in evidence, those that are not their producer's own (rule 4 of spec/evidence.md); and
what streams they are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from auditlog.core.commitment import commit_body
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer
from auditlog.core.promise import sign_promise
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from auditlog.core.statements import producer_text, rotation_text
from tests.support import format_world as fixed
from tests.support import vectors_evidence as good
from tests.support.evidence_world import EvidenceWorld
from tests.support.vectors_evidence import text_of
from tests.support.vectors_evidence_bad import Value, bad
from tests.support.vectors_values import Vector


def evidence_vectors() -> Iterator[Vector]:
    """Every one of them."""
    yield from _promises()
    yield from _enrolments()
    yield from _rotations()


def _promises() -> Iterator[Vector]:
    world = EvidenceWorld()
    data = world.left_out(5)
    value = world.evidence("CONFLICT", world.promise(data), entry=world.decide(6))
    text = text_of(value["promise"])
    stranger = Ed25519Signer.from_seed(world.key.name, fixed.seed("somebody else"))
    witness = fixed.signer(world.witnesses[0].name)
    notes = {
        "by-a-stranger": world.promise(data, stranger),
        "by-the-log": world.promise(data, world.log_key),
        "by-a-witness": sign_one(text, witness),
        "of-another-log": world.promise(data, origin="other.example"),
        "of-another-producer": world.promise(data, producer=world.leaf(0).hex()),
        "changed": value["promise"].replace("unregistered", "pending"),
        "merge-by-before-time": _signed(world, text, -1, "1970-01-01T00:00:00.000000Z"),
        "time-without-fraction": _signed(world, text, -1, "2026-01-01T00:01:00Z"),
        "number-with-leading-zero": _signed(world, text, 4, "05"),
        "model-word": _signed(world, text, 6, "whatever"),
        "hash-in-hex": _signed(world, text, 5, hash_leaf(data).hex()),
        "another-statement": _signed(world, text, 0, "auditlog/promise@v2"),
        "one-line-more": sign_one(text + "signed in haste\n", world.key),
    }
    for name, note in notes.items():
        yield bad(f"promise-{name}", world, {**value, "promise": note}, 4)


def _signed(world: EvidenceWorld, text: str, number: int, line: str) -> str:
    lines = text[:-1].split("\n")
    lines[number] = line
    return sign_one("\n".join(lines) + "\n", world.key)


class _WrongEnrolment(EvidenceWorld):
    """The enrolment statement names another producer than the entry."""

    def enrolled(self) -> dict[str, Any]:
        note = sign_one(producer_text(fixed.ORIGIN, "gpu-9"), self.key)
        return {**super().enrolled(), "note": note}


class _WrongKeyName(EvidenceWorld):
    """The key is not named like the producer."""

    def enrolled(self) -> dict[str, Any]:
        return {**super().enrolled(), "name": "gpu-9"}


def _enrolments() -> Iterator[Vector]:
    for name, kind in {"statement": _WrongEnrolment, "key-name": _WrongKeyName}.items():
        world = kind()
        promise = world.promise(world.left_out(5))
        yield bad(f"enrolment-{name}", world, world.evidence("CONFLICT", promise, entry=world.decide(6)), 4)
    world, value = good.conflict()
    yield bad("enrolment-another-entry", world, {**value, "producer": world.placed(0)}, 4)
    index = world.at["producer"] + 1
    of_start = world.promise(world.entries[-1], producer=world.leaf(index).hex())
    value = world.evidence("CONFLICT", of_start, entry=len(world.entries) - 1)
    yield bad("enrolment-no-producer-entry", world, {**value, "producer": world.placed(index)}, 4)
    world = EvidenceWorld()
    world.another_producer()
    promise = world.promise(world.left_out(5), world.other_key)
    value = world.evidence("CONFLICT", promise, entry=world.decide(6))
    other = {**value, "producer": world.placed(world.at["other_producer"])}
    yield bad("enrolment-of-another-producer", world, other, 4)


def _rotations() -> Iterator[Vector]:
    world, rotations, data, index = good.rotated()
    third = world.promise(data, world.nth_key(2))
    value = world.evidence("CONFLICT", third, rotations, entry=index)
    shown: list[Value] = value["rotations"]
    for name, listed in {
        "not-shown": [],
        "first-left-out": shown[1:],
        "last-left-out": shown[:1],
        "in-another-order": shown[::-1],
        "twice": [shown[0], *shown],
        "is-a-decision": [*shown, value["entry"]],
        "is-the-enrolment": [value["producer"], *shown],
    }.items():
        yield bad(f"rotations-{name}", world, {**value, "rotations": listed}, 4)
    world = EvidenceWorld()
    data, old, new = world.left_out(5), world.key, world.nth_key(1)
    text = rotation_text(fixed.ORIGIN, world.producer, new.vkey)
    for name, notes, vkey in (
        ("by-the-new-key-alone", [sign_one(text, new)] * 2, new.vkey),
        ("by-the-old-key-alone", [sign_one(text, old)] * 2, new.vkey),
        ("of-another-key", [sign_one(text, old), sign_one(text, new)], world.nth_key(2).vkey),
        ("one-note", [sign_one(text, old)], new.vkey),
    ):
        world = EvidenceWorld()
        data = world.left_out(5)
        index = world.life.add(world, "rotation", {"vkey": vkey, "notes": notes})
        value = world.evidence("CONFLICT", world.promise(data, new), (index,), entry=index)
        yield bad(f"rotation-{name}", world, value, 4)
        own = world.evidence("CONFLICT", world.promise(data, old), (index,), entry=index)
        yield bad(f"rotation-{name}-beside-a-promise-by-the-enrolled-key", world, own, 4)
    world = EvidenceWorld()
    data = world.left_out(5)
    index = world.rotate(Ed25519Signer.from_seed("log.example/else", fixed.seed("else")))
    value = world.evidence("CONFLICT", world.promise(data), (index,), entry=index)
    yield bad("rotation-to-another-name", world, value, 4)
    world = EvidenceWorld()
    data, other = world.left_out(5), world.another_producer()
    own, producer = world.life, world.producer
    world.life, world.producer = other, other.producer
    index = world.rotate()
    world.life, world.producer = own, producer
    value = world.evidence("CONFLICT", world.promise(data), (index,), entry=world.decide(6))
    yield bad("rotation-of-another-producer", world, value, 4)
    world = EvidenceWorld()
    data = world.left_out(5)
    world.rotate()
    later = world.entries[-1].replace(b'"v":1}', b'"v":2}')
    world.entries[-1] = later
    value = world.evidence("CONFLICT", world.promise(data), (len(world.entries) - 1,), entry=7)
    yield bad("rotation-of-later-version", world, value, 4)
    world = EvidenceWorld()
    data, index = world.left_out(5), world.rotate()
    world.entries[1], world.entries[index] = world.entries[index], world.entries[1]
    world.at["producer"] = index
    value = world.evidence("CONFLICT", world.promise(data), (1,), entry=1)
    yield bad("rotation-before-the-enrolment", world, value, 4)


def promise_vectors() -> Iterator[Vector]:
    """Promises about a stream that was saved with the comment of its promise in it."""
    world = EvidenceWorld()
    sent, got = fixed.CHAT_REQUEST, fixed.CHAT_RESPONSE
    key, said = fixed.seed("chat exchange key"), world.promised(world.withheld(5))
    text_end = got.index(b"data: [DONE]")
    note = world.promise(world.entries[-1])
    comment = b": audit-promise " + encode_base64(note.encode()).encode() + b"\n\n"
    saved = got[:text_end] + comment + got[text_end:]
    twice = got[:text_end] + comment + comment + got[text_end:]
    streams = {
        "good-about-a-stream": (got, got),
        "good-about-a-stream-with-the-comment": (got, saved),
        "good-about-a-stream-whose-application-sent-such-a-line": (saved, saved),
        "good-about-a-stream-with-the-second-of-two": (saved, twice),
        "bad-about-a-stream-with-two-comments": (got, twice),
        "bad-about-a-stream-comment-in-its-middle": (got, got.replace(b"\n\n", b"\n\n" + comment, 1)),
        "bad-about-a-stream-comment-behind-its-end": (got, got + comment),
        "bad-about-a-stream-comment-without-empty-line": (got, saved.replace(comment, comment[:-1])),
        "bad-about-a-stream-without-its-own-line": (saved, got),
    }
    for name, (committed, shown) in streams.items():
        promised = replace(
            said,
            request=commit_body(key, "request", sent),
            response=commit_body(key, "response", committed),
        )
        vector: dict[str, Any] = {
            "note": sign_promise(promised, world.key),
            "vkey": world.key.vkey,
            "exchange_key_b64": encode_base64(key),
            "request_b64": encode_base64(sent),
            "response_b64": encode_base64(shown),
            "ok": name.startswith("good-"),
        }
        if vector["ok"]:
            vector["expect"] = {
                key: item.hex() if isinstance(item, bytes) else item for key, item in asdict(promised).items()
            }
        yield "promise", name, vector

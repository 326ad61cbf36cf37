"""Vectors of what a second implementer of the pages judged otherwise than we did: the strict reading.

Form and trust file are those of `vectors_receipt`; a vector may also have `claims`, the time T or null.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from auditlog.core.disclosure import disclose_whole
from auditlog.core.entry import encode_entry, parse_entry
from auditlog.core.head import sign_head
from auditlog.core.keys import ED25519, format_vkey
from auditlog.core.merkle import prove_inclusion
from auditlog.core.note import Ed25519Signer
from auditlog.core.receipt import Receipt, ReceiptHead, Related, format_receipt
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from auditlog.core.tlogproof import TlogProof
from tests.support import format_world as fixed
from tests.support import vectors_bodies
from tests.support.format_world import ORIGIN, Chain, World
from tests.support.rotated_world import coverage
from tests.support.vectors_receipt import Checks
from tests.support.vectors_values import Vector


def strict_vectors(world: World) -> Iterator[Vector]:
    """All of them."""
    checks = Checks(world)
    yield from _known_keys(checks)
    yield from _claims(checks)
    yield from _not_understood(checks)
    yield from _order(checks)
    yield from _unresolved(checks)
    yield from _log_numbers(checks)
    yield from _two_histories(checks)
    yield from _models_of_others(checks)
    yield from _expectations(checks)
    yield from _same_text(checks)


def _with_note(receipt: Receipt, note: str) -> bytes:
    return format_receipt(replace(receipt, proof=replace(receipt.proof, checkpoint=note)))


def _known_keys(checks: Checks) -> Iterator[Vector]:
    """A wrong signature by any key of the trust file refuses the note; a right one adds nothing."""
    world = checks.world
    receipt, text = world.receipt(world.at["decision"]), world.note(14).split("\n\n")[0] + "\n"
    keys = {
        "second-log": fixed.signer("other.example"),
        "second-key-of-the-log": Ed25519Signer.from_seed(ORIGIN, fixed.seed("second log key")),
    }
    for name, key in keys.items():
        policy = checks.trust["policy"].replace("\nwitness w1", f"\nlog {key.vkey}\nwitness w1", 1)
        right, wrong = world.note(14) + key.sign(text), world.note(14) + key.sign("another text\n")
        yield checks.vector(f"good-{name}-signs-too", _with_note(receipt, right), 0, policy=policy)
        yield checks.vector(f"bad-{name}-signs-wrongly", _with_note(receipt, wrong), 1, 3, policy=policy)
    devnet = world.devnet_key
    wrong = world.note(14) + devnet.sign("another text\n")
    yield checks.vector("bad-devnet-key-signs-checkpoint-wrongly", _with_note(receipt, wrong), 1, 3)
    yield checks.vector(
        "good-devnet-key-not-trusted-signs-wrongly", _with_note(receipt, wrong), 0, devnet=None
    )
    anchor = receipt.anchors[0]
    for name, line in (
        ("devnet-key", devnet.sign("another text\n")),
        ("witness", world.witnesses[0].sign("another text\n", fixed.WITNESS_TIMES[0])),
    ):
        spoilt = replace(receipt, anchors=(replace(anchor, checkpoint=anchor.checkpoint + line),))
        yield checks.vector(f"bad-anchor-checkpoint-{name}-signs-wrongly", format_receipt(spoilt), 1, 12)
    named = Ed25519Signer.from_seed(ORIGIN, fixed.seed("devnet named like the log"))
    lines = world.note(14).split("\n")
    taken = "\n".join([*lines[:4], named.sign(text)[:-1], *lines[5:]])
    bare = replace(receipt, anchors=())
    yield checks.vector("bad-devnet-key-signs-as-the-log", _with_note(bare, taken), 1, 3, devnet=named.vkey)
    alike = {**checks.trust, "policy": f"log {_colliding(18593)}\nquorum none\n", "devnet": _colliding(27663)}
    data = encode_base64(json.dumps(alike).encode())
    yield "trust", "bad-devnet-key-collides-with-the-logs", {"data_b64": data, "ok": False}


def _colliding(number: int) -> str:
    """A vkey; those of the numbers 18593 and 27663 are different keys with the same name and key ID."""
    key = bytearray(hashlib.sha256(b"collision %d" % number).digest())
    key[31] &= 0x7F
    return format_vkey(ORIGIN, ED25519, bytes(key))


def _claims(checks: Checks) -> Iterator[Vector]:
    """The claimed time is told only where all that the decision stands on is there."""
    receipt = checks.world.receipt(checks.world.at["decision"])
    start = parse_entry(receipt.entry).body["start"]
    yield _told("good-claims-its-start", checks, receipt, 0, claims=start)
    for place, name in enumerate(("producer", "instance", "model")):
        related = receipt.related[:place] + receipt.related[place + 1 :]
        without = replace(receipt, related=related)
        yield _told(f"open-without-{name}-claims-no-time", checks, without, 3, claims=None)
    headless = replace(receipt, head=None)
    yield _told("open-without-head-claims-no-time", checks, headless, 3, claims=None)


def _told(name: str, checks: Checks, receipt: Receipt, exit_code: int, **told: Any) -> Vector:
    """A vector that also says something of the report."""
    folder, name, vector = checks.vector(name, format_receipt(receipt), exit_code)
    return folder, name, {**vector, **told}


def lone_receipt(world: World, index: int, last: int, *related: int) -> Receipt:
    """A receipt without anchors, of an entry alone in its batch or the first of one that ends at `last`."""
    size = len(world.entries)
    head = sign_head(world.head(index, last), world.producer_key)
    return Receipt(
        entry=world.entries[index],
        proof=TlogProof(index, world.proof(index, size), world.note(size)),
        related=tuple(Related(world.entries[place], place, world.proof(place, size)) for place in related),
        head=ReceiptHead(head, tuple(prove_inclusion(world.leaves[index : last + 1], 0))),
        anchors=(),
        disclosures=(),
    )


def _not_understood(checks: Checks) -> Iterator[Vector]:
    """What this version cannot read is neither a failure nor a crash."""
    world = World()
    last = parse_entry(world.entries[-1])
    later = replace(last, v=2, kind="instance", instance=fixed.seed("instance 3")[:16].hex(), seq=0, body={})
    world.entries.append(encode_entry(replace(later, prev=world.leaf(13).hex())))
    data = format_receipt(lone_receipt(world, 14, 14, world.at["producer"]))
    yield checks.vector("open-instance-of-a-later-version", data, 3)
    world = World()
    body = {**parse_entry(world.entries[world.at["pending"]]).body, "model": "z" * 64}
    worded = replace(last, kind="decision", seq=last.seq + 1, body=body, prev=world.leaf(13).hex())
    world.entries.append(encode_entry(worded))
    data = format_receipt(lone_receipt(world, 14, 14, world.at["producer"], world.at["instance_2"]))
    yield checks.vector("good-model-a-word-of-64-letters", data, 0)


def _rewritten(place: int, **changes: Any) -> World:
    """A log with one entry that says something else; what comes after it is as it was."""
    world = World()
    world.entries[place] = encode_entry(replace(parse_entry(world.entries[place]), **changes))
    return world


def _order(checks: Checks) -> Iterator[Vector]:
    """Step 10: numbers, indices and links that no honest chain can have."""
    at = checks.world.at
    late, place = at["late_model"], at["pending"]
    number = parse_entry(checks.world.entries[place]).seq
    cases = {
        "bad-pending-model-number-before": (place, _rewritten(late, seq=number - 1)),
        "bad-pending-model-same-number": (place, _rewritten(late, seq=number)),
        "bad-pending-model-number-0": (place, _rewritten(late, seq=0)),
        "bad-pending-model-number-too-far": (place, _rewritten(late, seq=number + 2)),
        "bad-pending-model-follows-another": (place, _rewritten(late, prev="0" * 64)),
        "bad-named-model-same-number": (at["chat"], _renumbered_model(3)),
    }
    for name, (index, world) in cases.items():
        receipt = replace(world.receipt(index), anchors=())
        yield checks.vector(name, format_receipt(receipt), 1, 10)
        yield checks.vector(f"{name}-no-head", format_receipt(replace(receipt, head=None)), 1, 10)
    other = checks.world.receipt(place)
    first = Related(checks.world.entries[at["model"]], at["model"], checks.world.proof(at["model"], 14))
    other = replace(other, related=(*other.related[:2], first))
    yield checks.vector("bad-pending-model-of-another-instance", format_receipt(other), 1, 10)


def _unresolved(checks: Checks) -> Iterator[Vector]:
    """Beside a decision that says `pending`: the coverage entry after which no model is its own."""
    world, said = World(), coverage(model="unregistered")
    last = parse_entry(world.entries[world.at["notice"]])
    chain = Chain(last.producer, last.instance, world.leaf(world.at["notice"]).hex(), last.seq + 1)
    body = parse_entry(world.entries[world.at["pending"]]).body
    early = chain.add(world, "coverage", said)
    place = chain.add(world, "decision", body)
    naming = chain.add(world, "coverage", coverage(model=chain.prev))
    ended = chain.add(world, "coverage", said)
    again = chain.add(world, "coverage", coverage(model="unregistered", workers=9))
    model = chain.add(world, "model", parse_entry(world.entries[world.at["model"]]).body)
    named = chain.add(world, "decision", {**body, "model": chain.prev})
    other = Chain(chain.producer, fixed.seed("instance 3")[:16].hex(), chain.prev)
    note = sign_one(instance_text(ORIGIN, other.producer, other.instance, other.prev), world.producer_key)
    other.add(world, "instance", {"note": note, "software": "auditlog 0.1.0"})
    elsewhere = other.add(world, "coverage", said)
    cases = {
        "good-pending-ended": (place, 0, 0, ended),
        "good-pending-ended-unseen": (place, 0, 0),
        "good-pending-resolved-as-shown": (place, 0, 0, model),
        "bad-pending-ended-and-resolved": (place, 1, 8, ended, model),
        "bad-pending-ended-twice": (place, 1, 8, ended, again),
        "bad-pending-ended-by-a-coverage-with-a-model": (place, 1, 8, naming),
        "bad-named-model-ended": (named, 1, 8, model, ended),
        "bad-pending-ended-before": (place, 1, 10, early),
        "bad-pending-ended-by-another-instance": (place, 1, 10, elsewhere),
    }
    for name, (index, code, step, *others) in cases.items():
        receipt = lone_receipt(world, index, index, world.at["producer"], world.at["instance_2"], *others)
        yield checks.vector(name, format_receipt(receipt), code, step or None)


def _renumbered_model(seq: int) -> World:
    """A log whose model entry has another number, and whose decisions name it as it then is."""
    world = _rewritten(World().at["model"], seq=seq)
    model = world.leaf(world.at["model"]).hex()
    for place in (world.at["decision"], world.at["chat"]):
        entry = parse_entry(world.entries[place])
        world.entries[place] = encode_entry(replace(entry, body={**entry.body, "model": model}))
    return world


class _Numbered(World):
    """A log that enrols its first producer with a number it cannot have reached."""

    def numbers_left_out(self) -> int:
        return 1


def _log_numbers(checks: Checks) -> Iterator[Vector]:
    """Step 10: the log begins with genesis, and has an index for each of its numbers."""
    at = checks.world.at
    genesis = parse_entry(checks.world.entries[0])
    first = {name: getattr(genesis, name) for name in ("kind", "seq", "prev", "body")}
    cases = {
        "bad-log-number-above-its-index": _own(_rewritten(at["log_notice"], seq=8), at["log_notice"]),
        "bad-genesis-at-a-later-index": _own(_rewritten(at["log_notice"], **first), at["log_notice"]),
        "bad-log-begins-without-genesis": _own(_rewritten(0, kind="notice", seq=1, body={"what": "x"}), 0),
        "bad-producer-entry-number-above-its-index": replace(_Numbered().receipt(at["decision"]), anchors=()),
    }
    decision = parse_entry(checks.world.entries[at["decision"]])
    begins = _rewritten(0, **{name: getattr(decision, name) for name in decision.__slots__})
    cases["bad-log-begins-with-a-decision"] = _own(begins, 0)
    for name, receipt in cases.items():
        yield checks.vector(name, format_receipt(receipt), 1, 10)
    good = _own(_rewritten(at["log_notice"], seq=7), at["log_notice"])
    yield checks.vector("good-log-number-equals-its-index", format_receipt(good), 0)


def _own(world: World, index: int) -> Receipt:
    """The receipt of an entry with nothing beside it, as the log's own entries have it."""
    proof = TlogProof(index, world.proof(index, 14), world.note(14))
    return replace(
        world.receipt(world.at["decision"]),
        entry=world.entries[index],
        proof=proof,
        related=(),
        head=None,
        anchors=(),
    )


def _two_histories(checks: Checks) -> Iterator[Vector]:
    """Step 12: two checkpoints of one size with different roots contradict each other without any log."""
    world, index = checks.world, checks.world.at["decision"]
    other = _rewritten(13, body={"what": "disabled"})
    receipt, forked = world.receipt(index), other.receipt_anchor(index, 14)
    notes = {"smaller": world.note(14), "larger": other.note(14, 0)}
    name = "bad-anchor-of-another-history"
    yield _told(name, checks, replace(receipt, anchors=(forked,)), 1, failed_step=12, evidence=notes)
    typed = replace(forked, type="stone@v1", evidence={"tablet": 7})
    name = "bad-unknown-anchor-of-another-history"
    yield _told(name, checks, replace(receipt, anchors=(typed,)), 1, failed_step=12, evidence=notes)
    short = replace(receipt.anchors[0], checkpoint=forked.checkpoint, proof=())
    name = "bad-anchor-of-another-history-without-path"
    yield _told(name, checks, replace(receipt, anchors=(short,)), 1, failed_step=12, evidence=notes)
    both = replace(world.receipt(index, 13), anchors=(world.receipt_anchor(index, 14), forked))
    notes = {"smaller": world.note(14, 0), "larger": other.note(14, 0)}
    yield _told("bad-two-anchors-of-two-histories", checks, both, 1, failed_step=12, evidence=notes)
    good = replace(receipt, anchors=(world.receipt_anchor(index, 14), receipt.anchors[0]))
    yield _told("good-anchors-of-one-history", checks, good, 0, evidence=None)


def _models_of_others(checks: Checks) -> Iterator[Vector]:
    """A model entry of another producer is that producer's statement."""
    world, name = World(), "registry"
    key = fixed.signer(producer_key_name(ORIGIN, name))
    log = Chain("log", "log", world.leaf(world.at["anchor"]).hex(), seq=4)
    note = sign_one(producer_text(ORIGIN, name), key)
    log.add(world, "producer", {"name": name, "vkey": key.vkey, "note": note})
    other = Chain(log.prev, fixed.seed("instance of the registry")[:16].hex(), log.prev)
    note = sign_one(instance_text(ORIGIN, other.producer, other.instance, other.prev), key)
    other.add(world, "instance", {"note": note, "software": "auditlog 0.1.0"})
    model = other.add(world, "model", parse_entry(world.entries[world.at["model"]]).body)
    last = parse_entry(world.entries[world.at["notice"]])
    chain = Chain(last.producer, last.instance, world.leaf(world.at["notice"]).hex(), last.seq + 1)
    body = parse_entry(world.entries[world.at["pending"]]).body
    place = chain.add(world, "decision", {**body, "model": other.prev})
    receipt = lone_receipt(world, place, place, world.at["producer"], world.at["instance_2"], model)
    yield _told("good-model-of-another-producer", checks, receipt, 0, model_by=other.producer)
    own = checks.world.receipt(checks.world.at["pending"])
    yield _told("good-pending-model-of-its-producer", checks, own, 0, model_by="producer ")


def _expectations(checks: Checks) -> Iterator[Vector]:
    """What may be insisted on, and what it is compared with."""
    world = checks.world
    decision = world.receipt(world.at["decision"])
    pending = world.receipt(world.at["pending"])
    unresolved = replace(pending, related=pending.related[:2])
    root = parse_entry(world.entries[world.at["model"]]).body["fingerprint"]["root"]
    cases: dict[str, tuple[Receipt, str, int]] = {
        "good-expects-status": (decision, "status=200", 0),
        "bad-expects-other-status": (decision, "status=201", 1),
        "bad-expects-largest-number": (decision, "status=9007199254740991", 1),
        "usage-expects-number-over-2-to-the-53": (decision, "status=9007199254740992", 2),
        "usage-expects-number-of-20-digits": (decision, "status=10000000000000000200", 2),
        "usage-expects-leading-zero": (decision, "status=0200", 2),
        "usage-expects-short-model": (decision, f"model={root[:-1]}", 2),
        "good-expects-model-with-method": (decision, f"model=files-sha256@v1:{root}", 0),
        "open-expects-pending-unanswered": (unresolved, "model=pending", 3),
        "open-expects-model-of-unanswered-pending": (unresolved, f"model={root}", 3),
        "open-expects-unregistered-of-unanswered-pending": (unresolved, "model=unregistered", 3),
        "good-expects-model-of-answered-pending": (pending, f"model={root}", 0),
        "bad-expects-pending-of-resolved": (pending, "model=pending", 1),
        "open-expects-seq-without-head": (replace(decision, head=None), "seq=7", 3),
    }
    for name, (receipt, text, code) in cases.items():
        told: dict[str, Any] = {"expect": [text]} if code != 1 else {"expect": [text], "failed_step": 14}
        yield _told(name, checks, receipt, code, **told)


def _same_text(checks: Checks) -> Iterator[Vector]:
    """Other bytes with the same fields: refused, and the reason says that the text is the same."""
    request, stream, chat = fixed.LOAN_REQUEST, fixed.CHAT_RESPONSE, "fold:openai.chat@v1"
    coded = vectors_bodies.DEFLATE_REQUEST  # as written once: compressors differ
    spelt, respelt = b'{"name":"J\\u00f6rg"}', '{"name":"Jörg"}'.encode()
    cases = {
        "same-text-coding-undone": (coded, request, "json", True),
        "same-text-coded-on-the-way": (request, coded, "json", True),
        "same-text-other-white-space": (request, request.replace(b": ", b":"), "json", True),
        "same-text-comment-left-out": (stream, stream.removeprefix(b": ready\n\n"), chat, True),
        "same-text-other-line-ends": (stream, stream.replace(b"\n", b"\r\n"), chat, True),
        "same-text-respelt-in-a-stream": (stream, stream.replace(b"Blue ", b"\\u0042lue "), chat, True),
        "other-text-of-a-stream": (stream, stream.replace(b"Blue ", b"Red "), chat, False),
        "other-text-string-respelt": (spelt, respelt, "json", False),
        "other-text-order-of-members": (b'{"a":1,"b":2}', b'{"b":2,"a":1}', "json", False),
    }
    for name, (sent, held, form, is_same) in cases.items():
        key = checks.world.exchange_key
        member = fixed.committed(key, "response", sent, form)
        shown = disclose_whole(key, "response", held, form).to_json()
        vector = {"member": member, "disclosure": shown, "ok": False, "same_text": is_same}
        yield "disclosure", f"bad-whole-{name}", vector

"""Vectors of receipts: each with the trust file to check it with, and what a verifier must answer.

A vector has `receipt_b64`, `trust_b64`, maybe `disclosures_b64`, `parses` (whether it is a receipt at all),
`exit_code` and, where it is 1, `failed_step` of spec/verification.md. Faults are made on the JSON, so that
the rest of each receipt stays as good as it was.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from auditlog.core import canonical
from auditlog.core.anchor import sign_devnet_anchor
from auditlog.core.disclosure import Disclosures, disclose_field, disclose_whole, format_disclosures
from auditlog.core.head import sign_head
from auditlog.core.note import Ed25519Signer
from auditlog.core.receipt import Receipt, ReceiptHead, Related, format_receipt
from auditlog.core.scalars import encode_base64
from tests.support import format_world as fixed
from tests.support.format_world import ORIGIN, World
from tests.support.vectors_signed import trust_value
from tests.support.vectors_values import Vector

Json = dict[str, Any]
Change = Callable[[Json], None]


class Checks:
    """Writes receipt vectors against one trust file."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.trust = trust_value(world)
        self.base = format_receipt(world.receipt(world.at["decision"]))

    def vector(
        self,
        name: str,
        receipt: bytes,
        exit_code: int,
        failed_step: int | None = None,
        *,
        parses: bool = True,
        disclosures: bytes | None = None,
        **trust: Any,
    ) -> Vector:
        """One vector; `trust` replaces members of the trust file, None removes one."""
        members = {key: value for key, value in {**self.trust, **trust}.items() if value is not None}
        made: Json = {
            "receipt_b64": encode_base64(receipt),
            "trust_b64": encode_base64(json.dumps(members).encode()),
            "ok": exit_code != 1,
            "parses": parses,
            "exit_code": exit_code,
        }
        if failed_step is not None:
            made["failed_step"] = failed_step
        if disclosures is not None:
            made["disclosures_b64"] = encode_base64(disclosures)
        return "receipt", name, made

    def changed(self, name: str, change: Change, step: int, *, exit_code: int = 1) -> Vector:
        """The good decision receipt with one change to its JSON."""
        value = json.loads(self.base)
        change(value)
        data = canonical.encode(value) + b"\n"
        failed = step if exit_code == 1 else None
        return self.vector(name, data, exit_code, failed, parses=step != 1)


def receipt_vectors(world: World) -> Iterator[Vector]:
    """All receipt vectors."""
    checks = Checks(world)
    yield from _good(checks)
    yield from _spelling(checks)
    yield from _log_layer(checks)
    yield from _related_and_head(checks)
    yield from _anchors(checks)
    yield from _disclosures(checks)
    yield from _other_worlds(checks)


def _good(checks: Checks) -> Iterator[Vector]:
    world = checks.world
    for name in ("decision", "chat", "outcome", "instance", "model", "gap", "pending", "notice"):
        data = format_receipt(world.receipt(world.at[name]))
        yield checks.vector(f"good-{name}", data, 0)
    for name in ("genesis", "producer", "anchor"):
        index = world.at[name]
        whole = replace(
            world.receipt(world.at["decision"]), entry=world.entries[index], related=(), head=None
        )
        proof = replace(whole.proof, index=index, hashes=world.proof(index, len(world.entries)))
        yield checks.vector(f"good-log-{name}", format_receipt(replace(whole, proof=proof, anchors=())), 0)
    bare = format_receipt(replace(world.receipt(world.at["decision"], witnesses=0), anchors=()))
    yield checks.vector("good-operator-only", bare, 0, require=[])
    yield checks.vector("open-quorum-required", bare, 3)
    yield checks.vector("open-devnet-required", bare, 3, require=["devnet"])
    yield checks.vector("good-devnet-required", checks.base, 0, require=["devnet"])
    yield checks.vector("open-final-anchor-required", checks.base, 3, require=["anchor"])
    one = format_receipt(world.receipt(world.at["decision"], witnesses=1))
    yield checks.vector("open-one-witness-of-two", one, 3)
    unknown = Ed25519Signer.from_seed(ORIGIN, fixed.seed("unknown")).sign
    text = world.note(14).split("\n\n")[0] + "\n"
    greased = replace(world.receipt(4).proof, checkpoint=world.note(14) + unknown(text))
    yield checks.vector(
        "good-unknown-signature-line", format_receipt(replace(world.receipt(4), proof=greased)), 0
    )


def _spelling(checks: Checks) -> Iterator[Vector]:
    """One receipt has one spelling."""
    base = checks.base
    entry = json.loads(base)["entry"]
    texts = {
        "bad-empty": b"",
        "bad-not-json": b"receipt\n",
        "bad-binary": bytes(range(256)),
        "bad-no-newline": base[:-1],
        "bad-two-newlines": base + b"\n",
        "bad-carriage-return": base[:-1] + b"\r\n",
        "bad-white-space": base.replace(b'":', b'": ', 1),
        "bad-indented": json.dumps(json.loads(base), indent=1).encode() + b"\n",
        "bad-byte-order-mark": b"\xef\xbb\xbf" + base,
        "bad-repeated-member": base.replace(b'{"anchors"', b'{"anchors":[],"anchors"', 1),
        "bad-base64-white-space": base.replace(
            entry.encode(), entry[:4].encode() + b"\\n" + entry[4:].encode()
        ),
        "bad-base64-url-alphabet": base.replace(b"+", b"-"),
        "bad-deep": b'{"anchors":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    }
    for name, data in texts.items():
        yield checks.vector(name, data, 1, 1, parses=False)
    changes: dict[str, Change] = {
        "bad-unknown-member": lambda value: value.update(note="x"),
        "bad-other-version": lambda value: value.update(v="auditlog/receipt@v2"),
        "bad-without-related": lambda value: value.pop("related") and None,
        "bad-entry-number": lambda value: value.update(entry=7),
        "bad-entry-empty": lambda value: value.update(entry=""),
        "bad-base64-padding-bits": lambda value: value.update(entry=_respelt(value["entry"])),
        "bad-base64-without-padding": lambda value: value["head"]["path"].append("AA"),
        "bad-related-unknown-member": lambda value: value["related"][0].update(kind="producer"),
        "bad-related-index-text": lambda value: value["related"][0].update(index="1"),
        "bad-related-index-negative": lambda value: value["related"][0].update(index=-1),
        "bad-path-hash-31-bytes": lambda value: value["head"]["path"].append(encode_base64(bytes(31))),
        "bad-proof-extra-line": lambda value: value.update(
            proof=value["proof"].replace("\nindex", "\nextra AA==\nindex")
        ),
        "bad-proof-index-leading-zero": lambda value: value.update(
            proof=value["proof"].replace("index 4", "index 04")
        ),
        "bad-proof-other-header": lambda value: value.update(
            proof=value["proof"].replace("proof@v1", "proof@v2")
        ),
        "bad-head-two-signatures": lambda value: value["head"].update(
            note=value["head"]["note"] + fixed.signer("stranger.example").sign("x\n")
        ),
        "bad-head-null": lambda value: value.update(head=None),
        "bad-disclosures-empty": lambda value: value.update(disclosures=[]),
        "bad-anchor-type-without-version": lambda value: value["anchors"][0].update(type="devnet"),
    }
    for name, change in changes.items():
        yield checks.changed(name, change, 1)


def _respelt(text: str) -> str:
    """The same bytes, other padding bits: what the strict mode of many libraries lets through."""
    data = base64.b64decode(text)
    if len(data) % 3 == 0:
        text = encode_base64(data + b" ")
    at = len(text.rstrip("=")) - 1
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:at] + alphabet[alphabet.index(text[at]) + 1] + text[at + 1 :]


def _log_layer(checks: Checks) -> Iterator[Vector]:
    """Steps 2 to 6: origin, signatures, place."""
    world = checks.world
    hashes = [encode_base64(value) for value in world.proof(4, 14)]

    def proof(old: str, new: str) -> Change:
        return lambda value: value.update(proof=value["proof"].replace(old, new, 1))

    entry = json.loads(world.entries[4])
    later = canonical.encode({**entry, "time": "2026-01-02T00:00:00.000000Z"})
    yield checks.changed("bad-entry-time-changed", lambda value: value.update(entry=encode_base64(later)), 6)
    spaced = encode_base64(world.entries[4] + b"\n")
    yield checks.changed("bad-entry-newline-added", lambda value: value.update(entry=spaced), 6)
    yield checks.changed("bad-index-alias", proof("index 4", "index 12"), 6)
    yield checks.changed("bad-index-neighbour", proof("index 4", "index 5"), 6)
    yield checks.changed("bad-index-equals-size", proof("index 4", "index 14"), 6)
    yield checks.changed("bad-index-huge", proof("index 4", "index 9007199254740991"), 6)
    yield checks.changed("bad-path-truncated", proof(f"\n{hashes[-1]}", ""), 6)
    yield checks.changed("bad-path-extended", proof(f"\n{hashes[-1]}", f"\n{hashes[-1]}\n{hashes[0]}"), 6)
    yield checks.changed(
        "bad-path-swapped", proof(f"{hashes[0]}\n{hashes[1]}", f"{hashes[1]}\n{hashes[0]}"), 6
    )
    yield checks.changed("bad-checkpoint-size", proof(f"\n{ORIGIN}\n14\n", f"\n{ORIGIN}\n13\n"), 3)
    yield checks.changed("bad-checkpoint-origin", proof(f"\n\n{ORIGIN}\n", "\n\nother.example\n"), 2)
    older = world.note(13)
    yield checks.changed("bad-older-checkpoint", proof(world.note(14), older), 6)
    other = World(log_key=Ed25519Signer.from_seed(ORIGIN, fixed.seed("thief")))
    yield checks.changed("bad-other-log-key", proof(world.note(14), other.note(14)), 3)
    log_line, witness_line = world.note(14).split("\n")[4:6]
    yield checks.changed("bad-log-signature-missing", proof(log_line + "\n", ""), 3)
    yield checks.changed("bad-log-signature-wrong", proof(log_line, older.split("\n")[4]), 3)
    yield checks.changed("bad-cosignature-wrong", proof(witness_line, older.split("\n")[5]), 3)
    retired = [{"origin": ORIGIN, "size": 13, "root": bytes(32).hex()}]
    yield checks.vector("bad-retired-log-grew", checks.base, 1, 3, retired=retired)
    final = [{"origin": ORIGIN, "size": 14, "root": bytes(32).hex()}]
    yield checks.vector("bad-retired-log-other-root", checks.base, 1, 3, retired=final)


def _related_and_head(checks: Checks) -> Iterator[Vector]:
    """Steps 8 to 10."""
    world = checks.world
    receipt = world.receipt(world.at["decision"])

    def related(index: int) -> Related:
        return Related(world.entries[index], index, world.proof(index, 14))

    def without(place: int) -> Receipt:
        return replace(receipt, related=receipt.related[:place] + receipt.related[place + 1 :])

    for place, name in enumerate(("instance", "model"), start=1):
        yield checks.vector(f"open-without-{name}", format_receipt(without(place)), 3)
    model_only = replace(receipt, related=receipt.related[2:])
    yield checks.vector("open-without-producer", format_receipt(without(0)), 3)
    yield checks.vector("open-without-producer-and-instance", format_receipt(model_only), 3)
    cases = {
        "bad-related-not-needed": (*receipt.related, related(world.at["gap"])),
        "bad-related-twice": (*receipt.related, receipt.related[0]),
        "bad-related-other-instance": (receipt.related[0], related(9), receipt.related[2]),
        "bad-related-other-model": (*receipt.related[:2], related(world.at["late_model"])),
        "bad-related-other-index": (replace(receipt.related[0], index=2), *receipt.related[1:]),
        "bad-related-entry-changed": (
            replace(receipt.related[0], entry=receipt.related[0].entry.replace(b"gpu-0", b"gpu-1")),
            *receipt.related[1:],
        ),
        "bad-related-path-short": (
            replace(receipt.related[0], proof=receipt.related[0].proof[:-1]),
            *receipt.related[1:],
        ),
    }
    for name, items in cases.items():
        yield checks.vector(name, format_receipt(replace(receipt, related=tuple(items))), 1, 8)
    yield checks.vector("open-without-head", format_receipt(replace(receipt, head=None)), 3)
    yield from _heads(checks, receipt)


def _heads(checks: Checks, receipt: Receipt) -> Iterator[Vector]:
    world = checks.world
    assert receipt.head is not None
    path = receipt.head.path
    head = world.head(2, 6)
    thief = Ed25519Signer.from_seed(world.producer_key.name, fixed.seed("thief"))
    second = fixed.seed("instance 2")[:16].hex()
    cases = {
        "bad-head-other-key": (ReceiptHead(sign_head(head, thief), path), 9),
        "bad-head-log-key": (ReceiptHead(sign_head(head, world.log_key), path), 9),
        "bad-head-path-short": (ReceiptHead(receipt.head.note, path[:-1]), 9),
        "bad-head-path-empty": (ReceiptHead(receipt.head.note, ()), 9),
        "bad-head-other-batch": (ReceiptHead(sign_head(world.head(9, 13), world.producer_key), path), 9),
        "bad-head-numbers-shifted": (
            ReceiptHead(sign_head(replace(head, first_seq=1, seq=5), world.producer_key), path),
            9,
        ),
        "bad-head-other-instance": (
            ReceiptHead(sign_head(replace(head, instance=second), world.producer_key), path),
            10,
        ),
        "bad-head-other-producer": (
            ReceiptHead(sign_head(replace(head, producer="0" * 64), world.producer_key), path),
            10,
        ),
        "bad-head-other-origin": (
            ReceiptHead(sign_head(replace(head, origin="other.example"), world.producer_key), path),
            10,
        ),
    }
    for name, (made, step) in cases.items():
        yield checks.vector(name, format_receipt(replace(receipt, head=made)), 1, step)
    log_entry = replace(receipt, entry=world.entries[0], related=(), anchors=())
    proof = replace(receipt.proof, index=0, hashes=world.proof(0, 14))
    yield checks.vector("bad-head-beside-log-entry", format_receipt(replace(log_entry, proof=proof)), 1, 9)


def _anchors(checks: Checks) -> Iterator[Vector]:
    """Step 12: an anchor that is there must hold."""
    world = checks.world
    receipt = world.receipt(world.at["decision"])
    anchor = receipt.anchors[0]
    thief = Ed25519Signer.from_seed(world.devnet_key.name, fixed.seed("thief"))
    other_log = World(log_key=Ed25519Signer.from_seed(ORIGIN, fixed.seed("thief")))

    def says(**changes: Any) -> str:
        return sign_devnet_anchor(replace(world.anchor(8), **changes), world.devnet_key)

    cases = {
        "bad-anchor-other-devnet-key": replace(anchor, evidence=sign_devnet_anchor(world.anchor(8), thief)),
        "bad-anchor-evidence-other-size": replace(anchor, evidence=says(size=9)),
        "bad-anchor-evidence-other-root": replace(anchor, evidence=says(root=bytes(32))),
        "bad-anchor-evidence-other-origin": replace(anchor, evidence=says(origin="other.example")),
        "bad-anchor-path-short": replace(anchor, proof=anchor.proof[:-1]),
        "bad-anchor-path-of-another-entry": replace(anchor, proof=world.proof(5, 8)),
        "bad-anchor-checkpoint-other-key": replace(anchor, checkpoint=other_log.note(8, 0)),
        "bad-anchor-checkpoint-unsigned": replace(
            anchor, checkpoint=anchor.checkpoint.replace(f"— {ORIGIN} ", "— nobody.example ")
        ),
    }
    for name, made in cases.items():
        yield checks.vector(name, format_receipt(replace(receipt, anchors=(made,))), 1, 12)
    early = replace(world.receipt(world.at["gap"]), anchors=(anchor,))
    yield checks.vector("bad-anchor-before-the-entry", format_receipt(early), 1, 12)
    both = replace(receipt, anchors=(anchor, cases["bad-anchor-other-devnet-key"]))
    yield checks.vector("bad-anchor-one-of-two", format_receipt(both), 1, 12)
    unknown = replace(anchor, type="stone@v1", evidence={"tablet": 7})
    yield checks.vector("good-unknown-anchor-type", format_receipt(replace(receipt, anchors=(unknown,))), 0)
    yield checks.vector("good-devnet-key-not-trusted", checks.base, 0, devnet=None)


def _disclosures(checks: Checks) -> Iterator[Vector]:
    """Step 11, inside the receipt and beside it."""
    world = checks.world
    receipt = world.receipt(world.at["decision"])
    key, request = world.exchange_key, fixed.LOAN_REQUEST
    field = disclose_field(key, "request", request, "/income")
    whole = disclose_whole(key, "request", request)
    facts = disclose_whole(world.facts_key, "facts", fixed.LOAN_FACTS)
    for name, items in {"field": (field,), "whole": (whole,), "all": (field, whole, facts)}.items():
        yield checks.vector(f"good-discloses-{name}", format_receipt(replace(receipt, disclosures=items)), 0)
        file = format_disclosures(Disclosures(fixed.decision_id(1), items))
        yield checks.vector(f"good-{name}-beside", checks.base, 0, disclosures=file)
    lie = replace(field, value=b"9999.00")
    yield checks.vector(
        "bad-discloses-other-value", format_receipt(replace(receipt, disclosures=(lie,))), 1, 11
    )
    forged = replace(whole, data=request.replace(b"4200", b"9200"))
    yield checks.vector(
        "bad-discloses-other-bytes", format_receipt(replace(receipt, disclosures=(forged,))), 1, 11
    )
    both = format_receipt(replace(receipt, disclosures=(field, lie)))
    yield checks.vector("bad-discloses-one-field-twice", both, 1, 1, parses=False)
    other = format_disclosures(Disclosures(fixed.decision_id(2), (field,)))
    yield checks.vector("bad-beside-other-decision", checks.base, 1, 11, disclosures=other)
    yield checks.vector("bad-beside-not-a-file", checks.base, 1, 11, disclosures=b"{}\n")
    model = replace(world.receipt(world.at["model"]), disclosures=(field,))
    yield checks.vector("bad-discloses-of-a-model", format_receipt(model), 1, 11)


class _Thief(World):
    """A log whose operator starts instances without the producer's key."""

    def start_key(self) -> Ed25519Signer:
        return Ed25519Signer.from_seed(self.producer_key.name, fixed.seed("thief"))


class _Renamed(World):
    """A log that enrolled a producer under another producer's key name."""

    def enrolled_name(self) -> str:
        return "gpu-1"


class _Stranger(World):
    """A log that holds entries of another origin."""

    def entry_origin(self) -> str:
        return "other.example"


def _other_worlds(checks: Checks) -> Iterator[Vector]:
    """Logs that are wrong inside, with perfect proofs: content can fail where inclusion passes."""
    for name, world, step in (
        ("bad-instance-note-other-key", _Thief(), 8),
        ("bad-producer-note-other-name", _Renamed(), 8),
        ("bad-entry-of-another-origin", _Stranger(), 7),
    ):
        data = format_receipt(replace(world.receipt(world.at["decision"]), anchors=()))
        yield checks.vector(name, data, 1, step)

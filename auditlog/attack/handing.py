"""Attacks on what callers hold: promises that are broken, receipts that are edited, stolen or stretched.

Spec: auditlog/spec/promise.md, "Verdicts"; auditlog/spec/verification.md. The dropped entry was sealed and
its promise given; the operator leaves it out before the witness sees it, and makes all after it fit.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace

from auditlog.attack import resealing
from auditlog.attack.attack import Attack
from auditlog.attack.forging import forge_receipt
from auditlog.attack.pen import MERGE_S, Answered, Pen
from auditlog.attack.receipts import disclose, issue
from auditlog.attack.results import By, Piece
from auditlog.attack.scene import Scene
from auditlog.attack.twin import read_entry
from auditlog.core.canonical import encode
from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.merkle import hash_leaf, prove_inclusion, root_hash
from auditlog.core.receipt import Receipt, ReceiptAnchor, format_receipt, parse_receipt

_PROMISE = (Piece.PROMISE, Piece.MONITOR)
_WAIT_S = 2 * MERGE_S


def _promised(scene: Scene) -> tuple[Pen, Answered]:
    """An honest log with a promised decision in it, and three after it."""
    pen = scene.pen()
    pen.now_s += 1
    kept = pen.decide()
    for _ in range(3):
        pen.decide()
    scene.promise = kept.promise
    return pen, kept


def _conflict(scene: Scene) -> None:
    pen, kept = _promised(scene)
    forged = resealing.give_number_away(pen.entries, kept.index, pen.producers)
    scene.publish(forged, now_s=pen.now_s + _WAIT_S)


def _skipped(scene: Scene) -> None:
    pen, kept = _promised(scene)
    forged = resealing.pretend_crash(pen.entries, kept.index, pen.host.key)
    scene.publish(forged, now_s=pen.now_s + _WAIT_S)


def _late(scene: Scene) -> None:
    pen, kept = _promised(scene)
    rest, held = resealing.hold_back(pen.entries, kept.index)
    between = scene.publish(rest + _one_more(pen, rest), now_s=pen.now_s + _WAIT_S)
    scene.kept = [between.note]
    scene.publish(rest + _one_more(pen, rest) + held, now_s=pen.now_s + _WAIT_S + 1)


def _absent(scene: Scene) -> None:
    pen, kept = _promised(scene)
    rest, _ = resealing.hold_back(pen.entries, kept.index)
    scene.publish(rest + _one_more(pen, rest), now_s=pen.now_s + _WAIT_S)


def _one_more(pen: Pen, rest: list[bytes]) -> list[bytes]:
    """An entry of the log's own: it goes on, and gives the witness something to cosign."""
    other = pen.fork()
    other.stand_on(rest)
    other.now_s += MERGE_S
    other.anchor(len(rest))
    return other.entries[len(rest) :]


def _other_answer(scene: Scene) -> None:
    """The entry that was promised records another answer than the one that was given."""
    pen = scene.pen()
    scene.promise = pen.decide('{"a":"approved"}', recorded='{"a":"refused"}').promise
    scene.publish(pen, now_s=pen.now_s + _WAIT_S)


def _unpromised(scene: Scene) -> None:
    """A call is answered and never recorded; no promise was given, and all counters leave it out."""
    pen = scene.pen()
    pen.beat()
    scene.publish(pen)


def _edited_receipt(scene: Scene) -> None:
    scene.receipt = forge_receipt(scene.world.receipt)


def _stolen_receipt(scene: Scene) -> None:
    """A genuine receipt of somebody else's call, shown with the presenter's own request and answer."""
    world = scene.world
    own = scene.pen().decide('{"a":"approved"}')
    entry = read_entry(world.pen.entries[world.held.index])
    assert entry is not None
    scene.receipt, scene.disclosures = world.receipt, disclose(own, entry.body["id"])


def _bare_stolen_receipt(scene: Scene) -> None:
    """The same, shown without any bytes of the call."""
    scene.receipt = scene.world.receipt


def _swapped_entry(scene: Scene) -> None:
    """The proof of one decision around the entry of another."""
    world = scene.world
    members = json.loads(world.receipt)
    other = world.pen.entries[world.held.index - 3]
    members["entry"] = base64.b64encode(other).decode()
    scene.receipt = encode(members) + b"\n"


def _unlogged_receipt(scene: Scene) -> None:
    """A receipt for a decision that was put only into a tree made for its caller."""
    pen = scene.pen()
    made = pen.decide('{"a":"approved"}')
    honest = scene.pen()
    honest.decide('{"a":"refused"}')
    scene.publish(honest)
    scene.receipt = issue(pen.entries, made, scene.prepare(pen).note)


def _anchor_before_entry(scene: Scene) -> None:
    """A receipt carries the anchor of a tree from before its entry was there."""
    world = scene.world
    receipt = parse_receipt(world.receipt)
    size = world.held.index
    leaves = [hash_leaf(entry) for entry in world.pen.entries[:size]]
    checkpoint = sign_checkpoint(Checkpoint(world.pen.origin, size, root_hash(leaves)), world.pen.signer)
    proof = tuple(prove_inclusion(leaves, size - 1))
    anchor = ReceiptAnchor("devnet@v0", checkpoint, proof, world.devnet_note(size))
    scene.receipt = _with_anchor(receipt, anchor)


def _anchor_of_another(scene: Scene) -> None:
    """A receipt carries a genuine anchor that stands in another log's slot."""
    world = scene.world
    note = world.devnet_note(len(world.pen.entries), origin="another-log.example/decisions")
    receipt = parse_receipt(world.receipt)
    anchor = ReceiptAnchor("devnet@v0", receipt.proof.checkpoint, receipt.proof.hashes, note)
    scene.receipt = _with_anchor(receipt, anchor)


def _with_anchor(receipt: Receipt, anchor: ReceiptAnchor) -> bytes:
    return format_receipt(replace(receipt, anchors=(anchor,)))


def _attack(
    name: str, title: str, play: Callable[[Scene], None], *, should: tuple[Piece, ...] = (Piece.RECEIPT,),
    due: str = "", by: By = By.OPERATOR, why_none: str = "",
) -> Attack:  # fmt: skip
    return Attack(name=name, title=title, by=by, should=should, play=play, due=due, why_none=why_none)


def _broken(name: str, title: str, play: Callable[[Scene], None], cause: str) -> Attack:
    return Attack(
        name=name, title=title, by=By.OPERATOR, should=_PROMISE, play=play, due="proven",
        alarm="promise_broken", cause=cause,
    )  # fmt: skip


ATTACKS: tuple[Attack, ...] = (
    _broken("drop-conflict", "drops a promised decision and gives its number to the next", _conflict,
            "CONFLICT"),
    _broken("drop-skipped", "drops a promised decision and hides it in a made-up crash", _skipped, "SKIPPED"),
    _broken("drop-late", "holds a promised decision back, and lets it in too late", _late, "LATE"),
    _broken("drop-absent", "drops a promised decision and all that its host wrote after it", _absent,
            "ABSENT"),
    _broken("other-answer", "records another answer than the one that was given and promised", _other_answer,
            "CONFLICT"),
    _attack("unpromised-call", "answers a call and never records it; it gave no promise", _unpromised,
            should=(), why_none="nobody outside holds anything about that call (threat-model.md)"),
    _attack("edited-receipt", "changes what a receipt says", _edited_receipt, by=By.CALLER),
    _attack("swapped-entry", "puts another decision into a receipt", _swapped_entry, by=By.CALLER),
    _attack("stolen-receipt", "shows another's receipt with their own request and answer", _stolen_receipt,
            by=By.CALLER),
    _attack("stolen-receipt-bare", "shows another's receipt without the bytes of the call",
            _bare_stolen_receipt, should=(), by=By.CALLER,
            why_none="a receipt names nobody: ask for the request and the answer with it"),
    _attack("receipt-of-a-fork", "issues a receipt from a tree made for one caller", _unlogged_receipt,
            should=(Piece.RECEIPT, Piece.WITNESS), due="proven"),
    _attack("anchor-before-entry", "proves a receipt's age by an anchor from before its entry",
            _anchor_before_entry),
    _attack("anchor-in-another-slot", "proves a receipt's age by an anchor of another log",
            _anchor_of_another),
)  # fmt: skip

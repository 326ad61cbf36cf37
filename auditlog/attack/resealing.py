"""Leaving one entry out of a log and making the rest fit, as an operator with every key can.

Hashes of what was changed are followed through everything after, the numbers of its writer and the counts it
states as well; what its writer signs is signed again. `auditlog fsck` passes over the outcome, and so does
`auditlog completeness`. Nothing in the log shows that an entry is missing; only the promise of it does.
Spec: auditlog/spec/promise.md, "Verdicts". `Rewriting` is for any other change of a log as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from auditlog.core.canonical import encode, parse
from auditlog.core.head import Head, parse_head_text, sign_head
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import NoteSigner, split_note
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text
from auditlog.errors import MalformedError

Fields = dict[str, Any]
Signers = Mapping[str, NoteSigner]
"""By producer, the hex of its leaf hash: the key in force."""

_ENVELOPE = frozenset({"kind", "origin", "producer", "instance", "seq", "prev", "body"})
_HASH = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def give_number_away(entries: list[bytes], at: int, signers: Signers | None = None) -> list[bytes]:
    """Leave out the entry at index `at`; every later one of its life moves up by one number."""
    victim = parse(entries[at])
    log = Rewriting(entries[:at], signers)
    log.replace_hash(hash_leaf(entries[at]), victim["prev"])

    def move_up(fields: Fields) -> None:
        fields["seq"] -= 1
        if fields["kind"] == "heartbeat":
            _say_less(fields["body"], by=1)

    for entry in entries[at + 1 :]:
        log.add(entry, move_up if _is_same_life(entry, victim) else None)
    return log.entries


def pretend_crash(entries: list[bytes], at: int, signer: Ed25519Signer) -> list[bytes]:
    """Put a new process life and a gap in the place of the entry; what followed it belongs to that life."""
    victim = parse(entries[at])
    life = sha256(entries[at]).hexdigest()[:32]
    log = Rewriting(entries[:at])
    text = instance_text(victim["origin"], victim["producer"], life, victim["prev"])
    start = victim | {"kind": "instance", "instance": life, "seq": 0}
    log.put(start | {"body": {"note": sign_one(text, signer), "software": _software(entries)}})
    lost = {"instance": victim["instance"], "after_seq": victim["seq"] - 1, "count": 1}
    lost |= {"from": victim["time"], "to": victim["time"]}
    prev = hash_leaf(log.entries[-1]).hex()
    log.put(victim | {"kind": "gap", "instance": life, "seq": 1, "prev": prev, "body": lost})
    log.replace_hash(hash_leaf(entries[at]), hash_leaf(log.entries[-1]).hex())
    before = sum(_is_decision(entry) and _is_same_life(entry, victim) for entry in entries[: at + 1])

    def belong(fields: Fields) -> None:
        fields["instance"], fields["seq"] = life, fields["seq"] - victim["seq"] + 1
        if fields["kind"] == "heartbeat":
            _say_less(fields["body"], by=before)

    for entry in entries[at + 1 :]:
        log.add(entry, belong if _is_same_life(entry, victim) else None)
    return log.entries


def hold_back(entries: list[bytes], at: int) -> tuple[list[bytes], list[bytes]]:
    """The log without the entry at `at` and whatever its writer added after it, and these entries."""
    victim = parse(entries[at])
    held = [entry for entry in entries[at:] if parse(entry)["producer"] == victim["producer"]]
    log = Rewriting(entries[:at])
    for entry in entries[at:]:
        if entry not in held:
            log.add(entry, None)
    return log.entries, held


def change(
    entries: list[bytes], changes: Mapping[int, Callable[[Fields], None]], signers: Signers
) -> list[bytes]:
    """The entries at these indices say something else, and everything after them is made to fit."""
    first = min(changes)
    log = Rewriting(entries[:first], signers)
    for index in range(first, len(entries)):
        log.add(entries[index], changes.get(index))
    return log.entries


class Rewriting:
    """A log being written anew from one index on. With `signers` notes that name a hash are signed again."""

    def __init__(self, kept: list[bytes], signers: Signers | None = None) -> None:
        self.entries = list(kept)
        self._honest = len(kept)
        self._hashes: dict[bytes, bytes] = {}
        self._signers = signers
        self._before: dict[str, str] = {}
        """What a new hash was in the honest log: with an enrolment, a producer's id may have changed."""
        self._numbers: dict[tuple[str, str, int], bytes] = {}
        for entry in kept:
            self._note_number(entry)

    def replace_hash(self, old: bytes, new: str) -> None:
        """What names `old` names `new` from now on."""
        self._hashes[old.hex().encode()] = new.encode()
        self._before[new] = self._before.get(old.hex(), old.hex())

    def put(self, fields: Fields) -> None:
        """Add an entry that the honest log does not have."""
        self.entries.append(encode(fields))
        self._note_number(self.entries[-1])

    def add(self, entry: bytes, change: Callable[[Fields], None] | None) -> None:
        """Add an entry of the honest log, standing on what is there now. What is no entry stays as it is."""
        data = _HASH.sub(lambda found: self._hashes.get(found[0], found[0]), entry)
        fields = _fields(data)
        if fields is None:
            self.entries.append(entry)
            return
        if change is not None:
            change(fields)
        if fields["kind"] == "anchor" and fields["body"]["size"] > self._honest:
            self._anchor(fields["body"])
        signer = self._signer(fields["producer"])
        if signer is not None and encode(fields) != entry:
            self._sign_again(fields, signer)
        data = encode(fields)
        if data != entry:
            self.replace_hash(hash_leaf(entry), hash_leaf(data).hex())
        self.entries.append(data)
        self._note_number(data)

    def _signer(self, producer: str) -> NoteSigner | None:
        if self._signers is None:
            return None
        return self._signers.get(producer) or self._signers.get(self._before.get(producer, ""))

    def _sign_again(self, fields: Fields, signer: NoteSigner) -> None:
        body = fields["body"]
        if fields["kind"] == "instance":
            text = instance_text(fields["origin"], fields["producer"], fields["instance"], fields["prev"])
            body["note"] = sign_one(text, signer)
        elif fields["kind"] == "heartbeat" and isinstance(body.get("head"), str):
            head = self._head(fields, parse_head_text(split_note(body["head"])[0]))
            if head is None:
                del body["head"]
            else:
                body["head"] = sign_head(head, signer)

    def _head(self, fields: Fields, said: Head) -> Head | None:
        """The head over the same numbers as they are now; None where one of them is no longer there."""
        producer = self._hashes.get(said.producer.encode(), said.producer.encode()).decode()
        numbers = range(said.first_seq, said.seq + 1)
        hashes = [self._numbers.get((producer, said.instance, number)) for number in numbers]
        there = [each for each in hashes if each is not None]
        if len(there) != len(hashes):
            return None
        return Head(
            origin=fields["origin"],
            producer=producer,
            instance=said.instance,
            first_seq=said.first_seq,
            seq=said.seq,
            leaf_hash=there[-1],
            root=root_hash(there),
        )

    def _note_number(self, data: bytes) -> None:
        if self._signers is None:
            return
        fields = _fields(data)
        if fields is not None:
            self._numbers[fields["producer"], fields["instance"], fields["seq"]] = hash_leaf(data)

    def _anchor(self, body: Fields) -> None:
        """The devnet is the operator's: it may as well have anchored this tree."""
        body["size"] = min(body["size"], len(self.entries))
        body["root"] = root_hash([hash_leaf(entry) for entry in self.entries[: body["size"]]]).hex()


def _fields(data: bytes) -> Fields | None:
    """The members of an entry; None for what is none."""
    try:
        fields = parse(data)
    except MalformedError:
        return None
    return fields if isinstance(fields, dict) and fields.keys() >= _ENVELOPE else None


def _say_less(heartbeat: Fields, *, by: int) -> None:
    for name in ("recorded", "started", "finished"):
        heartbeat[name] = max(0, heartbeat[name] - by)
    heartbeat.pop("head", None)


def _is_same_life(entry: bytes, victim: Fields) -> bool:
    fields = parse(entry)
    return (fields["producer"], fields["instance"]) == (victim["producer"], victim["instance"])


def _is_decision(entry: bytes) -> bool:
    return bool(parse(entry)["kind"] == "decision")


def _software(entries: list[bytes]) -> str:
    starts = (fields for fields in map(parse, entries) if fields["kind"] == "instance")
    return str(next(starts)["body"]["software"])

"""Keys for an attacker: those of the copied log where it has them all, else a twin log under the suite's own.

Spec: auditlog/attack/README.md, "Keys". Most copies hold no secret key, and a cheating operator has every
one. The twin has the same entries in the same order, with the same bodies; only keys, and what is signed with
them or names a hash, differ. Promises: the keys of the twin are derived from a constant, and worth nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from auditlog.attack.errors import UnfitTargetError
from auditlog.attack.resealing import Rewriting
from auditlog.attack.target import Target
from auditlog.core.entry import Entry, parse_entry
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf
from auditlog.core.signed import sign_one
from auditlog.core.statements import producer_key_name, producer_text, rotation_text
from auditlog.errors import EvidenceError

_SEED = "auditlog attack suite: this key is public, "


@dataclass(frozen=True, slots=True)
class Armed:
    """A log with every key that a cheating operator has."""

    origin: str
    entries: list[bytes]
    signer: Ed25519Signer
    producers: dict[str, Ed25519Signer]
    """By producer, the hex of its enrolment's leaf hash: the key in force."""
    is_twin: bool


def suite_key(name: str, *more: str) -> Ed25519Signer:
    """A key of the suite under this key name: the same in every run, and secret to nobody."""
    return Ed25519Signer.from_seed(name, sha256("\n".join((_SEED, name, *more)).encode()).digest())


def arm(target: Target) -> Armed:
    """The attacker's log: the copy itself if all its keys lie in the folder, else its twin.

    Raises:
        UnfitTargetError: it does not begin as a log of auditlog.
    """
    found = read_entry(target.entries[0]) if target.entries else None
    if found is None or found.kind != "genesis" or found.origin != target.origin:
        raise UnfitTargetError("expected a log that begins with a genesis entry of its own, found another")
    own = _own_keys(target, found)
    if own is not None:
        return Armed(target.origin, list(target.entries), own[0], own[1], is_twin=False)
    return _twin(target)


def read_entry(data: bytes) -> Entry | None:
    """The entry in some bytes, or None."""
    try:
        return parse_entry(data)
    except EvidenceError:
        return None


def _own_keys(target: Target, genesis: Entry) -> tuple[Ed25519Signer, dict[str, Ed25519Signer]] | None:
    """The log's key and those of all its producers, if the folder has every one."""
    vkeys = genesis.body.get("vkeys")
    signers = [target.keys[vkey] for vkey in vkeys or () if vkey in target.keys]
    producers: dict[str, Ed25519Signer] = {}
    for data in target.entries:
        entry = read_entry(data)
        if entry is None or entry.kind not in ("producer", "rotation"):
            continue
        identity = hash_leaf(data).hex() if entry.kind == "producer" else entry.producer
        key = target.keys.get(str(entry.body.get("vkey")))
        if key is None:
            return None
        producers[identity] = key
    return (signers[0], producers) if signers else None


def _twin(target: Target) -> Armed:
    signer = suite_key(target.origin)
    producers: dict[str, Ed25519Signer] = {}
    log = Rewriting([], producers)
    for data in target.entries:
        entry = read_entry(data)
        log.add(data, None if entry is None else _new_keys(entry, signer, producers))
        if entry is not None and entry.by_log and entry.kind == "producer":
            identity = hash_leaf(log.entries[-1]).hex()
            producers[identity] = _producer_key(target.origin, entry.body)
    return Armed(target.origin, log.entries, signer, producers, is_twin=True)


def _new_keys(
    entry: Entry, signer: Ed25519Signer, producers: dict[str, Ed25519Signer]
) -> Callable[[dict[str, Any]], None] | None:
    """What makes an entry that brings a key bring the suite's instead."""

    def genesis(fields: dict[str, Any]) -> None:
        fields["body"]["vkeys"] = [signer.vkey]

    def enrolment(fields: dict[str, Any]) -> None:
        body = fields["body"]
        key = _producer_key(entry.origin, body)
        body["vkey"], body["note"] = key.vkey, sign_one(producer_text(entry.origin, body["name"]), key)

    def rotation(fields: dict[str, Any]) -> None:
        producer, body = fields["producer"], fields["body"]
        before = producers[producer]
        following = suite_key(before.name, str(body["vkey"]))
        text = rotation_text(entry.origin, producer, following.vkey)
        body["vkey"], body["notes"] = following.vkey, [sign_one(text, each) for each in (before, following)]
        producers[producer] = following

    if entry.kind == "rotation":
        return rotation
    by_log = {"genesis": genesis, "producer": enrolment}
    return by_log.get(entry.kind) if entry.by_log else None


def _producer_key(origin: str, body: dict[str, Any]) -> Ed25519Signer:
    return suite_key(producer_key_name(origin, str(body["name"])))

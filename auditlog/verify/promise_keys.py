"""Whose promise it is: entries proven to be in the log, a producer's enrolment, and every key it had.

Spec: auditlog/spec/promise.md, "Whose promise". Every byte here is attacker-controlled until its inclusion in
a checkpoint that the trusted log signed was verified. Promises: each function returns or raises an
`EvidenceError`. Must never: take a key from anything but a proven enrolment and proven rotations.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.bodies import check_body
from auditlog.core.checkpoint import Checkpoint
from auditlog.core.entry import parse_entry
from auditlog.core.merkle import hash_leaf, verify_inclusion
from auditlog.core.note import Ed25519Verifier
from auditlog.core.receipt import Related
from auditlog.core.signed import open_one
from auditlog.core.statements import open_rotation, parse_producer_text, producer_key_name
from auditlog.errors import EvidenceError, InclusionError, SignatureError, VerificationError
from auditlog.verify.steps_chain import Placed, Producer


def place_entry(item: Related, checkpoint: Checkpoint, what: str) -> Placed:
    """Prove that an entry is in the tree of a checkpoint, then read it; `what` names it in errors.

    Raises:
        EvidenceError: it is not there, is no entry, or is one of another log.
    """
    leaf_hash = hash_leaf(item.entry)
    try:
        verify_inclusion(leaf_hash, item.index, checkpoint.tree_size, list(item.proof), checkpoint.root_hash)
    except InclusionError as error:
        raise InclusionError(f"{what}: {error}") from error
    entry = parse_entry(item.entry)
    if entry.origin != checkpoint.origin:
        raise VerificationError(f"{what}: expected an entry of {checkpoint.origin}, found another origin")
    return Placed(entry, leaf_hash, item.index)


def prove_producer(item: Related, checkpoint: Checkpoint, identity: str) -> Producer:
    """The producer whose id (64 hex digits) a promise names: its entry is authentic because its leaf hash is
    the id.

    Raises:
        EvidenceError: another entry, not in the log, or no enrolment.
    """
    return read_producer(place_entry(item, checkpoint, "producer entry"), identity)


def read_producer(placed: Placed, identity: str) -> Producer:
    """As `prove_producer`, of an entry whose place is known."""
    entry = placed.entry
    if placed.leaf_hash.hex() != identity:
        raise VerificationError(f"producer entry: expected the leaf hash {identity}, found another entry")
    if entry.kind != "producer" or not entry.understood:
        raise VerificationError(f"producer entry: expected the kind producer, found {entry.kind}")
    check_body(entry.kind, entry.body)
    key = Ed25519Verifier.from_vkey(entry.body["vkey"])
    expected = producer_key_name(entry.origin, entry.body["name"])
    if key.name != expected:
        raise VerificationError(f"producer entry: expected a key named {expected}, found another name")
    if parse_producer_text(open_one(entry.body["note"], key)) != (entry.origin, entry.body["name"]):
        raise SignatureError("producer entry: expected its note to enrol this name, found another statement")
    return Producer(placed, entry.body["name"], key)


class KeyChain:
    """A producer's keys as the rotations of a log lead to them, given in the order of the log.

    A rotation that does not hold changes no key (entry.md, "Keys of a producer"): `take` refuses it, and the
    chain is as it was. So at most 61 are in it, however many a dishonest log has written.
    """

    def __init__(self, producer: Producer) -> None:
        """Begin with the enrolled key."""
        self._identity = producer.placed.leaf_hash.hex()
        self._last = producer.placed.index
        self.keys = [producer.key]
        self.rotations: list[Placed] = []

    def take(self, found: Placed) -> None:
        """The next rotation.

        Raises:
            EvidenceError: it is not this producer's, stands before another, or does not hold.
        """
        entry = found.entry
        if (entry.kind, entry.producer) != ("rotation", self._identity) or not entry.understood:
            raise VerificationError("rotation: expected a rotation of this producer, found another entry")
        if found.index <= self._last:
            raise VerificationError(f"rotation: expected an index above {self._last}, found {found.index}")
        check_body("rotation", entry.body)
        key = open_rotation(entry.body, origin=entry.origin, producer=self._identity, keys=self.keys)
        self.keys.append(key)
        self.rotations.append(found)
        self._last = found.index


def prove_rotations(
    items: Sequence[Related], checkpoint: Checkpoint, producer: Producer
) -> tuple[tuple[Placed, ...], tuple[Ed25519Verifier, ...]]:
    """The producer's rotations in the order of the log, and its keys: the enrolled one first. Whoever shows
    them shows those that hold.

    Raises:
        EvidenceError: one is not in the log, not this producer's, out of order, or not signed by both keys.
    """
    chain = KeyChain(producer)
    for item in items:
        chain.take(place_entry(item, checkpoint, "rotation"))
    return tuple(chain.rotations), tuple(chain.keys)


def holding_rotations(
    items: Sequence[Related], checkpoint: Checkpoint, producer: Producer
) -> tuple[tuple[Related, ...], tuple[Ed25519Verifier, ...]]:
    """Those of the entries that a log shows as rotations which hold, and the keys they lead to. The others
    are passed over: what a log writes or answers cannot take a key from a producer that had it.
    """
    chain, held = KeyChain(producer), []
    for item in items:
        try:
            chain.take(place_entry(item, checkpoint, "rotation"))
        except EvidenceError:
            continue
        held.append(item)
    return tuple(held), tuple(chain.keys)

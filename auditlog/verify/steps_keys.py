"""Part of step 8: which key of a producer was in force for an entry, by the rotations before it.

Spec: auditlog/spec/entry.md, "Keys of a producer"; auditlog/spec/verification.md, "Step 8". Promises: a
rotation counts only if the key before it and the key after it have signed it. Must never: take a key from a
rotation whose inclusion was not verified, or that is not before the entry in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from auditlog.core.entry import Entry
from auditlog.core.note import Ed25519Verifier
from auditlog.core.statements import open_rotation
from auditlog.errors import VerificationError

if TYPE_CHECKING:
    from auditlog.verify.steps_chain import Placed


def take_rotations(left: list[Placed], entry: Entry, index: int) -> tuple[Placed, ...]:
    """Remove and return the rotations of this entry's producer that stand before it; any other stays, and
    fails step 8.

    Raises:
        VerificationError: they are not in the order of the log.
    """
    if entry.by_log:
        return ()
    found = tuple(
        item
        for item in left
        if (item.entry.kind, item.entry.v, item.entry.producer) == ("rotation", 1, entry.producer)
        and item.index < index
    )
    left[:] = [item for item in left if item not in found]
    places = [item.index for item in found]
    if places != sorted(set(places)):
        raise VerificationError(
            "expected the rotations in the order of the log, each once, found another order"
        )
    return found


def follow_rotations(enrolled: Ed25519Verifier, rotations: Sequence[Placed]) -> tuple[Ed25519Verifier, ...]:
    """Every key of the producer up to these rotations: the enrolled one first, the one in force last.

    Raises:
        EvidenceError: a rotation that is not by both keys, or to a key of another name or an old one.
    """
    keys = [enrolled]
    for item in rotations:
        entry = item.entry
        keys.append(open_rotation(entry.body, origin=entry.origin, producer=entry.producer, keys=keys))
    return tuple(keys)


def key_at(keys: Sequence[Ed25519Verifier], rotations: Sequence[Placed], index: int) -> Ed25519Verifier:
    """The key in force for an entry of the producer at this index of the log."""
    return keys[sum(item.index < index for item in rotations)]

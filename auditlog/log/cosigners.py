"""Which witnesses have ever cosigned a log, as its own stores say.

Spec: `auditlog/spec/api.md`, "Logs". A witness that answers "not found" at a start signs nothing, so it is
believed only while no store of ours shows a cosignature of its key. Three places are read: a list that only
grows, the published checkpoint, and the last one that had a quorum. Promises: the list is written before a
cosignature is published. Must never: drop a witness from it; a backup from before a witness first cosigned
cannot know it, and is left to the other guards.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from auditlog.core.keys import split_vkey
from auditlog.core.note import split_note
from auditlog.errors import EvidenceError, StorageError
from auditlog.log.config import Stores

logger = logging.getLogger("auditlog.log")

COSIGNERS = "cosigners"
"""In the private store: the vkey of every witness that ever cosigned, one a line."""
QUORUM_CHECKPOINT = "quorum-checkpoint"
"""In the private store: the newest checkpoint that had a quorum, once one without it took its place."""
_PUBLISHED = "checkpoint"

Signer = tuple[str, bytes]
"""Key name and key ID, as a signature line gives them."""


def read_cosigners(stores: Stores) -> frozenset[Signer]:
    """Every key that our stores show below a checkpoint, verified or not: too many makes a start stricter.

    Raises:
        StorageError: a store failed.
    """
    found = {_signer_of(vkey) for vkey in _listed(stores)}
    for note in (stores.public.get(_PUBLISHED), stores.private.get(QUORUM_CHECKPOINT)):
        found |= _signers_below(note)
    return frozenset(found)


class Cosigners:
    """The list, kept by whoever gathers cosignatures."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._known: frozenset[str] = frozenset()

    def add(self, vkeys: Iterable[str]) -> None:
        """Write down who cosigned, durable on return. A store that fails costs the entry until the next time:
        the published checkpoint shows the line as well.
        """
        if self._known.issuperset(vkeys):
            return
        try:
            self._known = self._known.union(_listed(self._stores))
            known = self._known.union(vkeys)
            if known == self._known:
                return
            text = "".join(f"{vkey}\n" for vkey in sorted(known))
            self._stores.private.replace(COSIGNERS, text.encode("utf-8"))
        except StorageError as error:
            logger.warning("the witnesses that cosigned could not be written down: %s", error)
            return
        self._known = known


def _listed(stores: Stores) -> list[str]:
    found = stores.private.get(COSIGNERS) or b""
    lines = found.decode("utf-8", errors="replace").splitlines()
    return [line for line in lines if _is_vkey(line)]


def _is_vkey(line: str) -> bool:
    try:
        split_vkey(line)
    except EvidenceError:
        return False
    return True


def _signer_of(vkey: str) -> Signer:
    name, key_id, _ = vkey.split("+", 2)
    return name, bytes.fromhex(key_id)


def _signers_below(note: bytes | None) -> set[Signer]:
    """Who stands below a note; nobody where it is torn: publication replaces that."""
    if note is None:
        return set()
    try:
        return {(line.name, line.key_id) for line in split_note(note)[1]}
    except EvidenceError:
        return set()

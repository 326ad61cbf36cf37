"""What stays of a pruned bundle: the few entries that receipts of later ones are made of.

Spec: `auditlog/spec/log.md`, "Retention". An enrolment, a start, a change of key, a model: without them no
receipt of an entry that is still there could be issued. They lie in the private store, `kept/<N>`, whatever
the visibility, as (uint8 place || uint16 length || entry). Must never: keep a decision or an outcome.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from auditlog.core.entry import parse_entry
from auditlog.core.tiles import TilePath
from auditlog.errors import DamagedStoreError, MalformedError
from auditlog.storage.ports import ObjectStore

KEPT_PREFIX = "kept/"
KEPT_KINDS = frozenset({"instance", "rotation", "retirement", "model", "coverage", "gap"})
"""Kinds of producers' entries that stay; all of the log's own stay as well."""

_HEAD = struct.Struct(">BH")


def kept_path(number: int) -> str:
    """Where what is left of a bundle lies."""
    return KEPT_PREFIX + str(TilePath(None, number)).removeprefix("tile/entries/")


def to_keep(entries: Sequence[bytes]) -> dict[int, bytes]:
    """Those of a bundle that stay, by place."""
    found: dict[int, bytes] = {}
    for place, data in enumerate(entries):
        entry = parse_entry(data)
        if entry.by_log or entry.kind in KEPT_KINDS:
            found[place] = data
    return found


def write_kept(store: ObjectStore, number: int, entries: Mapping[int, bytes]) -> None:
    """Keep them, durably. Again is fine: the same bundle gives the same bytes. Raises StorageError."""
    data = b"".join(_HEAD.pack(place, len(entry)) + entry for place, entry in sorted(entries.items()))
    store.replace(kept_path(number), data)


def read_kept(store: ObjectStore, number: int) -> dict[int, bytes]:
    """What is kept of a pruned bundle, by place. Raises StorageError: damaged."""
    data, at, found = store.get(kept_path(number)) or b"", 0, {}
    try:
        while at < len(data):
            place, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size + length
            if at > len(data):
                raise MalformedError("expected a whole entry, found the end")
            found[place] = data[at - length : at]
    except (struct.error, MalformedError) as error:
        raise DamagedStoreError(f"expected kept entries at {kept_path(number)}, found: {error}") from error
    return found

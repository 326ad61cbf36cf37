"""What the index keeps of entries: a pure function of them, at the speed of the log.

Spec: design section 6, "the SQL index follows the log and is rebuilt from it". Entries come in blocks of 256.
Nearly all are decisions of the usual form, so a block is first looked at as columns (`usual`). One that does
not pass is judged entry by entry. Both ways give the same rows: `tests/property/test_indexing.py` holds them
against a third that knows nothing of columns. About 2 us an entry instead of 5.
Promises: touches no store and no clock; its arguments and its result are small and can be sent to another
process. Must never: keep a word of a stranger that is not a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from auditlog.core.bodies import check_body
from auditlog.core.entry import ENTRY_VERSION, KINDS, parse_entry, parse_time
from auditlog.core.scalars import is_instance_hex
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import MalformedError
from auditlog.log.envelope import Indexed, read_indexed, read_indexed_all
from auditlog.log.facets import block_rows
from auditlog.log.usual import ID_TOLERANCE_MS, are_usual
from auditlog.storage.records import GapReach, GapRow, IndexRows, ModelRow

_ID = re.compile(r"[!-~]{1,200}")
_UNREGISTERED = "unregistered"


def index_rows(
    start: int, entries: Sequence[bytes], leaf_hashes: Sequence[bytes], before: Sequence[bytes] = ()
) -> IndexRows:
    """What the index keeps about entries `start`... A pure function of the log: rebuilding gives the same.

    `before` are the entries of the first block in front of them, if they complete it.

    Raises:
        MalformedError: an entry that no log of ours would hold.
    """
    rows = IndexRows(start, start + len(entries), b"".join(leaf_hashes), [None] * len(entries))
    open_block = read_indexed_all(before)
    for at, upto in _pieces(start, rows.end):
        some, hashes = entries[at - start : upto - start], leaf_hashes[at - start : upto - start]
        read = read_indexed_all(some)
        _index_piece(rows, at, some, read, hashes)
        open_block += read
        if upto % TILE_WIDTH == 0:
            if len(open_block) == TILE_WIDTH:
                rows.facets += block_rows(upto // TILE_WIDTH - 1, open_block)
            open_block = []
    rows.flags.sort()
    return rows


def pruned_rows(start: int, kept: Mapping[int, bytes], leaf_hashes: Sequence[bytes]) -> IndexRows:
    """What can be known of entries `start`.. that were pruned: their leaf hashes, and those that are kept."""
    rows = IndexRows(start, start + len(leaf_hashes), b"".join(leaf_hashes), [None] * len(leaf_hashes))
    for index, data in kept.items():
        index_one(rows, index, data, read_indexed(data), leaf_hashes[index - start])
    return rows


def index_one(rows: IndexRows, index: int, data: bytes, entry: Indexed, leaf_hash: bytes) -> None:
    """Add what the index keeps of one entry, but its leaf hash and facets. The plain way."""
    if entry.v != ENTRY_VERSION or entry.kind not in KINDS:
        rows.flags.append((index, "unknown_kind"))
    elif entry.kind == "decision":
        _index_decision(rows, index, entry)
    elif entry.kind == "model" or (entry.kind == "coverage" and _ends_wait(entry, data)):
        producer = bytes.fromhex(entry.producer)
        rows.models.append(ModelRow(producer, entry.instance, entry.seq, index, leaf_hash))
    elif entry.kind == "gap":
        _index_gap(rows, index, entry)


def _pieces(start: int, end: int) -> Iterator[tuple[int, int]]:
    """From edge to edge of a block."""
    while start < end:
        upto = min(end, (start // TILE_WIDTH + 1) * TILE_WIDTH)
        yield start, upto
        start = upto


def _index_piece(
    rows: IndexRows, start: int, entries: Sequence[bytes], read: Sequence[Indexed], hashes: Sequence[bytes]
) -> None:
    kinds, versions = [entry.kind for entry in read], [entry.v for entry in read]
    if kinds.count("decision") == versions.count(ENTRY_VERSION) == len(read):
        bodies = [entry.body for entry in read]
        ids = [body.id for body in bodies]
        if are_usual(ids, [body.start for body in bodies]):
            at = start - rows.start
            rows.decisions[at : at + len(ids)] = ids
            models = [body.model for body in bodies]
            if _UNREGISTERED in models:
                unknown = (start + place for place, model in enumerate(models) if model == _UNREGISTERED)
                rows.flags += [(index, "unregistered_model") for index in unknown]
            return
    for index, data, entry, leaf_hash in zip(
        range(start, start + len(read)), entries, read, hashes, strict=True
    ):
        index_one(rows, index, data, entry, leaf_hash)


def _ends_wait(entry: Indexed, data: bytes) -> bool:
    """Whether a `coverage` entry says that no model is named (entry.md, "model"). One that is malformed says
    nothing: a receipt could not carry it.
    """
    if entry.body.model != _UNREGISTERED:
        return False
    try:
        check_body(entry.kind, parse_entry(data).body)
    except MalformedError:
        return False
    return True


def _index_decision(rows: IndexRows, index: int, entry: Indexed) -> None:
    body = entry.body
    if type(body.id) is not str or _ID.fullmatch(body.id) is None:
        # Recorded, and in nobody's way: not every database can hold every text as a key.
        rows.flags.append((index, "id_form"))
    else:
        rows.decisions[index - rows.start] = body.id
        if not _id_time_fits(body.id, body.start):
            rows.flags.append((index, "id_time"))
    if body.model == _UNREGISTERED:
        rows.flags.append((index, "unregistered_model"))


def _index_gap(rows: IndexRows, index: int, entry: Indexed) -> None:
    body = entry.body
    try:
        from_us, to_us = parse_time(str(body.from_)), parse_time(str(body.to))
    except MalformedError:
        rows.flags.append((index, "gap_form"))
        return
    lost = body.count if type(body.count) is int and body.count >= 0 else None
    producer, is_earlier = bytes.fromhex(entry.producer), body.instance != entry.instance
    rows.gaps.append(GapRow(producer, index, from_us, to_us, lost, is_earlier))
    if is_instance_hex(body.instance) and type(body.after_seq) is int and body.after_seq >= -1:
        own_seq = None if is_earlier else entry.seq
        rows.reaches.append(GapReach(producer, body.instance, index, body.after_seq, own_seq))


def _id_time_fits(decision_id: str, start: object) -> bool:
    """Whether the milliseconds in a UUIDv7 are those of the claimed start; either may be anything."""
    try:
        id_ms = id_time_ms(decision_id)
        start_us = parse_time(start) if type(start) is str else -1
    except (ValueError, MalformedError):
        return False
    return abs(id_ms - start_us // 1000) <= ID_TOLERANCE_MS


def id_time_ms(decision_id: str) -> int:
    """The Unix milliseconds in a UUIDv7: when it says that it was made. Raises: ValueError."""
    return int(decision_id[:8] + decision_id[9:13], 16)

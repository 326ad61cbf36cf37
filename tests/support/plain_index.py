"""What the index keeps of entries, told entry by entry: what the fast way is held against."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from auditlog.core.bodies import check_body
from auditlog.core.entry import KINDS, parse_entry, parse_time
from auditlog.core.scalars import is_instance_hex
from auditlog.errors import MalformedError
from auditlog.storage.records import FacetRow, GapReach, GapRow, IndexRows, ModelRow

_WORDS = {2: "kind", 3: "producer"}
_BODY_WORDS = {4: "model", 5: "operation", 7: "ended"}


def plain_rows(
    start: int, entries: Sequence[bytes], leaf_hashes: Sequence[bytes], before: Sequence[bytes] = ()
) -> IndexRows:
    """As `auditlog.log.indexing.index_rows`."""
    rows = IndexRows(start, start + len(entries), b"".join(leaf_hashes))
    for index, data in enumerate(entries, start):
        rows.decisions.append(None)
        _add(rows, index, data, leaf_hashes[index - start])
    known = [json.loads(data) for data in (*before, *entries)]
    first = start - len(before)
    for block in range(-(-first // 256), (first + len(known)) // 256):
        rows.facets += _block(block, known[block * 256 - first : block * 256 - first + 256])
    return rows


def _add(rows: IndexRows, index: int, data: bytes, leaf_hash: bytes) -> None:
    entry = json.loads(data)
    body, kind = entry["body"], entry["kind"]
    producer = entry["producer"]
    if entry["v"] != 1 or kind not in KINDS:
        rows.flags.append((index, "unknown_kind"))
    elif kind == "decision":
        _add_decision(rows, index, body)
    elif kind == "model" or (kind == "coverage" and _names_no_model(data, body)):
        rows.models.append(
            ModelRow(bytes.fromhex(producer), entry["instance"], entry["seq"], index, leaf_hash)
        )
    elif kind == "gap":
        _add_gap(rows, index, entry)


def _add_decision(rows: IndexRows, index: int, body: dict[str, Any]) -> None:
    id_ = body.get("id")
    if isinstance(id_, str) and re.fullmatch(r"[\x21-\x7e]{1,200}", id_):
        rows.decisions[-1] = id_
        try:
            apart = int(id_[:8] + id_[9:13], 16) - parse_time(body.get("start")) // 1000
        except (ValueError, TypeError, MalformedError):
            apart = 2
        if abs(apart) > 1:
            rows.flags.append((index, "id_time"))
    else:
        rows.flags.append((index, "id_form"))
    if body.get("model") == "unregistered":
        rows.flags.append((index, "unregistered_model"))


def _names_no_model(data: bytes, body: dict[str, Any]) -> bool:
    try:
        check_body("coverage", parse_entry(data).body)
    except MalformedError:
        return False
    return body.get("model") == "unregistered"


def _add_gap(rows: IndexRows, index: int, entry: dict[str, Any]) -> None:
    body, producer = entry["body"], bytes.fromhex(entry["producer"])
    try:
        from_us, to_us = parse_time(body["from"]), parse_time(body["to"])
    except (KeyError, TypeError, MalformedError):
        rows.flags.append((index, "gap_form"))
        return
    count, instance, after = body.get("count"), body.get("instance"), body.get("after_seq")
    lost = count if type(count) is int and count >= 0 else None
    is_own = instance == entry["instance"]
    rows.gaps.append(GapRow(producer, index, from_us, to_us, lost, not is_own))
    if is_instance_hex(instance) and type(after) is int and after >= -1:
        rows.reaches.append(GapReach(producer, instance, index, after, entry["seq"] if is_own else None))


def _block(block: int, entries: Sequence[dict[str, Any]]) -> list[FacetRow]:
    places: dict[tuple[int, int], set[int]] = {}
    for place, entry in enumerate(entries):
        for key in _facets(entry):
            places.setdefault(key, set()).add(place)
    return sorted(FacetRow(*key, block, _packed(held)) for key, held in places.items())


def _facets(entry: dict[str, Any]) -> list[tuple[int, int]]:
    minute = parse_time(entry["time"][:16] + ":00.000000Z") // 60_000_000
    found = [(1, minute), *((facet, _value(entry[name])) for facet, name in _WORDS.items())]
    if entry["kind"] == "decision":
        body = entry["body"]
        words = [(facet, body.get(name)) for facet, name in _BODY_WORDS.items()]
        found += [(facet, _value(word)) for facet, word in words if isinstance(word, str)]
        status = body.get("status")
        if type(status) is int and 0 <= status <= 999:
            found.append((6, status))
    return found


def _value(word: str) -> int:
    digest = sha256(word.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _packed(places: set[int]) -> bytes:
    if len(places) == 256:
        return b""
    if len(places) < 32:
        return bytes(sorted(places))
    return sum(1 << place for place in places).to_bytes(32, "little")

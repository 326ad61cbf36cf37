"""Opening commitments later: from the disclosure stores of this host to a disclosure file (commitment.md).

Used by `auditlog disclose ID --fields a,b`, which runs beside the serving processes and only reads. A field
is named `label`, `/choices/0/text` or, to say in which body, `facts:label`; a pointer to an object or array
opens all that is below it. Promises: what is opened is exactly what was asked for. Must never: let a key out
of the store; salts go out, and each opens one field or one body only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from auditlog.capture.committing import readable
from auditlog.capture.disclosures import KeptBody, KeptRecord
from auditlog.capture.keeping import FOLDER, find_waiting
from auditlog.capture.sqlite_store import FoundRecord, find_read_only, search_read_only
from auditlog.core.commitment import field_leaves
from auditlog.core.disclosure import (
    Disclosure,
    Disclosures,
    disclose_field,
    disclose_whole,
    format_disclosures,
)
from auditlog.core.holder import SEARCHED, pointers_of, split_field_name
from auditlog.core.items import item_names
from auditlog.errors import DisclosureError, NotFoundError, StorageError

BODIES = SEARCHED


def find_kept(state_dir: Path, id: str) -> list[KeptRecord]:  # noqa: A002  the word of the format
    """All records kept for a decision in any slot of this host (a decision, and its outcomes).

    Raises:
        NotFoundError: no slot has any: never kept, expired, erased, or made on another host.
        StorageError: a store cannot be read.
    """
    found: list[KeptRecord] = []
    for path in _stores(state_dir):
        key = _key_of(path)
        # In this order: what is moved meanwhile is found twice rather than not at all.
        waiting = find_waiting(path.parent / FOLDER, key, id)
        kept = find_read_only(path, key, id)
        found += kept + [record for record in waiting if record not in kept]
    if not found:
        raise NotFoundError(f"disclosure: expected a record of decision {id} on this host, found none")
    return found


def find_decisions(state_dir: Path, wanted: Mapping[str, str]) -> list[FoundRecord]:
    """The decisions of this host that have all these facts, in themselves or in their outcomes; oldest first.

    Raises:
        StorageError: a store cannot be read.
    """
    found: dict[str, list[FoundRecord]] = {}
    with_all: set[str] | None = None
    for name, value in wanted.items():
        records = [
            record
            for path in _stores(state_dir)
            for record in search_read_only(path, _key_of(path), name, value)
        ]
        for record in records:
            found.setdefault(record.id, []).append(record)
        ids = {record.id for record in records}
        with_all = ids if with_all is None else with_all & ids
    matching = [one for key in with_all or () for one in dict.fromkeys(found[key])]
    return sorted(matching, key=lambda one: (one.stored_us, one.id, one.kind))


def find_record(state_dir: Path, id: str, kind: str = "decision") -> KeptRecord:  # noqa: A002
    """The newest record of a decision, or of an outcome about it. Raises as `find_kept`."""
    found = [record for record in find_kept(state_dir, id) if record.kind == kind]
    if not found:
        raise NotFoundError(
            f"disclosure: expected a kept {kind} with id {id} on this host, found others only"
        )
    return found[-1]


def disclosable_fields(record: KeptRecord) -> list[str]:
    """Every field that could be opened, as `body:pointer`."""
    names = []
    for body in BODIES:
        text = _text(record, body)
        names += [f"{body}:{pointer}" for pointer, _ in field_leaves(text)] if text is not None else []
    return names


def build_disclosures(
    record: KeptRecord, fields: Sequence[str] = (), whole: Sequence[str] = (), *, item: str | None = None
) -> bytes:
    """A disclosure file that opens these fields, these whole bodies ("request", "response", "facts") and one
    item of a request that asked for several (`core.items`).

    Raises:
        DisclosureError: a field, body or item that this record does not have.
    """
    if item is not None:
        fields = [*fields, *item_names(item, _text(record, "request"), _text(record, "response"))]
    opened: dict[tuple[str, str], Disclosure] = {}
    for body in whole:
        opened[body, ""] = _whole(record, body)
    for name in fields:
        for disclosure in _fields(record, name):
            opened[disclosure.body, getattr(disclosure, "pointer", "")] = disclosure
    if not opened:
        raise DisclosureError("disclosure: expected at least one field or body to open, found none named")
    return format_disclosures(Disclosures(record.id, tuple(opened.values())))


def _stores(state_dir: Path) -> list[Path]:
    return sorted((state_dir / "slots").glob("*/disclosures.sqlite3"))


def _key_of(path: Path) -> bytes:
    try:
        return (path.parent / "store.key").read_bytes()
    except OSError as error:
        raise StorageError(f"disclosure store: expected a readable store.key beside {path}") from error


def _fields(record: KeptRecord, name: str) -> Iterator[Disclosure]:
    explicit, pointer = split_field_name(name)
    for body in BODIES if explicit is None else (explicit,):
        text = _text(record, body)
        found = [] if text is None else pointers_of(text, pointer)
        if text is not None and found:
            key = _key(record, body)
            for leaf in found:
                yield disclose_field(key, body, text, leaf)
            return
    raise DisclosureError(f"disclosure: expected a field {name!r} among the kept fields, found none")


def _whole(record: KeptRecord, body: str) -> Disclosure:
    kept = _body(record, body)
    if kept is None:
        raise DisclosureError(f"disclosure: expected the bytes of {body!r} to be kept, found none")
    text = readable(kept)
    form = None if text is None or not field_leaves(text[0]) else text[1]
    return disclose_whole(_key(record, body), body, kept.data, form)


def _text(record: KeptRecord, body: str) -> bytes | None:
    kept = _body(record, body)
    text = None if kept is None else readable(kept)
    return None if text is None else text[0]


def _body(record: KeptRecord, body: str) -> KeptBody | None:
    if body == "request":
        return record.request
    if body == "response":
        return record.response
    if body == "facts" and record.facts is not None:
        return KeptBody(record.facts)
    return None


def _key(record: KeptRecord, body: str) -> bytes:
    key = record.facts_key if body == "facts" else record.exchange_key
    if key is None:
        raise DisclosureError(f"disclosure: expected the key of {body!r} to be kept, found none")
    return key

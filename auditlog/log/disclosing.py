"""Opening an outcome that this service wrote: from the facts and the key it kept to a disclosure file.

Spec: `auditlog/spec/api.md`, "Outcomes"; `commitment.md`, "Disclosures". Promises: what is opened is exactly
what was asked for, and was checked against the entry before it is given out. Must never: give out a key.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.bodies import check_body
from auditlog.core.disclosure import (
    Disclosure,
    Disclosures,
    disclose_field,
    disclose_whole,
    format_disclosures,
)
from auditlog.core.entry import parse_entry
from auditlog.core.holder import check_opened, pointers_of, split_field_name
from auditlog.core.merkle import hash_leaf
from auditlog.errors import DisclosureError, NotFoundError
from auditlog.log.outcomes import OutcomeRecord, Outcomes
from auditlog.log.reader import Reader


def disclose_outcome(outcomes: Outcomes, reader: Reader, index: int, fields: Sequence[str]) -> bytes:
    """A disclosure file of the outcome at `index`: these of its facts, or all of them whole if none is named.

    Raises:
        NotFoundError: no entry there, or no outcome that is kept here.
        DisclosureError: a fact it does not have; what is kept is not what was committed to.
        StorageError: a store failed, or cannot be opened with this key.
    """
    data = reader.entry(index)
    entry, leaf_hash = parse_entry(data), hash_leaf(data)
    kept: list[OutcomeRecord] = []
    if entry.kind == "outcome" and entry.understood:
        check_body(entry.kind, entry.body)
        kept = [record for each, record in outcomes.kept(entry.body["decision"]) if each == leaf_hash]
    if not kept:
        raise NotFoundError(f"expected an outcome written here at {index}, found none")
    if fields:
        opened = [shown for name in fields for shown in _facts(kept[0], name)]
    else:
        form = entry.body["facts"].get("fields", {}).get("form")
        opened = [disclose_whole(kept[0].facts_key, "facts", kept[0].facts, form)]
    check_opened(entry, opened)
    return format_disclosures(Disclosures(entry.body["decision"], tuple(opened)))


def _facts(record: OutcomeRecord, name: str) -> list[Disclosure]:
    """Every fact at or below a name (attacker-controlled): `label`, `/reason_codes/0`, `facts:label`."""
    body, pointer = split_field_name(name)
    found = pointers_of(record.facts, pointer) if body in (None, "facts") else []
    if not found:
        raise DisclosureError("disclosure: expected a fact of this outcome, found another name")
    return [disclose_field(record.facts_key, "facts", record.facts, leaf) for leaf in found]

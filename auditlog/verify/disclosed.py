"""Step 11: what was shown of the request, the response and the facts, against the commitments of the entry.

Spec: auditlog/spec/verification.md, "Grades", and auditlog/spec/commitment.md, "Checking a disclosure".
Promises: every disclosure given is checked, and one that does not hold fails the step. Must never: call a
field proven whose whole body was not shown, since the field root is only the producer's word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from auditlog.core.bodies import BODY_NAMES
from auditlog.core.disclosure import Disclosure, FieldDisclosure, WholeDisclosure, parse_disclosures
from auditlog.core.entry import Entry, parse_entry
from auditlog.core.opening import FieldsResult, verify_field, verify_whole
from auditlog.core.receipt import parse_receipt
from auditlog.errors import DisclosureError, EvidenceError
from auditlog.verify.report import Fact, Grade
from auditlog.verify.run import Checked, not_checked
from auditlog.verify.steps_chain import Content, Standing
from auditlog.verify.wording import printable

_ABOUT = {"decision": "id", "outcome": "decision"}
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Opens:
    """Names of the bodies that were shown whole."""

    whole: frozenset[str]


def check_disclosures(
    content: Content, standing: Standing, in_receipt: Sequence[Disclosure], file: bytes | None
) -> Checked[Opens]:
    """(11) Open every disclosure, those in the receipt and those given beside it.

    Raises:
        EvidenceError: one is malformed, is about another decision, or does not open the entry's commitment.
    """
    items = [*in_receipt, *_from_file(content.entry, file)]
    nothing = Opens(frozenset())
    if not items:
        return not_checked(nothing, "none were given", is_required=file is not None)
    if not content.entry.understood:
        return not_checked(nothing, "the content is not understood, nor what it commits to", is_required=True)
    wholes = {
        item.body: _open_whole(item, content.entry) for item in items if isinstance(item, WholeDisclosure)
    }
    fields = [item for item in items if isinstance(item, FieldDisclosure)]
    for item in fields:
        verify_field(item, _member(content.entry, item.body))
    writer = standing.producer.name if standing.producer is not None else content.entry.origin
    facts = (*_whole_facts(items), *_field_facts(fields, wholes, f"producer {writer}"))
    return Checked(Opens(frozenset(wholes)), _detail(wholes, len(fields)), facts)


def is_about(file: bytes, receipt: bytes) -> bool:
    """Whether a disclosure file names the decision of this receipt; False for anything malformed.

    Only to hand one file to the right one of several receipts: nothing is believed for it.
    """
    try:
        entry = parse_entry(parse_receipt(receipt).entry)
        return parse_disclosures(file).id == entry.body.get(_ABOUT.get(entry.kind, ""))
    except EvidenceError:
        return False


def _from_file(entry: Entry, file: bytes | None) -> tuple[Disclosure, ...]:
    if file is None:
        return ()
    shown = parse_disclosures(file)
    if not entry.understood:
        return shown.items
    expected = entry.body.get(_ABOUT.get(entry.kind, ""))
    if shown.id != expected:
        found = printable(shown.id)
        raise DisclosureError(
            f"expected disclosures about {expected or 'no decision'}, found ones about {found}"
        )
    return shown.items


def _member(entry: Entry, name: str) -> dict[str, Any]:
    """What the entry commits to under that name: {"commitment", "fields"?}, checked in step 7."""
    member = entry.body.get(name) if entry.kind in _ABOUT and name in BODY_NAMES else None
    if not isinstance(member, dict) or "commitment" not in member:
        raise DisclosureError(f"expected an entry that commits to a {printable(name)}, found none")
    return member


def _open_whole(item: WholeDisclosure, entry: Entry) -> FieldsResult:
    return verify_whole(item, _member(entry, item.body))


def _whole_facts(items: Sequence[Disclosure]) -> Iterator[Fact]:
    for item in items:
        if isinstance(item, WholeDisclosure):
            digest = hashlib.sha256(item.data).hexdigest()
            text = f"The {item.body} recorded was exactly these {len(item.data)} bytes: {_excerpt(item.data)}"
            yield Fact(item.body, f"sha256:{digest}", Grade.PROVEN, "the entry's commitment", text)


def _field_facts(
    fields: Sequence[FieldDisclosure], wholes: dict[str, FieldsResult], stated_by: str
) -> Iterator[Fact]:
    for item in fields:
        is_proven = wholes.get(item.body) == "matched"
        where = f"{item.body} {printable(item.pointer)}"
        yield Fact(
            "field",
            f"{where} = {_value(item.value)}",
            Grade.PROVEN if is_proven else Grade.STATED,
            "the entry's commitment" if is_proven else stated_by,
            f"In the {where} was {_excerpt(item.value)}",
        )


def _detail(wholes: dict[str, FieldsResult], fields: int) -> str:
    parts = [f"{name} whole" for name in sorted(wholes)]
    if fields:
        parts.append(f"{fields} field(s)")
    unknown = sorted(name for name, result in wholes.items() if result == "unknown_form")
    note = f"; fields not checked against the whole: {', '.join(unknown)}" if unknown else ""
    return f"opens the entry's commitments: {', '.join(parts)}{note}"


def _value(data: bytes) -> str:
    return _excerpt(data) if len(data) <= _SHOWN_CHARACTERS else f"sha256:{hashlib.sha256(data).hexdigest()}"


def _excerpt(data: bytes) -> str:
    return printable(data.decode("utf-8", "backslashreplace"), _SHOWN_CHARACTERS)

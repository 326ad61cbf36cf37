"""Facts about a decision: what callers and applications add to it (spec/commitment.md, body `facts`).

    traceparent: 00-<trace>-<span>-01        {"traceparent": "00-..."}          W3C trace context
    X-Request-Id: 7f3a                       {"request_id": "7f3a"}
    Audit-Fact-Subject: 123                  {"subject": "123", "from_headers": ["subject"]}
    auditlog.facts(label="approved")         {"label": "approved"}              wins over a header

A caller can write any `Audit-Fact-*`, so `from_headers` names the facts that stand on a caller's word alone.
Header names become members in lower case with `_` for `-`; `reason_codes` is a list, split at commas.

Promises: total on headers (attacker-controlled): what is odd or over a bound is as good as absent. What the
application gives is checked, and a wrong one is a `FactsError` in its own call. Pure. Must never: keep a fact
in clear anywhere but in the body `facts`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from auditlog.core.decimals import decimal_of
from auditlog.errors import FactsError

RawHeaders = Iterable[tuple[bytes, bytes]]

MAX_HEADER_FACTS = 32
MAX_HEADER_CHARS = 1024
MAX_FACTS_BYTES = 48 * 1024
MAX_FACTS = 256
MAX_LABEL_CHARS = 4096
MAX_ITEM_CHARS = 255

FROM_HEADERS = "from_headers"
RESERVED = frozenset({FROM_HEADERS, "traceparent", "request_id"})
"""Members this layer fills itself; nobody else may."""

_FACT = b"audit-fact-"
_OUTCOME = b"audit-outcome"
_ABOUT_FACTS = (b"audit-", b"traceparent", b"x-request-id")
_ITEM_HEADER = b"audit-outcome-item"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_DECISION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ITEM = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(/[A-Za-z0-9_]{1,64}){0,6}/(0|[1-9][0-9]{0,8})")


class OutcomeAsked(NamedTuple):
    """An outcome that a request's headers carry: the decision it is about, and the facts."""

    decision: str
    facts: dict[str, object]
    item: str | None = None


def facts_from_headers(headers: RawHeaders) -> dict[str, object] | None:
    """The facts that a request states about itself, None if there are none.

    `Audit-Fact-*` beside an `Audit-Outcome` are about that other decision and are left out here.
    """
    facts: dict[str, object] = {}
    stated: dict[str, object] = {}
    is_outcome = False
    for key, value in headers:
        name = key.lower()
        if not name.startswith(_ABOUT_FACTS):
            continue  # Nearly all are none of ours.
        if name.startswith(_FACT):
            _take(stated, name, value)
        elif name == b"traceparent":
            if _TRACEPARENT.fullmatch(text := bytes(value).strip()) is not None:
                facts["traceparent"] = text.decode("ascii")
        elif name == b"x-request-id":
            if _REQUEST_ID.fullmatch(text := bytes(value).strip()) is not None:
                facts["request_id"] = text.decode("ascii")
        elif name == _OUTCOME:
            is_outcome = True
    if stated and not is_outcome:
        facts = {**stated, **facts, FROM_HEADERS: sorted(stated)}
    return facts or None


def outcome_from_headers(headers: RawHeaders) -> OutcomeAsked | None:
    """The outcome that `Audit-Outcome: <decision id>`, `Audit-Outcome-Item` and `Audit-Fact-*` ask for; None
    without an id and a fact.
    """
    decision: str | None = None
    item: str | None = None
    facts: dict[str, object] = {}
    for key, value in headers:
        name = key.lower()
        if name == _OUTCOME:
            decision = bytes(value).strip().decode("latin-1")
        elif name == _ITEM_HEADER:
            item = bytes(value).strip().decode("latin-1")
        elif name.startswith(_FACT):
            _take(facts, name, value)
    if decision is None or not is_decision_id(decision) or not facts:
        return None
    if item is not None and not is_item(item):
        return None
    return OutcomeAsked(decision, {**facts, FROM_HEADERS: sorted(facts)}, item)


def merged(stated: Mapping[str, object] | None, added: Mapping[str, object]) -> dict[str, object] | None:
    """Facts of the headers and of the application together; the application's own win. None if empty."""
    if not stated:
        return dict(added) if added else None
    facts = {**stated, **added}
    names = stated.get(FROM_HEADERS)
    if isinstance(names, list):
        left = [name for name in names if name not in added]
        facts = {name: value for name, value in facts.items() if name != FROM_HEADERS}
        if left:
            facts[FROM_HEADERS] = left
    return facts


def check_facts(facts: Mapping[str, object]) -> dict[str, object]:
    """A copy of what an application gives as facts, in the forms they are committed in.

    Names are a-z, 0-9 and `_`, at most 64 characters; values are anything JSON can hold. None is left out;
    real numbers become decimal strings, for a float has no spelling of its own.

    Raises:
        FactsError: a name, a value or a size that facts cannot have.
    """
    checked: dict[str, object] = {}
    for name, value in facts.items():
        if _NAME.fullmatch(str(name)) is None:
            raise FactsError("facts: expected names of a-z, 0-9 and '_', found another")
        if name in RESERVED:
            raise FactsError(f"facts: expected names that are free, found {name}, which comes from headers")
        if value is not None:
            checked[name] = _plain(value, name)
    if len(checked) > MAX_FACTS:
        raise FactsError(f"facts: expected at most {MAX_FACTS}, found {len(checked)}")
    _check_size(checked)
    return checked


def decimal_text(value: object, name: str) -> str:
    """A score as a decimal string: 0.93, "0.930" and Decimal("0.93") are taken, infinities are not.

    Raises:
        FactsError: not a finite number.
    """
    text = decimal_of(value)
    if text is None:
        raise FactsError(f"{name}: expected a finite decimal number, found something else")
    return text


def is_item(text: object) -> bool:
    """Whether this names one item of a batch: `instances/17`, `choices/1`, `inputs/0/data/3`."""
    return isinstance(text, str) and len(text) <= MAX_ITEM_CHARS and _ITEM.fullmatch(text) is not None


def is_decision_id(text: object) -> bool:
    """Whether this is a decision id: a UUIDv7 in lower case."""
    return isinstance(text, str) and _DECISION_ID.fullmatch(text) is not None


def _take(facts: dict[str, object], header: bytes, value: bytes) -> None:
    """Put one `Audit-Fact-*` header (attacker-controlled) among the facts, or leave it."""
    name = header[len(_FACT) :].decode("latin-1").replace("-", "_")
    if len(facts) >= MAX_HEADER_FACTS or _NAME.fullmatch(name) is None or name in RESERVED:
        return
    try:
        text = bytes(value).decode("utf-8").strip()
    except UnicodeDecodeError:
        return
    if 0 < len(text) <= MAX_HEADER_CHARS:
        is_list = name == "reason_codes"
        facts[name] = [code for part in text.split(",") if (code := part.strip())] if is_list else text


def _plain(value: object, name: str) -> object:
    """`value` as JSON without floats; containers are copied, so that later changes change nothing."""
    if isinstance(value, float):
        return decimal_text(value, name)
    if isinstance(value, Mapping):
        return {str(key): _plain(one, name) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_plain(one, name) for one in items]
    if value is None or isinstance(value, str | bool | int):
        return value
    raise FactsError(f"{name}: expected text, numbers, lists or objects of them, found something else")


def _check_size(facts: Mapping[str, object]) -> None:
    try:
        size = len(json.dumps(facts, ensure_ascii=False, allow_nan=False).encode("utf-8"))
    except (TypeError, ValueError, RecursionError):
        raise FactsError("facts: expected what JSON can hold, found something else") from None
    if size > MAX_FACTS_BYTES:
        raise FactsError(f"facts: expected at most {MAX_FACTS_BYTES} bytes, found {size}")

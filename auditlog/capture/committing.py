"""From what a hook saw to the body of an entry: commitments, field roots, facts (commitment.md, entry.md).

Runs in the writer thread, so that field roots cost the application nothing. Everything here may come from a
stranger's request (bodies, `Audit-Parent`, sampling names): attacker-controlled. Promises: a body that the
entry format accepts, whatever the observation holds; what has no form there is left out and named in
`left_out`. Must never: put a value of a body, or a name from it, into the entry.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from auditlog.capture.disclosures import KeptBody, KeptRecord
from auditlog.capture.field_roots import FieldRoots, root_here, root_of_plain
from auditlog.capture.observation import Observation, ObservedBody
from auditlog.capture.quick_fields import Plain
from auditlog.core.commitment import BodyCommitment, FieldRoot, commit_body, field_root
from auditlog.core.content import FORM_JSON, NEWEST_FOLD, field_text, is_known_form
from auditlog.core.entry import format_time

MAX_LABEL_CHARS = 255
MAX_ROUTE_CHARS = 1024
MAX_SAMPLING_CHARS = 512


@dataclass(slots=True)
class Prepared:
    """A body ready to be sealed, and what the disclosure store should keep for it."""

    kind: str
    body: dict[str, Any]
    kept: KeptRecord | None = None
    left_out: tuple[str, ...] = ()


def prepare_decision(
    seen: Observation,
    *,
    model: str,
    rng: Callable[[int], bytes],
    max_body_bytes: int,
    field_roots: FieldRoots = root_here,
    plain: Plain | None = None,
) -> Prepared:
    """The body of a `decision` entry. `model` is a leaf hash in hex, "pending" or "unregistered"; `plain`
    what `read_plain` made of the request, if it was asked.
    """
    exchange = seen.exchange
    left_out: list[str] = []
    body: dict[str, Any] = {
        "id": exchange.id,
        "operation": seen.operation,
        "capture": seen.capture,
        "mode": seen.mode,
        "start": format_time(exchange.start_us),
        "duration_us": max(0, seen.duration_us),
        "ended": seen.ended,
        "model": model,
    }
    _add_labels(body, seen, left_out)
    kept_request = _kept(seen.request, seen.keep_values, max_body_bytes)
    kept_response = _kept(seen.response, seen.keep_values, max_body_bytes)
    key = exchange.exchange_key
    fields = None if kept_request is None else _fields(key, "request", kept_request, field_roots, plain)
    body["request"] = _committed(exchange.request, fields)
    fields = None if kept_response is None else _fields(key, "response", kept_response, field_roots)
    body["response"] = _committed(exchange.response, fields)
    facts, facts_key = _facts(seen.facts, rng, left_out)
    if facts is not None and facts_key is not None:
        body["facts"] = _committed_facts(facts_key, facts)
    if seen.redacted:
        body["redacted"] = list(seen.redacted)
    body["values"] = "kept" if kept_request is not None and kept_response is not None else "not_kept"
    kept = KeptRecord(
        exchange.id, "decision", exchange.exchange_key, facts_key, kept_request, kept_response, facts
    )
    return Prepared("decision", body, kept, tuple(left_out))


def prepare_outcome(
    decision: str, facts: Mapping[str, object], *, item: str | None, rng: Callable[[int], bytes]
) -> Prepared:
    """The body of an `outcome` entry: only decision id, item and facts root are readable.

    Raises:
        ValueError: the facts are not JSON.
    """
    left_out: list[str] = []
    content, key = _facts(facts, rng, left_out)
    if content is None or key is None:
        raise ValueError("outcome: expected facts that JSON can hold, found others")
    body: dict[str, Any] = {"decision": decision, "facts": _committed_facts(key, content)}
    if item is not None:
        body["item"] = item[:MAX_LABEL_CHARS]
    return Prepared("outcome", body, KeptRecord(decision, "outcome", facts_key=key, facts=content, item=item))


def readable(body: KeptBody) -> tuple[bytes, str] | None:
    """The JSON text whose fields a body commits to, and its `form`; None where the format defines none."""
    form = body.form
    if not body.data or not is_known_form(form):
        return None
    text = field_text(body.data, form)
    return None if text is None else (text, form)


def _committed(commitment: BodyCommitment, fields: FieldRoot | None) -> dict[str, Any]:
    committed: dict[str, Any] = {"commitment": commitment.hexdigest()}
    if fields is not None:
        committed["fields"] = fields.member()
    return committed


def _fields(
    key: bytes, name: str, kept: KeptBody, field_roots: FieldRoots, plain: Plain | None = None
) -> FieldRoot | None:
    form = kept.form
    if not kept.data or not (form == FORM_JSON or is_known_form(form)):
        return None
    found = None
    if plain is not None and form == FORM_JSON:
        found = root_of_plain(key, name, plain)
    return field_roots(key, name, kept.data, form) if found is None else found


def _committed_facts(key: bytes, content: bytes) -> dict[str, Any]:
    committed: dict[str, Any] = {"commitment": commit_body(key, "facts", content).hex()}
    fields = field_root(key, "facts", content)
    if fields is not None:
        committed["fields"] = fields.member()
    return committed


def _kept(body: ObservedBody, keep_values: bool, max_body_bytes: int) -> KeptBody | None:
    if not keep_values or body.data is None or len(body.data) > max_body_bytes:
        return None
    return KeptBody(body.data, body.dialect, NEWEST_FOLD)


def _facts(
    facts: Mapping[str, object] | None, rng: Callable[[int], bytes], left_out: list[str]
) -> tuple[bytes | None, bytes | None]:
    if facts is None:
        return None, None
    try:
        text = json.dumps(dict(facts), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode("utf-8"), rng(32)
    except (TypeError, ValueError, RecursionError):
        left_out.append("facts")
        return None, None


def _add_labels(body: dict[str, Any], seen: Observation, left_out: list[str]) -> None:
    for name, text in (
        ("method", seen.method),
        ("content_encoding", seen.content_encoding),
        ("parent", seen.parent),
        ("retry_of", seen.retry_of),
        ("replayed_from", seen.replayed_from),
    ):
        if text is None:
            continue
        if 1 <= len(text) <= MAX_LABEL_CHARS and _is_text(text):
            body[name] = text
        else:
            left_out.append(name)
    if seen.route is not None:
        body["route"] = _text(seen.route)[:MAX_ROUTE_CHARS]
    if seen.status is not None:
        body["status"] = max(0, seen.status)
    if seen.adapters:
        body["adapters"] = [_text(name)[:MAX_LABEL_CHARS] for name in seen.adapters if name]
    for name, texts in (("sampling", seen.sampling), ("defaults", seen.defaults)):
        if texts:
            body[name] = _texts(texts, name, left_out)


def _texts(texts: Mapping[str, str], name: str, left_out: list[str]) -> dict[str, str]:
    kept = {}
    for key, text in texts.items():
        if key.isascii() and len(text) <= MAX_SAMPLING_CHARS and len(key) <= MAX_LABEL_CHARS:
            kept[key] = _text(text)
        else:
            left_out.append(name)
    return kept


def _text(text: str) -> str:
    """`text` with lone surrogates replaced: canonical JSON has no form for them."""
    return text if _is_text(text) else text.encode("utf-8", "replace").decode("utf-8")


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True

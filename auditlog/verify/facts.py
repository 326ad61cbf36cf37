"""What an entry says, turned into graded facts: one short sentence each, none without its grade.

Spec: auditlog/spec/verification.md, "Grades" and "Facts". Promises: whatever
stands in a body is *stated*, whoever wrote it; only position, authorship and
disclosures are proven. Must never: pass on a stranger's text unescaped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from auditlog.core.entry import Entry
from auditlog.verify.report import Fact, Grade
from auditlog.verify.steps_chain import Content, Placed, Standing
from auditlog.verify.steps_order import find_model_doubt
from auditlog.verify.wording import printable

_SENTENCES: Final[dict[str, str]] = {
    "id": "The decision has the id {}.",
    "operation": "The operation was {}.",
    "capture": "It was recorded by the hook {}.",
    "mode": "Recording was set to {}.",
    "start": "It was made at {}, by the producer's clock.",
    "duration_us": "It took {} microseconds.",
    "ended": "The call ended: {}.",
    "method": "The request method was {}.",
    "route": "The route was {}.",
    "status": "The answer had HTTP status {}.",
    "content_encoding": "The answer was encoded as {}.",
    "values": "The operator's copy of the values: {}.",
    "parent": "It belongs to the earlier call {}.",
    "retry_of": "It repeats the earlier call {}.",
    "replayed_from": "It was replayed from {}.",
    "decision": "It is about the decision {}.",
    "item": "It is about the item {}.",
}
_ORDER: Final = (
    "id",
    "decision",
    "item",
    "start",
    "operation",
    "model_name",
    "model",
    "model_files",
    "status",
    "ended",
)
_ENDINGS: Final = {
    "ok": "normally",
    "error": "with an error",
    "client_disconnected": "because the caller hung up",
    "aborted": "because it was cut off",
}
_HEAD: Final = "signature of the producer, whose key is enrolled in the log"
_LOG: Final = "signature of the log"
_BODIES: Final = ("request", "response", "facts")
_SHOWN_ELSEWHERE: Final = frozenset({"model", *_BODIES})


def entry_facts(content: Content, standing: Standing, *, is_bound: bool) -> tuple[Fact, ...]:
    """What the entry is, who sealed it, and what it says; the last two only once steps 8 to 10 passed."""
    entry = content.entry
    kind = Fact(
        "kind", entry.kind, Grade.PROVEN, "the entry's bytes", f"It is an entry of kind {entry.kind}."
    )
    if not is_bound:
        return (kind,)
    return (kind, *_signed_facts(entry, standing), *_stated_facts(content, standing))


def _signed_facts(entry: Entry, standing: Standing) -> tuple[Fact, ...]:
    """Who sealed the entry, and at which number: the numbers are dense, so a hole shows."""
    if standing.producer is None:
        return (_proven("seq", str(entry.seq), f"It is number {entry.seq} of the log's own entries.", _LOG),)
    name, vkey = standing.producer.name, (standing.key or standing.producer.key).vkey
    whose = "is enrolled in the log"
    if standing.rotations:
        whose = f"is its newest, after {len(standing.rotations)} rotation(s) that both keys signed"
    return (
        _proven("producer", name, f"It was sealed with the key of producer {name}.", _HEAD),
        _proven("producer_key", vkey, f"That key {whose}: {vkey}.", _HEAD),
        _proven(
            "instance",
            entry.instance,
            f"It belongs to the run {entry.instance} of the serving process.",
            _HEAD,
        ),
        _proven("seq", str(entry.seq), f"It is number {entry.seq} of that run, counting from 0.", _HEAD),
    )


def _proven(name: str, value: str, text: str, by: str) -> Fact:
    return Fact(name, value, Grade.PROVEN, by, text)


def _stated_facts(content: Content, standing: Standing) -> tuple[Fact, ...]:
    """Everything the body says, each with who says it."""
    entry = content.entry
    by = _writer(standing, entry.origin)
    found = [Fact("sealed", entry.time, Grade.STATED, by, f"The record was sealed at {entry.time}.")]
    unknown = tuple(map(printable, content.unknown))
    for name, value in _members(entry.body):
        if _is_unknown(name, unknown):
            found.append(_not_understood(name, value, by))
        elif name.split("/")[0] not in _SHOWN_ELSEWHERE and not _is_note(entry.kind, name):
            found.append(Fact(name, value, Grade.STATED, by, _sentence(name, value)))
    if entry.kind == "decision" and entry.understood:
        found.extend(_model_facts(entry, standing, by))
    return tuple(sorted(found, key=_place))


def _is_note(kind: str, name: str) -> bool:
    """Whether a member is a signed note, which steps 8 and 9 checked and nobody reads as text."""
    return (kind, name) == ("instance", "note") or (kind == "rotation" and name.startswith("notes/"))


def _place(fact: Fact) -> int:
    """Where a stated fact stands in the report: what people
    ask first comes first, the rest in its own order.
    """
    return _ORDER.index(fact.name) if fact.name in _ORDER else len(_ORDER)


def _writer(standing: Standing, origin: str) -> str:
    """Who stands behind the body: the producer by name, or the log itself."""
    return f"log {origin}" if standing.producer is None else f"producer {standing.producer.name}"


def _model_writer(entry: Entry, model: Placed, by: str) -> str:
    """Who says what the model entry says. Naming its leaf hash makes it the producer's own word only if the
    producer wrote it; no head in the receipt covers what another wrote, or what came later.
    """
    if model.entry.producer != entry.producer:
        return f"producer {model.entry.producer} as the log has it, named by {by}"
    return f"{by}, in a later entry as the log has it" if entry.body["model"] == "pending" else by


def _model_facts(entry: Entry, standing: Standing, by: str) -> Iterator[Fact]:
    named, model = entry.body["model"], standing.model
    doubt = find_model_doubt(entry, standing)
    if doubt is not None:
        text = "The model was still being measured when this was sealed."
        yield Fact("model", printable(named), Grade.STATED, by, text)
        yield _open("pending_model", f"Which model that was: {doubt}.")
        return
    if standing.ending is not None:
        text = (
            "The model was still being measured when this was sealed, and was never named: entry "
            f"{standing.ending.index} says that no fingerprint was found."
        )
        yield Fact("model", printable(named), Grade.STATED, by, text)
        return
    if model is None:
        text = "The model is named by a word this version does not know."
        if named == "unregistered":
            text = "The model was not registered: nothing says which one it was."
        yield Fact("model", printable(named), Grade.STATED, by, text)
        return
    body, by = model.entry.body, _model_writer(entry, model, by)
    root, name = body["fingerprint"]["root"], printable(body["name"])
    method = printable(body["fingerprint"]["method"])
    how = ", registered after this decision" if named == "pending" else ""
    if model.entry.producer != entry.producer:
        how = f", registered by another producer ({model.entry.producer})"
    yield Fact("model", root, Grade.STATED, by, f"The model's fingerprint ({method}) was {root}{how}.")
    yield Fact("model_name", name, Grade.STATED, by, f"The model was called {name}.")
    files = str(body["fingerprint"]["files"])
    yield Fact("model_files", files, Grade.STATED, by, f"The fingerprint covers {files} file(s).")
    for adapter in body.get("adapters", ()):
        value = f"{printable(adapter['name'])} {adapter['fingerprint']['root']}"
        yield Fact("adapter", value, Grade.STATED, by, f"With the adapter {value}.")


def open_questions(
    content: Content, has_log: bool, disclosed: frozenset[str], *, is_bare: bool = False
) -> tuple[Fact, ...]:
    """What nobody has shown here, said out loud so that silence is never taken for proof."""
    found: list[Fact] = []
    if is_bare and not content.entry.by_log:
        found.append(_open("writer", "Who sealed the record, and so what it says: that takes its receipt."))
    if content.entry.kind in ("decision", "outcome") and content.entry.understood:
        found.extend(
            _open(name, f"What the {name} said: only its commitment is in the log.")
            for name in _BODIES
            if name in content.entry.body and name not in disclosed
        )
    if content.entry.kind == "decision" and content.entry.understood:
        found.append(_open("model_ran", "That this model, and no other, computed the answer."))
        found.append(_open("fair", "Whether the decision was right or fair."))
        found.append(_open("complete", "Whether every decision of this system was recorded."))
    if not has_log:
        found.append(_open("same_log_now", "Whether the log still shows the same history (--log)."))
    return tuple(found)


def _open(name: str, text: str) -> Fact:
    return Fact(name, "", Grade.NOT_CHECKED, "", text)


def _members(body: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Scalars of a body as (pointer without a leading slash, text); canonical JSON bounds the depth."""
    for key, value in body.items():
        name = f"{prefix}{printable(key)}"
        if isinstance(value, dict) and value:
            yield from _members(value, f"{name}/")
        elif isinstance(value, list):
            for place, item in enumerate(value):
                yield from _members({str(place): item}, f"{name}/")
        else:
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _is_unknown(name: str, unknown: tuple[str, ...]) -> bool:
    """Whether a member, or one it lies in, is not understood;
    an unknown word for the model is told by the model.
    """
    return name != "model" and any(name == one or name.startswith(f"{one}/") for one in unknown)


def _sentence(name: str, value: str) -> str:
    if name == "ended":
        value = _ENDINGS.get(value, value)
    template = _SENTENCES.get(name)
    return template.format(value) if template else f"{name} was {value}."


def _not_understood(name: str, value: str, by: str) -> Fact:
    text = f"{name} is {value}: stated, not understood by this version."
    return Fact("not_understood", f"{name}={value}", Grade.STATED, by, text)

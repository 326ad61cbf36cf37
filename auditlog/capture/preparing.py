"""From a message in the queue to the body of its entry: what the request says, which model, the commitments.

Used by the writer's thread alone; holds what this process life knows of models. Must never: touch the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from auditlog.capture.committing import Prepared, prepare_decision, prepare_outcome
from auditlog.capture.field_roots import FieldRoots
from auditlog.capture.messages import Observed, OutcomeKnown
from auditlog.capture.metrics import Counters
from auditlog.capture.models import ModelNames
from auditlog.capture.observation import Observation, ObservedBody
from auditlog.capture.quick_fields import Plain, read_plain
from auditlog.capture.redaction import REDACTED, WHOLE, Redacted, Redactor
from auditlog.capture.request_fields import RequestFields, fields_of, read_request_fields
from auditlog.capture.safety import Guard
from auditlog.core.commitment import BodyCommitment

_REFUSED = 400
"""From this status on a body is an error, in which no rule need find anything."""


class Preparation:
    """Makes bodies of entries."""

    def __init__(
        self,
        *,
        models: ModelNames,
        rng: Callable[[int], bytes],
        max_body_bytes: int,
        field_roots: FieldRoots,
        metrics: Counters,
        guard: Guard,
        redactor: Redactor | None = None,
    ) -> None:
        self.models = models
        self._redactor = redactor
        self._rng = rng
        self._max_body_bytes = max_body_bytes
        self._field_roots = field_roots
        self._metrics = metrics
        self._guard = guard

    def prepare(self, message: Observed | OutcomeKnown) -> Prepared:
        """The body of the entry. Raises whatever an odd observation makes of it."""
        if isinstance(message, OutcomeKnown):
            return prepare_outcome(message.decision, message.facts, item=message.item, rng=self._rng)
        seen = message.observation
        if self._redactor is not None:
            seen = redact(seen, self._redactor)
        data = seen.request.data if seen.keep_values else None
        plain = None if data is None or message.is_lightened else read_plain(data)
        seen = self._read(seen, plain, is_lightened=message.is_lightened)
        return prepare_decision(
            seen,
            model=self.models.reference(seen),
            rng=self._rng,
            max_body_bytes=self._max_body_bytes,
            field_roots=self._field_roots,
            plain=plain,
        )

    def _read(self, seen: Observation, plain: Plain | None, *, is_lightened: bool) -> Observation:
        """Take model, adapter and sampling from the request, where the hook left that to this thread."""
        if is_lightened:
            self._metrics.add("bodies_let_go")
            return self.models.without_request(seen)
        if seen.read_request is None or seen.request.data is None or not seen.keep_values:
            return seen
        if seen.request.data == REDACTED:
            return self.models.without_request(seen)
        if plain is not None and seen.read_request is read_request_fields:
            return self.models.asked_for(seen, fields_of(plain.members))
        fields = self._guard.call("read_request", RequestFields(), seen.read_request, seen.request.data)
        return self.models.asked_for(seen, fields)


def redact(seen: Observation, redactor: Redactor) -> Observation:
    """`seen` with everything taken out that must not be committed to: the commitments of the bodies that the
    redactor is about are made here, over what is left, whatever the hook fed to them.
    """
    changed: list[str] = []
    request, request_commitment = _redact_body(seen, "request", redactor, changed)
    response, response_commitment = _redact_body(seen, "response", redactor, changed)
    if redactor.has_echo(seen.status):
        response, response_commitment = _without_echo(seen, response, response_commitment, redactor, changed)
    facts = _redact_facts(seen.facts, redactor, changed)
    exchange = replace(seen.exchange, request=request_commitment, response=response_commitment)
    return replace(
        seen, exchange=exchange, request=request, response=response, facts=facts, redacted=tuple(changed)
    )


def _redact_body(
    seen: Observation, name: Literal["request", "response"], redactor: Redactor, changed: list[str]
) -> tuple[ObservedBody, BodyCommitment]:
    body = seen.request if name == "request" else seen.response
    if not redactor.concerns(name):
        kept = body if seen.keep_values else ObservedBody()
        return kept, seen.exchange.request if name == "request" else seen.exchange.response
    left = redactor.apply(name, body.data)
    if left.changed:
        changed.append(name)
    if left.is_missed and (seen.status or 0) < _REFUSED:
        redactor.on_missed(name)
    return _left(seen, name, body, left)


def _left(
    seen: Observation, name: Literal["request", "response"], body: ObservedBody, left: Redacted
) -> tuple[ObservedBody, BodyCommitment]:
    commitment = BodyCommitment(seen.exchange.exchange_key, name)
    commitment.update(left.data)
    kept = ObservedBody(left.data, None if left.is_whole else body.dialect)
    return kept if seen.keep_values else ObservedBody(), commitment


def _without_echo(
    seen: Observation,
    response: ObservedBody,
    commitment: BodyCommitment,
    redactor: Redactor,
    changed: list[str],
) -> tuple[ObservedBody, BodyCommitment]:
    """A refusal, without what it repeats of the request; what rules for responses left of it."""
    ruled = redactor.apply("response", seen.response.data) if redactor.concerns("response") else None
    data = seen.response.data if ruled is None else ruled.data
    left = WHOLE if seen.content_encoding is not None else redactor.without_echo(data)
    if not left.changed:
        return response, commitment
    if "response" not in changed:
        changed.append("response")
    return _left(seen, "response", seen.response, left)


def _redact_facts(
    facts: Mapping[str, object] | None, redactor: Redactor, changed: list[str]
) -> Mapping[str, object] | None:
    if facts is None or not redactor.concerns("facts"):
        return facts
    try:
        text = json.dumps(dict(facts), ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return facts  # No form that could be committed to: `committing` leaves them out and says so.
    left = redactor.apply("facts", text)
    if not left.changed:
        return facts
    changed.append("facts")
    answer = None if left.is_whole else json.loads(left.data)
    return answer if isinstance(answer, dict) else None

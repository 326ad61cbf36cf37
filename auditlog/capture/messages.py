"""What the application's threads hand to the writer, in the order it happened. Values only;
nothing here acts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from auditlog.capture.adoption import Opening
from auditlog.capture.awaiting import Waiter
from auditlog.capture.intake import Losses
from auditlog.capture.observation import Observation, ObservedBody
from auditlog.errors import AuditLogError


@dataclass(slots=True)
class Observed:
    """An inference to record. Not frozen, as little here that is made for each call: that makes it slow."""

    observation: Observation = field(repr=False)
    durable: Future[None] | None = None
    is_lightened: bool = False
    """Whether the queue had no room for its bodies, so that nothing can be read from the request."""
    waiter: Waiter | None = None
    wants_promise: bool = False
    is_reserved: bool = False
    """Whether room was reserved for it before the application was called (fail_closed)."""


@dataclass(frozen=True, slots=True)
class OutcomeKnown:
    """What became known later about a decision."""

    decision: str
    facts: Mapping[str, object] = field(repr=False)
    item: str | None = None


@dataclass(frozen=True, slots=True)
class ModelKnown:
    """A model to register: the body of its entry; `reference` resolves to what decisions call it.

    One that `serves` no more is written for the decisions that were waiting for it, and named by none after.
    """

    body: dict[str, Any]
    reference: Future[str]
    serves: bool = True


@dataclass(frozen=True, slots=True)
class ModelExpected:
    """Whether a model is being fingerprinted: decisions read `pending` until it is known.

    `is_changed`: what was known no longer serves. `adapter`: it is about requests that name this one only.
    """

    is_expected: bool
    is_changed: bool = False
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Adopt:
    """The producer is enrolled: seal the drafts and go on as an enrolled producer."""

    opening: Opening
    done: Future[None]


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """What passed while nothing recorded: `done` resolves once its gap entry is durable."""

    losses: Losses
    done: Future[None]


@dataclass(frozen=True, slots=True)
class OwnEntry:
    """An entry of the layer itself (heartbeat, coverage, notice ...): the next of the chain.

    `body` may be a callable: the writer calls it at sealing, so that its figures are those of that instant.
    `reference` resolves once the entry is durable: to its leaf hash in hex, or to `draft:<number>` before
    enrolment.
    """

    kind: str
    body: dict[str, Any] | Callable[[], dict[str, Any]]
    reference: Future[str]


@dataclass(frozen=True, slots=True)
class Flush:
    """`done` resolves once everything handed over before is durable, or counted as lost."""

    done: Future[None]


Message = Observed | OutcomeKnown | ModelKnown | ModelExpected | Adopt | Unrecorded | OwnEntry | Flush


def lightened(message: Message) -> Message:
    """The same observation without its bodies: the commitments stand, values are not kept."""
    if not isinstance(message, Observed):
        return message
    for commitment in (message.observation.exchange.request, message.observation.exchange.response):
        commitment.let_go()
    seen = replace(message.observation, request=ObservedBody(), response=ObservedBody())
    return replace(message, observation=seen, is_lightened=True)


class LostError(AuditLogError):
    """An observation could not be recorded; its loss is counted and declared in a gap entry."""

    code = "lost"

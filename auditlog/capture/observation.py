"""What a hook saw of one inference: the input of the recorder, before anything is committed or sealed.

Spec: entry.md (decision body), commitment.md. An `Exchange` is minted when the request arrives, so that its
id and receipt URL can travel in the response headers; an `Observation` is handed over when the response has
ended. Both hold keys and bodies in memory only: nothing here is ever logged, and nothing here touches the
disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from auditlog.capture.attempts import Attempts
    from auditlog.capture.request_fields import RequestFields
    from auditlog.core.commitment import BodyCommitment

Hop = Literal["asgi", "proxy", "in_process"]
"""Where the hook stands (`capture` in the entry)."""

Ending = Literal["ok", "error", "client_disconnected", "aborted"]
"""What the application had delivered when the entry was sealed (`ended` in the entry)."""


@dataclass(slots=True)
class Exchange:
    """One request and its response, from arrival on. Feed the bodies to `request` and `response` as they
    flow.

    `id` is a UUIDv7 (never evidence of time), `exchange_key` the 32 random bytes that salt both bodies and
    may be given to the caller, `start_us` the arrival in Unix microseconds. `receipt_url` is None before
    enrolment.
    """

    id: str
    exchange_key: bytes = field(repr=False)
    start_us: int
    request: BodyCommitment = field(repr=False)
    response: BodyCommitment = field(repr=False)
    receipt_url: str | None = field(default=None, repr=False)
    attempt: Attempts | None = field(default=None, repr=False, compare=False)
    """Where this call is counted as begun (`attempts`)."""
    counted: object = field(default=None, repr=False, compare=False)
    """The `Counters.life` that counts it as begun and not as ended; None if none does."""


@dataclass(slots=True)
class Settled:
    """What became of an observation that somebody waited for.

    `promise` is the producer's signed note (spec/promise.md), None where none may be given; `is_durable`
    False means that it was lost, which is counted and declared.
    """

    promise: str | None
    is_durable: bool


@dataclass(slots=True)
class ObservedBody:
    """One body of an exchange: the raw bytes for field roots and disclosures, where the route keeps values.

    `data` is what the application received or sent, before any HTTP framing (gzip and deflate are told from
    the bytes), or None where values are not kept: then the whole commitment of the exchange stands alone.
    `dialect` names the fold of a stream ("openai.chat", "openai.completions"), None for plain JSON.
    """

    data: bytes | None = field(default=None, repr=False)
    dialect: str | None = None


@dataclass(slots=True)
class Observation:
    """Everything of a decision body (entry.md) that only the hook knows. Absent is absent.

    A value: nobody changes it once it is made (not frozen, since that makes it four times as slow to make).

    `start_us` comes from the exchange; `duration_us` is what the hook measured, in microseconds. `model` is
    a name given to `register_model`, None for the one registered last; `model_override` puts "unregistered"
    there. `sampling` and `defaults` are strings only (a real number as its decimal text). `facts` is any
    JSON object the application adds (label, score, reasons, subject ...), committed under its own key.
    `keep_values` False records commitments only ("values": "not_kept"). `redacted` names the bodies that were
    changed before they were committed to (`redaction`); the writer's thread sets it.
    `may_promise` False: the bodies are not what the caller sent and got, whole; a promise over them would
    fail the caller's check. `read_request` reads model and sampling out of `request.data`; the writer thread
    calls it, so that the event loop never parses JSON. What the hook gave itself (`model`, `sampling`) wins.
    """

    exchange: Exchange
    operation: str
    capture: Hop
    duration_us: int
    ended: Ending
    method: str | None = None
    route: str | None = None
    status: int | None = None
    content_encoding: str | None = None
    mode: Literal["fail_open", "fail_closed"] = "fail_open"
    model: str | None = None
    model_override: Literal["unregistered", "pending"] | None = None
    adapters: tuple[str, ...] = ()
    sampling: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    request: ObservedBody = field(default_factory=ObservedBody)
    response: ObservedBody = field(default_factory=ObservedBody)
    facts: Mapping[str, object] | None = field(default=None, repr=False)
    keep_values: bool = True
    redacted: tuple[str, ...] = ()
    parent: str | None = None
    retry_of: str | None = None
    replayed_from: str | None = None
    read_request: Callable[[bytes], RequestFields] | None = field(default=None, repr=False)
    may_promise: bool = True


@dataclass(slots=True)
class Recorded:
    """What the caller of `record` gets at once: the same id, key and URL as the exchange.

    `durable` is there only if it was asked for: it resolves to None once the entry is on disk (sealed, or as
    a draft before enrolment), or to an exception if it was dropped. Nothing else may wait for it.
    """

    id: str
    exchange_key: bytes = field(repr=False)
    receipt_url: str | None = field(default=None, repr=False)
    durable: Future[None] | None = field(default=None, repr=False, compare=False)

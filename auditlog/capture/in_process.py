"""One observed call inside a process: what `@audited` and the transformers hook share (spec/entry.md,
"Decision").

    call = InProcessCall.begin(...)         before: the request is written down; the call may change it
    call.returned(value) | call.failed(e)   after; or yielded(item) for each item of a stream, then ended()

Promises: at most one observation, handed over once; no method raises (unless the settings are strict).
A stream of items is committed to as one JSON array, piece by piece as it flows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from auditlog.capture.body_tap import BodyTap
from auditlog.capture.observation import Ending, Exchange, Observation, ObservedBody
from auditlog.capture.plain_json import encode_plain
from auditlog.capture.recorder import Recorder


@dataclass(frozen=True, slots=True)
class CallNature:
    """What is the same for every call of a function. `route` is the operator's own code, never someone's
    data.
    """

    operation: str
    route: str
    keeps_values: bool


@dataclass(frozen=True, slots=True)
class CallSampling:
    """Sampling parameters given with a call, and the defaults behind them, as texts."""

    given: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)


current_call: ContextVar[InProcessCall | None] = ContextVar("auditlog_current_call", default=None)
"""The innermost call being observed here: the one that `auditlog.facts` adds to."""


@contextmanager
def entered(call: InProcessCall | None) -> Iterator[None]:
    """While the function runs (of a generator: each of its steps), its call is the current one."""
    if call is None:
        yield
        return
    token = current_call.set(call)
    try:
        yield
    finally:
        current_call.reset(token)


class InProcessCall:
    """The state of one call. Used by one thread at a time."""

    __slots__ = (
        "_done", "_exchange", "_facts", "_nature", "_recorder", "_request", "_response", "_sampling",
        "_started_ns", "_ticks",
    )  # fmt: skip

    def __init__(
        self, recorder: Recorder, exchange: Exchange, nature: CallNature, ticks: Callable[[], int]
    ) -> None:
        self._recorder, self._exchange, self._nature = recorder, exchange, nature
        redactor = recorder.redactor
        self._request, self._response = (
            BodyTap(body, is_redacted=redactor is not None and redactor.concerns(name))
            for name, body in (("request", exchange.request), ("response", exchange.response))
        )
        self._sampling = CallSampling()
        self._ticks, self._started_ns = ticks, ticks()
        self._facts: dict[str, object] = {}
        self._done = False

    @classmethod
    def begin(
        cls,
        recorder: Recorder | None,
        nature: CallNature,
        describe: Callable[[], object],
        *,
        sampling: Callable[[], CallSampling] = CallSampling,
        ticks: Callable[[], int] = time.perf_counter_ns,
    ) -> InProcessCall | None:
        """Write down the request that `describe` gives; None if nothing can be recorded. Never raises."""
        if recorder is None:
            return None

        def begun() -> InProcessCall | None:
            exchange = recorder.new_exchange()
            if exchange is None:
                return None
            call = cls(recorder, exchange, nature, ticks)
            call._request.feed(encode_plain(describe()))
            call._sampling = sampling()
            return call

        return recorder.guard.call("in_process", None, begun)

    def add_facts(self, facts: Mapping[str, object]) -> bool:
        """Add what the application says of this decision; False once it was handed over."""
        if not self._done:
            self._facts = {**self._facts, **facts}
        return not self._done

    def returned(self, value: object) -> None:
        """The function returned `value`: that is the response."""
        self._guarded(lambda: self._response.feed(encode_plain(value)))
        self._finish("ok")

    def failed(self, error: BaseException) -> None:
        """The function raised, which the caller passes on."""
        self._finish("error" if isinstance(error, Exception) else "aborted")

    def yielded(self, number: int, item: object) -> None:
        """Item `number` (from 0) of a stream is about to be given to the caller."""
        self._guarded(lambda: self._response.feed((b"," if number else b"[") + encode_plain(item)))

    def ended(self, count: int, ending: Ending) -> None:
        """The stream is over after `count` items."""
        self._guarded(lambda: self._response.feed(b"]" if count else b"[]"))
        self._finish(ending)

    def _guarded(self, feed: Callable[[], None]) -> None:
        if self._done:
            return
        try:
            feed()
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._done = True  # A commitment that misses bytes would be a false one.
            self._recorder.guard.failed("in_process", failure)

    def _finish(self, ending: Ending) -> None:
        if self._done:
            return
        self._done = True
        self._recorder.guard.call("in_process", None, self._record, ending)

    def _record(self, ending: Ending) -> None:
        nature, recorder = self._nature, self._recorder
        keeps = nature.keeps_values or recorder.redactor is not None
        self._recorder.record(
            Observation(
                exchange=self._exchange,
                operation=nature.operation,
                capture="in_process",
                duration_us=(self._ticks() - self._started_ns) // 1000,
                ended=ending,
                route=nature.route,
                sampling=self._sampling.given,
                defaults=self._sampling.defaults,
                request=ObservedBody(self._request.kept() if keeps else None),
                response=ObservedBody(self._response.kept() if keeps else None),
                facts=self._facts or None,
                keep_values=nature.keeps_values,
            )
        )

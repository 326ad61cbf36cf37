"""One observed call inside a process: what `@audited` and the transformers hook share (spec/entry.md,
"Decision").

    call = InProcessCall.begin(...)         before: the request is written down; the call may change it
    call.returned(value) | call.failed(e)   after; or yielded(item) for each item of a stream, then ended()
    call.settle()                           then: fail_closed waits here for the record

Promises: at most one observation, handed over once. In fail_open no method raises (unless the settings are
strict); in fail_closed `begin` and `settle` raise `UnrecordableError`, and nothing else. A stream of items is
committed to as one JSON array, piece by piece as it flows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from auditlog.capture.awaiting import ThreadWaiter
from auditlog.capture.body_tap import BodyTap
from auditlog.capture.observation import Ending, Exchange, Observation, ObservedBody, Settled
from auditlog.capture.plain_json import encode_plain
from auditlog.capture.process import RecorderSource
from auditlog.capture.recorder import Recorder
from auditlog.capture.unrecordable import STATUS
from auditlog.capture.waiting import fails_closed, mint
from auditlog.errors import UnrecordableError


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
        "_closes", "_done", "_exchange", "_facts", "_nature", "_recorder", "_request", "_response",
        "_sampling", "_started_ns", "_ticks", "_waiter",
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
        self._closes = fails_closed(recorder)
        self._waiter: ThreadWaiter | None = None

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
        """Write down the request that `describe` gives; None if nothing can be recorded.

        Raises:
            UnrecordableError: fail_closed, and there is no room for the record: nothing may be called.
        """
        if recorder is None:
            return None
        closes = fails_closed(recorder)

        def begun() -> InProcessCall | None:
            exchange = mint(recorder)
            if exchange is None:
                return None
            try:
                call = cls(recorder, exchange, nature, ticks)
                call._request.feed(encode_plain(describe()))
                call._sampling = sampling()
            except Exception:
                # The call goes on without a record, which is declared; or it does not go on.
                (recorder.drop if closes else recorder.lose)(exchange)
                raise
            return call

        call = recorder.guard.call("in_process", None, begun)
        if call is None and closes:
            recorder.metrics.add(f"refused.{STATUS}")
            raise UnrecordableError(was_called=False)
        return call

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

    def settle(self) -> None:
        """fail_closed: wait until the record is durable, AUDITLOG_FAIL_AFTER_MS at most.

        Raises:
            UnrecordableError: it is not; what the function gave must not be passed on.
        """
        if self._closes:
            self._judge(None if self._waiter is None else self._waiter.wait(self._wait_s))

    async def settle_here(self) -> None:
        """The same, without blocking the event loop. Raises UnrecordableError."""
        if self._closes:
            self._judge(None if self._waiter is None else await self._waiter.wait_here(self._wait_s))

    @property
    def _wait_s(self) -> float:
        return self._recorder.settings.fail_after_ms / 1000

    def _judge(self, settled: Settled | None) -> None:
        if settled is None or not settled.is_durable:
            self._recorder.metrics.add("withheld")
            raise UnrecordableError(was_called=True)

    def _guarded(self, feed: Callable[[], None]) -> None:
        if self._done:
            return
        try:
            feed()
        except Exception as failure:  # noqa: BLE001  the boundary to the application
            self._done = True  # A commitment that misses bytes would be a false one.
            self._recorder.guard.failed("in_process", failure)
            self._recorder.lose(self._exchange)

    def _finish(self, ending: Ending) -> None:
        if self._done:
            return
        self._done = True
        self._recorder.guard.call("in_process", None, self._record, ending)

    def _record(self, ending: Ending) -> None:
        nature, recorder = self._nature, self._recorder
        keeps = nature.keeps_values or recorder.redactor is not None
        request, response = self._request.end(), self._response.end()
        observation = Observation(
            mode=recorder.settings.mode,
            exchange=self._exchange,
            operation=nature.operation,
            capture="in_process",
            duration_us=(self._ticks() - self._started_ns) // 1000,
            ended=ending,
            route=nature.route,
            sampling=self._sampling.given,
            defaults=self._sampling.defaults,
            request=ObservedBody(request if keeps else None),
            response=ObservedBody(response if keeps else None),
            facts=self._facts or None,
            keep_values=nature.keeps_values,
            may_promise=False,
        )
        if self._closes:
            self._waiter = recorder.record_watched(observation)
        else:
            recorder.record(observation)


def recorder_for_calls(source: RecorderSource) -> Recorder | None:
    """The recorder of calls in process, started; None if there is none.

    Raises:
        UnrecordableError: there is none, and the environment says fail_closed.
    """
    recorder = source.get()
    if recorder is None and source.fails_closed:
        raise UnrecordableError(was_called=False)
    return recorder

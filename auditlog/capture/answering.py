"""What answers that wait need of a recorder: promises, reservations, and calls that are never recorded.

The part of `Recorder` that serves hooks in front of callers (fail_closed, promises). Must never: block, or
raise into the application.
"""

from __future__ import annotations

import asyncio

from auditlog.capture.awaiting import Deadlines, ThreadWaiter, Waiter
from auditlog.capture.intake import Losses
from auditlog.capture.messages import Observed
from auditlog.capture.metrics import Counters
from auditlog.capture.minting import Clock
from auditlog.capture.observation import Exchange, Observation, Settled
from auditlog.capture.running import RunningCapture
from auditlog.capture.safety import Guard
from auditlog.capture.settings import CaptureSettings


class Answering:
    """Base of `Recorder`; any thread may call it, `record_awaited` from a running event loop."""

    settings: CaptureSettings
    metrics: Counters
    guard: Guard
    _clock: Clock
    _running: RunningCapture | None = None
    deadlines: Deadlines
    """Of those who wait."""

    def record_awaited(self, observation: Observation) -> Waiter | None:
        """As `record`, for a coroutine that waits (see `awaiting`). None if it was not taken."""
        return self.guard.call("record", None, self._record_awaited, observation)

    def record_watched(self, observation: Observation) -> ThreadWaiter | None:
        """As `record`, for a call in process that waits until it is durable. None if it was not taken."""
        return self.guard.call("record", None, self._record_watched, observation)

    def drop(self, exchange: Exchange) -> None:
        """Say that an exchange will never be recorded: nothing is owed for it, and what `reserve` kept is
        given back. Who drops it counts it first (`refused.<status>`).
        """
        self._count(exchange, "dropped")
        if exchange.attempt is not None:
            exchange.attempt.settle()
        if self.settings.mode == "fail_closed":
            self.release()

    def lose(self, exchange: Exchange) -> None:
        """Say that a call was made whose record would not be true, since observing it failed: a gap entry
        declares it.
        """
        self._count(exchange, "failed")
        self.guard.call("lose", None, self._lose, exchange)
        if self.settings.mode == "fail_closed":
            self.release()

    def defer(self, exchange: Exchange) -> None:
        """Say that its answer leaves without a promise; counted in the life that began the call."""
        self.metrics.add("deferred")
        if exchange.attempt is not None:
            exchange.attempt.defer()

    def reserve(self) -> bool:
        """Keep room for one record before the application is called (fail_closed): queue, spool and disk,
        and a writer that works. If False the call must be refused. `record`, `drop`, `release` use it up.
        """
        return self.guard.call("reserve", False, self._reserve)

    def release(self) -> None:
        """Give back what `reserve` kept."""
        running = self._running
        if running is not None:
            running.intake.release()

    @property
    def expects_quick(self) -> bool:
        """Whether waiting for durability is likely to end in time; if not, nobody should wait."""
        running = self._running
        return running is not None and running.expects_quick

    def promised(self, id: str, promise: str) -> None:  # noqa: A002  the word of the format
        """Have a promise shown at the log, for an answer whose headers had left before it was made."""
        running = self._running
        if running is not None:
            self.guard.call("promised", None, running.promised, id, promise)

    def _count(self, exchange: Exchange, ending: str) -> None:
        """Count how a call ended. One that these counters do not hold as begun (its parent process began it,
        or it has ended before) begins here too, so that no life ends or records more than it began.
        """
        if exchange.counted is not self.metrics.life:
            self.metrics.add("started")
        exchange.counted = None
        self.metrics.add(ending)

    def _lose(self, exchange: Exchange) -> None:
        running, now_us, attempt = self._running, self._clock(), exchange.attempt
        if attempt is not None and running is not None and running.is_open and attempt is running.attempts:
            # The mark is settled once the gap is durable: dying before that, the next life's gap covers it.
            running.intake.lose(now_us, attempts=1)
            return
        if attempt is not None and attempt.covers_open:
            # Its life is ending, and has counted this call: the gap there covers what is still open.
            return
        if attempt is not None:
            attempt.settle()
        self._pass(Losses(1, now_us, now_us))

    def _record_awaited(self, observation: Observation) -> Waiter | None:
        running = self._running
        name = observation.exchange.id

        def on_late(settled: Settled) -> None:
            if running is not None and settled.promise is not None:
                running.promised(name, settled.promise)

        waiter = Waiter(asyncio.get_running_loop(), on_late)
        taken = self._hand_over(Observed(observation, waiter=waiter, wants_promise=observation.may_promise))
        return None if taken is None else waiter

    def _record_watched(self, observation: Observation) -> ThreadWaiter | None:
        waiter = ThreadWaiter()
        taken = self._hand_over(Observed(observation, waiter=waiter))
        return None if taken is None else waiter

    def _reserve(self) -> bool:
        running = self._begun(is_call=False)
        return running is not None and running.reserve()

    def _begun(self, *, is_call: bool = True) -> RunningCapture | None:
        """What to record with, started if need be."""
        raise NotImplementedError

    def _hand_over(self, message: Observed) -> RunningCapture | None:
        """Queue it; None if nothing records."""
        raise NotImplementedError

    def _pass(self, losses: Losses) -> None:
        """Count a call that passes unrecorded, to be declared."""
        raise NotImplementedError

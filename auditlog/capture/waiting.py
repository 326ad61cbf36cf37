"""How long an answer waits for its record (README.md of this package, "Modes").

fail_open: `AUDITLOG_WAIT_MS` at most, and not at all while the disk is known to be slower, before enrolment
(there is no key to promise with) or when the client is gone. fail_closed: until the record is durable, at
most `AUDITLOG_FAIL_AFTER_MS`. Must never: wait anywhere but on the event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from auditlog.capture.awaiting import record_and_wait

if TYPE_CHECKING:
    from auditlog.capture.observation import Exchange, Observation, Settled
    from auditlog.capture.recorder import Recorder


def fails_closed(recorder: Recorder) -> bool:
    """Whether an answer may only leave on record. A layer that is switched off stops nothing."""
    settings = recorder.settings
    return settings.mode == "fail_closed" and settings.enabled


def mint(recorder: Recorder) -> Exchange | None:
    """A new exchange, in fail_closed with room reserved for its record; None if it cannot be recorded.

    The reservation goes with `record` or `drop` of the exchange.
    """
    is_closed = fails_closed(recorder)
    if is_closed and not recorder.reserve():
        return None
    exchange = recorder.new_exchange()
    if exchange is None and is_closed:
        recorder.release()
    return exchange


async def settle(
    recorder: Recorder, observation: Observation, *, is_awaited: bool = True, travels: bool = False
) -> Settled | None:
    """Hand `observation` over and wait for its record; None if it was not waited for, or took too long.

    Unless the promise `travels` in the headers of the answer it is shown at the log.
    Raises only CancelledError, and what the recorder raises in strict mode.
    """
    wait_s = wait_of(recorder, observation, is_awaited=is_awaited)
    if wait_s is None:
        hand_over(recorder, observation)
        return None
    settled = await record_and_wait(recorder, observation, wait_s=wait_s)
    if settled is not None and settled.promise is not None and not travels:
        recorder.promised(observation.exchange.id, settled.promise)
    return settled


def hand_over(recorder: Recorder, observation: Observation) -> None:
    """Hand `observation` over; its record will come."""
    recorder.record(observation)


def wait_of(recorder: Recorder, observation: Observation, *, is_awaited: bool) -> float | None:
    """Seconds to wait, None for not at all."""
    settings = recorder.settings
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None  # Another event loop than asyncio's: nothing of ours can wait on it.
    if settings.mode == "fail_closed":
        return settings.fail_after_ms / 1000
    if not is_awaited or settings.wait_ms == 0 or observation.exchange.receipt_url is None:
        return None
    if not recorder.expects_quick:
        recorder.defer(observation.exchange)  # As one that was waited for in vain, which `awaiting` counts.
        return None
    return settings.wait_ms / 1000

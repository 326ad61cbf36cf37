"""Whether durability can be expected in time: while the disk is slow, nobody waits for it.

A smoothed figure of what the disk (with AUDITLOG_DURABILITY=log: the log) took for a group, and since when
it has been at the present one. Not how long callers waited: where nobody waits groups are larger and take
longer, so a slow moment would never end. While it says slow, one request a second may try, and the figures
are forgotten after three seconds, then six, at last twenty-four.
"""

from __future__ import annotations

import time
from collections.abc import Callable

PROBE_S = 1.0
FORGET_S = 3.0
LONGEST_S = 24.0
"""For so long it is believed to be slow, and at last, where it is slow again each time."""
_WEIGHT = 0.3


class Pace:
    """How quick the way to durability is. Any thread may ask; figures may be an instant old."""

    def __init__(
        self, wait_s: float, *, judges_disk: bool = True, steady_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`wait_s` is how long a request would wait at most; without `judges_disk` figures come by `took`."""
        self._wait_s = wait_s
        self._judges_disk = judges_disk
        self._steady_s = steady_s
        self._usual_s = self._spent_s = 0.0
        self._busy_since: float | None = None
        self._tried_s = steady_s()
        self._slow_since: float | None = None
        self._forgot_s, self._patience_s = -LONGEST_S, FORGET_S

    def begin(self) -> None:
        """The disk gets a group."""
        self._busy_since = self._steady_s()

    def pause(self) -> None:
        """What is done with it now is no work of the disk."""
        began, self._busy_since = self._busy_since, None
        self._spent_s += 0.0 if began is None else self._steady_s() - began

    def end(self) -> None:
        """The group is done."""
        self.pause()
        spent_s, self._spent_s = self._spent_s, 0.0
        if self._judges_disk:
            self.took(spent_s)

    def took(self, seconds: float) -> None:
        """So long did it take."""
        self._usual_s += _WEIGHT * (seconds - self._usual_s)

    @property
    def usual_s(self) -> float:
        """The smoothed figure, in seconds."""
        return self._usual_s

    @property
    def is_quick(self) -> bool:
        """Whether a wait is likely to end in time; True now and then whatever the figures say."""
        now, busy_since = self._steady_s(), self._busy_since
        is_stuck = busy_since is not None and now - busy_since > self._wait_s
        if not is_stuck and self._usual_s <= self._wait_s:
            self._slow_since = None
            return True
        since = self._slow_since = now if self._slow_since is None else self._slow_since
        if now - self._tried_s < PROBE_S:
            return False
        self._tried_s = now
        if not is_stuck and now - since >= self._patience_s:
            self._forget(now)
        return True

    def _forget(self, now: float) -> None:
        """Believe the figures no more: an application that never rests makes the writer wait for the
        interpreter, and its disk look slow; once its requests wait for us it rests.
        """
        self._usual_s, self._slow_since = 0.0, None
        is_in_vain = now - self._forgot_s < 2 * self._patience_s
        self._patience_s = min(LONGEST_S, 2 * self._patience_s) if is_in_vain else FORGET_S
        self._forgot_s = now

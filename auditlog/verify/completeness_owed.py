"""What a life owes the log: the calls it says have ended must be entries, or lie in gaps it declared.

Spec: auditlog/spec/promise.md, "Completeness". Heartbeats are counted at sealing, and pass the same queue as
the decisions: what had ended when one was sealed and was not recorded yet is recorded or declared before the
next one is, so that is the whole allowance. Of a life that stopped in order, everything is there by its
`stopped`; of one that died, a gap of a later life bounds what is not. All of it is stated by the producer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

SETTLED_PART: Final = 0.5
"""Two heartbeats closer than this part of the interval are one: a stop may follow a beat at once, while a
thread has counted its call and not yet handed it over.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a heartbeat says of the calls before it."""

    index: int
    time_us: int
    ended: int
    lost: int
    in_flight: int = 0


@dataclass(slots=True)
class Account:
    """One life's calls: claimed, recorded, declared lost. Every problem is told once."""

    instance: str
    decisions: int = 0
    declared: int = 0
    """Calls in its gaps, by count or bound."""
    is_unbounded: bool = False
    """Whether a gap, or a declared loss, has neither."""
    open_claim: Claim | None = None
    last_claim: Claim | None = None
    told: frozenset[str] = frozenset()
    stopped_at: str = ""
    """When it said that it had stopped; empty until it does."""

    def beat(
        self, index: int, time_us: int, body: Mapping[str, Any]
    ) -> list[tuple[str, str, dict[str, int]]]:
        """The next heartbeat. What an earlier one claimed must be there by now.

        Returns:
            Contradictions: (kind, text, numbers).
        """
        ended = body["finished"] + body["failed"]
        claim = Claim(index, time_us, ended, body["lost"], body["in_flight"])
        problems: list[tuple[str, str, dict[str, int]]] = []
        before, self.last_claim = self.open_claim, claim
        if before is None:
            self.open_claim = claim
        elif time_us - before.time_us >= SETTLED_PART * 1_000_000 * body["interval_s"]:
            problems, self.open_claim = self._check(before, "by the next heartbeat"), claim
        return problems

    def stop(self, time: str) -> list[tuple[str, str, dict[str, int]]]:
        """The life says it has stopped: what it claimed last must be there. As `beat`."""
        self.stopped_at = time
        return [] if self.last_claim is None else self._check(self.last_claim, "when it stopped")

    def bury(self) -> list[tuple[str, str, dict[str, int]]]:
        """The life ended without a word, and a later one has declared what was lost with it. As `beat`."""
        return [] if self.last_claim is None else self._check(self.last_claim, "or in gaps of later lives")

    def unsettled(self) -> tuple[str, dict[str, int]] | None:
        """Calls of the last heartbeat that nothing after it shows yet: (text, numbers)."""
        if self.last_claim is None or "unrecorded" in self.told:
            return None
        found = self._missing(self.last_claim, "to the end of what was looked at")
        return None if found is None else found[1:]

    def unfinished(self) -> tuple[str, dict[str, int]] | None:
        """Calls in flight with the last heartbeat of a life that stopped, of which nothing was said since:
        (text, numbers). A stop declares what it leaves running.
        """
        claim, there = self.last_claim, self.decisions + self.declared
        if not self.stopped_at or claim is None or self.is_unbounded:
            return None
        # What had ended and is missing was told by itself.
        left = min(claim.in_flight, claim.ended + claim.in_flight - there)
        if left <= 0:
            return None
        text = (
            f"entry {claim.index}: {claim.in_flight} calls of life {self.instance} were in flight when it "
            f"stopped, and {left} are neither recorded nor declared lost"
        )
        return text, {"in_flight": claim.in_flight, "left": left}

    def lose(self, body: Mapping[str, Any]) -> None:
        """A gap entry about this life: its body, empty if it is none. A word for a count is unknown."""
        count = body.get("count")
        if type(count) is int:
            self.declared += count
        elif "at_most" in body:
            self.declared += body["at_most"]
        else:
            self.is_unbounded = True

    def _check(self, claim: Claim, when: str) -> list[tuple[str, str, dict[str, int]]]:
        problems = [self._missing(claim, when), self._undeclared(claim, when)]
        found = [each for each in problems if each is not None and each[0] not in self.told]
        self.told |= {kind for kind, _, _ in found}
        return found

    def _missing(self, claim: Claim, when: str) -> tuple[str, str, dict[str, int]] | None:
        there = self.decisions + self.declared
        if self.is_unbounded or claim.ended <= there:
            return None
        text = (
            f"entry {claim.index}: {claim.ended} calls of life {self.instance} had ended, {there} are "
            f"recorded or declared lost {when}"
        )
        return "unrecorded", text, {"ended": claim.ended, "recorded": there}

    def _undeclared(self, claim: Claim, when: str) -> tuple[str, str, dict[str, int]] | None:
        if self.is_unbounded or claim.lost <= self.declared:
            return None
        text = (
            f"entry {claim.index}: {claim.lost} calls of life {self.instance} were lost, {self.declared} are "
            f"declared in gap entries {when}"
        )
        return "undeclared", text, {"lost": claim.lost, "declared": self.declared}

"""The counters of one life: heartbeats against the entries that are there, and against the engine's own.

Spec: auditlog/spec/entry.md, "heartbeat"; auditlog/spec/promise.md, "Completeness". Everything is stated by
the producer. `recorded` and the cumulative counters are exact by definition, so what does not fit is a
contradiction; the engine's totals are of other code, over other calls too: a difference is shown with what
may explain it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from auditlog.verify.completeness_report import ProducerSummary, Weight

ENGINE_REQUESTS: Final = ("vllm:request_success_total", "sglang:num_requests_total")
"""Totals of an engine that count requests."""

_CUMULATIVE: Final = (
    "started",
    "finished",
    "failed",
    "refused",
    "deferred",
    "lost",
    "late_hangups",
    "recorded",
)

Add = Callable[..., None]


@dataclass(slots=True)
class _Engine:
    """Growth of one total while it was watched. A total that fell was begun anew, and its growth kept."""

    last: Decimal
    grown: Decimal
    recorded: int
    """`recorded` plus `lost` at the first sight of it."""
    all_decisions: int


@dataclass(slots=True)
class Counters:
    """What the heartbeats of a life say, from the first to the last so far."""

    heartbeat: dict[str, int] | None = None
    index: int = 0
    all_decisions: int = 0
    engines: dict[str, _Engine] = field(default_factory=dict)

    def take(self, index: int, body: Mapping[str, Any], *, all_decisions: int) -> list[tuple[str, str]]:
        """The next heartbeat, with the decisions of the whole log before it. That `recorded` is exact is for
        the check of the chain to say.

        Returns:
            Contradictions: (kind, text).
        """
        counts = {name: int(body[name]) for name in (*_CUMULATIVE, "in_flight")}
        problems: list[tuple[str, str]] = []
        ended = counts["finished"] + counts["failed"]
        if ended + counts["in_flight"] > counts["started"]:
            text = (
                f"entry {index}: {ended} calls ended and {counts['in_flight']} are in flight of "
                f"{counts['started']} that started"
            )
            problems.append(("balance", text))
        if self.heartbeat is not None:
            fell = [name for name in _CUMULATIVE if counts[name] < self.heartbeat[name]]
            if fell:
                problems.append(("fell", f"entry {index}: counters fell within one life: {', '.join(fell)}"))
        self.heartbeat, self.index, self.all_decisions = counts, index, all_decisions
        self._watch(body.get("engine"), counts["recorded"] + counts["lost"], all_decisions)
        return problems

    def _watch(self, totals: object, recorded: int, all_decisions: int) -> None:
        if not isinstance(totals, dict):
            return
        for name in ENGINE_REQUESTS:
            total = _decimal(totals.get(name))
            if total is None:
                continue
            engine = self.engines.get(name)
            if engine is None:
                self.engines[name] = _Engine(total, Decimal(0), recorded, all_decisions)
                continue
            # The engine was started again: what it had counted before is gone, and its growth is not.
            engine.grown += total - engine.last if total >= engine.last else total
            engine.last = total

    def settle(self, summary: ProducerSummary, is_stopped: bool, add: Add) -> None:
        """Say what the last heartbeat leaves open."""
        counts = self.heartbeat
        if counts is None:
            return
        # `refused` also holds calls that were turned away before they started: this bound is never too low.
        accounted = counts["finished"] + counts["failed"] + counts["in_flight"] + counts["refused"]
        if counts["started"] > accounted:
            add(
                Weight.INCOMPLETE,
                "unaccounted",
                summary.name,
                f"entry {self.index}: {counts['started']} calls started, {accounted} are finished, failed, "
                "in flight or refused: the rest is in no count",
                started=counts["started"],
                accounted=accounted,
            )
        ended, kept = counts["finished"] + counts["failed"], counts["recorded"] + counts["lost"]
        if is_stopped and ended > kept:
            add(
                Weight.INCOMPLETE,
                "unrecorded",
                summary.name,
                f"entry {self.index}: {ended} calls ended in this life, {kept} are recorded or declared "
                "lost; calls that failed before a handler answered may explain it",
                ended=ended,
                recorded=kept,
            )
        if counts["deferred"]:
            text = f"entry {self.index}: {counts['deferred']} answer(s) left without a promise in this life"
            add(Weight.NOTE, "deferred", summary.name, text, deferred=counts["deferred"])
        for name, engine in self.engines.items():
            self._compare(name, engine, counts, summary, add)

    def _compare(
        self, name: str, engine: _Engine, counts: dict[str, int], summary: ProducerSummary, add: Add
    ) -> None:
        own = counts["recorded"] + counts["lost"] - engine.recorded
        everyone = self.all_decisions - engine.all_decisions
        grown = int(engine.grown)
        if grown <= own:
            return
        numbers = {"engine": grown, "recorded": own, "by_all_producers": everyone}
        text = (
            f"entry {self.index}: the engine's {name} grew by {grown} while this life recorded {own} and all "
            f"producers together {everyone}"
        )
        if grown <= everyone:
            add(
                Weight.NOTE,
                "engine",
                summary.name,
                f"{text}: several workers of one engine explain it",
                **numbers,
            )
            return
        why = (
            "calls on another port or route, several prompts in one call, calls in flight, or calls left out"
        )
        add(Weight.INCOMPLETE, "engine", summary.name, f"{text}; what may explain it: {why}", **numbers)


def _decimal(value: object) -> Decimal | None:
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        found = Decimal(value)
    except InvalidOperation:
        return None
    return found if found.is_finite() and 0 <= found < 10**18 else None

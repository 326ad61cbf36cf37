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

STUCK_BEATS: Final = 10
"""So many heartbeats with more and more calls in flight and nothing recorded are no coincidence."""

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
    grown: int = 0
    """Heartbeats in a row that had more in flight than any before, since anything was recorded."""
    most_grown: int = 0
    oldest_ms: int = 0
    """The longest that anything had waited in the spool."""
    oldest_index: int = 0

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
        for name in ("recorded", "in_flight", "deferred"):
            # The balance above says so of `in_flight` only together with the calls that ended.
            if counts[name] > counts["started"]:
                text = f"entry {index}: {name} is {counts[name]}, of {counts['started']} calls that started"
                problems.append(("balance", text))
        self._grow(counts)
        if body["spool"]["oldest_ms"] > self.oldest_ms:
            self.oldest_ms, self.oldest_index = body["spool"]["oldest_ms"], index
        if self.heartbeat is not None:
            fell = [name for name in _CUMULATIVE if counts[name] < self.heartbeat[name]]
            if fell:
                problems.append(("fell", f"entry {index}: counters fell within one life: {', '.join(fell)}"))
        self.heartbeat, self.index, self.all_decisions = counts, index, all_decisions
        self._watch(body.get("engine"), counts["recorded"] + counts["lost"], all_decisions)
        return problems

    def _grow(self, counts: dict[str, int]) -> None:
        before = self.heartbeat
        if (
            before is None
            or counts["recorded"] > before["recorded"]
            or counts["in_flight"] < before["in_flight"]
        ):
            self.grown = 0
        else:
            self.grown += counts["in_flight"] > before["in_flight"]
        self.most_grown = max(self.most_grown, self.grown)

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

    def settle(self, summary: ProducerSummary, add: Add, *, late_ms: int) -> None:
        """Say what the last heartbeat leaves open. `late_ms`: a spool older than that is a finding."""
        counts = self.heartbeat
        if counts is None:
            return
        self._remark(counts, summary, add, late_ms)
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
        if counts["deferred"]:
            text = f"entry {self.index}: {counts['deferred']} answer(s) left without a promise in this life"
            add(Weight.NOTE, "deferred", summary.name, text, deferred=counts["deferred"])
        for name, engine in self.engines.items():
            self._compare(name, engine, counts, summary, add)

    def _remark(self, counts: dict[str, int], summary: ProducerSummary, add: Add, late_ms: int) -> None:
        """What contradicts nothing, and is not as it should be."""
        if self.most_grown >= STUCK_BEATS:
            text = (
                f"entry {self.index}: over {self.most_grown} heartbeats more and more calls were in flight, "
                "and none was recorded"
            )
            add(Weight.INCOMPLETE, "in_flight", summary.name, text, heartbeats=self.most_grown)
        if self.oldest_ms > late_ms:
            text = (
                f"entry {self.oldest_index}: entries waited {self.oldest_ms // 1000} s on the host for the "
                f"log, over {late_ms // 1000} s"
            )
            add(Weight.INCOMPLETE, "spool", summary.name, text, oldest_ms=self.oldest_ms)
        calls = max(counts["started"], counts["finished"] + counts["failed"] + counts["refused"])
        if 2 * counts["refused"] > calls:
            text = f"entry {self.index}: {counts['refused']} of {calls} calls were refused, so are no entries"
            add(Weight.NOTE, "refused", summary.name, text, refused=counts["refused"], calls=calls)

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

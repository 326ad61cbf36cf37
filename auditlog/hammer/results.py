"""A run in figures: rate, percentiles of acknowledgement and publication, checks made and violations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditlog.hammer.book import Book, Sample

PERCENTILES = (50, 90, 99)
_STEPS = 60
"""A run is drawn in about so many steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of the run: when it ends, entries a second, acknowledgement in milliseconds (None: none)."""

    at_s: float
    rate: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Results:
    """What `auditlog hammer` says."""

    log: str
    seconds: float
    entries: int
    rate: float
    acknowledged_ms: dict[str, float]
    published_ms: dict[str, float]
    checks: dict[str, int]
    violations: list[str]
    gave_up: list[str]
    steps: list[Step]

    @property
    def exit_code(self) -> int:
        """0 checked and fine, 1 a violation, 3 something could not be done or checked."""
        if self.checks.get("violations"):
            return 1
        was_checked = all(self.checks.get(f"{what}_checked") for what in ("checkpoints", "inclusions"))
        return 0 if was_checked and not self.gave_up else 3

    def to_json(self) -> dict[str, Any]:
        """One JSON value."""
        return {
            "log": self.log,
            "seconds": round(self.seconds, 3),
            "entries": self.entries,
            "entries_per_s": round(self.rate, 1),
            "acknowledged_ms": self.acknowledged_ms,
            "published_ms": self.published_ms,
            "checks": self.checks,
            "violations": self.violations,
            "gave_up": self.gave_up,
            "exit_code": self.exit_code,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        told = [
            f"{self.entries:,} entries acknowledged in {self.seconds:.1f} s: {self.rate:,.0f} a second",
            f"acknowledged after {_percentiles(self.acknowledged_ms)}",
            f"published after    {_percentiles(self.published_ms)}",
            "checks: "
            + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in sorted(self.checks.items())),
        ]
        told += [f"gave up: {why}" for why in self.gave_up]
        told += [f"VIOLATION: {what}" for what in self.violations]
        return [*told, f"{self.checks.get('violations', 0)} violations"]


def results(log: str, book: Book, *, began_s: float, ended_s: float, gave_up: Sequence[str]) -> Results:
    """Sum up a run between two instants of its clock."""
    entries = sum(sample.entries for sample in book.acknowledged)
    seconds = max(ended_s - began_s, 1e-9)
    return Results(
        log,
        seconds,
        entries,
        entries / seconds,
        percentiles(book.acknowledged),
        percentiles(book.published),
        dict(book.counts),
        list(book.violations),
        list(gave_up),
        _steps(book.acknowledged, began_s, seconds),
    )


def percentiles(samples: Sequence[Sample]) -> dict[str, float]:
    """p50, p90, p99 and the most, in milliseconds, a batch counted once; {} without samples."""
    found = sorted(sample.seconds * 1000 for sample in samples)
    if not found:
        return {}
    named = {f"p{each}": _at(found, each) for each in PERCENTILES}
    return {name: round(value, 3) for name, value in {**named, "max": found[-1]}.items()}


def _at(found: Sequence[float], percentile: int) -> float:
    """The smallest value that so many percent are not above."""
    return found[max(0, -(-len(found) * percentile // 100) - 1)]


def _steps(samples: Sequence[Sample], began_s: float, seconds: float) -> list[Step]:
    width = seconds / _STEPS
    parts: list[list[Sample]] = [[] for _ in range(_STEPS)]
    for sample in samples:
        parts[min(_STEPS - 1, max(0, int((sample.at_s - began_s) / width)))].append(sample)
    return [_step((number + 1) * width, part, width) for number, part in enumerate(parts)]


def _step(at_s: float, part: list[Sample], width: float) -> Step:
    found = sorted(sample.seconds * 1000 for sample in part)
    rate = sum(sample.entries for sample in part) / width
    return Step(at_s, rate, _at(found, 50) if found else None, _at(found, 99) if found else None)


def _percentiles(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.1f} ms" for name, value in values.items()) or "nothing"

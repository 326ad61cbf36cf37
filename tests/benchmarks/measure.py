"""What every benchmark shares: interleaved pairs, their interval, and one way to print.

A ratio is ceiling time over our time (1.0 = as fast as the ceiling), taken pair by pair in the same run so
that a noisy machine disturbs both sides alike. The interval is the middle 80 % of the pairs; a target is met
when its bad end meets it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from misses import why


@dataclass(frozen=True)
class Result:
    """One line of a benchmark."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    against: str = ""
    target: str = ""
    met: bool | None = None


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call, in this thread's process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def paired(
    ours: Callable[[], object],
    ceiling: Callable[[], object],
    *,
    pairs: int,
    clock: Callable[[Callable[[], object]], float] = cpu_seconds,
) -> tuple[list[float], list[float]]:
    """Run both sides alternately; return the seconds of each, pair by pair."""
    clock(ours), clock(ceiling)  # warm both
    ours_s, ceiling_s = [], []
    for number in range(pairs):
        sides = [(ours, ours_s), (ceiling, ceiling_s)]
        for work, into in sides if number % 2 else reversed(sides):
            into.append(clock(work))
    return ours_s, ceiling_s


def ratio_result(
    name: str,
    ours_s: list[float],
    ceiling_s: list[float],
    *,
    operations: int,
    unit: str,
    against: str,
    at_least: float | None = None,
) -> Result:
    """Summarise pairs as operations per second with the ratio's interval."""
    ratios = sorted(c / o for o, c in zip(ours_s, ceiling_s, strict=True))
    low, high = ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]
    return Result(
        name=name,
        value=round(operations / statistics.median(ours_s), 1),
        unit=unit,
        ratio=round(statistics.median(ratios), 3),
        ratio_low=round(low, 3),
        ratio_high=round(high, 3),
        against=against,
        target="" if at_least is None else f"ratio >= {at_least}",
        met=None if at_least is None else low >= at_least,
    )


def arguments(description: str) -> argparse.Namespace:
    """The options every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="under 20 seconds")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args()


def report(results: list[Result], *, as_json: bool, beside: Mapping[str, float | None] | None = None) -> None:
    """Print the results; the first one is the headline of the JSON object, with `beside` next to it."""
    if as_json:
        rows = [{key: value for key, value in asdict(r).items() if value not in (None, "")} for r in results]
        json.dump({**rows[0], **(beside or {}), "results": rows}, sys.stdout)
        sys.stdout.write("\n")
        return
    for r in results:
        interval = "" if r.ratio is None else f"  ratio {r.ratio:.2f} [{r.ratio_low:.2f}, {r.ratio_high:.2f}]"
        target = "" if r.met is None else f"  ({'meets' if r.met else 'MISSES'} {r.target})"
        sys.stdout.write(f"{r.name:<44} {r.value:>14,.1f} {r.unit}{interval}  {r.against}{target}\n")
        if r.met is False:
            sys.stdout.write(
                textwrap.fill(why(r.name), 100, initial_indent="    ", subsequent_indent="    ") + "\n"
            )

"""Totals of the inference engine, from its own Prometheus data, for heartbeats (entry.md, "heartbeat").

They are counted by other code than ours: an engine that finished more requests than the log has decisions
shows calls that went around the middleware. Read from the registry of this process if the server has loaded
prometheus_client, or from the page at AUDITLOG_ENGINE_METRICS. Where PROMETHEUS_MULTIPROC_DIR is set the
registry of a process holds its own part only, as the heartbeats of its slot do; the page has the whole.

    vLLM (vllm/v1/metrics/loggers.py)                SGLang (srt, metrics collector)
    vllm:request_success_total   by finished_reason  sglang:num_requests_total
    vllm:prompt_tokens_total                         sglang:prompt_tokens_total
    vllm:generation_tokens_total                     sglang:generation_tokens_total

Each is summed over its labels and written as a decimal string. The page is attacker-controlled: lines are
matched in linear time, numbers are bounded, whatever does not parse is left out.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

ENGINE_TOTALS: Final = (
    "vllm:request_success_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "sglang:num_requests_total",
    "sglang:prompt_tokens_total",
    "sglang:generation_tokens_total",
)
"""The names as they stand on a page of metrics."""

MAX_PAGE_BYTES: Final = 4 << 20
_MAX_LINE_CHARS = 16_384
_MAX_TOTAL = 10.0**18
"""Beyond it is no count of anything that happened."""

_LINE = re.compile(
    r"(?P<name>[a-z]+:[a-z_]+)"
    r'(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?'
    r"[ \t]+(?P<value>[0-9]{1,19}(?:\.[0-9]{1,19})?(?:[eE][+-]?[0-9]{1,3})?)"
    r"(?:[ \t]|$)"
)


def totals_of_page(page: bytes) -> dict[str, str]:
    """The totals on a page in the Prometheus text format: attacker-controlled. Empty if it has none."""
    return _summed(_samples(page[:MAX_PAGE_BYTES].decode("utf-8", errors="replace")))


def totals_of_registry() -> dict[str, str] | None:
    """The totals that this process's default registry holds; None if the server has not loaded the library.

    Only the collectors of these names are asked, so that a costly one of someone else's is not.
    """
    library = sys.modules.get("prometheus_client")
    registry = getattr(library, "REGISTRY", None)
    if registry is None:
        return None
    return _summed(_registered(registry))


def _samples(page: str) -> Iterable[tuple[str, float]]:
    for line in page.split("\n"):
        if not line.startswith(("vllm:", "sglang:")) or len(line) > _MAX_LINE_CHARS:
            continue
        found = _LINE.match(line)
        if found is not None:
            yield found["name"], float(found["value"])


def _registered(registry: Any) -> Iterable[tuple[str, float]]:
    for metric in registry.restricted_registry(ENGINE_TOTALS).collect():
        for sample in metric.samples:
            yield str(sample.name), float(sample.value)


def _summed(samples: Iterable[tuple[str, float]]) -> dict[str, str]:
    sums: dict[str, float] = {}
    for name, value in samples:
        if name in ENGINE_TOTALS:
            sums[name] = sums.get(name, 0.0) + value
    return {name: _decimal(total) for name, total in sums.items() if _is_total(total)}


def _is_total(value: float) -> bool:
    return math.isfinite(value) and 0 <= value <= _MAX_TOTAL


def _decimal(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() else format(Decimal(repr(value)), "f")

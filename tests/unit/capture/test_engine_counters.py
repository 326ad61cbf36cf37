"""Totals of the engine: the names vLLM and SGLang publish, summed, from a registry or a hostile page."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture.engine_counters import ENGINE_TOTALS, MAX_PAGE_BYTES, totals_of_page, totals_of_registry
from auditlog.core.bodyshapes import decimals_by_name

VLLM = rb"""# HELP vllm:request_success_total Count of successfully processed requests.
# TYPE vllm:request_success_total counter
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 40.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="a } \" b"} 2.0
vllm:request_success_created{engine="0",finished_reason="stop",model_name="m"} 1.7e+09
# TYPE vllm:prompt_tokens_total counter
vllm:prompt_tokens_total{engine="0",model_name="m"} 1.2345678e+07
vllm:prompt_tokens_total{engine="1",model_name="m"} 5.0 1700000000000
vllm:generation_tokens_total{engine="0",model_name="m"} 0.0
vllm:num_requests_running{engine="0"} 3.0
"""
SGLANG = b"""sglang:num_requests_total{model_name="m"} 7.0
sglang:prompt_tokens_total{model_name="m"} 8128902.0
sglang:generation_tokens_total 7557572.5 # {trace_id="x"} 1.0
"""


def test_vllm_totals_are_summed_over_labels_as_decimal_strings() -> None:
    """By finished reason and by engine; nothing else of the page is told."""
    assert totals_of_page(VLLM) == {
        "vllm:request_success_total": "42",
        "vllm:prompt_tokens_total": "12345683",
        "vllm:generation_tokens_total": "0",
    }


def test_sglang_totals_are_read() -> None:
    """Their names; a value that is no whole number keeps its fraction."""
    assert totals_of_page(SGLANG) == {
        "sglang:num_requests_total": "7",
        "sglang:prompt_tokens_total": "8128902",
        "sglang:generation_tokens_total": "7557572.5",
    }


@pytest.mark.parametrize(
    "line",
    [
        b"vllm:prompt_tokens_total NaN",
        b"vllm:prompt_tokens_total +Inf",
        b"vllm:prompt_tokens_total -1",
        b"vllm:prompt_tokens_total 1e400",
        b"vllm:prompt_tokens_total 1_000",
        b"vllm:prompt_tokens_total 1e30",
        b'vllm:prompt_tokens_total{a="b 5',
        b'vllm:prompt_tokens_total{a="b"}5',
        b"vllm:prompt_tokens_total 5x",
        b"vllm:prompt_tokens_total",
        b" vllm:prompt_tokens_total 5",
        b"vllm:prompt_tokens_total" + b" " * 20_000 + b"5",
        b"x" * MAX_PAGE_BYTES + b"\nvllm:prompt_tokens_total 5",
    ],
)
def test_what_is_no_total_is_left_out(line: bytes) -> None:
    """No value that is not finite, positive and plain; no line or page beyond the bounds."""
    assert totals_of_page(line) == {}


@given(
    st.binary(max_size=300)
    | st.text(alphabet='vllm:sgan_{}"\\ 0123456789.e+-\n', max_size=300).map(str.encode)
)
def test_any_page_gives_totals_of_the_format_or_none(page: bytes) -> None:
    """Whatever an engine answers, the heartbeat stays well formed."""
    found = totals_of_page(b"vllm:prompt_tokens_total " + page)
    assert set(found) <= set(ENGINE_TOTALS)
    decimals_by_name(found, "engine", [])


def test_the_registry_of_this_process_is_read_if_the_server_loaded_it() -> None:
    """Counters, and gauges of that name as old SGLang had; only the collectors asked for are run."""
    code = """
import sys
from auditlog.capture.engine_counters import totals_of_registry
assert totals_of_registry() is None and "prometheus_client" not in sys.modules
import prometheus_client as p
assert totals_of_registry() == {}
class Costly:
    def describe(self): return []
    def collect(self): raise SystemExit("asked")
p.REGISTRY.register(Costly())
c = p.Counter("vllm:request_success", "x", ["finished_reason"])
c.labels("stop").inc(3); c.labels("abort").inc()
p.Gauge("sglang:prompt_tokens_total", "x").set(9)
print(sorted(totals_of_registry().items()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[('sglang:prompt_tokens_total', '9'), ('vllm:request_success_total', '4')]"


def test_a_registry_half_imported_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is being imported by another thread has no registry yet."""
    monkeypatch.setitem(sys.modules, "prometheus_client", type(sys)("prometheus_client"))
    assert totals_of_registry() is None

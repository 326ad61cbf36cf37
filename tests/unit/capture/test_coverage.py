"""The coverage entry: what a process says it records, on a laptop, beside fifteen others, in a pod."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from auditlog import __version__
from auditlog.capture import coverage as coverage_module
from auditlog.capture.coverage import Coverage, CoverageNote, CoveredRoute, count_workers
from auditlog.capture.settings import CaptureSettings
from auditlog.core import canonical
from auditlog.core.bodies import check_body
from auditlog.core.entry import MAX_ENTRY_BYTES

CHAT = CoveredRoute("POST", "/v1/chat/completions", "values", "chat")
HEALTH = CoveredRoute("*", "/health", "skip")


@contextmanager
def held(state: Path, count: int) -> Iterator[None]:
    """That many slots locked, by this process, as workers hold them."""
    handles = []
    for number in range(count):
        directory = state / "slots" / f"host-{number}"
        directory.mkdir(parents=True, exist_ok=True)
        handles.append(os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600))
        fcntl.flock(handles[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
    yield
    for handle in handles:
        os.close(handle)


def test_the_body_says_routes_mode_ports_and_software() -> None:
    """All of it known to the format, nothing else in it."""
    coverage = Coverage()
    coverage.cover(CoverageNote((CHAT, HEALTH), "skip"))
    coverage.note_port(8001)
    coverage.note_port(8000)
    settings = CaptureSettings(mode="fail_closed", durability="log", wait_ms=2000, heartbeat_s=30)
    body = coverage.body(settings, workers=4, model="pending")
    assert body == {
        "mode": "fail_closed",
        "durability": "log",
        "routes": [
            {"method": "POST", "path": "/v1/chat/completions", "record": "values", "operation": "chat"},
            {"method": "*", "path": "/health", "record": "skip"},
        ],
        "ports": [8000, 8001],
        "workers": 4,
        "version": __version__,
        "model": "pending",
        "wait_ms": 2000,
        "heartbeat_s": 30,
        "others": "skip",
    }
    assert check_body("coverage", body) == []


def test_only_changes_are_told() -> None:
    """The same routes and ports again are nothing new; a second application adds its own."""
    told: list[int] = []
    coverage = Coverage()
    coverage.listen(lambda: told.append(coverage.version))
    coverage.cover(CoverageNote((CHAT,)))
    coverage.cover(CoverageNote((CHAT,)))
    coverage.note_port(8000)
    coverage.note_port(8000)
    coverage.note_port(-1)
    coverage.note_port(70_000)
    coverage.cover(CoverageNote((HEALTH,)))
    assert told == [1, 2, 3]
    assert len(coverage.body(CaptureSettings(), workers=1, model="unregistered")["routes"]) == 2


def test_what_callers_and_operators_send_cannot_make_it_grow() -> None:
    """Ports and routes are bounded; what did not fit is counted, and any path is text of the format."""
    coverage = Coverage()
    for port in range(1, 1000):
        coverage.note_port(port)
    routes = [CoveredRoute("POST", f"/{number}/" + "\x00\udc80é" * 400, "record") for number in range(500)]
    coverage.cover(CoverageNote(tuple(routes)))
    body = coverage.body(CaptureSettings(), workers=1, model="unregistered")
    assert len(body["ports"]) == coverage_module.MAX_PORTS
    assert body["routes_left_out"] == 500 - len(body["routes"])
    assert len(canonical.encode(body)) < MAX_ENTRY_BYTES - 2048
    assert check_body("coverage", body) == ["routes_left_out"]


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="no table of locks on this system")
def test_workers_are_the_slots_that_are_held(tmp_path: Path) -> None:
    """A laptop with nothing held yet, and sixteen workers; a free slot does not count."""
    assert count_workers(tmp_path, {}) == 1
    with held(tmp_path, 16):
        assert count_workers(tmp_path, {}) == 16
        assert count_workers(tmp_path, {"WEB_CONCURRENCY": "4"}) == 16
    assert count_workers(tmp_path, {}) == 1


def test_counting_workers_never_takes_a_lock(tmp_path: Path) -> None:
    """A worker that starts at the same instant would pass over a slot whose lock is being tried."""
    with held(tmp_path, 1):
        pass
    count_workers(tmp_path, {})
    code = (
        "import fcntl, os, sys; handle = os.open(sys.argv[1], os.O_RDWR);"
        "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "slots/host-0/lock")], check=True)


@pytest.mark.parametrize(
    ("said", "expected"), [("16", 16), ("", 1), ("0", 1), ("-3", 1), ("many", 1), ("9999", 256), ("99999", 1)]
)
def test_web_concurrency_says_how_many_will_come(tmp_path: Path, said: str, expected: int) -> None:
    """A pod that starts its workers one by one, or a system without a table of locks."""
    assert count_workers(tmp_path / "none", {"WEB_CONCURRENCY": said}) == expected


def test_a_strange_table_of_locks_counts_nothing(tmp_path: Path) -> None:
    """Another kernel's table is not guessed at."""
    with held(tmp_path, 1):
        table = tmp_path / "locks"
        table.write_text("1: FLOCK  ADVISORY\n")
        assert coverage_module._held_slots(tmp_path, table) == 0
        assert coverage_module._held_slots(tmp_path, tmp_path / "gone") == 0

"""What holds for every test: none leaves anything behind in the repository, none fails for being slow."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.support.seaweed", "tests.support.servers"]

# A busy machine is no failure: no example is timed, by hypothesis or by us.
settings.register_profile("auditlog", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("auditlog")

STATE = Path(__file__).parents[1] / "auditlog-state"
"""Where capture keeps its state if nothing names a place for it: a test that did not name one."""
_WAS_THERE = pytest.StashKey[bool]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Whoever has such a folder keeps it."""
    session.stash[_WAS_THERE] = STATE.exists()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Fail the test that made the folder, and no test after it; another worker's may be named beside it."""
    if not item.session.stash[_WAS_THERE] and STATE.exists():
        item.session.stash[_WAS_THERE] = True
        pytest.fail(f"expected a test that names its state directory, found {STATE} made")

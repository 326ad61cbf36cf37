"""What holds for every test: none leaves anything behind in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["tests.support.seaweed"]

STATE = Path(__file__).parents[1] / "auditlog-state"
"""Where capture keeps its state if nothing names a place for it: a test that did not name one."""
_WAS_THERE = pytest.StashKey[bool]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Whoever has such a folder keeps it."""
    session.stash[_WAS_THERE] = STATE.exists()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Fail the test that made the folder, and no test after it."""
    if not item.session.stash[_WAS_THERE] and STATE.exists():
        item.session.stash[_WAS_THERE] = True
        pytest.fail(f"expected a test that names its state directory, found {STATE} made")

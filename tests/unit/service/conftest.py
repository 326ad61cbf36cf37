"""A running app over fake logs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.service.fakes import Caller, FakeOpener, running, settings_for


@pytest.fixture
def opener() -> FakeOpener:
    """Fake logs, reachable by the test."""
    return FakeOpener()


@pytest.fixture
def call(tmp_path: Path, opener: FakeOpener) -> Iterator[Caller]:
    """The app over `opener`."""
    with running(settings_for(tmp_path), opener) as caller:
        yield caller

"""The servers that tests share: one PostgreSQL and one NATS cluster a process that runs tests.

Each starts with the first test that asks for it, so a worker without such a test starts none. A test that
ends one before its time (a kill and a return are fine) has its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.nats_cluster import NatsCluster, running_cluster
from tests.support.postgres import PostgresServer, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One database server; every test makes databases of its own names in it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsCluster]:
    """Three servers; every test has streams of its own names."""
    with running_cluster() as cluster:
        yield cluster

"""Tokens at rest are digests with scopes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.storage.sql.database import Database
from auditlog.storage.sql.tokens import SqlTokens, TokenRecord

RECORD = TokenRecord(
    hashlib.sha256(b"secret").digest(), "hosts", frozenset({"submit", "enrol"}), frozenset({"main"})
)


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[SqlTokens]:
    """An empty token store."""
    database = Database.open(f"sqlite:///{tmp_path / 'a.sqlite'}")
    yield SqlTokens(database)
    database.close()


def test_a_token_is_found_by_its_digest(tokens: SqlTokens) -> None:
    """What was added comes back, and nothing else does."""
    tokens.add(RECORD)
    assert tokens.find(RECORD.sha256) == RECORD
    assert tokens.find(bytes(32)) is None


def test_adding_again_takes_the_place(tokens: SqlTokens) -> None:
    """The same token with other scopes has the new ones; no log named means every log."""
    tokens.add(RECORD)
    wider = TokenRecord(RECORD.sha256, "hosts", frozenset({"admin"}))
    tokens.add(wider)
    assert tokens.all() == [wider]


def test_a_name_is_revoked(tokens: SqlTokens) -> None:
    """Revoking forgets every token of the name and tells how many."""
    tokens.add(RECORD)
    assert (tokens.revoke("hosts"), tokens.revoke("hosts")) == (1, 0)
    assert tokens.find(RECORD.sha256) is None

"""Tokens that expire, and tokens for producers of certain names only."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from auditlog.core.batch import BATCH_MEDIA_TYPE, encode_batch
from auditlog.errors import ConfigurationError, TokenExpired
from auditlog.service.instants import format_instant, parse_expiry, parse_instant
from auditlog.service.settings import Settings, TokenSettings
from auditlog.service.tokens import TokenBook, fixed_tokens
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.tokens import SqlTokens, TokenRecord
from tests.support.testlog import FakeProducer
from tests.unit.service.fakes import PRODUCER, Caller, FakeOpener, FakeTokens, expect_problem

SHA = bytes(range(32))
DAY_US = 86_400_000_000


def record(expires_us: int | None = None, producers: str | None = None) -> TokenRecord:
    """A token for serving hosts."""
    return TokenRecord(SHA, "hosts", frozenset({"enrol", "submit"}), None, expires_us, producers)


@pytest.mark.parametrize("is_fixed", [True, False])
def test_a_token_ends_at_its_time(is_fixed: bool) -> None:
    """The microsecond before it is good, from then on it is not, though it was found and cached before."""
    store, now = FakeTokens(), [999]
    token = record(1000)
    if not is_fixed:
        store.add(token)
    book = TokenBook([token] if is_fixed else [], store, monotonic=lambda: 0.0, unix_us=lambda: now[0])
    assert book.find(SHA) == token
    assert book.cached(SHA) == token
    now[0] = 1000
    for look in (book.find, book.cached):
        with pytest.raises(TokenExpired, match="1970-01-01T00:00:00Z"):
            look(SHA)


def test_limits_survive_the_store(tmp_path: Path) -> None:
    """What was said of a token comes back from the database."""
    database = Database.open(f"sqlite:///{tmp_path / 'a.sqlite'}")
    store = SqlTokens(database)
    for token in (record(), record(5, "gpu-*")):
        store.add(token)
        assert store.find(SHA) == token
        assert store.all() == [token]
    database.close()


def test_instants_have_an_offset_and_spans_a_unit() -> None:
    """RFC 3339 or a span; a local time, the past and nonsense are refused."""
    assert parse_instant("1970-01-02T01:00:00+01:00") == DAY_US
    assert format_instant(DAY_US) == "1970-01-02T00:00:00Z"
    assert parse_expiry("30d", now_us=7) == 7 + 30 * DAY_US
    assert parse_expiry("1970-01-02T00:00:00Z", now_us=0) == DAY_US
    for text in ("", "d", "0d", "30", "30y", "2027-01-01T00:00:00", "1970-01-02T00:00:00Z", "99999999d"):
        with pytest.raises(ConfigurationError):
            parse_expiry(text, now_us=DAY_US)


@pytest.mark.parametrize(
    "written", ['"2031-01-02T03:04:05Z"', "2031-01-02T03:04:05Z", "2031-01-02T04:04:05+01:00"]
)
def test_the_file_says_until_when(tmp_path: Path, written: str) -> None:
    """As a string or as TOML's own time."""
    path = tmp_path / "auditlog.toml"
    path.write_text(
        '[service]\ndata_dir = "d"\n[[tokens]]\nname = "hosts"\nscopes = ["enrol"]\nproducers = "gpu-*"\n'
        f'sha256 = "{"ab" * 32}"\nexpires = {written}\n'
    )
    (token,) = fixed_tokens(Settings.load(path, {}).tokens)
    assert token.expires_us is not None
    assert format_instant(token.expires_us) == "2031-01-02T03:04:05Z"
    assert token.producers == "gpu-*"


@pytest.mark.parametrize(
    "wrong", [{"expires": "2031-01-02T03:04:05"}, {"expires": "soon"}, {"producers": "a/b"}]
)
def test_odd_limits_are_refused(wrong: dict[str, str]) -> None:
    """A time without an offset, no time, no pattern."""
    with pytest.raises(ValueError, match=r"expected|pattern"):
        TokenSettings.model_validate({"name": "n", "scopes": ["read"], "sha256": "ab" * 32, **wrong})


def test_an_expired_token_is_told_so(call: Caller, opener: FakeOpener) -> None:
    """401 with a code of its own: somebody has to make a new one."""
    made = call("POST", "/tokens", token="admin", json={"name": "short", "scopes": ["read"], "expires": "1s"})
    assert made.status_code == 201
    assert parse_instant(made.json()["expires"]) <= time.time_ns() // 1000 + 1_000_000
    (held,) = [each for each in opener.tokens.records.values() if each.name == "short"]
    opener.tokens.add(TokenRecord(held.sha256, "short", held.scopes, None, 1))
    problem = expect_problem(
        call("GET", "/logs/hashes/entries/0", token=made.json()["token"]), 401, "token_expired"
    )
    assert "1970-01-01T00:00:00Z" in problem["detail"]
    body = {"name": "odd", "scopes": ["read"], "expires": "yesterday"}
    expect_problem(call("POST", "/tokens", token="admin", json=body), 422, "configuration")


def test_a_token_for_some_names_enrols_and_submits_for_no_other(call: Caller) -> None:
    """One stolen from a small host cannot speak for the others."""
    body = {"name": "some", "scopes": ["enrol", "submit"], "producers": "gpu-*", "expires": "1h"}
    made = call("POST", "/tokens", token="admin", json=body)
    token = made.json()["token"]
    wanted = {"name": "gpu-7", "vkey": "v", "note": "n"}
    answer = call("POST", "/logs/hashes/producers", token=token, json=wanted)
    assert (answer.status_code, answer.json()["token_expires"]) == (200, made.json()["expires"])
    for name in ("cpu-1", "GPU-7", "xgpu-7"):
        answer = call("POST", "/logs/hashes/producers", token=token, json=wanted | {"name": name})
        expect_problem(answer, 403, "authentication")
    other = FakeProducer("host-0", origin="example.org/hashes")
    other.enrolled(PRODUCER)
    batch = other.batch([other.start()])
    content, headers = encode_batch(batch.head_note, list(batch.entries)), {"Content-Type": BATCH_MEDIA_TYPE}
    answer = call("POST", "/logs/hashes/batches", token=token, content=content, headers=headers)
    expect_problem(answer, 403, "authentication")
    assert (
        call("POST", "/logs/hashes/batches", token="submit", content=content, headers=headers).status_code
        == 200
    )

"""Tokens: minted, hashed, found, cached, revoked, checked."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

import auditlog.service.api
from auditlog.errors import AuthenticationError, ConfigurationError
from auditlog.service.settings import TokenSettings
from auditlog.service.tokens import (
    CACHE_S,
    TokenBook,
    bearer_sha256,
    check_token,
    fixed_tokens,
    mint_token,
    token_sha256,
)
from auditlog.storage.sql.tokens import TokenRecord
from tests.unit.service.fakes import TOKENS, Caller, FakeOpener, FakeTokens, expect_problem

ENROL_PATH = "/logs/hashes/producers"
READ = token_sha256(TOKENS["read"])


class Time:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_a_minted_token_is_recognisable_and_kept_as_a_hash() -> None:
    """The prefix is ours, and what is kept is SHA-256 of the text."""
    token = mint_token(bytes(32))
    assert token == "alt_" + "A" * 43
    assert token_sha256(token) == hashlib.sha256(token.encode()).digest()


def test_a_token_needs_enough_randomness() -> None:
    """Fewer than 32 bytes make no token."""
    with pytest.raises(ValueError, match="32"):
        mint_token(bytes(16))


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic abc", "bearer", "Bearer " + "x" * 600]
)
def test_other_authorization_headers_are_refused(header: str | None) -> None:
    """Anything but one bearer token of sane length is refused."""
    with pytest.raises(AuthenticationError):
        bearer_sha256(header)


def test_a_header_gives_the_hash_of_its_token() -> None:
    """The scheme's case and spaces do not matter; odd characters do not break it."""
    assert bearer_sha256("bearer  abc ") == token_sha256("abc")
    assert bearer_sha256("Bearer \udcff")


def test_the_store_is_asked_once_for_a_while() -> None:
    """A found token is cached for CACHE_S; an unknown one never is."""
    store, time = FakeTokens(), Time()
    book = TokenBook([], store, monotonic=time)
    book.find(READ)
    book.find(READ)
    assert store.lookups == 1
    time.now = CACHE_S
    book.find(READ)
    assert store.lookups == 2
    for _ in range(2):
        with pytest.raises(AuthenticationError):
            book.find(b"x" * 32)
    assert store.lookups == 4


def test_a_revoked_token_stops_at_once_here_and_soon_elsewhere() -> None:
    """Revoking through the book empties its cache; another process's cache ends after CACHE_S."""
    store, time = FakeTokens(), Time()
    here, elsewhere = TokenBook([], store, monotonic=time), TokenBook([], store, monotonic=time)
    here.find(READ)
    elsewhere.find(READ)
    assert here.revoke("read") == 1
    with pytest.raises(AuthenticationError):
        here.find(READ)
    elsewhere.find(READ)
    time.now = CACHE_S
    with pytest.raises(AuthenticationError):
        elsewhere.find(READ)


def test_scopes_do_not_include_each_other() -> None:
    """An admin token reads nothing, and a token for one log is no token for another or for the service."""
    admin = TokenRecord(b"", "a", frozenset({"admin"}))
    with pytest.raises(AuthenticationError, match="scope read"):
        check_token(admin, "read", "main")
    one = TokenRecord(b"", "b", frozenset({"read"}), frozenset({"main"}))
    check_token(one, "read", "main")
    for log in ("other", None):
        with pytest.raises(AuthenticationError, match="for this log"):
            check_token(one, "read", log)


def test_configured_tokens_come_by_hash_or_by_file(tmp_path: Path) -> None:
    """Both forms give the same token; the same token twice is refused."""
    (tmp_path / "t").write_text("alt_x\n")
    by_file = TokenSettings(name="f", scopes=["read"], token_file=tmp_path / "t")
    by_hash = TokenSettings(name="h", scopes=["read"], sha256=token_sha256("alt_x").hex())
    assert fixed_tokens([by_file])[0].sha256 == fixed_tokens([by_hash])[0].sha256
    with pytest.raises(ConfigurationError, match="every token once"):
        fixed_tokens([by_file, by_hash])


def test_tokens_over_the_api(call: Caller, opener: FakeOpener) -> None:
    """A minted token works, is listed without its secret, and is gone when revoked."""
    made = call(
        "POST", "/tokens", token="admin", json={"name": "new", "scopes": ["read"], "logs": ["hashes"]}
    )
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    secret = made.json()["token"]
    assert secret not in str(opener.tokens.records)
    assert call("GET", "/logs/hashes/entries/0", token=secret).status_code == 200
    expect_problem(call("GET", "/logs/private/entries/0", token=secret), 403, "authentication")
    listed = call("GET", "/tokens", token="admin").json()["tokens"]
    info = {"name": "new", "scopes": ["read"], "logs": ["hashes"], "expires": None, "producers": None}
    assert info in listed
    assert call("DELETE", "/tokens/new", token="admin").status_code == 204
    expect_problem(call("GET", "/logs/hashes/entries/0", token=secret), 401, "authentication")
    expect_problem(call("DELETE", "/tokens/new", token="admin"), 404, "not_found")


def test_minting_is_strict(call: Caller) -> None:
    """A name that is taken, an unknown scope or an unknown member is refused."""
    expect_problem(
        call("POST", "/tokens", token="admin", json={"name": "read", "scopes": ["read"]}),
        422,
        "configuration",
    )
    for body in (
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["read"], "y": 1},
    ):
        expect_problem(call("POST", "/tokens", token="admin", json=body), 422, "request")


def test_a_token_names_logs_that_exist(call: Caller, opener: FakeOpener) -> None:
    """Else a log made later under that name would find a token that is good for it already."""
    body = {"name": "new", "scopes": ["read"], "logs": ["hashes", "nowhere"]}
    problem = expect_problem(call("POST", "/tokens", token="admin", json=body), 422, "configuration")
    assert problem["detail"].endswith("found ['nowhere']")
    assert "new" not in {record.name for record in opener.tokens.all()}


@pytest.mark.parametrize(("path", "token"), [("/tokens", "admin"), ("/logs", "admin"), (ENROL_PATH, "enrol")])
@pytest.mark.parametrize(
    "body",
    [
        b'{"name":"one","scopes":["read"],"name":"two"}',
        rb'{"name":"one","scopes":["read"],"na\u006de":"two"}',
        b'{"name":"one","scopes":[{"a":1,"a":2}]}',
        b'{"name":"one","scopes":["read"],"logs":NaN}',
        b'\xef\xbb\xbf{"name":"one","scopes":["read"]}',
        '{"name":"one","scopes":["read"]}'.encode("utf-16"),
        b"[" * 60000,
    ],
)
def test_json_bodies_are_strict_everywhere(call: Caller, path: str, token: str, body: bytes) -> None:
    """A member twice, at any depth and in any spelling, a number JSON does not have, another encoding."""
    headers = {"Content-Type": "application/json"}
    answer = call("POST", path, token=token, content=body, headers=headers)
    problem = expect_problem(answer, 422, "request")
    assert problem["expected"] in {"every member once", "a JSON object in UTF-8"}


def test_every_json_body_goes_through_the_one_reader() -> None:
    """No handler of the API reads a body by itself."""
    api = Path(auditlog.service.api.__file__).parent
    for source in api.glob("*.py"):
        text = source.read_text(encoding="utf-8")
        assert not re.search(r"request\.(json|body|stream|form)\(|json\.loads|\bBody\(", text), source.name
        assert text.count("openapi_extra=json_body(") == text.count("await read_json("), source.name

"""Bearer tokens: minted from given randomness, kept as
SHA-256 only, each with scopes and logs it is good for.

Spec: auditlog/spec/api.md, section "Tokens". Promises: a token is found by its hash, so nothing about it
can be timed; a revoked one stops working within `CACHE_S`, an expired one at its time. Must never: store, log
or repeat a token.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Protocol

from auditlog.errors import AuthenticationError, ConfigurationError, TokenExpired
from auditlog.service.identities import ServiceAccounts, looks_like_jwt
from auditlog.service.instants import format_instant
from auditlog.service.settings import TokenSettings, read_secret
from auditlog.service.settings_types import NAME_PATTERN
from auditlog.storage.sql.tokens import TokenRecord

SCOPES = ("enrol", "submit", "read", "admin")
PREFIX = "alt_"
"""Lets secret scanners recognise a leaked token."""
CACHE_S = 5.0
CACHE_LIMIT = 4096
MAX_TOKEN_CHARS = 512


class TokenStore(Protocol):
    """Where tokens made by the command line and the admin API live: `storage.sql.tokens.SqlTokens`."""

    def find(self, sha256: bytes) -> TokenRecord | None:
        """The token with that hash."""

    def add(self, record: TokenRecord) -> None:
        """Keep a token, durable on return."""

    def revoke(self, name: str) -> int:
        """Forget every token of that name; how many there were."""

    def all(self) -> list[TokenRecord]:
        """Every token, by name."""


class TokenBook:
    """Who a token belongs to: the configuration's tokens first, then the store's, cached for `CACHE_S`."""

    def __init__(
        self,
        fixed: Iterable[TokenRecord],
        store: TokenStore,
        *,
        monotonic: Callable[[], float],
        unix_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        accounts: ServiceAccounts | None = None,
    ) -> None:
        """`accounts` verifies the tokens that are not ours."""
        self._unix_us = unix_us
        self._accounts = accounts
        self._fixed = {token.sha256: token for token in fixed}
        self._store = store
        self._monotonic = monotonic
        self._cache: dict[bytes, tuple[float, TokenRecord]] = {}
        self._lock = threading.Lock()

    def cached(self, sha256: bytes) -> TokenRecord | None:
        """The token if it is known without asking the store; cheap enough for an event loop.

        Raises:
            TokenExpired: it is known, and was good until a while ago.
        """
        fixed = self._fixed.get(sha256)
        if fixed is not None:
            return self._unexpired(fixed)
        with self._lock:
            hit = self._cache.get(sha256)
        is_fresh = hit is not None and self._monotonic() - hit[0] < CACHE_S
        return self._unexpired(hit[1]) if hit is not None and is_fresh else None

    def find(self, sha256: bytes, text: str = "") -> TokenRecord:
        """The token with that hash; may ask the store, and for a JWT (its `text`) the issuer's keys.

        Raises:
            AuthenticationError: unknown, or not true. TokenExpired.
            Pushback: the issuer's keys cannot be read.
        """
        token = self.cached(sha256)
        if token is not None:
            return token
        token = self._store.find(sha256)
        if token is None and self._accounts is not None and looks_like_jwt(text):
            token = self._accounts.verify(text, sha256)
        if token is None:
            raise AuthenticationError("expected a valid bearer token, found an unknown one")
        self._unexpired(token)
        with self._lock:
            if len(self._cache) >= CACHE_LIMIT:
                self._cache.clear()
            self._cache[sha256] = (self._monotonic(), token)
        return token

    def _unexpired(self, token: TokenRecord) -> TokenRecord:
        if token.expires_us is not None and self._unix_us() >= token.expires_us:
            raise TokenExpired(
                f"expected a token that has not expired, found one that was good until "
                f"{format_instant(token.expires_us)}"
            )
        return token

    def add(self, token: TokenRecord) -> None:
        """Keep a new token. Raises ConfigurationError if its name is taken."""
        if any(held.name == token.name for held in self.all()):
            raise ConfigurationError("expected a new token name, found one that is taken")
        self._store.add(token)

    def revoke(self, name: str) -> int:
        """Forget tokens of the store by name, here at once, in other processes within `CACHE_S`."""
        revoked = self._store.revoke(name)
        with self._lock:
            self._cache = {key: hit for key, hit in self._cache.items() if hit[1].name != name}
        return revoked

    def all(self) -> list[TokenRecord]:
        """Every token, the configuration's first."""
        return [*self._fixed.values(), *self._store.all()]


def check_token(token: TokenRecord, scope: str, log: str | None) -> None:
    """Raise AuthenticationError (known) unless `token` has `scope` for `log`; log None: for the service."""
    if scope not in token.scopes:
        held = ", ".join(sorted(token.scopes)) or "none"
        raise AuthenticationError(f"expected a token with scope {scope}, found scopes {held}", known=True)
    if token.logs is not None and (log is None or log not in token.logs):
        raise AuthenticationError("expected a token for this log, found one for others", known=True)


def check_producer(token: TokenRecord, name: str) -> None:
    """Raise AuthenticationError (known) unless `token` is good for a producer of this name."""
    if token.producers is not None and not fnmatchcase(name, token.producers):
        raise AuthenticationError(
            f"expected a producer named like {token.producers}, found another name", known=True
        )


def check_pattern(producers: str) -> None:
    """Raise ConfigurationError unless this can be a pattern of producer names."""
    if re.fullmatch(NAME_PATTERN, producers) is None:
        raise ConfigurationError(
            f"expected a pattern of letters, digits and . _ - * ?, found {producers[:100]!r}"
        )


def mint_token(randomness: bytes) -> str:
    """A new token from 32 random bytes. Shown once; only `token_sha256` of it is kept."""
    if len(randomness) != 32:
        raise ValueError(f"expected 32 random bytes for a token, found {len(randomness)}")
    return PREFIX + base64.urlsafe_b64encode(randomness).decode().rstrip("=")


def token_sha256(token: str) -> bytes:
    """The form a token is kept in: SHA-256 of its UTF-8, 32 bytes."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def bearer_token(authorization: str | None) -> str:
    """The token in an Authorization header (attacker-controlled). Raises AuthenticationError."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    is_sane = bool(token) and (len(token) <= MAX_TOKEN_CHARS or looks_like_jwt(token))
    if scheme.lower() != "bearer" or not is_sane:
        found = "none" if authorization is None else "another Authorization header"
        raise AuthenticationError(f"expected Authorization: Bearer TOKEN, found {found}")
    return token


def bearer_sha256(authorization: str | None) -> bytes:
    """The hash of the token in an Authorization header. Raises AuthenticationError."""
    return token_sha256(bearer_token(authorization))


def fixed_tokens(configured: Iterable[TokenSettings]) -> list[TokenRecord]:
    """The configuration's tokens, secret files read. Raises ConfigurationError."""
    tokens: dict[bytes, TokenRecord] = {}
    for each in configured:
        sha256 = bytes.fromhex(each.sha256) if each.sha256 else _sha256_of_file(each)
        if sha256 in tokens:
            held = tokens[sha256].name
            raise ConfigurationError(f"expected every token once, found {each.name} equal to {held}")
        logs = None if each.logs is None else frozenset(each.logs)
        scopes = frozenset(each.scopes)
        tokens[sha256] = TokenRecord(sha256, each.name, scopes, logs, each.expires, each.producers)
    return list(tokens.values())


def _sha256_of_file(settings: TokenSettings) -> bytes:
    """The hash of the token in a secret file."""
    if settings.token_file is None:
        raise ConfigurationError(f"expected token {settings.name} to have one of sha256 and token_file")
    return token_sha256(read_secret(settings.token_file))

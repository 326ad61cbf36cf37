"""Kubernetes service accounts as callers: a projected token (a signed JWT) instead of one of ours.

Spec: auditlog/spec/api.md, "Kubernetes". Promises: signature by a key of the configured issuer, algorithm
fixed by that key, issuer, audience, subject, not before and expiry, each checked, with clocks at most
`SKEW_S` apart; what is admitted is a token record like any other, good until the JWT expires. Must
never: let a token choose its own check, or repeat any of it in an error or a log line.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import jwt

from auditlog.errors import AuthenticationError, TokenExpired
from auditlog.service.jwks import KeySet, SigningKey, read_file, read_url
from auditlog.service.settings import KubernetesSettings
from auditlog.storage.sql.tokens import TokenRecord

SKEW_S = 60
MAX_JWT_CHARS = 8192
LONGEST_LIFE_S = 400 * 86_400
"""A token that says it lives longer is a secret that never ends: refused."""
LAST_S = 253_402_300_799
"""The end of the year 9999: no time of a token is later."""

_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_REQUIRED = ["exp", "nbf", "iss", "aud", "sub"]


def looks_like_jwt(token: str) -> bool:
    """Whether a bearer token (attacker-controlled) has the three parts of a JWT."""
    return len(token) <= MAX_JWT_CHARS and _JWT.fullmatch(token) is not None


class ServiceAccounts:
    """Verifies the tokens of one issuer's service accounts."""

    def __init__(self, settings: KubernetesSettings, keys: KeySet, *, clock: Callable[[], float]) -> None:
        """`clock` gives Unix seconds."""
        self._settings = settings
        self._keys = keys
        self._clock = clock

    @classmethod
    def of(cls, settings: KubernetesSettings) -> ServiceAccounts:
        """With the key source of the settings and the clock of this machine."""
        if settings.jwks_file is not None:
            read = read_file(settings.jwks_file)
        else:
            assert settings.jwks_url is not None
            read = read_url(
                settings.jwks_url, ca_file=settings.jwks_ca_file, token_file=settings.jwks_token_file
            )
        return cls(settings, KeySet(read, monotonic=time.monotonic), clock=time.time)

    def verify(self, token: str, sha256: bytes) -> TokenRecord:
        """The caller behind a JWT: attacker-controlled. May ask the issuer for its keys.

        Raises:
            AuthenticationError: not true, or (known) true and of nobody who may come in.
            TokenExpired: it was good until a while ago.
            Pushback: the issuer's keys cannot be read.
        """
        claims = self._claims(token, self._key_of(token))
        subject, expires = claims["sub"], int(claims["exp"])
        if subject not in self._settings.subjects:
            raise AuthenticationError(
                "expected a token of a configured service account, found one of another", known=True
            )
        logs = None if self._settings.logs is None else frozenset(self._settings.logs)
        return TokenRecord(
            sha256=sha256,
            name=f"kubernetes:{subject}",
            scopes=frozenset(self._settings.scopes),
            logs=logs,
            expires_us=(expires + SKEW_S) * 1_000_000,
            producers=self._settings.producers,
        )

    def _key_of(self, token: str) -> SigningKey:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise AuthenticationError("expected a service account token, found another text") from None
        kid = header.get("kid")
        key = self._keys.find(kid) if isinstance(kid, str) and len(kid) <= 256 else None
        if key is None:
            raise AuthenticationError("expected a token by a key of the issuer, found one by another key")
        return key

    def _claims(self, token: str, key: SigningKey) -> dict[str, Any]:
        settings = self._settings
        try:
            # The algorithm is the key's: `none`, or an RSA key taken for an HMAC secret, never gets this far.
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                options={"require": _REQUIRED, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.InvalidAudienceError:
            raise AuthenticationError("expected a token for this service, found another audience") from None
        except jwt.InvalidIssuerError:
            raise AuthenticationError("expected a token of the configured issuer, found another") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise AuthenticationError("expected a true service account token, found another") from None
        self._check_times(claims)
        return claims

    def _check_times(self, claims: dict[str, Any]) -> None:
        """By the clock that was given, so that a test needs no waiting."""
        now, expires, not_before = self._clock(), claims["exp"], claims["nbf"]
        # Not a number is neither before nor after anything, and no float holds some integers.
        if not all(type(each) in {int, float} and 0 <= each <= LAST_S for each in (expires, not_before)):
            raise AuthenticationError("expected times in the token, found something else")
        if now >= expires + SKEW_S:
            raise TokenExpired(
                "expected a token that has not expired, found a service account token that has"
            )
        if now < not_before - SKEW_S:
            raise AuthenticationError("expected a token that is good already, found one for later")
        if expires - now > LONGEST_LIFE_S:
            raise AuthenticationError("expected a token that expires, found one that hardly does")

"""The public keys of a token issuer (RFC 7517), from a file or an address, kept fresh.

Spec: auditlog/spec/api.md, "Kubernetes". Promises: a key is found by its exact id and fixes its algorithm, so
a token cannot choose one; an unknown id makes us look again, but at most every `LOOK_AGAIN_S`, so that
strangers' tokens cannot make us ask the issuer; keys older than `KEEP_S` are believed no more. Must never:
follow a redirect, or read more than `MAX_BYTES`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt

from auditlog.errors import Pushback

REFRESH_S = 300.0
LOOK_AGAIN_S = 10.0
KEEP_S = 3600.0
"""How long keys are believed while their source cannot be read."""
MAX_BYTES = 1 << 18
MAX_KEYS = 64
SMALLEST_RSA_BITS = 2048
TIMEOUT_S = 5.0

_ALGORITHMS = {"RSA": "RS256", "EC P-256": "ES256"}

logger = logging.getLogger("auditlog.service")
Read = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key and the one algorithm that tokens signed with it may name."""

    key: Any
    algorithm: str


class KeySet:
    """The issuer's keys by id. May be asked from any thread."""

    def __init__(self, read: Read, *, monotonic: Callable[[], float]) -> None:
        """`read` gives the JWKS document; it raises OSError, ValueError or httpx.HTTPError."""
        self._read = read
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._keys: dict[str, SigningKey] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")

    def find(self, kid: str) -> SigningKey | None:
        """The key of this id (attacker-controlled), None if the issuer has none such.

        Raises:
            Pushback: the issuer's keys cannot be read, and those known are too old.
        """
        with self._lock:
            now = self._monotonic()
            is_stale = now - self._read_at >= REFRESH_S or kid not in self._keys
            if is_stale and now - self._tried_at >= LOOK_AGAIN_S:
                self._refresh(now)
            if now - self._read_at >= KEEP_S:
                raise Pushback(
                    "expected the keys of the token issuer, found none that can be read",
                    retry_after_s=int(LOOK_AGAIN_S),
                )
            return self._keys.get(kid)

    def _refresh(self, now: float) -> None:
        self._tried_at = now
        try:
            self._keys, self._read_at = parse_keys(self._read()), now
        except (OSError, ValueError, RecursionError, httpx.HTTPError) as error:
            logger.warning("the keys of the token issuer could not be read: %s", type(error).__name__)


def parse_keys(document: bytes) -> dict[str, SigningKey]:
    """The signing keys of a JWKS document by id; keys of other kinds are left out.

    Raises:
        ValueError: not such a document.
    """
    import msgspec

    try:
        members = msgspec.json.decode(document)
        found = members["keys"]
        listed = found[:MAX_KEYS] if isinstance(found, list) else None
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError):
        listed = None
    if listed is None:
        raise ValueError("expected a JWKS document, found something else")
    keys: dict[str, SigningKey] = {}
    for each in listed:
        key = _signing_key(each)
        if key is not None:
            keys.setdefault(each["kid"], key)
    return keys


def _signing_key(members: Any) -> SigningKey | None:
    if not isinstance(members, dict) or not isinstance(members.get("kid"), str):
        return None
    if members.get("use", "sig") != "sig":
        return None
    algorithm = _ALGORITHMS.get(f"{members.get('kty')} {members.get('crv', '')}".strip())
    if algorithm is None or members.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(members, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if algorithm == "RS256" and key.key_size < SMALLEST_RSA_BITS:
        return None
    return SigningKey(key, algorithm)


def read_file(path: Path) -> Read:
    """Keys from a file, read again at each refresh: it is replaced when the issuer's keys change."""

    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)[:MAX_BYTES]

    return read


def read_url(url: str, *, ca_file: Path | None, token_file: Path | None) -> Read:
    """Keys from an address; with `ca_file` only that authority is believed. The token file is read anew."""

    def read() -> bytes:
        import ssl

        verify = True if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
        headers = {"accept": "application/jwk-set+json, application/json"}
        if token_file is not None:
            headers["authorization"] = f"Bearer {token_file.read_text(encoding='ascii').strip()}"
        with (
            httpx.Client(verify=verify, timeout=TIMEOUT_S, follow_redirects=False) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"expected 200, found {answer.status_code}")
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError(f"expected at most {MAX_BYTES} bytes, found more")
            return bytes(body)

    return read

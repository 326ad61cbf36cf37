"""The wire of a JSON-RPC node: one HTTP connection, and strict readers of what comes back.

Everything read here is attacker-controlled. Each reader returns a
value of the right shape or raises `LedgerError`, never anything else.
Must never name a node's URL in an error: it often holds an access key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from auditlog.anchoring.libraries import chain_libraries
from auditlog.errors import LedgerError

Request = Callable[[str, list[Any]], Mapping[str, Any]]
"""(method, params) -> the JSON-RPC response object, with `result` or `error`. Raises only LedgerError."""

_BYTES = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


def over_http(url: str, *, timeout_s: float = 20.0) -> Request:
    """Return the connection to a node at `url`. Errors
    name the kind of failure, never the URL: it holds keys.
    """
    with chain_libraries():
        from requests import RequestException
        from web3 import HTTPProvider
        from web3.exceptions import Web3Exception
        from web3.types import RPCEndpoint

    provider = HTTPProvider(url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None)

    def request(method: str, params: list[Any]) -> Mapping[str, Any]:
        try:
            return provider.make_request(RPCEndpoint(method), params)
        except (RequestException, Web3Exception, OSError, ValueError, RecursionError) as error:
            # `from None`: the library's message repeats the URL, and a traceback would carry it into a log.
            raise LedgerError(f"{method}: expected an answer, found {type(error).__name__}") from None

    return request


def as_hex(data: bytes) -> str:
    """Return "0x" and the bytes in lower-case hex."""
    return "0x" + data.hex()


def blob(value: Any) -> bytes:
    """Read bytes of any length."""
    if not isinstance(value, str) or _BYTES.fullmatch(value) is None:
        raise LedgerError(f"expected bytes as 0x and hex digits, found another {type(value).__name__}")
    return bytes.fromhex(value[2:])


def hash32(value: Any) -> bytes:
    """Read exactly 32 bytes."""
    found = blob(value)
    if len(found) != 32:
        raise LedgerError(f"expected 32 bytes, found {len(found)}")
    return found


def quantity(value: Any) -> int:
    """Read a number below 2**256. Leading zeros are let pass: some nodes write them."""
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None:
        raise LedgerError(f"expected a number as 0x and hex digits, found another {type(value).__name__}")
    return int(value[2:], 16)


def json_object(value: Any) -> Mapping[str, Any]:
    """Read a JSON object."""
    if not isinstance(value, Mapping):
        raise LedgerError(f"expected a JSON object, found {type(value).__name__}")
    return value


def json_array(value: Any) -> list[Any]:
    """Read a JSON array."""
    if not isinstance(value, list):
        raise LedgerError(f"expected a JSON array, found {type(value).__name__}")
    return value


def error_message(error: Any) -> str:
    """Return what a node said in lower case, without control characters."""
    text = error.get("message") if isinstance(error, Mapping) else error
    return "".join(c for c in str(text).lower() if c.isprintable())

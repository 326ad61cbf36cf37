"""Reading a request body: capped while it arrives, in bounded time, before anything looks inside.

Spec: auditlog/spec/api.md, section "Limits". Promises: never more than `limit` bytes of a body are held.
Must never: trust Content-Length alone (attacker-controlled, and absent with chunked framing).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope

from auditlog.errors import TooLargeError
from auditlog.service.problems import RequestRefused

JSON_LIMIT = 64 << 10
DRAIN_BYTES = 64 << 20
DRAIN_S = 5.0
Model = TypeVar("Model", bound=BaseModel)


class Incoming:
    """The receiving side of one request, knowing whether a body is still on its way."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._scope = scope
        self._is_whole = False

    async def __call__(self) -> Message:
        """The next message."""
        message = await self._receive()
        if not message.get("more_body", False):
            self._is_whole = True
        return message

    async def drain(self) -> None:
        """Throw away what is still on its way, within limits.

        Who is refused while sending would otherwise meet a closed connection instead of the answer.
        """
        names = {name for name, _ in self._scope["headers"]}
        if not names & {b"content-length", b"transfer-encoding"}:
            return
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not self._is_whole and size < DRAIN_BYTES:
                    size += len((await self()).get("body", b""))


def declared_length(request: Request) -> int | None:
    """Content-Length as a number, None without one. Raises RequestRefused if it is not a number."""
    declared = request.headers.get("content-length")
    if declared is None:
        return None
    if not (declared.isascii() and declared.isdigit() and len(declared) < 16):
        raise RequestRefused(400, "expected a decimal Content-Length")
    return int(declared)


def expect_media_type(request: Request, expected: str) -> None:
    """Refuse another media type, and any content coding: the bytes sent are the bytes that get hashed."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != expected:
        raise RequestRefused(415, f"expected Content-Type {expected}", expected=expected, found=found[:100])
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise RequestRefused(415, "expected no Content-Encoding", expected="identity", found=coding[:100])


async def read_body(request: Request, *, limit: int, timeout_s: float) -> bytes:
    """The whole body.

    Raises:
        TooLargeError: over `limit` bytes, declared or arriving.
        RequestRefused: it did not arrive within `timeout_s` (408), or its sender went away (400).
    """
    declared = declared_length(request)
    if declared is not None and declared > limit:
        raise TooLargeError(f"expected a body of at most {limit} bytes, found {declared}")
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise TooLargeError(f"expected a body of at most {limit} bytes, found more")
                chunks.append(chunk)
    except TimeoutError:
        raise RequestRefused(
            408, f"expected the body within {timeout_s:g} s, found {size} bytes by then"
        ) from None
    except ClientDisconnect:
        raise RequestRefused(400, "expected a whole body, found a closed connection") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_json(
    request: Request, model: type[Model], *, timeout_s: float, limit: int = JSON_LIMIT
) -> Model:
    """A small JSON body as a strict model: the one reader of every JSON body there is.

    Strict: UTF-8, no unknown member, no member twice, no number that JSON does not have.

    Raises:
        RequestRefused: another media type (415), or not such a body (422). TooLargeError: over `limit` bytes.
    """
    expect_media_type(request, "application/json")
    body = await read_body(request, limit=limit, timeout_s=timeout_s)
    _expect_strict_json(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in fault["loc"])[:100] or "body"
        message = f"{place}: {fault['msg']}"
        raise RequestRefused(422, message, expected=fault["msg"], found=place) from None


def _expect_strict_json(body: bytes) -> None:
    """Refuse what the model's parser would let pass: two readers must not see two bodies in one."""
    try:
        json.loads(body.decode("utf-8"), object_pairs_hook=_members_once, parse_constant=_no_constant)
    except RequestRefused:
        raise
    except (ValueError, RecursionError):
        expected = "a JSON object in UTF-8"
        raise RequestRefused(422, f"expected {expected}, found something else", expected=expected) from None


def _members_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        # Which one is not told: names are the caller's, and may be anything.
        expected = "every member once"
        raise RequestRefused(422, f"expected {expected}, found one twice", expected=expected)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)

"""What a caller gets in fail_closed when a decision cannot be put on record (README.md, "Modes").

    503  application/problem+json  Retry-After: 5    before the application is called, or for its answer
    a cut connection                                 where a part of the answer has left already

Promises: the answer of the application, or its end, does not leave. Pure, but for what `send` does.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, ClassVar

from auditlog.errors import AuditLogError

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

RETRY_AFTER_S = 5
STATUS = 503
_TRY_AGAIN_LATER = 1013

NOT_ASKED = "expected that this decision can be recorded, found that it cannot; nothing was decided"
NO_TURNS = (
    "expected a websocket whose turns end with a message that can wait for its record, found one without; "
    "nothing was decided"
)
WITHHELD = "expected a record of the answer on disk, found none in time; the answer was withheld"


class AnswerWithheld(AuditLogError):
    """fail_closed: the end of an answer was not sent, for it could not be made durable.

    Goes through the application to the server, which then closes the connection without the end.
    """

    code: ClassVar[str] = "answer_withheld"


def withheld() -> AnswerWithheld:
    """The error that cuts a connection."""
    return AnswerWithheld(
        "auditlog: fail_closed: expected a durable record before the end of the answer, found none in time"
    )


async def send_unrecordable(
    send: Send, detail: str, *, method: str = "POST", headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer 503 in place of the application; `headers` are added. A HEAD gets no body."""
    problem = {
        "type": "urn:auditlog:problem:unrecordable",
        "title": "Service Unavailable",
        "status": STATUS,
        "detail": detail,
    }
    content = json.dumps(problem, separators=(",", ":")).encode("ascii")
    lines = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(content)),
        (b"retry-after", b"%d" % RETRY_AFTER_S),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": STATUS, "headers": lines})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else content})


async def refuse_websocket(
    scope: MutableMapping[str, Any], receive: Receive, send: Send, detail: str = NOT_ASKED
) -> None:
    """Turn a handshake away: 503 where the server can say so, else the close that servers answer with 403."""
    message = await receive()
    if message["type"] != "websocket.connect":
        return
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
        return

    async def deny(answer: MutableMapping[str, Any]) -> None:
        await send({**answer, "type": "websocket." + answer["type"]})

    await send_unrecordable(deny, detail)

"""What a replica does not answer itself, it passes on to the sequencer, and hands back what that says.

Spec: auditlog/spec/api.md, "Several processes". The sequencer is one of the configured addresses: tokens go
to no other. One that is not reached, or stands by, has done nothing: the next is asked. Promises: the body
that is passed on is bounded. Must never: log a path, or follow a redirect with a token.
"""

from __future__ import annotations

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auditlog.errors import BrokerError, StandingBy
from auditlog.service.context import context_of
from auditlog.service.problems import is_problem
from auditlog.service.receive import read_body

TIMEOUT_S = 60.0
CONNECT_S = 2.0
_TAKEN = ("authorization", "content-type", "accept", "accept-encoding", "content-encoding")
_GIVEN_NOT = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"})


class Forwarder:
    """Asks the sequencers, the one that answered last first. Made in the event loop it is used in."""

    def __init__(self, sequencers: list[str], transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._urls = [url.rstrip("/") for url in sequencers]
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S),
            follow_redirects=False,
            transport=transport,
            trust_env=False,
        )

    async def ask(self, request: Request, body: bytes) -> Response:
        """The answer of the sequencer. Raises BrokerError: none of them is reached, or all stand by."""
        headers = {name: value for name in _TAKEN if (value := request.headers.get(name)) is not None}
        target = request.scope["raw_path"].decode("ascii")
        query = request.scope["query_string"].decode("latin-1")
        target += f"?{query}" if query else ""
        for url in list(self._urls):
            asked = self._client.build_request(request.method, url + target, headers=headers, content=body)
            try:
                answer = await self._client.send(asked)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
            except httpx.HTTPError as error:
                # It may have been done: whoever asked repeats it, as after any answer that was lost.
                raise BrokerError(f"expected the sequencer to answer, found {type(error).__name__}") from None
            if answer.status_code == 503 and is_problem(answer.content, StandingBy):
                continue
            self._urls.sort(key=lambda each: each != url)
            return _handed_back(answer)
        raise BrokerError("expected one of ingest.sequencers to hold the lease and answer, found none")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _handed_back(answer: httpx.Response) -> Response:
    # The client has undone a coding; what it names is not how these bytes are.
    left_out = _GIVEN_NOT | ({"content-encoding"} if "content-encoding" in answer.headers else set())
    response = Response(answer.content, answer.status_code)
    for name, value in answer.headers.items():
        if name.lower() not in left_out:
            response.headers[name] = value
    return response


async def forward(request: Request) -> Response:
    """Every other route: read the body within the limit, and ask."""
    request.scope["route"] = route
    limits = context_of(request).settings.service
    body = await read_body(request, limit=limits.max_batch_bytes, timeout_s=limits.body_timeout_s)
    forwarder: Forwarder = request.app.state.forwarder
    return await forwarder.ask(request, body)


route = Route("/{path:path}", forward, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])

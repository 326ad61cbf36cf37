"""What a replica passes on reaches the sequencer that holds the lease, whole; tokens go nowhere else."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from auditlog.errors import BrokerError, StandingBy
from auditlog.service.forward import Forwarder
from auditlog.service.problems import problem_of

ONE, TWO = "http://one.example:8700", "http://two.example:8700/"


def asked(method: str = "POST", path: str = "/logs/main/producers", query: str = "") -> Request:
    """A request as it came in."""
    headers = [
        (b"authorization", b"Bearer secret"),
        (b"content-type", b"application/json"),
        (b"cookie", b"x"),
    ]
    return Request(
        {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
        }
    )


class Sequencers:
    """Two of them, by host; each answers what it is told to, and remembers."""

    def __init__(self) -> None:
        self.says: dict[str, httpx.Response | Exception] = {}
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One answer."""
        self.seen.append(request)
        found = self.says[request.url.host]
        if isinstance(found, Exception):
            raise found
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    def ask(self, request: Request, body: bytes = b"{}", times: int = 1) -> Response:
        """By way of a forwarder, so many times; the last answer."""

        async def run() -> Response:
            forwarder = Forwarder([ONE, TWO], httpx.MockTransport(self))
            try:
                for _ in range(times):
                    answer = await forwarder.ask(request, body)
                return answer
            finally:
                await forwarder.close()

        return asyncio.run(run())


def standing_by() -> httpx.Response:
    """What a candidate says that does not sequence."""
    found = problem_of(StandingBy("x")).response()
    return httpx.Response(found.status_code, content=bytes(found.body))


def test_method_path_query_body_and_token_arrive_and_the_answer_comes_back() -> None:
    """Nothing of the request is lost but what is between two machines; a cookie is nobody's business."""
    both = Sequencers()
    both.says["one.example"] = httpx.Response(
        409, headers={"Retry-After": "7", "Cache-Control": "no-store", "Connection": "close"}, content=b"no"
    )
    answer = both.ask(asked("PUT", "/logs/main/x%2Fy", "a=1&b=%20"), b"body")
    (seen,) = both.seen
    assert (seen.method, str(seen.url)) == ("PUT", "http://one.example:8700/logs/main/x%2Fy?a=1&b=%20")
    assert (seen.content, seen.headers["authorization"]) == (b"body", "Bearer secret")
    assert "cookie" not in seen.headers
    assert (answer.status_code, bytes(answer.body)) == (409, b"no")
    assert (answer.headers["retry-after"], answer.headers["cache-control"]) == ("7", "no-store")
    assert "connection" not in answer.headers


def test_one_that_stands_by_or_is_away_is_passed_over_and_the_other_asked_first_then() -> None:
    """Neither has done anything; who answered is asked first the next time."""
    for first in (standing_by(), httpx.ConnectError("refused")):
        both = Sequencers()
        both.says = {"one.example": first, "two.example": httpx.Response(200, content=b"yes")}
        assert bytes(both.ask(asked(), times=2).body) == b"yes"
        assert [each.url.host for each in both.seen] == ["one.example", "two.example", "two.example"]


def test_without_a_sequencer_the_answer_is_to_come_again() -> None:
    """503 with Retry-After, and no word of addresses."""
    both = Sequencers()
    both.says = {"one.example": standing_by(), "two.example": httpx.ConnectError("refused")}
    with pytest.raises(BrokerError) as away:
        both.ask(asked())
    problem = problem_of(away.value)
    assert (problem.status, problem.code, problem.headers["Retry-After"]) == (503, "broker", "2")
    assert "example" not in problem.detail


def test_an_answer_that_was_lost_is_not_asked_for_elsewhere() -> None:
    """It may have been done: whoever asked decides."""
    both = Sequencers()
    both.says = {"one.example": httpx.ReadTimeout("late"), "two.example": httpx.Response(200)}
    with pytest.raises(BrokerError):
        both.ask(asked())
    assert len(both.seen) == 1


def test_a_redirect_is_handed_back_and_not_followed() -> None:
    """A token goes to the configured addresses and to no other."""
    both = Sequencers()
    both.says["one.example"] = httpx.Response(307, headers={"Location": "http://elsewhere.example/"})
    assert both.ask(asked()).status_code == 307
    assert len(both.seen) == 1

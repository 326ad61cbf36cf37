"""The layers between the middleware and the application: what belongs outside is said at the start."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount

from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.stack import order_problems
from tests.support.observing import START, ObservingRecorder, answering, body, drive, http_scope


class BrotliMiddleware:
    """As brotli_asgi has it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


class ResponseCacheMiddleware(BrotliMiddleware):
    """Some cache."""


class CacheControlMiddleware(BrotliMiddleware):
    """Sets a header; it is no cache."""


async def start(app: Any) -> None:
    """The application's lifespan, as a server runs it."""
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        assert message["type"].endswith(".complete"), message

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)


@pytest.mark.parametrize("layer", [GZipMiddleware, BrotliMiddleware, ResponseCacheMiddleware])
@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_compression_and_caches_inside_are_a_problem_at_start(kind: Any, layer: Any) -> None:
    """Named before the first request, once."""
    recorder, app = ObservingRecorder(), kind()
    app.add_middleware(layer)
    app.add_middleware(AuditMiddleware, recorder=recorder)
    asyncio.run(start(app))
    [problem] = recorder.problems
    assert layer.__name__ in problem
    assert "outside" in problem


@pytest.mark.parametrize("layer", [GZipMiddleware, BrotliMiddleware, ResponseCacheMiddleware])
@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_outside_they_are_welcome(kind: Any, layer: Any) -> None:
    """Added after ours they are around it."""
    recorder, app = ObservingRecorder(), kind()
    app.add_middleware(AuditMiddleware, recorder=recorder)
    app.add_middleware(layer)
    asyncio.run(start(app))
    assert recorder.problems == []


def test_other_layers_are_no_problem() -> None:
    """CORS, and whatever only sets headers."""
    recorder, app = ObservingRecorder(), FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.add_middleware(CacheControlMiddleware)
    app.add_middleware(AuditMiddleware, recorder=recorder)
    asyncio.run(start(app))
    assert recorder.problems == []


def test_an_application_that_is_wrapped_whole_is_looked_into() -> None:
    """Before it has built its layers, and in what it mounts."""
    inner = Starlette(middleware=[Middleware(GZipMiddleware)])
    assert len(order_problems(inner)) == 1
    assert len(order_problems(Starlette(routes=[Mount("/sub", app=inner)]))) == 1
    assert len(order_problems(BrotliMiddleware(BrotliMiddleware(inner)))) == 2
    assert order_problems(Starlette()) == []


def test_without_lifespan_it_is_said_at_the_first_request() -> None:
    """Once, whatever comes after."""
    recorder = ObservingRecorder()
    app = AuditMiddleware(BrotliMiddleware(None), recorder)  # type: ignore[arg-type]
    app.app = BrotliMiddleware(answering(START, body(b"{}")))
    for _ in range(2):
        asyncio.run(drive(app, http_scope()))
    assert len(recorder.problems) == 1


@pytest.mark.parametrize("odd", [None, 7, "text", object(), lambda: None, [], type])
def test_anything_may_be_inside(odd: object) -> None:
    """What cannot be looked into is no problem, and no error."""
    assert order_problems(odd) == []


def test_layers_that_go_round_end() -> None:
    """A layer that wraps itself."""
    layer = CacheControlMiddleware(None)
    layer.app = layer
    assert order_problems(layer) == []


def test_ports_are_noted() -> None:
    """Each request says on which port it came in."""
    recorder = ObservingRecorder()
    app = AuditMiddleware(answering(START, body(b"{}")), recorder)  # type: ignore[arg-type]
    for server in (("127.0.0.1", 8000), ("127.0.0.1", 9000), None, ("/run/socket", None)):
        asyncio.run(drive(app, http_scope(server=server)))
    assert recorder.ports == [8000, 9000]

"""Applications mounted in others: what their router does not know is counted; no path becomes a route."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Host, Mount, Route

from auditlog.capture.asgi import AuditMiddleware
from tests.support.observing import ObservingRecorder, drive, http_scope


async def decide(request: Request) -> JSONResponse:
    """A handler that decides: 404 for one customer."""
    status = 404 if request.path_params.get("customer") == "nobody" else 200
    return JSONResponse({}, status)


async def bare_application(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI function without a router that we know."""
    await JSONResponse({}, 404)(scope, receive, send)


class Static:
    """An ASGI object without a router."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse({}, 404)(scope, receive, send)


def starlette() -> Starlette:
    """The mounted application, by Starlette."""
    return Starlette(routes=[Route("/score/{customer}", decide, methods=["POST"])])


def fastapi() -> FastAPI:
    """The mounted application, by FastAPI."""
    app = FastAPI()

    @app.post("/score/{customer}")
    async def score(customer: str) -> dict[str, str]:
        if customer == "nobody":
            raise HTTPException(404)
        return {}

    return app


def outer(kind: str, inner: Any) -> Any:
    """An application with `inner` mounted below /sub."""
    if kind == "starlette":
        return Starlette(routes=[Mount("/sub", app=inner)])
    app = FastAPI()
    app.mount("/sub", inner)
    return app


INNER = {"starlette": starlette, "fastapi": fastapi}


@pytest.mark.parametrize("around", ["starlette", "fastapi"])
@pytest.mark.parametrize("inside", ["starlette", "fastapi"])
@pytest.mark.asyncio
async def test_an_unknown_path_below_a_mount_is_counted_and_not_logged(around: str, inside: str) -> None:
    """Nobody decided about it, and it may hold someone's name."""
    recorder = ObservingRecorder()
    app = AuditMiddleware(outer(around, INNER[inside]()), recorder)  # type: ignore[arg-type]
    await drive(app, http_scope("/sub/people/jane-doe"))
    assert recorder.observations == []
    assert recorder.metrics.get("refused.404") == 1


@pytest.mark.parametrize("around", ["starlette", "fastapi"])
@pytest.mark.parametrize("inside", ["starlette", "fastapi"])
@pytest.mark.parametrize(("customer", "status"), [("jane", 200), ("nobody", 404)])
@pytest.mark.asyncio
async def test_a_handler_below_a_mount_decides(around: str, inside: str, customer: str, status: int) -> None:
    """Its 404 is a decision as well, and the route is its template."""
    recorder = ObservingRecorder()
    app = AuditMiddleware(outer(around, INNER[inside]()), recorder)  # type: ignore[arg-type]
    await drive(app, http_scope(f"/sub/score/{customer}"))
    seen = recorder.only()
    assert (seen.status, seen.route) == (status, "/sub/score/{customer}")


@pytest.mark.parametrize("around", ["starlette", "fastapi"])
@pytest.mark.parametrize("inner", [bare_application, Static()])
@pytest.mark.asyncio
async def test_an_application_without_a_known_router_is_no_handler(around: str, inner: Any) -> None:
    """As without a mount: its 404 is counted, its path is never written down."""
    recorder = ObservingRecorder()
    app = AuditMiddleware(outer(around, inner), recorder)  # type: ignore[arg-type]
    await drive(app, http_scope("/sub/people/jane-doe"))
    assert recorder.observations == []
    assert recorder.metrics.get("refused.404") == 1


@pytest.mark.asyncio
async def test_what_a_mounted_application_answers_has_no_route() -> None:
    """An answer other than a refusal is recorded, without the path."""

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse({})(scope, receive, send)

    recorder = ObservingRecorder()
    app = AuditMiddleware(outer("starlette", answers), recorder)  # type: ignore[arg-type]
    await drive(app, http_scope("/sub/people/jane-doe"))
    assert recorder.only().route is None


@pytest.mark.asyncio
async def test_an_application_of_one_host_is_no_handler_either() -> None:
    """`Host` leaves the application as endpoint, too."""
    recorder = ObservingRecorder()
    app = AuditMiddleware(Starlette(routes=[Host("{name}", app=starlette())]), recorder)  # type: ignore[arg-type]
    scope = http_scope("/people/jane-doe", headers=[(b"host", b"x.example")])
    await drive(app, scope)
    assert recorder.observations == []

"""The table that start-up shows: every route of an application, and what happens to its requests."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.routing import Host, Mount, Route, Router

from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.audited import audited
from auditlog.capture.route_list import RouteLine, describe_routes, format_table, summary, unmatched_rules
from auditlog.capture.routes import RouteTable
from auditlog.capture.settings import CaptureSettings, parse_routes
from auditlog.cli.main import run
from tests.support.observing import ObservingRecorder, drive


def handler() -> dict[str, int]:
    """Answers anything."""
    return {}


def an_application() -> FastAPI:
    """Included routers, mounts, marks, websockets, admin routes, and one that nobody knows."""
    router = APIRouter(prefix="/v1")
    router.add_api_route("/chat/completions", handler, methods=["POST"])
    router.add_api_route("/load_lora_adapter", handler, methods=["POST"])

    async def talk(socket: WebSocket) -> None:
        """Talks."""

    router.add_api_websocket_route("/realtime", talk)
    app = FastAPI(openapi_url=None)
    app.include_router(router)
    app.include_router(router, prefix="/tenant")
    app.add_api_route("/odd", handler, methods=["POST"])
    app.add_api_route("/health", handler, methods=["GET"])
    inner = FastAPI(openapi_url=None)
    inner.add_api_route("/loans/{loan_id}", audited(operation="classify")(handler), methods=["GET"])
    app.mount("/inner", inner)
    return app


def table(rules: str = "") -> RouteTable:
    """A table with these rules."""
    problems: list[str] = []
    found = RouteTable(parse_routes(rules, problems))
    assert problems == []
    return found


def test_every_route_of_the_application_has_a_line() -> None:
    """Templates with their prefixes; the record, operation and fold of each."""
    lines = describe_routes(an_application(), table())
    assert lines == [
        RouteLine("POST", "/v1/chat/completions", "values", "chat", "openai.chat"),
        RouteLine("POST", "/v1/load_lora_adapter", "model"),
        RouteLine("WEBSOCKET", "/v1/realtime", "values", "chat", "openai.realtime"),
        RouteLine("POST", "/tenant/v1/chat/completions", "values", "chat", "openai.chat"),
        RouteLine("POST", "/tenant/v1/load_lora_adapter", "model"),
        RouteLine("WEBSOCKET", "/tenant/v1/realtime", "values", "chat", "openai.realtime"),
        RouteLine("POST", "/odd", "record", "unknown", is_known=False),
        RouteLine("GET", "/health", "skip"),
        RouteLine("GET", "/inner/loans/{loan_id}", "values", "classify"),
    ]


def test_rules_change_lines_and_unused_rules_are_told() -> None:
    """An override shows; one that no route answers to is named."""
    rules = table("POST /odd=values, POST /tenant/*=skip, GET /inner/loans/{x}=record, POST /od=values")
    by_path = {line.path: line.record for line in describe_routes(an_application(), rules)}
    assert by_path["/odd"] == "values"
    assert by_path["/tenant/v1/chat/completions"] == "skip"
    assert by_path["/inner/loans/{loan_id}"] == "record"
    assert [rule.path for rule in unmatched_rules(an_application(), rules)] == ["/od"]


def test_routes_are_seen_through_the_layers_around_them() -> None:
    """Ours and any other with `.app`; hosts, nested mounts, and classes as endpoints."""

    class Scores(HTTPEndpoint):
        """A class whose methods only it knows."""

    inner = Starlette(
        routes=[Mount("/a", routes=[Route("/score", Scores)]), Host("h", app=Router([Route("/b", Scores)]))]
    )
    recorder: Any = ObservingRecorder()
    lines = describe_routes(AuditMiddleware(AuditMiddleware(inner, recorder), recorder), table())
    assert ("POST", "/a/score") in {(line.method, line.path) for line in lines}
    assert ("POST", "/b") in {(line.method, line.path) for line in lines}


@pytest.mark.parametrize("app", [None, object(), lambda: None, type("Odd", (), {"routes": 7, "app": None})()])
def test_an_application_that_shows_nothing_has_no_lines(app: object) -> None:
    """Then no rule is called unused either, and the summary says so."""
    assert describe_routes(app, table("POST /x=values")) == []
    assert unmatched_rules(app, table("POST /x=values")) == []
    [line] = summary(app, table())
    assert "not visible" in line


def test_the_summary_is_for_people() -> None:
    """Recorded routes in columns, what is unknown and unused by name, the rest counted."""
    text = "\n".join(summary(an_application(), table("POST /nothing=values")))
    assert "values  POST       /v1/chat/completions" in text
    assert "recorded without values, since nothing is known of them: /odd" in text
    assert "not recorded: 1 routes" in text
    assert "no route answers to 'POST /nothing=values'" in text
    assert "/health" not in text
    assert format_table([]) == []


def test_the_start_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    """One block in the log with the first lifespan, and a problem for a rule that matches nothing."""
    settings = CaptureSettings(
        log_url="http://log.example/logs/main", strict=True, routes=table("POST /nothing=values").rules
    )
    recorder: Any = ObservingRecorder(settings)
    app = AuditMiddleware(an_application(), recorder)
    with caplog.at_level(logging.INFO, "auditlog.capture"):
        asyncio.run(
            drive(
                app, {"type": "http", "method": "GET", "path": "/health", "headers": [], "query_string": b""}
            )
        )
        asyncio.run(
            drive(
                app, {"type": "http", "method": "GET", "path": "/health", "headers": [], "query_string": b""}
            )
        )
    blocks = [record for record in caplog.records if "/v1/chat/completions" in record.getMessage()]
    assert len(blocks) == 1
    assert [problem for problem in recorder.problems if "POST /nothing=values" in problem]


def test_the_command_shows_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`auditlog routes module:app` starts nothing; 1 if a rule is unused, 2 if there is no app."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serving_here.py").write_text(
        "from tests.unit.capture.test_route_list import an_application as make\n"
    )
    assert run(["routes", "serving_here:make()"]) == 0
    assert "values  POST       /v1/chat/completions" in capsys.readouterr().out
    monkeypatch.setenv("AUDITLOG_ROUTES", "POST /nothing=values")
    assert run(["routes", "serving_here:make()", "--json"]) == 1
    assert "/nothing" in capsys.readouterr().err
    for name in ("serving_here", "serving_here:nothing", "no_such_module:app", "serving_here:handler"):
        assert run(["routes", name]) == 2

"""Routes: the known ones, the operator's rules, templates instead of paths, which answers are refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from auditlog.capture import known_routes, routes
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.route_list import table_for
from auditlog.capture.route_names import request_path, route_template
from auditlog.capture.routes import (
    SKIP,
    UNKNOWN_POST,
    RouteTable,
    admin_route,
    compile_template,
    is_refused,
    known_route,
)
from auditlog.capture.settings import parse_routes
from tests.support.observing import ObservingRecorder, drive, http_scope


@pytest.mark.parametrize(
    ("path", "operation", "route", "dialect"),
    [
        ("/v1/chat/completions", "chat", "/v1/chat/completions", "openai.chat"),
        ("/openai/v1/chat/completions", "chat", "/openai/v1/chat/completions", "openai.chat"),
        ("/v1/completions", "text_completion", "/v1/completions", "openai.completions"),
        ("/v1/responses", "chat", "/v1/responses", "openai.responses"),
        ("/v1/messages", "chat", "/v1/messages", "anthropic.messages"),
        ("/v1/embeddings", "embeddings", "/v1/embeddings", None),
        ("/generate", "text_completion", "/generate", None),
        ("/invocations", "predict", "/invocations", None),
        ("/v1/models/iris:predict", "predict", "/v1/models/{model}:predict", None),
        ("/v2/models/iris/infer", "predict", "/v2/models/{model}/infer", None),
        ("/v2/models/iris/versions/3/infer", "predict", "/v2/models/{model}/versions/{version}/infer", None),
        ("/v2/models/llm/generate_stream", "text_completion", "/v2/models/{model}/generate_stream", None),
        ("/predictions/resnet/2.0", "predict", "/predictions/{model}/{version}", None),
    ],
)
def test_known_routes(path: str, operation: str, route: str, dialect: str | None) -> None:
    """Inference routes of the common servers keep values, under OpenTelemetry's words and a template."""
    policy = known_route(path)
    assert policy is not None
    assert (policy.operation, policy.route, policy.dialect) == (operation, route, dialect)
    assert policy.keeps_values


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "/v1/chat",
        "/v1/models",
        "/tokenize",
        "/v2/models/a/b/infer",
        "/V1/completions",
    ],
)
def test_other_posts_are_unknown(path: str) -> None:
    """Anything else that is posted is recorded without values."""
    assert RouteTable().match("POST", path) is UNKNOWN_POST


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY", "post", "PROPFIND"])
def test_every_order_is_recorded(method: str) -> None:
    """Whatever may change something is recorded: known paths as what they are, others without values."""
    assert RouteTable().match(method, "/generate") == known_route("/generate")
    assert RouteTable().match(method, "/customers") is UNKNOWN_POST


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"])
def test_looking_is_no_decision(method: str) -> None:
    """Except by GET where a model answers it."""
    assert RouteTable().match(method, "/customers") is None
    assert RouteTable().match(method, "/") is None
    answer = RouteTable().match(method, "/generate")
    assert answer == (known_route("/generate") if method == "GET" else None)


@pytest.mark.parametrize("prefix", ["", "/openai", "/llm", "/a/b"])
@pytest.mark.parametrize(
    "path",
    ["/v1/responses/r1", "/v1/chat/completions/c1", "/v1/messages/batches/b/results", "/v1/videos/v/content"],
)
def test_fetched_results_are_recorded_under_any_prefix(prefix: str, path: str) -> None:
    """The answer to an earlier order leaves by these."""
    policy = RouteTable().match("GET", prefix + path)
    assert policy is not None
    assert policy.keeps_values


def test_mounts_are_taken_off() -> None:
    """Known paths count below the places where applications are mounted, whole segments only."""
    mounted = RouteTable(mounts=["/llm", "/t/{tenant:int}"])
    for method, path in (("PUT", "/llm/generate"), ("GET", "/t/7/predict"), ("POST", "/llm/score")):
        policy = mounted.match(method, path)
        assert policy is not None
        assert policy.keeps_values, path
    assert mounted.match("GET", "/llmx/generate") is None
    assert mounted.match("POST", "/other/generate") is UNKNOWN_POST
    assert mounted.match_websocket("/llm/openpi/policy").operation == "predict"  # type: ignore[union-attr]


@pytest.mark.parametrize("path", ["/sleep", "/api/create", "/models/load", "/v1/models/m/unload"])
def test_an_ordinary_applications_own_route_is_no_admin_route(path: str) -> None:
    """Such paths change what is loaded only where a model server answers them, or where a rule says so."""
    assert RouteTable().match("POST", path) is UNKNOWN_POST
    route = admin_route(path).route  # type: ignore[union-attr]
    assert RouteTable(own_admin={str(route): False}).match("POST", path) is UNKNOWN_POST
    engine = RouteTable(own_admin={str(route): True}).match("POST", path)
    assert engine is not None
    assert engine.is_admin
    ruled = table(f"POST {path}=model").match("POST", path)
    assert ruled is not None
    assert ruled.admin == engine.admin


def handler_of(module: str) -> Any:
    """A handler that this module defines."""

    async def handler() -> None: ...

    handler.__module__ = module
    return handler


def test_admin_routes_of_engines_are_told_from_those_of_others() -> None:
    """By the package of the handler, below mounts too: a diary of sleep beside a chat is none."""
    diary, vllm = handler_of("diary.views"), handler_of("vllm.entrypoints.sleep")
    chat = Route("/v1/chat/completions", diary)
    ordinary = Starlette(routes=[Route("/sleep", diary), chat])
    engine = Starlette(routes=[Mount("/llm", routes=[Route("/sleep", vllm), chat])])
    assert table_for(ordinary, ()).match("POST", "/sleep") is UNKNOWN_POST
    found = table_for(engine, ()).match("POST", "/llm/sleep")
    assert found is not None
    assert found.is_admin


def test_a_route_for_any_path_is_no_admin_route() -> None:
    """A page that answers every path with 200 would have a stranger's files measured as the model."""
    page, own = handler_of("shop.views"), Route("/x/v1/load_lora_adapter", handler_of("mine"))
    everything = Starlette(routes=[Route("/{path:path}", page), Route("/v1/chat/completions", page)])
    for path in ("/load_lora_adapter", "/update_weights_from_disk", "/sleep"):
        assert table_for(everything, ()).match("POST", path) is UNKNOWN_POST
    assert table_for(Starlette(routes=[own]), ()).match("POST", "/x/v1/load_lora_adapter").is_admin  # type: ignore[union-attr]
    assert table_for(object(), ()).match("POST", "/load_lora_adapter").is_admin  # type: ignore[union-attr]


def test_the_docstring_lists_the_table() -> None:
    """Every literal known route stands in the module's docstring, which is its documentation."""
    page = known_routes.__doc__ or ""
    listed = set()
    for stem, ends in re.findall(r"(/[\w/{}:-]*)((?:\|[\w:]+)*)", page):
        listed.add(stem)
        listed |= {re.sub(r":?\w+$", "", stem) + end for end in filter(None, ends.split("|"))}
    paths = [*known_routes.LITERAL, *known_routes.SOCKETS]
    assert {path for path in paths if path not in listed} == set()


def table(text: str) -> RouteTable:
    """A table with the rules of an AUDITLOG_ROUTES text without mistakes."""
    problems: list[str] = []
    rules = parse_routes(text, problems)
    assert problems == []
    return RouteTable(rules)


def test_the_first_matching_rule_wins() -> None:
    """Rules come before the table, in the order the operator wrote them; `*` is any method."""
    found = table("GET /a/{x}=values, * /a/b=record, POST /internal/*=skip, * /all/{rest:path}=values")
    assert found.match("GET", "/a/b") == routes.RoutePolicy(True, "predict", "/a/{x}", None, is_explicit=True)
    assert found.match("PUT", "/a/b") == routes.RoutePolicy(False, "predict", "/a/b", None, is_explicit=True)
    assert found.match("POST", "/internal/a/b") is SKIP
    assert found.match("GET", "/internal/a/b") is None
    policy = found.match("DELETE", "/all/a/b/c")
    assert policy is not None
    assert policy.route == "/all/{rest:path}"


def test_a_rule_on_a_known_route_keeps_its_words() -> None:
    """Taking values away from a chat route leaves it a chat route."""
    policy = table("POST /v1/chat/completions=record").match("POST", "/v1/chat/completions")
    assert policy is not None
    assert (policy.keeps_values, policy.operation, policy.dialect) == (False, "chat", "openai.chat")


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("/a/{x}", "/a/b", True),
        ("/a/{x}", "/a/b/c", False),
        ("/a/{x}", "/a/", False),
        ("/a/{x:path}", "/a/b/c", True),
        ("/a*", "/abc/d", True),
        ("/a.b", "/axb", False),
        ("/a/{x}:go", "/a/b:go", True),
        ("/a(b", "/a(b", True),
    ],
)
def test_templates(template: str, path: str, expected: bool) -> None:
    """A parameter is one segment, `:path` and a final star are the rest, all else is literal."""
    assert (compile_template(template).fullmatch(path) is not None) is expected


@given(st.text(max_size=200), st.sampled_from(["POST", "GET", "P\0ST"]))
def test_matching_is_total(path: str, method: str) -> None:
    """Any path and method have an answer."""
    RouteTable(parse_routes("POST /a/{x}=values, * /b/*=skip", [])).match(method, "/" + path)


@pytest.mark.parametrize("status", [401, 405, 413, 429])
def test_always_refusals(status: int) -> None:
    """No application decides about a person with these."""
    assert is_refused(status, has_handler=True)
    assert is_refused(status, has_handler=False)


@pytest.mark.parametrize(
    ("status", "expected"), [(403, True), (404, True), (200, False), (400, False), (500, False)]
)
def test_refusals_without_a_handler(status: int, expected: bool) -> None:
    """403 and 404 are refusals only where no handler was chosen; other answers never are."""
    assert is_refused(status, has_handler=False) is expected
    assert not is_refused(status, has_handler=True)


async def show_template(request: Request) -> PlainTextResponse:
    """Answer with the template of the route that answers."""
    return PlainTextResponse(str(route_template(request.scope)))


APP = Starlette(
    routes=[
        Route("/plain", show_template, methods=["POST"]),
        Route("/customers/{customer:int}/score", show_template, methods=["POST"]),
        Mount("/tenants/{tenant}", routes=[Route("/people/{name}", show_template, methods=["POST"])]),
        Route("/files/{where:path}", show_template, methods=["POST"]),
        Route("/{a}/{b}/pair", show_template, methods=["POST"]),
    ]
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/plain", "/plain"),
        ("/customers/7/score", "/customers/{customer:int}/score"),
        ("/customers/007/score", "/customers/{customer:int}/score"),
        ("/tenants/acme/people/jane-doe", "/tenants/{tenant}/people/{name}"),
        ("/files/a/b/c", "/files/{where:path}"),
        ("/same/same/pair", "/{a}/{b}/pair"),
    ],
)
@pytest.mark.asyncio
async def test_names_never_hold_what_varies(path: str, expected: str) -> None:
    """Through a real router the name is its own template, also below a mount."""
    sent = await drive(AuditMiddleware(APP, ObservingRecorder()), http_scope(path))  # type: ignore[arg-type]
    assert sent[-1]["body"].decode() == expected


@pytest.mark.parametrize(
    ("path", "params", "expected"),
    [
        ("/plain", {}, "/plain"),
        ("/customers/7/score", {"customer": 7}, "/customers/{customer}/score"),
        ("/customers/007/score", {"customer": 7}, None),
        ("/a/b/c", {"x": "a", "rest": "b/c"}, "/{x}/{rest}"),
        ("/same/same/pair", {"a": "same", "b": "same"}, None),
        ("/x-ray/x", {"a": "x"}, "/x-ray/{a}"),
        ("/x", {"a": ""}, None),
        ("/" + "x" * 600, {}, None),
    ],
)
def test_names_are_put_back_where_a_router_gives_no_template(
    path: str, params: dict[str, Any], expected: str | None
) -> None:
    """Parameters become names again as whole segments; when in doubt there is no name."""
    assert route_template(http_scope(path, endpoint=print, path_params=params)) == expected


def test_no_router_no_name() -> None:
    """Of an application that says nothing about its routes no path is written down."""
    assert route_template(http_scope("/customers/4711")) is None


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/a/b", "", "/a/b"),
        ("/llm/a", "/llm", "/a"),
        ("/llmx/a", "/llm", "/llmx/a"),
        ("/llm", "/llm", "/llm"),
    ],
)
def test_root_path(path: str, root: str, expected: str) -> None:
    """The prefix under which a server is mounted is taken off, whole segments only."""
    scope: dict[str, Any] = http_scope(path, root_path=root)
    assert request_path(scope) == expected

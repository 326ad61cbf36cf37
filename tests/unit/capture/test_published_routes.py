"""The route tables of real servers, as their packages have them: no inference route is missed.

`published_routes.json` was read from the named packages; `kind` says what a route does there: `inference`
runs a model or delivers what one made, `admin` changes what is loaded, `other` does neither.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from auditlog.capture.known_routes import ADMIN_OF_ENGINES
from auditlog.capture.route_list import table_for
from auditlog.capture.routes import UNKNOWN_POST, WEBSOCKET, RoutePolicy, RouteTable, admin_route

FIXTURE = Path(__file__).parents[2] / "support" / "published_routes.json"
SERVERS: list[dict[str, Any]] = json.loads(FIXTURE.read_text())


def served(server: dict[str, Any]) -> RouteTable:
    """The table for an application with these routes."""
    return table_for(SimpleNamespace(routes=[seen(route) for route in server["routes"]]), ())


def seen(route: dict[str, Any]) -> Any:
    """A route as Starlette keeps it."""
    methods = None if route["method"] == WEBSOCKET else {route["method"]}
    return SimpleNamespace(
        path=route["path"], endpoint=SimpleNamespace(__module__=module_of(route)), methods=methods
    )


def module_of(route: dict[str, Any]) -> str:
    """Where the package defines its handler; nowhere in a server that is no Python."""
    file: str = route["file"].rpartition("openai_frontend/")[2]
    return file.removesuffix(".py").replace("/", ".") if file.endswith(".py") else ""


def is_of_others(route: dict[str, Any]) -> bool:
    """An admin route under a name that anyone may use, of a server that cannot be in this process."""
    template = admin_route(re.sub(r"\{[^}]*\}", "x-7", route["path"]))
    is_generic = template is not None and template.route in ADMIN_OF_ENGINES
    return route["kind"] == "admin" and is_generic and not module_of(route)


ROUTES = [
    pytest.param(table, route, id=f"{server['server']}-{route['method']}-{route['path']}")
    for server in SERVERS
    for table in [served(server)]
    for route in server["routes"]
]


def policy_of(table: RouteTable, route: dict[str, Any], prefix: str = "") -> RoutePolicy | None:
    """What the table says of a request of this route, each parameter filled in."""
    path = prefix + re.sub(r"\{[^}]*\}", "x-7", route["path"])
    return table.match_websocket(path) if route["method"] == WEBSOCKET else table.match(route["method"], path)


@pytest.mark.parametrize(("table", "route"), ROUTES)
def test_every_published_route_is_recorded_as_what_it_is(table: RouteTable, route: dict[str, Any]) -> None:
    """Inference keeps values under the right operation and fold; admin routes are recognised by effect."""
    policy = policy_of(table, route)
    if route["kind"] == "inference":
        assert policy is not None
        assert policy.keeps_values
        assert (policy.operation, policy.dialect) == (route["operation"], route.get("dialect"))
        assert not policy.is_admin
    elif route["kind"] == "admin" and not is_of_others(route):
        assert policy is not None
        assert policy.admin is not None
        assert policy.admin.value == route["effect"]
    else:
        assert policy is None or policy is UNKNOWN_POST


@pytest.mark.parametrize("server", SERVERS, ids=[server["server"] for server in SERVERS])
def test_mounted_servers_are_recorded_as_what_they_are(server: dict[str, Any]) -> None:
    """Below a mount every inference and admin route is what it is at the top; `/v1` under any prefix."""
    inner = SimpleNamespace(routes=[seen(route) for route in server["routes"]])
    table = table_for(SimpleNamespace(routes=[SimpleNamespace(path="/llm/{tenant}", app=inner)]), ())
    for route in server["routes"]:
        if route["kind"] != "other" and route["path"] != "/" and not is_of_others(route):
            policy = policy_of(table, route, "/llm/acme")
            assert policy is not None
            assert (policy.operation == route.get("operation")) != policy.is_admin, route["path"]
        if route["path"].startswith("/v1/") and route["kind"] == "inference":
            anywhere = policy_of(RouteTable(), route, "/gateway/eu")
            assert anywhere is not None
            assert anywhere.operation == route["operation"]


def test_the_tables_are_of_real_packages() -> None:
    """Every table names its package, version and files, and has an inference route."""
    for server in SERVERS:
        assert server["version"]
        assert server["source"]
        assert any(route["kind"] == "inference" for route in server["routes"])
        assert all(route["file"] for route in server["routes"])

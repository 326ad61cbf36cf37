"""The route tables of real servers, as their packages have them: no inference route is missed.

`published_routes.json` was read from the named packages; `kind` says what a route does there: `inference`
runs a model or delivers what one made, `admin` changes what is loaded, `other` does neither.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture.routes import UNKNOWN_POST, WEBSOCKET, RoutePolicy, RouteTable

FIXTURE = Path(__file__).parents[2] / "support" / "published_routes.json"
SERVERS: list[dict[str, Any]] = json.loads(FIXTURE.read_text())
ROUTES = [
    pytest.param(route, id=f"{server['server']}-{route['method']}-{route['path']}")
    for server in SERVERS
    for route in server["routes"]
]


def policy_of(route: dict[str, Any]) -> RoutePolicy | None:
    """What the table says of a request of this route, each parameter filled in."""
    path = re.sub(r"\{[^}]*\}", "x-7", route["path"])
    table = RouteTable()
    return table.match_websocket(path) if route["method"] == WEBSOCKET else table.match(route["method"], path)


@pytest.mark.parametrize("route", ROUTES)
def test_every_published_route_is_recorded_as_what_it_is(route: dict[str, Any]) -> None:
    """Inference keeps values under the right operation and fold; admin routes are recognised by effect."""
    policy = policy_of(route)
    if route["kind"] == "inference":
        assert policy is not None
        assert policy.keeps_values
        assert (policy.operation, policy.dialect) == (route["operation"], route.get("dialect"))
        assert not policy.is_admin
    elif route["kind"] == "admin":
        assert policy is not None
        assert policy.admin is not None
        assert policy.admin.value == route["effect"]
    else:
        assert policy is None or policy is UNKNOWN_POST


def test_the_tables_are_of_real_packages() -> None:
    """Every table names its package, version and files, and has an inference route."""
    for server in SERVERS:
        assert server["version"]
        assert server["source"]
        assert any(route["kind"] == "inference" for route in server["routes"])
        assert all(route["file"] for route in server["routes"])

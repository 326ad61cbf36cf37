"""Which routes an application serves, and how each is recorded: the content of its `coverage` entry.

The application's own routes where they can be read (Starlette and FastAPI, through the layers between), each
asked of the same table that will judge its requests; else the operator's rules and the routes known by name.
A path stands as the framework has it, a template. Must never: call the application.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from auditlog.capture import known_routes
from auditlog.capture.coverage import CoverageNote, CoveredRoute
from auditlog.capture.routes import SKIP, WEBSOCKET, RoutePolicy
from auditlog.capture.stack import applications

if TYPE_CHECKING:
    from auditlog.capture.routes import RouteTable

_MAX_ROUTES = 2000
_MAX_DEPTH = 8
_PARAMETER = re.compile(r"\{[^{}]*\}")
_PREFIXES = frozenset({"Mount", "Host"})


def coverage_of(app: object, table: RouteTable) -> CoverageNote:
    """What goes into the entry. A POST that nothing names is recorded all the same, unless a rule says so."""
    declared = list(dict.fromkeys(_declared(app)))[:_MAX_ROUTES]
    found = [_covered(table, method, path) for method, path in declared or _known()]
    ruled = [CoveredRoute(rule.method, rule.path, rule.mode) for rule in table.rules]
    routes = tuple(dict.fromkeys([*ruled, *(route for route in found if route is not None)]))
    others = table.match("POST", "/x-not-a-route") is SKIP
    return CoverageNote(routes, "skip" if others else "record")


def _covered(table: RouteTable, method: str, path: str) -> CoveredRoute | None:
    """The line of one route; None for what is no decision of anyone (a page, a health check)."""
    sample = _PARAMETER.sub("x", path)
    policy = table.match_websocket(sample) if method == WEBSOCKET else table.match(method, sample)
    if policy is None:
        return None
    if policy is SKIP:
        return CoveredRoute(method, path, "skip")
    return _line(policy, method, path)


def _line(policy: RoutePolicy, method: str, path: str) -> CoveredRoute:
    if policy.is_admin:
        return CoveredRoute(method, path, "model")
    return CoveredRoute(method, path, "values" if policy.keeps_values else "record", policy.operation)


def _declared(app: object) -> Iterator[tuple[str, str]]:
    """Method and template of each route that the routers list, mounted ones with their prefix."""
    for layer in applications(app):
        routes = getattr(layer, "routes", None)
        if isinstance(routes, list):
            yield from _listed(routes, "", _MAX_DEPTH)
            return  # what is mounted was listed with it


def _listed(routes: Iterable[Any], prefix: str, depth: int) -> Iterator[tuple[str, str]]:
    for route in routes:
        path = getattr(route, "path", None)
        if not isinstance(path, str) or not depth:
            continue
        inner = getattr(route, "routes", None)
        if type(route).__name__ in _PREFIXES and isinstance(inner, list):
            yield from _listed(inner, prefix + path, depth - 1)
            continue
        methods = getattr(route, "methods", None)
        if isinstance(methods, set | frozenset | list | tuple):
            yield from ((str(method), prefix + path) for method in sorted(map(str, methods)))
        elif "WebSocket" in type(route).__name__:
            yield WEBSOCKET, prefix + path


def _known() -> Iterator[tuple[str, str]]:
    """The routes known by name, for an application that does not tell its own."""
    yield from (("POST", path) for path in known_routes.LITERAL)
    yield from (("POST", path) for path, _ in known_routes.TEMPLATES)
    yield from (("POST", path) for path in known_routes.ADMIN)
    yield from (("POST", path) for path, _ in known_routes.ADMIN_TEMPLATES)
    yield from (("GET", path) for path, _, _ in known_routes.FETCHES)
    yield from ((WEBSOCKET, path) for path in known_routes.SOCKETS)

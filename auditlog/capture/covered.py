"""Which routes an application serves, and how each is recorded: the content of its `coverage` entry.

The application's own routes where they can be seen (`route_list`); else the operator's rules and the routes
known by name. A path stands as the framework has it, a template. Must never: call the application, or raise
on a strange one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from auditlog.capture import known_routes
from auditlog.capture.coverage import CoverageNote, CoveredRoute
from auditlog.capture.route_list import RouteLine, SeenRoute, describe_route, describe_routes
from auditlog.capture.routes import SKIP, WEBSOCKET

if TYPE_CHECKING:
    from auditlog.capture.routes import RouteTable


def coverage_of(app: object, table: RouteTable) -> CoverageNote:
    """What goes into the entry. An order that nothing names is recorded all the same, unless a rule says so.

    A route that no rule leaves out and that is no decision of anyone (a page, a health check) has no line.
    """
    lines = describe_routes(app, table) or [describe_route(route, table) for route in _known()]
    ruled = [CoveredRoute(rule.method, rule.path, rule.mode) for rule in table.rules]
    routes = [*ruled, *(_covered(line) for line in lines if line.record != "skip")]
    others = table.match("POST", "/x-not-a-route") is SKIP
    return CoverageNote(tuple(dict.fromkeys(routes)), "skip" if others else "record")


def _covered(line: RouteLine) -> CoveredRoute:
    return CoveredRoute(line.method, line.path, line.record, line.operation)


def _known() -> Iterator[SeenRoute]:
    """The routes known by name, for an application that does not tell its own."""
    yield from (SeenRoute("POST", path) for path in known_routes.LITERAL)
    yield from (SeenRoute("POST", path) for path, _ in known_routes.TEMPLATES)
    yield from (SeenRoute("POST", path) for path in known_routes.ADMIN)
    yield from (SeenRoute("POST", path) for path, _ in known_routes.ADMIN_TEMPLATES)
    yield from (SeenRoute("GET", path) for path, _, _ in known_routes.FETCHES)
    yield from (SeenRoute(WEBSOCKET, path) for path in known_routes.SOCKETS)

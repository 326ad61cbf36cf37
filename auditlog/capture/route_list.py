"""Which routes of an application are recorded, and how: start-up table, `auditlog routes`, coverage entries.

Reads the application's own list of routes, mounts and included routers too, as Starlette and FastAPI keep
them; nothing is called or built. An application of another kind, or one behind a layer without `.app`, does
not show its routes: then only the operator's rules and the known routes can be told. Must never: raise for
an odd application, or import a framework.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from auditlog.capture.coverage import RouteRecord
from auditlog.capture.known_routes import ENGINES
from auditlog.capture.routes import (
    MARK_ATTRIBUTE,
    SKIP,
    UNKNOWN,
    WEBSOCKET,
    Mark,
    RouteTable,
    admin_route,
)
from auditlog.capture.settings import RouteRule

MAX_ROUTES = 2000
MAX_DEPTH = 16
_ANY = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HIDDEN_METHODS = frozenset({"HEAD", "OPTIONS"})
_PARAMETER = re.compile(r"\{[^{}/]*\}")
_SAMPLE = "x"
"""Stands for a parameter when a template is matched."""


@dataclass(frozen=True, slots=True)
class RouteLine:
    """One route: `path` is its template, `method` WEBSOCKET for a websocket; `operation` None if skipped."""

    method: str
    path: str
    record: RouteRecord
    operation: str | None = None
    dialect: str | None = None
    is_known: bool = True
    """False for an order or websocket that no rule, mark or table knows: recorded without values."""


class SeenRoute(NamedTuple):
    """A route of an application, before anything is decided about it."""

    method: str
    path: str
    mark: Mark | None = None
    module: str = ""
    """Where its handler is defined."""


def describe_routes(app: object, table: RouteTable) -> list[RouteLine]:
    """What will happen to the requests of each route of `app`, in the application's own order; [] if its
    routes cannot be seen.
    """
    lines = [describe_route(route, table) for route in list_routes(app)]
    return list(dict.fromkeys(lines))


def unmatched_rules(app: object, table: RouteTable) -> list[RouteRule]:
    """The operator's rules that no visible route of `app` answers to; [] if its routes cannot be seen."""
    seen = list_routes(app)
    if not seen:
        return []
    used = {table.rule_of(route.method, _PARAMETER.sub(_SAMPLE, route.path)) for route in seen}
    return [rule for rule in table.rules if rule not in used]


def table_for(app: object, rules: Iterable[RouteRule]) -> RouteTable:
    """The operator's rules and the known routes, with what can be seen of this application: where others are
    mounted in it, and which admin routes of model servers it has.
    """
    mounts: list[str] = []
    seen = list_routes(app, mounts)
    plain, own = RouteTable((), mounts=mounts), dict[str, bool]()
    for route in seen:
        for tail in plain.tails(_PARAMETER.sub(_SAMPLE, route.path)):
            if (known := admin_route(tail)) is not None and known.route is not None:
                own[known.route] = own.get(known.route, False) or _is_of_an_engine(route.module)
    return RouteTable(rules, mounts=mounts, own_admin=own if seen else None)


def list_routes(app: object, mounts: list[str] | None = None) -> list[SeenRoute]:
    """The routes of an application and of what is mounted in it; `mounts` gets the places of the latter."""
    found: list[SeenRoute] = []
    for route in _walk(_routes_of(app), "", 0, [] if mounts is None else mounts):
        found.append(route)
        if len(found) >= MAX_ROUTES:
            break
    return found


def format_table(lines: Iterable[RouteLine]) -> list[str]:
    """The lines as text in columns, the recorded ones first, for a log or a terminal."""
    order = {"values": 0, "model": 1, "record": 2, "skip": 3}
    rows = [
        (line.record, line.method, line.path, _words(line))
        for line in sorted(lines, key=lambda line: order[line.record])
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return ["  ".join(_padded(row, widths)).rstrip() for row in rows]


def summary(app: object, table: RouteTable) -> list[str]:
    """What an operator should read at a start: the table, and what in it needs a look."""
    lines = describe_routes(app, table)
    if not lines:
        return ["routes: not visible; known inference routes keep values, other orders have none"]
    text = ["routes:", *(f"  {row}" for row in format_table(lines) if not row.startswith("skip"))]
    text.append(f"  not recorded: {sum(line.record == 'skip' for line in lines)} routes")
    if unknown := sorted({line.path for line in lines if not line.is_known}):
        text.append(f"  recorded without values, since nothing is known of them: {', '.join(unknown)}")
    text += [
        f"  AUDITLOG_ROUTES: no route answers to '{rule.method} {rule.path}={rule.mode}'"
        for rule in unmatched_rules(app, table)
    ]
    return text


def describe_route(route: SeenRoute, table: RouteTable) -> RouteLine:
    """What will happen to the requests of one route."""
    path = _PARAMETER.sub(_SAMPLE, route.path)
    is_socket = route.method == WEBSOCKET
    policy = table.match_websocket(path) if is_socket else table.match(route.method, path)
    if route.mark is not None and not is_socket and (policy is None or not policy.is_explicit):
        record: RouteRecord = "values" if route.mark.keeps_values else "record"
        return RouteLine(route.method, route.path, record, route.mark.operation)
    if policy is None or policy is SKIP:
        return RouteLine(route.method, route.path, "skip")
    if policy.is_admin:
        return RouteLine(route.method, route.path, "model")
    is_known = policy.operation != UNKNOWN
    record = "values" if policy.keeps_values else "record"
    return RouteLine(route.method, route.path, record, policy.operation, policy.dialect, is_known)


def _is_of_an_engine(module: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in ENGINES)


def _walk(routes: Iterable[object], prefix: str, depth: int, mounts: list[str]) -> Iterator[SeenRoute]:
    if depth > MAX_DEPTH:
        return
    for route in routes:
        included = getattr(route, "original_router", None)
        path = getattr(route, "path", None)
        if included is not None:
            # FastAPI keeps an included router as it is, and the prefix beside it.
            more = getattr(getattr(route, "include_context", None), "prefix", "")
            yield from _walk(_routes_of(included), prefix + str(more), depth + 1, mounts)
        elif not isinstance(path, str):
            yield from _walk(
                _routes_of(getattr(route, "app", None)), prefix, depth + 1, mounts
            )  # by host name
        elif hasattr(route, "endpoint"):
            yield from _methods(route, prefix + path)
        else:
            mounts.append(prefix + path)
            yield from _walk(_routes_of(getattr(route, "app", None)), prefix + path, depth + 1, mounts)


def _methods(route: object, path: str) -> Iterator[SeenRoute]:
    endpoint, methods = getattr(route, "endpoint", None), getattr(route, "methods", None)
    found = getattr(endpoint, MARK_ATTRIBUTE, None)
    mark = found if isinstance(found, Mark) else None
    module = str(getattr(endpoint, "__module__", ""))
    if methods is None:
        # A route for websockets, or a class whose methods only it knows.
        is_socket = "websocket" in type(route).__name__.lower()
        methods = (WEBSOCKET,) if is_socket else _ANY
    for method in sorted(set(methods) - _HIDDEN_METHODS):
        yield SeenRoute(str(method), path, mark, module)


def _routes_of(app: object) -> list[object]:
    """The list of routes of an application, through the layers around it."""
    for _ in range(MAX_DEPTH * 4):
        if app is None:
            return []
        routes = getattr(app, "routes", None)
        if isinstance(routes, list):
            return list(routes)
        app = getattr(app, "app", None)
    return []


def _words(line: RouteLine) -> str:
    if line.operation is None:
        return "what is loaded" if line.record == "model" else ""
    return line.operation if line.dialect is None else f"{line.operation}, streams as {line.dialect}"


def _padded(row: tuple[str, str, str, str], widths: list[int]) -> list[str]:
    return [text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True)]

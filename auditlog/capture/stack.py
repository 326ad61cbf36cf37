"""What stands between the middleware and the application: read once, when the application starts.

    ServerErrorMiddleware > AuditMiddleware > CORSMiddleware > router            as it should be
    AuditMiddleware > GZipMiddleware > router                                    a problem: compression inside

Compression and caches belong outside (added after ours, with Starlette and FastAPI): inside, the commitment
is over coded bytes, no stream can carry its promise, and an answer from a cache looks like a new decision.
Only what is visible is read: `.app` attributes, Starlette's lists of middleware, mounted applications. Must
never: build, call or change anything, or raise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_COMPRESSION = ("gzip", "brotli", "zstd", "compress", "deflate")
_CACHES = ("cache", "caching")
_MAX_LAYERS = 200
_INNER = ("app", "_app", "application", "asgi_app", "wrapped_app")


def order_problems(app: object) -> list[str]:
    """What is inside that belongs outside, in words for the operator; [] if all is well."""
    problems = []
    for name in _layer_names(app):
        lowered = name.rpartition(".")[2].lower()
        if any(word in lowered for word in _COMPRESSION):
            kind = "compression"
        elif any(word in lowered for word in _CACHES) and "control" not in lowered:
            kind = "a cache"
        else:
            continue
        text = f"middleware: expected {kind} outside of AuditMiddleware, found {name} inside it"
        if text not in problems:
            problems.append(text)
    return problems


def applications(app: object) -> Iterator[object]:
    """`app` and what it wraps, outermost first, mounted applications included; each once."""
    waiting, seen = [app], set[int]()
    while waiting and len(seen) < _MAX_LAYERS:
        layer = waiting.pop(0)
        if layer is None or id(layer) in seen or isinstance(layer, str | bytes | int):
            continue
        seen.add(id(layer))
        yield layer
        members = _members(layer)
        waiting += [members[name] for name in _INNER if name in members]
        stack = members.get("middleware_stack")
        if stack is not None:
            waiting.append(stack)
        waiting += [getattr(route, "app", None) for route in _routes(layer)]


def _routes(layer: object) -> list[Any]:
    """The routes of a router that have applications of their own: mounts and hosts."""
    routes = _members(layer).get("routes")
    if not isinstance(routes, list):
        routes = getattr(_members(layer).get("router"), "routes", None)
    if not isinstance(routes, list):
        return []
    return [route for route in routes if type(route).__name__ in ("Mount", "Host")]


def _layer_names(app: object) -> Iterator[str]:
    """The classes of all layers, and of those that are listed but not built yet."""
    for layer in applications(app):
        if any(name in _members(layer) for name in _INNER):
            yield _name(type(layer))
        listed = _members(layer).get("user_middleware")
        for one in listed if isinstance(listed, list) else ():
            found = getattr(one, "cls", None)
            # What is built around us, or is ours itself, stands outside: it is in the list as well.
            if isinstance(found, type) and _members(layer).get("middleware_stack") is None:
                yield _name(found)


def _members(layer: object) -> dict[str, Any]:
    members = getattr(layer, "__dict__", None)
    return members if isinstance(members, dict) else {}


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"

"""Which handler answered, and the template of its route: never a path with someone's id in it.

A mounted application is not a handler: Starlette's `Mount` puts it into `scope["endpoint"]` before anything
in it has matched, and what its router answers to an unknown path nobody decided.

Entries may be public, and paths hold customer numbers. So the name is the framework's own template, or the
path where the framework says that nothing in it varies, or the path with every varying segment put back as
`{name}`; if none of these is certain, there is no name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from auditlog.capture.routes import compile_template

MAX_ROUTE_CHARS = 512
_ASGI = ("scope", "receive", "send")


def request_path(scope: Mapping[str, Any]) -> str:
    """The path below the server's own root path; attacker-controlled."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def route_template(scope: Mapping[str, Any]) -> str | None:
    """The template of the route a Starlette or FastAPI router chose, else None."""
    if chosen_handler(scope) is None:
        return None
    path: str = scope["path"]
    template = getattr(scope.get("route"), "path", None)
    if isinstance(template, str) and len(template) <= MAX_ROUTE_CHARS and _pattern(template).fullmatch(path):
        return template
    return _put_names_back(path, scope.get("path_params") or {})


def chosen_handler(scope: Mapping[str, Any]) -> object | None:
    """What the framework chose to answer this request; None while that is only a mounted application."""
    endpoint, route = scope.get("endpoint"), scope.get("route")
    if endpoint is None or getattr(route, "endpoint", None) is endpoint:
        return endpoint
    if getattr(route, "app", None) is endpoint or hasattr(endpoint, "routes"):
        return None
    # FastAPI does not say which route it took, so a mount shows only by the root path it leaves behind.
    return None if "app_root_path" in scope and _is_application(endpoint) else endpoint


def handler_layers(endpoint: object) -> list[object]:
    """The handler and what its decorators wrapped, outermost first."""
    layers: list[object] = []
    while endpoint is not None and len(layers) < 20:
        layers.append(endpoint)
        endpoint = endpoint.__func__ if inspect.ismethod(endpoint) else getattr(endpoint, "__wrapped__", None)
    return layers


def _is_application(endpoint: object) -> bool:
    """Whether this is an ASGI application rather than a function or class that handles a route."""
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    if inspect.isclass(endpoint) or inspect.isbuiltin(endpoint):
        return False
    if not inspect.isroutine(endpoint):
        return True
    try:
        return tuple(inspect.signature(endpoint).parameters) == _ASGI
    except (TypeError, ValueError):
        return False


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    return compile_template(re.sub(r"(\{[A-Za-z_][A-Za-z0-9_]*):(?!path\})[a-z]+\}", r"\1}", template))


def _put_names_back(path: str, params: Mapping[str, Any]) -> str | None:
    """`/a/7/b` with {"x": 7} as `/a/{x}/b`; None unless every parameter is found as whole segments."""
    for name, value in params.items():
        text = str(value).strip("/")
        named, count = re.subn(rf"(?<=/){re.escape(text)}(?=/|$)", "{" + str(name) + "}", path)
        if not text or count == 0:
            return None
        path = named
    return path if len(path) <= MAX_ROUTE_CHARS else None

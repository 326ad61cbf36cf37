"""Which requests are decisions, and what is kept of them (spec/registry.md has the words of `operation`).

Order of precedence: AUDITLOG_ROUTES, then a mark by `@audited` on the handler, then the known routes of
`known_routes` (any method that may carry a body, and GET; websockets), then: every other request that is no
GET, HEAD, OPTIONS, TRACE or CONNECT, and every other websocket, is recorded without values (operation
`unknown`), so that a route nobody thought of is never a silent hole.

The server's own root path is taken off first. A known route counts under every mount of the application that
can be seen too, and one of `/v1` or `/v2` under any prefix (`/openai`, a gateway's, a tenant's). Admin routes
are believed where the application has that very route (or its routes cannot be seen): by the path where only
servers of models have it, else if such a server's package answers it (`known_routes.ADMIN_OF_ENGINES`).

A rule `METHOD /path=values|record|skip|model`; `*` is any method, WEBSOCKET a websocket. `model` says that
the route changes what is loaded: its calls are no decisions, and after each the model is measured again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from auditlog.capture import known_routes
from auditlog.capture.known_routes import PREDICT, AdminEffect
from auditlog.capture.settings import RouteRule

UNKNOWN = "unknown"
WEBSOCKET = "WEBSOCKET"
"""The method of a websocket, in rules and in the table that start-up shows."""

REFUSED_STATUSES = frozenset({401, 403, 404, 405, 413, 429})
"""Answers that mean no handler decided anything, if none did: counted, not logged."""

_ALWAYS_REFUSED = frozenset({401, 405, 413, 429})
_NO_ORDERS = frozenset({"HEAD", "OPTIONS", "TRACE", "CONNECT"})
_VERSION = re.compile(r"/v[12]/")
_CONVERTER = re.compile(r":(?!path\})[a-z]+\}")
_PARAMETER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*(:path)?\}")


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """What to do with requests of one route. `route` is a template, never a path with someone's id in it.

    `dialect` names the fold of its event stream, or the protocol of its websocket. `admin` is set where the
    route changes what is loaded: such calls are never decisions.
    """

    keeps_values: bool
    operation: str
    route: str | None = None
    dialect: str | None = None
    is_explicit: bool = False
    """Set by AUDITLOG_ROUTES: neither a mark nor the table may change it."""
    admin: AdminEffect | None = None

    @property
    def is_admin(self) -> bool:
        """Whether a call changes what is loaded instead of being a decision."""
        return self.admin is not None


MARK_ATTRIBUTE = "__auditlog_mark__"
"""Where `@audited` puts its `Mark` on a handler; decorators that use functools.wraps carry it along."""


class Mark(NamedTuple):
    """What `@audited` says on a handler; the middleware finds it on the endpoint the framework chose."""

    operation: str
    keeps_values: bool


UNKNOWN_POST = RoutePolicy(keeps_values=False, operation=UNKNOWN)
"""The policy of a POST, or of another method that may change something, that no rule, mark or table knows."""

UNKNOWN_SOCKET = RoutePolicy(keeps_values=False, operation=UNKNOWN)
"""The policy of a websocket that no rule or table knows."""

SKIP = RoutePolicy(keeps_values=False, operation=UNKNOWN, is_explicit=True)
"""What AUDITLOG_ROUTES excluded; not even a mark brings it back. Compare with `is`."""


class RouteTable:
    """AUDITLOG_ROUTES and the known routes. Immutable after construction; `match` is called for every
    request.
    """

    def __init__(
        self,
        rules: Iterable[RouteRule] = (),
        *,
        mounts: Iterable[str] = (),
        own_admin: Mapping[str, bool] | None = None,
    ) -> None:
        """Compile the operator's rules; the first that matches wins. Rules were checked by the settings.

        `mounts` are the templates below which the application has others; `own_admin` the known admin routes
        that it has itself, and whether a model server answers them; None where its routes cannot be seen.
        """
        self._rules = [(rule, compile_template(rule.path)) for rule in rules]
        self._mounts = [
            compile_template(_CONVERTER.sub("}", mount))
            for mount in dict.fromkeys(mounts)
            if mount.strip("/")
        ]
        self._own_admin = own_admin

    @property
    def rules(self) -> tuple[RouteRule, ...]:
        """The operator's rules, in their order."""
        return tuple(rule for rule, _ in self._rules)

    def match(self, method: str, path: str) -> RoutePolicy | None:
        """The policy for a request; `SKIP`; or None: not recorded, unless its handler turns out to be marked.

        The path is attacker-controlled; it is matched in linear time and never stored.
        """
        method = method.upper()
        found = self._rule_for(method, path)
        if found is not None:
            return found
        if method in _NO_ORDERS:
            return None
        for tail in self.tails(path):
            known = _by_get(tail) if method == "GET" else known_route(tail)
            known = known or self._admin(method, tail)
            if known is not None:
                return known
        return None if method == "GET" else UNKNOWN_POST

    def match_websocket(self, path: str) -> RoutePolicy | None:
        """The policy for a websocket; `SKIP` where it is not recorded. The path is attacker-controlled."""
        found = self._rule_for(WEBSOCKET, path)
        if found is not None:
            return found
        known = (_SOCKETS.get(tail) for tail in self.tails(path))
        return next(filter(None, known), UNKNOWN_SOCKET)

    def tails(self, path: str) -> Iterator[str]:
        """The path, and what is left of it below each prefix under which known routes may be served."""
        yield path
        for mount in self._mounts:
            prefix = mount.match(path)
            if prefix is not None and path.startswith("/", prefix.end()):
                yield path[prefix.end() :]
        version = _VERSION.search(path, 1)
        if version is not None:
            yield path[version.start() :]

    def _admin(self, method: str, path: str) -> RoutePolicy | None:
        policy = admin_route(path) if method == "POST" or path in known_routes.ADMIN_BY_GET else None
        if policy is None or policy.route is None:
            return None
        # A route that takes any path answers a stranger's request for this one, too: nothing is loaded then.
        own = self._own_admin
        if policy.route in known_routes.ADMIN_OF_ENGINES:
            return policy if own is not None and own.get(policy.route) else None
        return policy if own is None or policy.route in own else None

    def rule_of(self, method: str, path: str) -> RouteRule | None:
        """The operator's rule that decides about a request."""
        for rule, pattern in self._rules:
            if rule.method in ("*", method) and pattern.fullmatch(path) is not None:
                return rule
        return None

    def _rule_for(self, method: str, path: str) -> RoutePolicy | None:
        if not self._rules:
            return None
        rule = self.rule_of(method, path)
        return None if rule is None else _policy_of(rule, method, path)


def known_route(path: str) -> RoutePolicy | None:
    """The policy of a known inference route for this path, or None."""
    policy = _KNOWN.get(path)
    return policy if policy is not None else _found(_PATTERN, _BY_GROUP, path)


def admin_route(path: str) -> RoutePolicy | None:
    """The policy of a known admin route for this path, or None."""
    policy = _ADMIN.get(path)
    return policy if policy is not None else _found(_ADMIN_PATTERN, _ADMIN_BY_GROUP, path)


def fetch_route(path: str) -> RoutePolicy | None:
    """The policy of a GET by which the result of an earlier order is fetched, or None."""
    return _found(_FETCH_PATTERN, _FETCH_BY_GROUP, path)


def _by_get(path: str) -> RoutePolicy | None:
    return fetch_route(path) or (None if path in known_routes.NOT_BY_GET else known_route(path))


def compile_template(template: str) -> re.Pattern[str]:
    """A pattern for `/a/{x}/b`; `{x:path}` and a final `*` match the rest, slashes included."""
    parts, at = [], 0
    for found in _PARAMETER.finditer(template):
        parts += [re.escape(template[at : found.start()]), ".+" if found.group(1) else "[^/]+"]
        at = found.end()
    rest = template[at:]
    parts.append(re.escape(rest[:-1]) + ".*" if rest.endswith("*") else re.escape(rest))
    return re.compile("".join(parts))


def is_refused(status: int, *, has_handler: bool) -> bool:
    """Whether an answer means the request was turned away before a handler decided anything.

    401, 405, 413 and 429 always do. 403 and 404 do unless the framework had chosen a handler (a mounted
    application is none): a refusal or a
    "no such customer" that the application decided is a decision, and leaving it out would be an omission.
    """
    if status not in REFUSED_STATUSES:
        return False
    return status in _ALWAYS_REFUSED or not has_handler


def _policy_of(rule: RouteRule, method: str, path: str) -> RoutePolicy:
    if rule.mode == "skip":
        return SKIP
    if rule.mode == "model":
        known = admin_route(path)
        effect = known.admin if known is not None else AdminEffect.FILES_CHANGED
        return RoutePolicy(False, UNKNOWN, rule.path, is_explicit=True, admin=effect)
    found = _SOCKETS.get(path) if method == WEBSOCKET else known_route(path) or fetch_route(path)
    is_inference = found is not None and not found.is_admin
    return RoutePolicy(
        keeps_values=rule.mode == "values",
        operation=found.operation if found is not None and is_inference else PREDICT,
        route=rule.path,
        dialect=found.dialect if found is not None else None,
        is_explicit=True,
    )


def _under_openai(policies: dict[str, RoutePolicy]) -> dict[str, RoutePolicy]:
    """The same policies, those of `/v1` also under `/openai`."""
    under = {"/openai" + path: policy for path, policy in policies.items() if path.startswith("/v1/")}
    return {**policies, **{path: replace(policy, route=path) for path, policy in under.items()}}


_Grouped = tuple[re.Pattern[str], dict[str, RoutePolicy]]


def _grouped(policies: Iterable[RoutePolicy]) -> _Grouped:
    """One pattern for all templates, and which policy each of its groups means."""
    by_group = {f"t{number}": policy for number, policy in enumerate(policies)}
    parts = (
        f"(?P<{name}>{compile_template(policy.route or '').pattern})" for name, policy in by_group.items()
    )
    return re.compile("|".join(parts)), by_group


def _found(pattern: re.Pattern[str], by_group: dict[str, RoutePolicy], path: str) -> RoutePolicy | None:
    found = pattern.fullmatch(path)
    return by_group[found.lastgroup] if found is not None and found.lastgroup is not None else None


_KNOWN = _under_openai(
    {
        path: RoutePolicy(keeps_values=True, operation=operation, route=path, dialect=dialect)
        for path, (operation, dialect) in known_routes.LITERAL.items()
    }
)
_SOCKETS = _under_openai(
    {
        path: RoutePolicy(keeps_values=True, operation=operation, route=path, dialect=dialect)
        for path, (operation, dialect) in known_routes.SOCKETS.items()
    }
)
_ADMIN = _under_openai(
    {
        path: RoutePolicy(keeps_values=False, operation=UNKNOWN, route=path, admin=effect)
        for path, effect in known_routes.ADMIN.items()
    }
)
_PATTERN, _BY_GROUP = _grouped(
    RoutePolicy(keeps_values=True, operation=operation, route=template)
    for template, operation in known_routes.TEMPLATES
)
_ADMIN_PATTERN, _ADMIN_BY_GROUP = _grouped(
    RoutePolicy(keeps_values=False, operation=UNKNOWN, route=template, admin=effect)
    for template, effect in known_routes.ADMIN_TEMPLATES
)
_FETCH_PATTERN, _FETCH_BY_GROUP = _grouped(
    RoutePolicy(keeps_values=True, operation=operation, route=template, dialect=dialect)
    for template, operation, dialect in known_routes.FETCHES
)

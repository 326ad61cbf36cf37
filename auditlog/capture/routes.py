"""Which requests are decisions, and what is kept of them (spec/registry.md has the words of `operation`).

Known inference routes, all POST, values kept. `{x}` is one path segment. A leading `/openai` is allowed
before every `/v1` (KServe, Triton). The server's own root path is taken off first.

    path                                             operation         stream fold
    /v1/chat/completions                             chat              openai.chat
    /v1/completions                                  text_completion   openai.completions
    /v1/responses, /v1/messages                      chat              -
    /v1/embeddings, /pooling, /v2/embed              embeddings        -
    /v1/audio/transcriptions|translations|speech     generate_content  -
    /v1/images/generations|edits                     generate_content  -
    /generate, /generate_stream                      text_completion   -
    /inference/v1/generate                           text_completion   -
    /v1/score, /score                                score             -
    /v1/rerank, /v2/rerank, /rerank                  rerank            -
    /classify                                        classify          -
    /invocations, /predict, /v1/predict              predict           -
    /predictions/{model}, /predictions/{model}/{v}   predict           -
    /v1/models/{model}:predict|:explain              predict           -   KServe v1, also with /versions/{v}
    /v2/models/{model}/infer|explain                 predict           -   KServe v2, also with /versions/{v}
    /v2/models/{model}/generate|generate_stream      text_completion   -   also with /versions/{v}
    /api/chat                                        chat              -
    /api/generate                                    text_completion   -
    /api/embed, /api/embeddings                      embeddings        -

Words are OpenTelemetry's `gen_ai.operation.name` where it has one; score, rerank, classify, predict and
unknown are ours. Order of precedence: AUDITLOG_ROUTES, then a mark by `@audited` on the handler, then this
table, then: any other POST is recorded without values (operation `unknown`), so that a route nobody thought
of is never a silent hole; other methods are not recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from auditlog.capture.settings import RouteRule

PREDICT = "predict"
UNKNOWN = "unknown"

REFUSED_STATUSES = frozenset({401, 403, 404, 405, 413, 429})
"""Answers that mean no handler decided anything, if none did: counted, not logged."""

_ALWAYS_REFUSED = frozenset({401, 405, 413, 429})

_LITERAL: dict[str, tuple[str, str | None]] = {
    "/v1/chat/completions": ("chat", "openai.chat"),
    "/v1/completions": ("text_completion", "openai.completions"),
    "/v1/responses": ("chat", None),
    "/v1/messages": ("chat", None),
    "/v1/embeddings": ("embeddings", None),
    "/v2/embed": ("embeddings", None),
    "/pooling": ("embeddings", None),
    "/v1/audio/transcriptions": ("generate_content", None),
    "/v1/audio/translations": ("generate_content", None),
    "/v1/audio/speech": ("generate_content", None),
    "/v1/images/generations": ("generate_content", None),
    "/v1/images/edits": ("generate_content", None),
    "/generate": ("text_completion", None),
    "/generate_stream": ("text_completion", None),
    "/inference/v1/generate": ("text_completion", None),
    "/v1/score": ("score", None),
    "/score": ("score", None),
    "/v1/rerank": ("rerank", None),
    "/v2/rerank": ("rerank", None),
    "/rerank": ("rerank", None),
    "/classify": ("classify", None),
    "/invocations": (PREDICT, None),
    "/predict": (PREDICT, None),
    "/v1/predict": (PREDICT, None),
    "/api/chat": ("chat", None),
    "/api/generate": ("text_completion", None),
    "/api/embed": ("embeddings", None),
    "/api/embeddings": ("embeddings", None),
}

_TEMPLATES: tuple[tuple[str, str], ...] = (
    ("/predictions/{model}", PREDICT),
    ("/predictions/{model}/{version}", PREDICT),
    ("/v1/models/{model}:predict", PREDICT),
    ("/v1/models/{model}:explain", PREDICT),
    ("/v1/models/{model}/versions/{version}:predict", PREDICT),
    ("/v2/models/{model}/infer", PREDICT),
    ("/v2/models/{model}/explain", PREDICT),
    ("/v2/models/{model}/generate", "text_completion"),
    ("/v2/models/{model}/generate_stream", "text_completion"),
    ("/v2/models/{model}/versions/{version}/infer", PREDICT),
    ("/v2/models/{model}/versions/{version}/explain", PREDICT),
    ("/v2/models/{model}/versions/{version}/generate", "text_completion"),
    ("/v2/models/{model}/versions/{version}/generate_stream", "text_completion"),
)

_PARAMETER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*(:path)?\}")


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """What to do with requests of one route. `route` is a template, never a path with someone's id in it."""

    keeps_values: bool
    operation: str
    route: str | None = None
    dialect: str | None = None
    is_explicit: bool = False
    """Set by AUDITLOG_ROUTES: neither a mark nor the table may change it."""


class Mark(NamedTuple):
    """What `@audited` says on a handler; the middleware finds it on the endpoint the framework chose."""

    operation: str
    keeps_values: bool


UNKNOWN_POST = RoutePolicy(keeps_values=False, operation=UNKNOWN)
"""The policy of a POST that no rule, mark or table knows."""

SKIP = RoutePolicy(keeps_values=False, operation=UNKNOWN, is_explicit=True)
"""What AUDITLOG_ROUTES excluded; not even a mark brings it back. Compare with `is`."""


class RouteTable:
    """AUDITLOG_ROUTES and the known routes. Immutable after construction; `match` is called for every
    request.
    """

    def __init__(self, rules: Iterable[RouteRule] = ()) -> None:
        """Compile the operator's rules; the first that matches wins. Rules were checked by the settings."""
        self._rules = [(rule, compile_template(rule.path)) for rule in rules]

    def match(self, method: str, path: str) -> RoutePolicy | None:
        """The policy for a request; `SKIP`; or None: not recorded, unless its handler turns out to be marked.

        The path is attacker-controlled; it is matched in linear time and never stored.
        """
        for rule, pattern in self._rules:
            if rule.method in ("*", method) and pattern.fullmatch(path) is not None:
                return _policy_of(rule, path)
        if method != "POST":
            return None
        return known_route(path) or UNKNOWN_POST


def known_route(path: str) -> RoutePolicy | None:
    """The policy of a known inference route for this path, or None."""
    policy = _KNOWN.get(path)
    if policy is not None:
        return policy
    found = _PATTERN.fullmatch(path)
    return _BY_GROUP[found.lastgroup] if found is not None and found.lastgroup is not None else None


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


def _policy_of(rule: RouteRule, path: str) -> RoutePolicy:
    if rule.mode == "skip":
        return SKIP
    known = known_route(path)
    return RoutePolicy(
        keeps_values=rule.mode == "values",
        operation=known.operation if known else PREDICT,
        route=rule.path,
        dialect=known.dialect if known else None,
        is_explicit=True,
    )


def _known_policies() -> dict[str, RoutePolicy]:
    policies = {
        path: RoutePolicy(keeps_values=True, operation=operation, route=path, dialect=dialect)
        for path, (operation, dialect) in _LITERAL.items()
    }
    for path in [path for path in policies if path.startswith("/v1/")]:
        known = policies[path]
        policies["/openai" + path] = RoutePolicy(
            keeps_values=True, operation=known.operation, route="/openai" + path, dialect=known.dialect
        )
    return policies


_KNOWN = _known_policies()
_BY_GROUP = {
    f"t{number}": RoutePolicy(keeps_values=True, operation=operation, route=template)
    for number, (template, operation) in enumerate(_TEMPLATES)
}
_PATTERN = re.compile(
    "|".join(
        f"(?P<t{number}>{compile_template(template).pattern})"
        for number, (template, _) in enumerate(_TEMPLATES)
    )
)

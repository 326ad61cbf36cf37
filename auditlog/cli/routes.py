"""`auditlog routes module:app`: which routes of an application would be recorded, and how.

Imports the application as a server would, reads its list of routes and AUDITLOG_ROUTES, and starts nothing.
Must never: serve, record or write.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from auditlog.cli.output import say, say_error, say_json
from auditlog.errors import ConfigurationError

_UNMATCHED = 1


def routes(
    app: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="The application, as a server is told it.")
    ],
    json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
) -> int:
    """Show which routes of an application are recorded how; 1 if a rule of AUDITLOG_ROUTES is unused."""
    from auditlog.capture.route_list import describe_routes, format_table, table_for, unmatched_rules
    from auditlog.capture.settings import parse_routes

    problems: list[str] = []
    rules = parse_routes(os.environ.get("AUDITLOG_ROUTES", ""), problems)
    if problems:
        raise ConfigurationError(problems[0])
    found = _load(app)
    table = table_for(found, rules)
    lines, unused = describe_routes(found, table), unmatched_rules(found, table)
    if not lines:
        raise ConfigurationError(
            "expected an application that shows its routes (Starlette, FastAPI), found none"
        )
    if json:
        say_json([asdict(line) for line in lines])
    for row in [] if json else format_table(lines):
        say(row)
    for rule in unused:
        say_error(f"AUDITLOG_ROUTES: no route answers to '{rule.method} {rule.path}={rule.mode}'")
    return _UNMATCHED if unused else 0


def _load(name: str) -> Any:
    """The application `module:attribute`, found from the working directory too, as servers do."""
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigurationError(f"expected MODULE:APP, found {name[:80]!r}")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  the form sys.path has
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.removesuffix("()").split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"expected an application {name[:80]}, found {type(error).__name__}"
        ) from error
    finally:
        sys.path.pop(0)
    return found() if attribute.endswith("()") else found

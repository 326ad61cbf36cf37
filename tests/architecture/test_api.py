"""The API has one description: routes, OpenAPI and page agree, and refusals have one shape."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route

from auditlog.service.api import (
    batches,
    blocks,
    decisions,
    entries,
    health,
    logs,
    outcomes,
    producers,
    promises,
    proofs,
    receipts,
    retention,
    search,
    standing,
    tlog,
    tokens,
)
from auditlog.service.app import create_app
from auditlog.service.problems import TABLE, TYPE_PREFIX
from auditlog.service.settings import (
    ENVIRONMENT,
    AnchoringSettings,
    LogSettings,
    ServiceSettings,
    Settings,
    TokenSettings,
)
from auditlog.service.settings_buckets import BucketsSettings
from auditlog.service.settings_ingest import IngestSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "auditlog" / "spec" / "api.md").read_text(encoding="utf-8")
MODULES = (
    batches,
    blocks,
    decisions,
    entries,
    health,
    logs,
    outcomes,
    producers,
    promises,
    proofs,
    receipts,
    retention,
    search,
    standing,
    tlog,
    tokens,
)
PARAMETER = re.compile(r"\{(\w+)(:\w+)?\}")


def operations(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    """(method, path) of every route, parameters by name only."""
    for route in routes:
        if isinstance(route, APIRoute | Route):
            for method in (route.methods or set()) - {"HEAD", "OPTIONS"}:
                yield method, PARAMETER.sub(r"{\1}", route.path)


def all_operations() -> set[tuple[str, str]]:
    """Every operation our modules define."""
    found = {("GET", "/openapi.json"), *operations([batches.route])}
    for module in MODULES:
        if hasattr(module, "router"):
            found |= set(operations(module.router.routes))
    return found


def described() -> set[tuple[str, str]]:
    """Every operation of the page's table."""
    return {(method, path) for method, path in re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", PAGE, re.MULTILINE)}


def test_the_page_lists_every_route_and_no_other() -> None:
    """The table of the specification page is the routes of the service."""
    assert described() == all_operations()


def test_openapi_lists_every_route_and_no_other(tmp_path: Path) -> None:
    """So is the OpenAPI page, itself aside."""
    app = create_app(Settings.build({"service": {"data_dir": "d"}}, base=tmp_path))
    paths = app.openapi()["paths"]
    found = {
        (method.upper(), PARAMETER.sub(r"{\1}", path)) for path, item in paths.items() for method in item
    }
    assert found == all_operations() - {("GET", "/openapi.json")}


def test_the_page_names_every_setting() -> None:
    """Each setting of each table of the configuration file is on the page."""
    tables = (ServiceSettings, LogSettings, TokenSettings, AnchoringSettings, BucketsSettings, IngestSettings)
    for model in tables:
        missing = [name for name in model.model_fields if f"`{name}`" not in PAGE]
        assert missing == [], model.__name__
    assert [name for name in ENVIRONMENT if name.removeprefix("AUDITLOG_SERVE") not in PAGE] == []


def test_the_page_names_every_code_a_problem_can_have() -> None:
    """Each code the table of problems gives, leaf classes included, is on the page."""
    named = {"AuditLogError", "EvidenceError", "Exception"}
    codes = {
        row.error.code for row in TABLE if hasattr(row.error, "code") and row.error.__name__ not in named
    }
    never_served = {"log_unreachable", "source", "ledger", "unreachable", "unrecordable"}
    assert [code for code in sorted(codes - never_served) if f"`{code}`" not in PAGE] == []


def test_refusals_are_made_in_one_module() -> None:
    """No module but `problems` builds a problem or uses the framework's own errors."""
    for path in sorted((ROOT / "auditlog" / "service").rglob("*.py")):
        if path.name == "problems.py":
            continue
        text = path.read_text(encoding="utf-8")
        assert TYPE_PREFIX not in text, path.name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"HTTPException", "JSONResponse", "PlainTextResponse"}, path.name


def test_one_log_is_named_once_in_every_route() -> None:
    """Everything about a log is below /logs/{log}: a proxy can give each log its own rules."""
    about_a_log = {path for _, path in all_operations() if "{log}" in path}
    assert all(path.startswith("/logs/{log}") for path in about_a_log)

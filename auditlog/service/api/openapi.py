"""The OpenAPI page: what the framework derives, corrected to what the service does.

Corrections: errors are problems everywhere, raw bodies are described, tokens are a security scheme.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from auditlog.core.batch import BATCH_MEDIA_TYPE
from auditlog.service.api import batches
from auditlog.service.api.models import Accepted, ProblemBody
from auditlog.service.problems import MEDIA_TYPE

OPEN_PATHS = frozenset({"/health", "/ready", "/logs/{log}", "/logs/{log}/checkpoint"})
_PROBLEM = {
    "description": "A problem",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """The `requestBody` of a handler that reads its own body, so that the size is capped as it arrives."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": model.model_json_schema()}},
        }
    }


def describe(app: FastAPI, *, version: str) -> dict[str, Any]:
    """Build the page for all routes of `app`."""
    page = get_openapi(title="auditlog", version=version, routes=app.routes, openapi_version="3.1.0")
    schemas = page.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (ProblemBody, Accepted):
        schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
    page["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    page["paths"][batches.PATH] = {"post": _batches_operation()}
    for path, operations in page["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _PROBLEM
            if path not in OPEN_PATHS:
                # An empty requirement beside the token: reading a public log, or a receipt by capability,
                # needs none.
                operation["security"] = [{"bearer": []}, {}]
    return page


def _batches_operation() -> dict[str, Any]:
    """The raw route the framework does not know."""
    accepted = {"application/json": {"schema": {"$ref": "#/components/schemas/Accepted"}}}
    raw = {BATCH_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "tags": ["batches"],
        "summary": "Post Batch",
        "description": "Submit entries and their head. 200: all are in the log, durably. Scope submit.",
        "operationId": "post_batch_logs__log__batches_post",
        "parameters": [{"name": "log", "in": "path", "required": True, "schema": {"type": "string"}}],
        "requestBody": {"required": True, "content": raw},
        "responses": {"200": {"description": "Integrated", "content": accepted}},
    }

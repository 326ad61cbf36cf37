"""Errors to `application/problem+json` (RFC 9457): one
table, one shape, for every answer that is not a success.

Spec: auditlog/spec/api.md, section "Problems". Promises: {type, title, status, detail, expected?,
found?}, where type is `urn:auditlog:problem:<code>`; pushback and halts carry Retry-After. Must never:
put a secret, a payload, a path of this machine or a traceback into an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from auditlog import errors

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:auditlog:problem:"


class RequestRefused(errors.SubmissionRefused):
    """The HTTP request itself is at fault, before any log is asked."""

    code: ClassVar[str] = "request"

    def __init__(self, status: int, message: str, *, expected: Any = None, found: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.expected = expected
        self.found = found


@dataclass(frozen=True, slots=True)
class Row:
    """What the outside is told for one class of errors; `detail` None means the error's own message."""

    error: type[BaseException]
    status: int
    title: str
    detail: str | None = None
    retry_after_s: int | None = None


TABLE = (
    # The first row whose class matches is taken: the leaves of the tree in auditlog/errors.py come before
    # its branches.
    Row(errors.AuthenticationError, 401, "Not authenticated"),
    Row(errors.ProducerRetired, 403, "Producer retired"),
    Row(errors.LogReadOnly, 403, "Log is read-only"),
    Row(errors.LogRetired, 403, "Log has ended"),
    Row(errors.DeclaredLost, 410, "Declared lost"),
    Row(errors.NeverArrived, 410, "Never arrived"),
    Row(errors.EntryPruned, 410, "Pruned"),
    Row(errors.NotFoundError, 404, "Not found"),
    Row(errors.ChainConflictError, 409, "Not the next entry of this chain"),
    Row(errors.TooLargeError, 413, "Too large"),
    Row(errors.SubmissionRefused, 400, "Refused"),
    Row(errors.MalformedError, 422, "Not well formed"),
    Row(errors.EvidenceError, 422, "Well formed, but not true"),
    Row(errors.FactsError, 422, "Facts that cannot be recorded"),
    Row(errors.ConfigurationError, 422, "Configuration refused"),
    # What a store or the engine says may name files of this machine: it goes to the structured log, not to
    # the caller.
    Row(errors.LogQuiesced, 503, "Log is quiesced", retry_after_s=5),
    Row(errors.TooManyRequests, 429, "Too many entries", retry_after_s=1),
    Row(errors.Pushback, 503, "Try again later", "the service cannot take this now; nothing was accepted", 1),
    Row(
        errors.StandingBy,
        503,
        "Standing by",
        "another process sequences this log; not acknowledged, sending the same again is safe",
        1,
    ),
    Row(
        errors.LogHalted,
        503,
        "Log halted",
        "the log has stopped itself; not acknowledged, sending the same again is safe",
        30,
    ),
    Row(
        errors.NotYetCommitted,
        202,
        "Accepted, not committed",
        "a broker has it, and nothing is promised; ask for the head of the chain, and send again later",
        1,
    ),
    Row(errors.BrokerError, 503, "Broker away", "not acknowledged; sending the same again is safe", 2),
    Row(errors.StorageError, 503, "Storage failed", "not acknowledged; sending the same again is safe", 5),
    Row(errors.LogUnreachable, 503, "Log not reachable", "a log elsewhere did not answer", 30),
    Row(errors.SourceError, 503, "Log not readable", "a log elsewhere could not be read", 30),
    Row(errors.UnrecordableError, 503, "Not on record", "the call could not be recorded", 5),
    Row(errors.LedgerError, 503, "Chain not reachable", "the chain or its node failed", 30),
    Row(Exception, 500, "Internal error", "an unexpected error was recorded"),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer that is not a success."""

    status: int
    code: str
    title: str
    detail: str
    expected: Any = None
    found: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        """As an HTTP response; never stored by a cache, since a 404 of today may be a tile of tomorrow."""
        body: dict[str, Any] = {
            "type": TYPE_PREFIX + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        body |= {
            key: value
            for key, value in (("expected", self.expected), ("found", self.found))
            if value is not None
        }
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(msgspec.json.encode(body), self.status, headers, media_type=MEDIA_TYPE)


def problem_of(error: BaseException) -> Problem:
    """The answer for any exception."""
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_http(error.status_code, str(error.detail), error.headers or {})
    row = next(row for row in TABLE if isinstance(error, row.error))
    status = _status(row, error)
    retry = getattr(error, "retry_after_s", row.retry_after_s)
    headers = {} if retry is None else {"Retry-After": str(retry)}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Problem(
        status=status,
        code=getattr(error, "code", "internal") if isinstance(error, errors.AuditLogError) else "internal",
        title=HTTPStatus(status).phrase if isinstance(error, RequestRefused) else row.title,
        detail=str(error) if row.detail is None else row.detail,
        expected=getattr(error, "expected", None),
        found=getattr(error, "found", None),
        headers=headers,
    )


def is_problem(body: bytes, error: type[errors.AuditLogError]) -> bool:
    """Whether an answer of another process of ours tells of this error."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    return isinstance(found, dict) and found.get("type") == TYPE_PREFIX + error.code


def refusal(request: Request, error: Exception) -> Response:
    """The answer to a request that was refused; who logs it finds the error in the scope."""
    request.scope["auditlog.error"] = error
    return problem_of(error).response()


def install(app: FastAPI) -> None:
    """Register the table with `app`, for its own errors and for the framework's."""

    async def answer(request: Request, error: Exception) -> Response:
        return refusal(request, error)

    for kind in (errors.AuditLogError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)


def _status(row: Row, error: BaseException) -> int:
    """The row's status, unless the error itself knows better."""
    if isinstance(error, RequestRefused):
        return error.status
    if isinstance(error, errors.AuthenticationError) and error.known:
        return 403
    return row.status


def _of_http(status: int, detail: str, headers: Mapping[str, str]) -> Problem:
    """The framework's own refusals: no such route, wrong method."""
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    return Problem(status=status, code=code, title=phrase, detail=detail, headers=dict(headers))


def _of_validation(error: RequestValidationError) -> Problem:
    """The first parameter at fault. What was found is named by place only: it may be a payload."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    return Problem(
        status=422,
        code="request",
        title="Request not well formed",
        detail=f"{place}: {fault['msg']}",
        expected=fault["msg"],
        found=place,
    )

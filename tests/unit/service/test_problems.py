"""The table from errors to problems."""

from __future__ import annotations

import json

import pytest

from auditlog import errors
from auditlog.service.problems import RequestRefused, problem_of


def all_errors() -> list[type[errors.AuditLogError]]:
    """Every class of the tree in auditlog.errors."""
    found = [errors.AuditLogError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == "auditlog.errors"]


def make(kind: type[errors.AuditLogError]) -> errors.AuditLogError:
    """One error of that class."""
    if issubclass(kind, errors.ChainConflictError):
        return kind("expected a, found b", expected={"seq": 1}, found={"seq": 2})
    if issubclass(kind, errors.ProducerRetired):
        return kind("expected a, found b", last={"seq": 1})
    if issubclass(kind, errors.SourceError):
        return kind("expected a, found b", reason="missing")
    if issubclass(kind, errors.UnrecordableError):
        return kind(was_called=False)
    return kind("expected a, found b")


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_of_the_project_has_an_answer(kind: type[errors.AuditLogError]) -> None:
    """Every class gives a problem with its own code, and none but the root is an unexpected 500."""
    problem = problem_of(make(kind))
    body = json.loads(problem.response().body)
    assert body["type"] == f"urn:auditlog:problem:{kind.code}"
    assert body["status"] == problem.status
    assert (problem.status == 500) == (kind is errors.AuditLogError)


def test_a_conflict_carries_both_sides() -> None:
    """409 says what the chain expected and what it found."""
    body = json.loads(problem_of(make(errors.ChainConflictError)).response().body)
    assert (body["status"], body["expected"], body["found"]) == (409, {"seq": 1}, {"seq": 2})


def test_a_known_caller_without_scope_is_forbidden() -> None:
    """401 for a stranger, who is told how to present a token; 403 for a known caller."""
    stranger = problem_of(errors.AuthenticationError("x"))
    known = problem_of(errors.AuthenticationError("x", known=True))
    assert (stranger.status, known.status) == (401, 403)
    assert stranger.headers["WWW-Authenticate"] == "Bearer"


def test_overload_and_halts_say_when_to_come_back() -> None:
    """Everything that is 503 carries Retry-After."""
    assert problem_of(errors.Pushback("x", retry_after_s=7)).headers["Retry-After"] == "7"
    for kind in (errors.LogHalted, errors.RollbackError, errors.StorageError, errors.LedgerError):
        assert int(problem_of(kind("x")).headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "error",
    [errors.Pushback("/srv/x"), errors.StorageError("/srv/x"), errors.LogHalted("/srv/x"), OSError("/srv/x")],
)
def test_words_of_the_machine_stay_inside(error: Exception) -> None:
    """What a store, the engine or a library says is not told to the caller."""
    assert b"/srv" not in problem_of(error).response().body


def test_a_request_at_fault_keeps_its_own_status() -> None:
    """RequestRefused brings its status and what was expected."""
    problem = problem_of(RequestRefused(415, "expected x", expected="x", found="y"))
    assert (problem.status, problem.code, problem.expected, problem.found) == (415, "request", "x", "y")

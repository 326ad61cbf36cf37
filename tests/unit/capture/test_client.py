"""The log client: every answer a log can give becomes a value or one of our errors."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture import CaptureSettings
from auditlog.capture.client import MAX_ANSWER_BYTES, LogClient
from auditlog.errors import (
    AuditLogError,
    AuthenticationError,
    ChainConflictError,
    LogUnreachable,
    NotFoundError,
    ProducerRetired,
    Pushback,
    SubmissionRefused,
    TooLargeError,
)

PRODUCER = "ab" * 32


def client(answer: httpx.Response | Exception) -> LogClient:
    """A client of a log that always answers the same."""

    def reply(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer secret-token"
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    return LogClient(
        "http://log.example/logs/x", lambda: "secret-token", transport=httpx.MockTransport(reply)
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401), AuthenticationError),
        (httpx.Response(403), AuthenticationError),
        (httpx.Response(404), NotFoundError),
        (httpx.Response(409, json={"expected": {"seq": 3}, "found": []}), ChainConflictError),
        (httpx.Response(413), TooLargeError),
        (httpx.Response(422, json={"title": "no"}), SubmissionRefused),
        (httpx.Response(429), Pushback),
        (httpx.Response(503, headers={"retry-after": "7"}), Pushback),
        (httpx.Response(500), LogUnreachable),
        (httpx.Response(302, headers={"location": "http://elsewhere.example"}), LogUnreachable),
        (httpx.Response(200, content=b"not json"), LogUnreachable),
        (httpx.Response(200, json={"count": 2, "skipped": 0}), LogUnreachable),
        (httpx.Response(200, json={"count": True, "skipped": 2}), LogUnreachable),
        (httpx.Response(200, content=b"x" * (MAX_ANSWER_BYTES + 1)), LogUnreachable),
        (httpx.ConnectError("no"), LogUnreachable),
        (httpx.ReadTimeout("slow"), LogUnreachable),
    ],
)
def test_each_refusal_has_its_error(answer: httpx.Response | Exception, error: type[AuditLogError]) -> None:
    """Only a 200 that counts all entries is an acknowledgement; no error holds the token."""
    log = client(answer)
    with pytest.raises(error) as caught:
        log.submit(b"batch", 3)
    log.close()
    assert type(caught.value) is error
    assert "secret-token" not in str(caught.value)


def test_acknowledgement_counts_new_and_skipped() -> None:
    """Entries from an earlier sending count."""
    log = client(httpx.Response(200, json={"first_index": 9, "count": 1, "skipped": 2, "tree_size": 10}))
    log.submit(b"batch", 3)
    log.close()


@pytest.mark.parametrize(
    ("text", "expected"), [("7", 7), ("0", 1), ("99999", 300), ("x", 1), ("٣", 1), ("", 1)]
)
def test_retry_after_is_bounded(text: str, expected: int) -> None:
    """Whatever the header says, the wait is between one second and five minutes."""
    log = client(httpx.Response(503, headers={b"retry-after": text.encode()}))
    with pytest.raises(Pushback) as caught:
        log.submit(b"", 1)
    log.close()
    assert caught.value.retry_after_s == expected


def test_conflict_carries_what_the_log_said() -> None:
    """Expected and found travel with the error; what is not an object becomes an empty one."""
    log = client(httpx.Response(409, json={"expected": {"seq": 3}, "found": "?"}))
    with pytest.raises(ChainConflictError) as caught:
        log.submit(b"", 1)
    log.close()
    assert caught.value.expected == {"seq": 3}
    assert caught.value.found == {}


def test_head_of_a_new_producer_is_its_enrolment() -> None:
    """No entry yet, said either way, means the enrolment's leaf hash."""
    for answer in (
        httpx.Response(404),
        httpx.Response(200, json={"instance": None, "seq": None, "leaf_hash": "x"}),
    ):
        log = client(answer)
        head = log.head(PRODUCER)
        log.close()
        assert (head.instance, head.leaf_hash.hex()) == (None, PRODUCER)


def test_unreadable_token_file_is_an_authentication_error() -> None:
    """A missing secret is reported as one."""

    def missing() -> str | None:
        raise OSError("gone")

    log = LogClient("http://log.example", missing)
    with pytest.raises(AuthenticationError):
        log.origin()
    log.close()


def test_the_token_file_is_read_for_every_request(tmp_path: Path) -> None:
    """A projected token is replaced before it expires: the next request carries the new one, unasked."""
    seen: list[str] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json={"origin": "log.example/x"})

    path = tmp_path / "token"
    settings = CaptureSettings.from_environ({"AUDITLOG_LOG": "https://l/x", "AUDITLOG_TOKEN_FILE": str(path)})
    log = LogClient("http://log.example", settings.read_token, transport=httpx.MockTransport(reply))
    for token in ("first", "second"):
        path.with_name("new").write_text(token + "\n")
        path.with_name("new").replace(path)
        log.origin()
    log.close()
    assert seen == ["Bearer first", "Bearer second"]


def test_a_retired_producer_is_told_apart() -> None:
    """403 with that code is a verdict on the producer; any other 403 is about the token."""
    last = {"instance": "ab" * 16, "seq": 4, "leaf_hash": "cd" * 32}
    body = {"type": "urn:auditlog:problem:producer_retired", "detail": "ended", "expected": last}
    log = client(httpx.Response(403, json=body))
    with pytest.raises(ProducerRetired) as refusal:
        log.submit(b"", 1)
    log.close()
    assert refusal.value.expected == last


def test_our_requests_leave_no_line_in_the_applications_log(caplog: pytest.LogCaptureFixture) -> None:
    """The HTTP library's line per request is kept out; its other users' lines are not."""
    with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, logger="httpx"):
        log = client(httpx.Response(200, json={"origin": "o"}))
        assert log.origin() == "o"
        assert caplog.text == ""
        with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as other:
            other.get("http://app.example")
        log.close()
        assert "app.example" in caplog.text


@given(st.binary(max_size=200), st.sampled_from([200, 201, 204, 400, 404, 409, 418, 500, 503, 599]))
def test_any_answer_gives_a_value_or_our_error(body: bytes, status: int) -> None:
    """Nothing a log answers escapes as another exception."""
    log = client(httpx.Response(status, content=body))
    for ask in (lambda: log.submit(b"", 1), lambda: log.head(PRODUCER), log.origin):
        try:
            ask()
        except AuditLogError:
            continue
    log.close()

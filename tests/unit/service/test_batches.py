"""The hot path: what reaches the log, what is refused before it, and what an overload looks like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from auditlog import errors
from auditlog.core.batch import encode_batch
from auditlog.service.receive import DRAIN_BYTES
from tests.unit.service.fakes import Caller, FakeOpener, expect_problem, running, settings_for

URL = "/logs/hashes/batches"
TYPE = {"Content-Type": "application/vnd.auditlog.batch"}
BODY = encode_batch("head\n", [b"one", b"two"])


def post(call: Caller, body: bytes = BODY, *, token: str | None = "submit", **headers: str) -> httpx.Response:
    """Post a batch."""
    return call("POST", URL, token=token, content=body, headers=TYPE | headers)


def test_a_batch_reaches_the_log_as_it_was_sent(call: Caller, opener: FakeOpener) -> None:
    """Head and entries arrive byte for byte, and the answer is the log's."""
    answer = post(call)
    assert answer.status_code == 200
    assert answer.json() == {"first_index": 10, "count": 2, "skipped": 0, "tree_size": 12}
    batch = opener.logs["hashes"].batches[0]
    assert (batch.head_note, list(batch.entries)) == ("head\n", [b"one", b"two"])


def test_only_a_submit_token_may(call: Caller, opener: FakeOpener) -> None:
    """No token is 401, another scope 403, and the body is not looked at."""
    expect_problem(post(call, token=None), 401, "authentication")
    expect_problem(post(call, token="unknown"), 401, "authentication")
    for scope in ("enrol", "read", "admin"):
        expect_problem(post(call, token=scope), 403, "authentication")
    assert opener.logs["hashes"].batches == []


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/vnd.auditlog.batch2"])
def test_another_media_type_is_refused(call: Caller, media_type: str) -> None:
    """415 with both types."""
    problem = expect_problem(post(call, **{"Content-Type": media_type}), 415, "request")
    assert (problem["expected"], problem["found"]) == (TYPE["Content-Type"], media_type)


def test_a_content_coding_is_refused(call: Caller) -> None:
    """The bytes sent are the bytes hashed."""
    assert (
        expect_problem(post(call, **{"Content-Encoding": "gzip"}), 415, "request")["expected"] == "identity"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x00",
        BODY[:-1],
        BODY + b"\x00",
        b"\x00\x00\x00\x01\xff" + BODY[9:],
    ],
)
def test_a_body_out_of_form_is_malformed(call: Caller, body: bytes) -> None:
    """Bad framing is 422 and says what was expected."""
    assert "expected" in expect_problem(post(call, body), 422, "malformed")["detail"]


def test_a_body_over_the_limit_is_too_large(tmp_path: Path, opener: FakeOpener) -> None:
    """Whether the length is declared or only turns out; reading on is bounded."""
    with running(settings_for(tmp_path, max_batch_bytes=1 << 17), opener) as call:
        big = bytes((1 << 17) + 1)
        expect_problem(post(call, big), 413, "too_large")
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield bytes(1 << 16)

        async def chunked() -> httpx.Response:
            return await call.send("POST", URL, token="submit", content=endless(), headers=TYPE)

        expect_problem(call.runner.run(chunked()), 413, "too_large")
        assert sent <= 4 + DRAIN_BYTES // (1 << 16)


def test_a_body_that_never_comes_is_given_up(tmp_path: Path, opener: FakeOpener) -> None:
    """408 after the time that was set."""
    with running(settings_for(tmp_path, body_timeout_s=0.05), opener) as call:

        async def stalled() -> AsyncIterator[bytes]:
            yield b"\x00"
            await asyncio.sleep(60)

        async def send() -> httpx.Response:
            return await call.send("POST", URL, token="submit", content=stalled(), headers=TYPE)

        expect_problem(call.runner.run(send()), 408, "request")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.ChainConflictError("x", expected={"seq": 1}, found={"seq": 3}), 409, "chain_conflict"),
        (errors.MalformedError("x"), 422, "malformed"),
        (errors.SignatureError("x"), 422, "signature"),
        (errors.TooLargeError("x"), 413, "too_large"),
        (errors.NotFoundError("x"), 404, "not_found"),
        (errors.AuthenticationError("x", known=True), 403, "authentication"),
        (errors.SubmissionRefused("x"), 400, "refused"),
        (errors.Pushback("x", retry_after_s=3), 503, "pushback"),
        (errors.LogHalted("x"), 503, "halted"),
        (errors.StorageError("x"), 503, "storage"),
        (RuntimeError("x"), 500, "internal"),
    ],
)
def test_what_the_log_refuses_is_answered_in_kind(
    call: Caller, opener: FakeOpener, error: Exception, status: int, code: str
) -> None:
    """Every refusal of the engine has its status, whether raised at once or by the future."""
    log = opener.logs["hashes"]
    log.refusal = error
    expect_problem(post(call), status, code)
    log.refusal = None
    log.held = Future()
    log.held.set_exception(error)
    answer = post(call)
    expect_problem(answer, status, code)
    assert ("retry-after" in answer.headers) == (status == 503)


def test_overload_is_refused_before_the_body_is_read(tmp_path: Path, opener: FakeOpener) -> None:
    """While as many bytes wait as may wait, the next batch is pushed back; afterwards there is room again."""
    with running(settings_for(tmp_path, max_batch_bytes=1 << 17, max_waiting_bytes=1 << 17), opener) as call:
        log = opener.logs["hashes"]
        log.held = Future()
        body = encode_batch("head\n", [bytes(40_000)] * 3)

        async def two() -> tuple[httpx.Response, httpx.Response]:
            first = asyncio.create_task(call.send("POST", URL, token="submit", content=body, headers=TYPE))
            while not log.batches:  # noqa: ASYNC110  the fake is called from a thread
                await asyncio.sleep(0.001)
            second = await call.send("POST", URL, token="submit", content=body, headers=TYPE)
            assert log.held is not None
            log.held.set_result(SimpleNamespace(first_index=0, count=3, skipped=0, tree_size=3))
            return await first, second

        first, second = call.runner.run(two())
        assert first.status_code == 200
        expect_problem(second, 503, "pushback")
        assert int(second.headers["retry-after"]) >= 1
        assert len(log.batches) == 1
        assert call("POST", URL, token="submit", content=body, headers=TYPE).status_code == 200


def test_a_length_that_is_no_number_is_refused(call: Caller) -> None:
    """400, not a traceback."""
    expect_problem(post(call, **{"Content-Length": "ten"}), 400, "request")

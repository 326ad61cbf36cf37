"""What a customer of the demo keeps: the answer without what was added, and the promise from wherever it
came.
"""

from __future__ import annotations

import base64
from pathlib import Path

import httpx

from auditlog.demo.customer import Answer, ask, keep_promises

NOTE = "auditlog/promise@v1\nand so on\n"
PROMISE = base64.b64encode(NOTE.encode()).decode()
HEADERS = {
    "Audit-Id": "some-id",
    "Audit-Key": base64.b64encode(bytes(32)).decode(),
    "Audit-Receipt": "http://log/logs/main/receipts/aa/some-id/cc",
}


def asked(content: bytes, **more: str) -> Answer:
    """The answer of an endpoint that says this."""

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content, headers=HEADERS | more)

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        return ask(client, "http://endpoint/decide", {})


def test_a_promise_is_taken_from_the_header() -> None:
    """Its base64 is decoded; the body stays as it is."""
    answer = asked(b"{}", **{"Audit-Promise": PROMISE})
    assert (answer.promise, answer.response) == (NOTE, b"{}")


def test_a_promise_is_taken_out_of_a_stream() -> None:
    """The comment is no part of what the application answered: without it the bytes are its own."""
    stream = b'data: {"a":1}\n\n: audit-promise %s\n\ndata: [DONE]\n\n' % PROMISE.encode()
    answer = asked(stream)
    assert answer.promise == NOTE
    assert answer.response == b'data: {"a":1}\n\ndata: [DONE]\n\n'


def test_a_promise_that_was_late_is_at_the_log(tmp_path: Path) -> None:
    """An answer without one is looked up by its id; one that is nowhere has no file."""
    seen: list[str] = []

    def log(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, text=NOTE) if len(seen) == 1 else httpx.Response(404)

    answers = [asked(b"{}"), asked(b"{}")]
    with httpx.Client(transport=httpx.MockTransport(log)) as client:
        kept = keep_promises(client, answers, tmp_path / "promises")
    assert seen == ["http://log/logs/main/promises/some-id"] * 2
    assert [path.read_text() for path in kept] == [NOTE]

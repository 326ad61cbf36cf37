"""The comment of a promise in a stream a caller saved (spec/commitment.md, "Where the comment stands")."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.core.commitment import as_committed, commit_body
from auditlog.core.sse import TERMINAL_LINES, promise_comment, without_promise_comment

NOTE = "auditlog/promise@v1\nand so on\n"
COMMENT = promise_comment(base64.b64encode(NOTE.encode()).decode())
LINES = sorted({line for lines in TERMINAL_LINES.values() for line in lines})
KEY = bytes(32)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(
    "before", [b"", b"\xef\xbb\xbf", b"\n", b"data: {}\n\n", b"data: {}\r\n\r\n", b"data: {}\r\r", b"x\n\r\n"]
)
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\ndata: {}\n\n"])
def test_it_is_taken_out_right_before_a_terminal_event(line: bytes, before: bytes, end: bytes) -> None:
    """Whatever the ends of lines are, the rest is the stream that the application sent."""
    assert without_promise_comment(before + COMMENT + line + end) == (before + line + end, NOTE)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"data: [DONE]\n\n",
        COMMENT,
        COMMENT + b"data: {}\n\n",
        COMMENT + b"data: [DONE]",
        COMMENT + b"data: [DONE] \n\n",
        b"data: {}\n" + COMMENT + b"data: [DONE]\n\n",
        b"data: {}\r\n" + COMMENT + b"data: [DONE]\n\n",
        b"data: x" + COMMENT + b"data: [DONE]\n\n",
        COMMENT[:-1] + b"data: [DONE]\n\n",
        b": audit-promise \n\ndata: [DONE]\n\n",
        b": audit-promise AAA\n\ndata: [DONE]\n\n",
        b": audit-promise //79\n\ndata: [DONE]\n\n",
        b": audit-promise " + b"A" * 65_540 + b"\n\ndata: [DONE]\n\n",
    ],
)
def test_elsewhere_nothing_is_taken_out(stream: bytes) -> None:
    """Another place, another end, no base64 or no text in it: the bytes as they are."""
    assert without_promise_comment(stream) == (stream, None)


def test_only_one_is_taken_out() -> None:
    """The one that is next to the end: a comment of a log further up was in the bytes committed to."""
    upper = promise_comment("aGFsbG8=")
    stream = b"data: {}\n\n" + upper + COMMENT + b"data: [DONE]\n\n"
    bare = b"data: {}\n\n" + upper + b"data: [DONE]\n\n"
    assert without_promise_comment(stream) == (bare, NOTE)


def test_bytes_that_match_are_left_as_they_are() -> None:
    """An application that sends such a comment itself has it in its commitment; others stay as they are."""
    with_it, bare = COMMENT + b"data: [DONE]\n\n", b"data: [DONE]\n\n"
    for committed in (with_it, bare):
        commitment = commit_body(KEY, "response", committed).hex()
        assert as_committed(commitment, KEY, "response", with_it) == committed
    assert as_committed("00" * 32, KEY, "response", with_it) == with_it


@given(st.lists(st.sampled_from([b"\n", b"\r", COMMENT, b"data: [DONE]", b"data: {}", b": audit-promise "])))
def test_any_bytes_have_an_answer(parts: list[bytes]) -> None:
    """At most one comment is missing from what is given back."""
    stream = b"".join(parts)
    bare, note = without_promise_comment(stream)
    assert len(stream) - len(bare) == (0 if note is None else len(COMMENT))

"""Finding the terminal event of a stream, however its bytes are cut."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditlog.capture.http_stream import (
    MAX_BLANKS,
    MAX_PENDING_BYTES,
    TERMINAL_LINES,
    AnyEndFinder,
    TerminalFinder,
    promise_comment,
)

ENDS = {
    "openai.chat": b"data: [DONE]",
    "openai.completions": b"data:[DONE]",
    "openai.responses": b'event: response.completed\ndata: {"type":"response.completed"}',
    "anthropic.messages": b'event: message_stop\ndata: {"type":"message_stop"}',
}
PIECES = [
    b"data: {}", b"data: [DONE]", b"data:[DONE]", b"data: [DONE] ", b"data: [DON", b"event: message_stop",
    b"event: response.completed", b"event: response.failed", b"event: response.incomplete_details", b"id: 7",
    b"event:message_stop", b": ping", b"d", b"", b"event", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n",
    b"\r\r", b"\xef\xbb\xbf", b"\xff", b"retry: 1",
]  # fmt: skip


def reference(dialect: str, stream: bytes) -> int | None:
    """Where the terminal event begins: every place of the whole stream, tried one by one."""
    for at in range(len(stream)):
        before = stream[:at]
        if not any(stream[at:].startswith((line + b"\n", line + b"\r")) for line in TERMINAL_LINES[dialect]):
            continue
        if before in (b"", b"\xef\xbb\xbf"):
            return at
        if before[-1:] not in (b"\r", b"\n"):
            continue
        stripped = before[:-2] if before.endswith(b"\r\n") else before[:-1]
        if stripped == b"" or stripped[-1:] in (b"\r", b"\n"):
            return at
    return None


def fed(dialect: str, chunks: list[bytes]) -> tuple[bytes, TerminalFinder]:
    """What left before the end was found, and the finder."""
    finder, left = TerminalFinder(dialect), b""
    for chunk in chunks:
        if finder.found:
            finder.pending += chunk
            continue
        left += finder.feed(chunk)
        assert finder.found or len(finder.pending) <= MAX_PENDING_BYTES
    return left, finder


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    """The stream in chunks, cut at these places."""
    places = [0, *sorted(min(place, len(stream)) for place in at), len(stream)]
    return [stream[start:end] for start, end in pairwise(places)]


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(sorted(TERMINAL_LINES)),
    st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join),
    st.lists(st.integers(0, 160), max_size=12),
)
@example("anthropic.messages", b"\xef\xbb\xbfevent: message_stop\n", [4])
@example("anthropic.messages", b"\xef\xbb\xbfevent: message_stop\n", [2, 10])
def test_every_cut_finds_the_same_place(dialect: str, stream: bytes, places: list[int]) -> None:
    """No byte is lost or changed, and the terminal event begins where a search of the whole says."""
    left, finder = fed(dialect, cut(stream, places))
    assert left + finder.pending == stream
    expected = reference(dialect, stream)
    assert (len(left) if finder.found else None) == expected


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(TERMINAL_LINES)),
    st.lists(st.lists(st.sampled_from([*PIECES, b"data: {}\n\n", b"event: x\n"]), max_size=3), max_size=8),
)
def test_chunks_of_whole_lines_find_the_same_place(dialect: str, chunks: list[list[bytes]]) -> None:
    """The quick way for usual chunks and the careful one agree."""
    parts = [b"".join(pieces) for pieces in chunks]
    left, finder = fed(dialect, parts)
    assert left + finder.pending == b"".join(parts)
    assert (len(left) if finder.found else None) == reference(dialect, b"".join(parts))
    if not finder.found:
        assert finder.allows_comment == fed(dialect, [b"".join(parts)])[1].allows_comment


@pytest.mark.parametrize("dialect", sorted(ENDS))
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_single_bytes_and_every_pair_of_chunks(dialect: str, newline: bytes) -> None:
    """A usual stream, byte by byte and cut once at each place: the same end."""
    start = b'event: x\ndata: {"a":1}\n\ndata: {"b":"data: [DONE]"}\n\n'.replace(b"\n", newline)
    stream = start + ENDS[dialect].replace(b"\n", newline) + newline * 2
    ways = [[stream[at : at + 1] for at in range(len(stream))]]
    ways += [[stream[:at], stream[at:]] for at in range(len(stream) + 1)]
    for chunks in ways:
        left, finder = fed(dialect, chunks)
        assert finder.found
        assert left == start


@pytest.mark.parametrize(
    "stream",
    [
        b"data: x\ndata: [DONE]\n\n",  # in the middle of an event
        b"event: y\ndata: [DONE]\n\n",  # of another type
        b"data: [DONE]x\n\n",
        b"\ndata: {}\n\n data: [DONE]\n\n",
        b'data: {"text": "data: [DONE]"}\n\n',
        b"data: [DONE]",  # no line end yet
    ],
)
def test_what_only_looks_like_the_end(stream: bytes) -> None:
    """Text that holds the words, or a line within another event, ends nothing."""
    assert not fed("openai.chat", [stream])[1].found


def test_streams_with_ids_take_no_comment() -> None:
    """Event readers that keep the last id would make an event without data of our empty line."""
    assert fed("openai.chat", [b"data: {}\n\ndata: [DONE]\n\n"])[1].allows_comment
    for chunks in ([b"id: 1\ndata: {}\n\n"], [b"data: {}\ni", b"d: 1\n\n"], [b"data: {}\r\nid:1\r\n\r\n"]):
        assert not fed("openai.chat", chunks)[1].allows_comment


def test_the_comment_is_a_block_of_its_own() -> None:
    """One line that event readers leave out, and an empty one."""
    assert promise_comment("cHJvbWlzZQ==") == b": audit-promise cHJvbWlzZQ==\n\n"


def test_nothing_usual_is_held() -> None:
    """Chunks that end an event, or end in the middle of one, leave whole."""
    finder = TerminalFinder("openai.chat")
    for chunk in (b'data: {"a":1}\n\n', b'data: {"b"', b":1}\n\n", b": ping\n\n", b""):
        assert finder.feed(chunk) == chunk
        assert finder.pending == b""
    assert finder.feed(b"data: {}\n\ndat") == b"data: {}\n\n"
    assert finder.pending == b"dat"


def any_reference(dialect: str | None, stream: bytes) -> int | None:
    """Where the first telling line begins, of whatever event: the stream split into lines."""
    words = {line.partition(b":")[2].strip() for line in TERMINAL_LINES.get(dialect or "", ())} - {b"[DONE]"}
    at = 0
    for number, line in enumerate(re.split(rb"([\r\n])", stream)):
        text = line
        start = at
        if number == 0 and line.startswith(b"\xef\xbb\xbf"):
            text, start = line[3:], 3
        at += len(line)
        field, _, value = text.partition(b":")
        value = value.strip(b" \t")
        is_end = (field == b"data" and value.startswith(b"[DONE]")) or (field == b"event" and value in words)
        if is_end and b":" in text and (at < len(stream) or (value.startswith(b"[DONE]") and len(value) > 6)):
            return start
    return None


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([None, *sorted(TERMINAL_LINES)]),
    st.lists(
        st.sampled_from([*PIECES, b"data:\t[DONE]\t", b" ", b"x", b"event:  message_stop "]), max_size=14
    ),
    st.lists(st.integers(0, 160), max_size=12),
)
@example("anthropic.messages", [b"\xef\xbb\xbfevent: message_stop\n"], [2, 10])
@example(None, [b"xdata: [DONE]\n"], [1, 7])
def test_any_end_is_found_for_every_cut(dialect: str | None, pieces: list[bytes], places: list[int]) -> None:
    """In fail_closed: wherever a line tells the end, its first byte has not left. Comments stay exact."""
    stream = b"".join(pieces)
    finder, left = AnyEndFinder(dialect), b""
    for chunk in cut(stream, places):
        if finder.found:
            finder.pending += chunk
        else:
            left += finder.feed(chunk)
            assert finder.found or len(finder.pending) <= MAX_BLANKS
    assert left + finder.pending == stream
    assert (len(left) if finder.found else None) == any_reference(dialect, stream)
    if finder.found and finder.allows_comment:
        assert dialect is not None
        assert reference(dialect, stream) == len(left)

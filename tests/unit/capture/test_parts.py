"""Small parts of the capture layer: queue, guard, counters, frames, chain."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture.chain import Chain, empty_tip
from auditlog.capture.frames import (
    HEADER_BYTES,
    SEALED,
    Header,
    Record,
    decode_header,
    encode_header,
    encode_record,
    scan_frames,
)
from auditlog.capture.intake import Intake, Losses
from auditlog.capture.metrics import Counters
from auditlog.capture.safety import Guard
from auditlog.core.entry import parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.errors import MalformedError, TooLargeError

LOGGER = logging.getLogger("test.parts")


def test_importing_capture_loads_nothing_heavy() -> None:
    """A model server's image must not pay for what the layer does not use."""
    code = (
        "import sys, auditlog.capture\n"
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'fastapi', 'web3', 'pydantic', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_intake_counts_what_does_not_fit() -> None:
    """Beyond its bounds the queue refuses and counts, with the first and last instant."""
    intake: Intake[int] = Intake(max_items=3, max_bytes=100)
    assert [intake.offer(n, 10, 1000 + n) for n in range(5)] == [True, True, True, False, False]
    assert intake.take_losses() == Losses(2, 1003, 1004)
    assert intake.take_losses() is None
    assert intake.take(10, 0.0) == [0, 1, 2]
    assert intake.offer(1, 60, 0)
    assert not intake.offer(2, 60, 5)
    assert intake.take(10, 0.0) == [1]
    assert intake.offer(3, 1000, 0), "one item larger than the bound is taken when the queue is empty"


def test_closed_intake_refuses_offers_but_delivers_the_rest() -> None:
    """After close nothing from the application enters, and nothing queued is lost."""
    intake: Intake[str] = Intake(max_items=3, max_bytes=100)
    intake.offer("a", 1, 0)
    intake.close()
    assert not intake.offer("b", 1, 7)
    intake.push("last")
    assert intake.take(10, 0.0) == ["a", "last"]
    assert intake.take_losses() == Losses(1, 7, 7)


def test_guard_counts_logs_and_returns_the_default(caplog: pytest.LogCaptureFixture) -> None:
    """A failure of the layer ends in a counter and a log line without the message, which may
    quote a payload.
    """
    metrics = Counters()
    guard = Guard(metrics, LOGGER)

    def fail(text: str) -> int:
        raise ValueError(f"could not read {text}")

    for _ in range(100):
        assert guard.call("place", 7, fail, "the secret prompt") == 7
    assert metrics.get("failures.place.ValueError") == 100
    assert "secret" not in caplog.text
    assert 3 < len(caplog.records) < 12


def test_strict_guard_raises_again() -> None:
    """Tests see the layer's own failures."""
    with pytest.raises(ZeroDivisionError), Guard(Counters(), LOGGER, strict=True).protect("place"):
        raise ZeroDivisionError


def test_guard_lets_cancellation_pass() -> None:
    """Cancelling a request is the server's business, not a failure of ours."""
    with pytest.raises(asyncio.CancelledError), Guard(Counters(), LOGGER).protect("place"):
        raise asyncio.CancelledError


def chain() -> Chain:
    """A chain of a new producer."""
    return Chain(origin="log.example/x", producer="ab" * 32, instance="cd" * 16, tip=empty_tip(bytes(32)))


def test_refused_bodies_use_no_number() -> None:
    """Too large, or without canonical form: the next entry gets the number and names the same prev."""
    book = chain()
    first = book.seal("notice", {"what": "stopped"}, 1)
    with pytest.raises(TooLargeError):
        book.seal("notice", {"what": "x" * 70_000}, 2)
    with pytest.raises(MalformedError):
        book.seal("notice", {"what": 1.5}, 2)
    second = book.seal("notice", {"what": "stopped"}, 3)
    entry = parse_entry(second.entry)
    assert (first.seq, second.seq) == (0, 1)
    assert entry.prev == hash_leaf(first.entry).hex()


@given(st.binary(max_size=300))
def test_frame_scan_is_total(content: bytes) -> None:
    """Any bytes give some good frames and an end, never an exception."""
    for scanned in scan_frames(content, 0):
        assert scanned.end <= len(content)


@given(st.lists(st.binary(max_size=50), max_size=5), st.binary(max_size=20))
def test_frames_come_back_whatever_follows(payloads: list[bytes], rubbish: bytes) -> None:
    """Records are read back exactly; bytes after them add at most frames that check out."""
    records = [Record("ab" * 16, n, n, payload) for n, payload in enumerate(payloads)]
    content = b"".join(map(encode_record, records))
    found = [scanned.record for scanned in scan_frames(content + rubbish, 0)]
    assert found[: len(records)] == records


def test_header_comes_back_and_any_flip_is_seen() -> None:
    """A header with one byte changed is never read as another header."""
    header = Header(SEALED, 7, empty_tip(bytes(range(32))))
    content = encode_header(header)
    assert len(content) == HEADER_BYTES
    assert decode_header(content) == header
    for at in range(len(content)):
        with pytest.raises(MalformedError):
            decode_header(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


def test_whoever_waits_ends_the_gathering() -> None:
    """The writer lets more come while nobody waits; one that is awaited is taken at once."""
    intake: Intake[int] = Intake(max_items=10, max_bytes=100)
    intake.offer(1, 1, 0)
    intake.linger(0.01)
    intake.offer(2, 1, 0, is_awaited=True)
    intake.linger(60)  # a test that hangs has failed
    assert intake.take(1, 0) == [1]
    intake.linger(60)
    assert intake.take(5, 0) == [2]
    waker = threading.Thread(target=lambda: intake.offer(3, 1, 0, is_awaited=True))
    waker.start()
    intake.linger(60)
    waker.join()
    assert intake.take(5, 0) == [3]

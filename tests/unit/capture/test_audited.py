"""`@audited`: results, exceptions and generators stay what they were; each call leaves one observation."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import inspect
import json
from collections.abc import AsyncGenerator, Generator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from auditlog.capture.audited import audited
from auditlog.capture.plain_json import encode_plain
from auditlog.capture.process import RecorderSource
from auditlog.capture.settings import CaptureSettings
from auditlog.core.commitment import commit_body
from auditlog.errors import UnrecordableError
from tests.support.drafts import sealed, unsent_recorder
from tests.support.observing import ObservingRecorder, lost, promised, silent


@pytest.fixture
def recorder() -> ObservingRecorder:
    """A recorder in memory, raising the layer's own errors."""
    return ObservingRecorder()


def read(data: bytes | None) -> Any:
    """A kept body as a value."""
    assert data is not None
    return json.loads(data)


def test_arguments_and_result_are_recorded(recorder: ObservingRecorder) -> None:
    """The request is the arguments by name, the response the result; both are committed to."""

    @audited(operation="classify", recorder=recorder)  # type: ignore[arg-type]
    def decide(applicant: dict[str, int], *, limit: float = 0.5) -> dict[str, bool]:
        return {"approved": applicant["income"] > limit}

    assert decide({"income": 7}, limit=2.5) == {"approved": True}
    seen = recorder.only()
    assert read(seen.request.data) == {"applicant": {"income": 7}, "limit": 2.5}
    assert read(seen.response.data) == {"approved": True}
    key = seen.exchange.exchange_key
    assert seen.exchange.request.digest() == commit_body(key, "request", seen.request.data or b"")
    assert (seen.capture, seen.operation, seen.ended, seen.status) == ("in_process", "classify", "ok", None)
    assert seen.route == f"{__name__}.test_arguments_and_result_are_recorded.<locals>.decide"


def test_arguments_are_written_down_before_the_call(recorder: ObservingRecorder) -> None:
    """A function that changes its argument does not change what it was given."""

    @audited(recorder=recorder)  # type: ignore[arg-type]
    def drain(items: list[int]) -> int:
        return sum(items.pop() for _ in range(len(items)))

    assert drain([1, 2]) == 3
    assert read(recorder.only().request.data) == {"items": [1, 2]}


def test_the_wrapper_looks_like_the_function(recorder: ObservingRecorder) -> None:
    """Name, docstring and signature stay, so that frameworks and readers see the function itself."""

    def decide(a: int, b: str = "x") -> bool:
        """Decide."""
        return True

    wrapped = audited(recorder=recorder)(decide)  # type: ignore[arg-type]
    assert (wrapped.__name__, wrapped.__doc__) == ("decide", "Decide.")
    assert inspect.signature(wrapped) == inspect.signature(decide)


def test_exceptions_pass_and_are_recorded(recorder: ObservingRecorder) -> None:
    """The same exception object leaves; the decision says error."""
    error = KeyError("no such applicant")

    @audited(recorder=recorder)  # type: ignore[arg-type]
    def decide() -> None:
        raise error

    with pytest.raises(KeyError) as raised:
        decide()
    assert raised.value is error
    assert (recorder.only().ended, recorder.only().response.data) == ("error", b"")


def test_wrong_arguments_are_the_functions_own_error(recorder: ObservingRecorder) -> None:
    """A call the function refuses is refused by the function."""

    @audited(recorder=recorder)  # type: ignore[arg-type]
    def decide(a: int) -> None: ...

    with pytest.raises(TypeError, match="decide"):
        decide(1, 2)  # type: ignore[call-arg]
    assert recorder.only().ended == "error"


def test_methods_leave_self_out(recorder: ObservingRecorder) -> None:
    """The object a method belongs to is not part of the request."""

    class Model:
        @audited(recorder=recorder)  # type: ignore[arg-type]
        def decide(self, x: int) -> int:
            return x + 1

    assert Model().decide(1) == 2
    assert read(recorder.only().request.data) == {"x": 1}


def test_coroutines_are_awaited(recorder: ObservingRecorder) -> None:
    """An async function stays one, and its result and cancellation are seen."""

    @audited(recorder=recorder)  # type: ignore[arg-type]
    async def decide(wait: bool) -> int:
        await asyncio.sleep(3600 if wait else 0)
        return 1

    async def main() -> None:
        assert inspect.iscoroutinefunction(decide)
        assert await decide(False) == 1
        task = asyncio.create_task(decide(True))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [seen.ended for seen in recorder.observations] == ["ok", "aborted"]


def echo(count: int) -> Generator[Any, Any, str]:
    """A generator that gives back what it is sent and survives a ValueError."""
    got: Any = "start"
    for _ in range(count):
        try:
            got = yield got
        except ValueError as error:
            got = f"caught {error}"
    return "end"


def test_generators_stream_and_are_one_array(recorder: ObservingRecorder) -> None:
    """Items, sent values, thrown exceptions and the return value pass; the items are a JSON array."""
    tokens = audited(recorder=recorder)(echo)(3)  # type: ignore[arg-type]
    assert recorder.minted == 0
    assert next(tokens) == "start"
    assert tokens.send({"a": 1}) == {"a": 1}
    assert tokens.throw(ValueError("x")) == "caught x"
    assert recorder.observations == []
    with pytest.raises(StopIteration) as stop:
        next(tokens)
    assert stop.value.value == "end"
    assert read(recorder.only().response.data) == ["start", {"a": 1}, "caught x"]
    assert recorder.only().ended == "ok"


def test_an_abandoned_generator_is_aborted(recorder: ObservingRecorder) -> None:
    """Closing early closes the inner generator, and the items given out are committed to."""
    tokens = audited(recorder=recorder)(echo)(9)  # type: ignore[arg-type]
    next(tokens)
    tokens.close()
    assert (recorder.only().ended, read(recorder.only().response.data)) == ("aborted", ["start"])


def test_a_failing_generator_is_an_error(recorder: ObservingRecorder) -> None:
    """An exception in the middle leaves, after the items so far were recorded."""

    @audited(recorder=recorder)  # type: ignore[arg-type]
    def tokens() -> Generator[int, None, None]:
        yield 1
        raise RuntimeError("gpu")

    with pytest.raises(RuntimeError, match="gpu"):
        list(tokens())
    assert (recorder.only().ended, read(recorder.only().response.data)) == ("error", [1])


def test_an_empty_generator_is_an_empty_array(recorder: ObservingRecorder) -> None:
    """No items is the response []."""
    assert list(audited(recorder=recorder)(echo)(0)) == []  # type: ignore[arg-type]
    assert recorder.only().response.data == b"[]"


async def async_echo(count: int) -> AsyncGenerator[Any, Any]:
    """The same, asynchronous."""
    got: Any = "start"
    for _ in range(count):
        try:
            got = yield got
        except ValueError as error:
            got = f"caught {error}"


def test_async_generators_stream_too(recorder: ObservingRecorder) -> None:
    """asend, athrow, exhaustion and early closing work as before, each call with its own observation."""

    async def main() -> None:
        tokens = audited(recorder=recorder)(async_echo)(3)  # type: ignore[arg-type]
        assert await anext(tokens) == "start"
        assert await tokens.asend(1) == 1
        assert await tokens.athrow(ValueError("x")) == "caught x"
        with pytest.raises(StopAsyncIteration):
            await anext(tokens)
        left = audited(recorder=recorder)(async_echo)(3)  # type: ignore[arg-type]
        await anext(left)
        await left.aclose()

    asyncio.run(main())
    assert [read(seen.response.data) for seen in recorder.observations] == [
        ["start", 1, "caught x"],
        ["start"],
    ]
    assert [seen.ended for seen in recorder.observations] == ["ok", "aborted"]


def test_without_values_only_commitments_are_given(recorder: ObservingRecorder) -> None:
    """`values=False` hands over no bodies."""

    @audited(recorder=recorder, values=False)  # type: ignore[arg-type]
    def decide(secret: str) -> str:
        return secret

    decide("s")
    seen = recorder.only()
    assert (seen.keep_values, seen.request.data, seen.response.data) == (False, None, None)
    assert seen.exchange.response.digest() == commit_body(seen.exchange.exchange_key, "response", b'"s"')


@pytest.mark.parametrize("fault", ["new_exchange", "record"])
def test_own_failures_never_reach_the_caller(fault: str) -> None:
    """A broken recorder is counted, and the function works on."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://log.example/logs/main"))

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    setattr(recorder, fault, broken)
    assert audited(recorder=recorder)(lambda x: x)(5) == 5  # type: ignore[arg-type]
    assert list(audited(recorder=recorder)(echo)(1)) == ["start"]  # type: ignore[arg-type]
    assert recorder.metrics.get("failures.in_process.RuntimeError") == 2


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"


@dataclasses.dataclass
class Applicant:
    """A record."""

    name: str
    scores: np.ndarray


class Verdict(BaseModel):
    """A pydantic model."""

    approved: bool
    on: date


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [True, None, 1.5, "é"]}, b'{"b":1,"a":[true,null,1.5,"\xc3\xa9"]}'),
        (float("nan"), b'"nan"'),
        (float("-inf"), b'"-inf"'),
        (b"\0\xff", b'{"base64":"AP8="}'),
        ({3, 1, 2}, b"[1,2,3]"),
        ({1: "x", (1, 2): "y"}, b'{"1":"x","[1,2]":"y"}'),
        (Colour.RED, b'"red"'),
        (Applicant("a", np.array([1.5, 2.0])), b'{"name":"a","scores":[1.5,2.0]}'),
        (Verdict(approved=True, on=date(2026, 1, 2)), b'{"approved":true,"on":"2026-01-02"}'),
        (torch.tensor([[1, 2]]), b"[[1,2]]"),
        (np.float32(0.5), b"0.5"),
        (np.int64(7), b"7"),
        ("\ud800", b'"\\ud800"'),
        (object(), b'{"type":"builtins.object"}'),
        (int, b'{"type":"builtins.int"}'),
    ],
)
def test_values_have_one_json_form(value: object, expected: bytes) -> None:
    """Records, arrays, sets, bytes and oddities are written the same way every time."""
    assert encode_plain(value) == expected


def test_large_arrays_are_written_as_digests() -> None:
    """An array of many elements is its type, shape and SHA-256, the same from numpy and torch."""
    array = np.zeros((600, 600), dtype=np.float32)
    written = json.loads(encode_plain([array, torch.from_numpy(array)]))
    assert [item["shape"] for item in written] == [[600, 600], [600, 600]]
    assert written[0]["sha256"] == written[1]["sha256"]


def test_circles_end() -> None:
    """A value that contains itself is cut off at the depth limit."""
    circle: list[Any] = []
    circle.append(circle)
    assert b"builtins.list" in encode_plain(circle)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.binary(), st.lists, max_leaves=20)
)
def test_encoding_is_total_and_deterministic(value: object) -> None:
    """Any such value gives JSON, twice the same."""
    assert encode_plain(value) == encode_plain(value)
    json.loads(encode_plain(value))


def closed(outcome: Any = promised, **changes: Any) -> ObservingRecorder:
    """A recorder in memory that fails closed."""
    made = ObservingRecorder(
        CaptureSettings(log_url="http://log.example/logs/a", mode="fail_closed", fail_after_ms=10, **changes)
    )
    made.outcome = outcome
    return made


def calls_of(recorder: Any, made: list[str]) -> dict[str, Any]:
    """The four kinds of function, each as a call of no arguments that gives its result or its items."""

    @audited(recorder=recorder)
    def plain() -> str:
        made.append("called")
        return "yes"

    @audited(recorder=recorder)
    async def coroutine() -> str:
        made.append("called")
        return "yes"

    @audited(recorder=recorder)
    def generator() -> Generator[str, None, None]:
        made.append("called")
        yield "yes"

    @audited(recorder=recorder)
    async def async_generator() -> AsyncGenerator[str, None]:
        made.append("called")
        yield "yes"

    async def gathered() -> list[str]:
        return [item async for item in async_generator()]

    return {
        "plain": plain,
        "coroutine": lambda: asyncio.run(coroutine()),
        "generator": lambda: list(generator()),
        "async generator": lambda: asyncio.run(gathered()),
    }


KINDS = ["plain", "coroutine", "generator", "async generator"]


@pytest.mark.parametrize("kind", KINDS)
def test_fail_closed_calls_nothing_that_cannot_be_recorded(kind: str) -> None:
    """Without room for the record the function is not called, and the error says so."""
    recorder, made = closed(), list[str]()
    recorder.can_reserve = False
    with pytest.raises(UnrecordableError, match="it was not called") as raised:
        calls_of(recorder, made)[kind]()
    assert (made, raised.value.was_called, recorder.observations) == ([], False, [])
    assert recorder.metrics.get("refused.503") == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outcome", [lost, silent])
def test_fail_closed_withholds_what_is_not_durable(kind: str, outcome: Any) -> None:
    """The result, or the end of the items, is not given where the record was lost or came too late."""
    recorder, made = closed(outcome), list[str]()
    with pytest.raises(UnrecordableError, match="is withheld") as raised:
        calls_of(recorder, made)[kind]()
    assert (made, raised.value.was_called) == (["called"], True)


@pytest.mark.parametrize("kind", KINDS)
def test_fail_closed_gives_what_is_durable(kind: str) -> None:
    """Results are what they were, and the record says the mode; its room is used up."""
    recorder, made = closed(), list[str]()
    assert calls_of(recorder, made)[kind]() in ("yes", ["yes"])
    assert recorder.only().mode == "fail_closed"
    assert recorder.reserved == 1  # A recorder of flesh gives it back with the record.


def test_fail_closed_withholds_an_exception_too() -> None:
    """What a function raises may be its decision; a cancellation or an interrupt passes as it is."""

    recorder: Any = closed(lost)

    @audited(recorder=recorder)
    def decide(error: BaseException) -> None:
        raise error

    with pytest.raises(UnrecordableError) as raised:
        decide(ValueError("rejected"))
    assert isinstance(raised.value.__context__, ValueError)
    with pytest.raises(KeyboardInterrupt):
        decide(KeyboardInterrupt())


def test_without_any_recorder_the_environment_says_whether_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """fail_closed there calls nothing; otherwise the function is called as ever."""

    def fail(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("auditlog.capture.process.Recorder.from_environ", fail)
    for mode in ("fail_closed", ""):
        source = RecorderSource({"AUDITLOG_MODE": mode})
        monkeypatch.setattr("auditlog.capture.audited.recorder_of_this_process", source)
        decide = audited(lambda: "yes")
        if mode:
            with pytest.raises(UnrecordableError):
                decide()
        else:
            assert decide() == "yes"


def test_a_real_recorder_that_fails_closed(tmp_path: Path) -> None:
    """Each call returns once its record is on disk; without a slot none is made."""
    real = unsent_recorder(tmp_path, mode="fail_closed", fail_after_ms=20_000)
    made: list[str] = []
    calls = calls_of(real, made)
    for number, kind in enumerate(KINDS, 1):
        calls[kind]()
        assert real.metrics.get("recorded") == number
    assert len(sealed(real, "decision")) == 4
    with pytest.raises(UnrecordableError):
        calls["plain"]()
    assert len(made) == 4


def test_a_call_whose_result_cannot_be_written_down_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commitment would be false, so there is none, and its loss is told; before the call likewise."""
    quiet: Any = ObservingRecorder(CaptureSettings(log_url="http://log.example/logs/a"))
    decide = audited(recorder=quiet)(lambda: "yes")
    monkeypatch.setattr("auditlog.capture.in_process.encode_plain", lambda value: b"{}"[: 1 // (value == {})])
    assert decide() == "yes"
    monkeypatch.setattr("auditlog.capture.in_process.encode_plain", lambda _: 1 // 0)
    assert decide() == "yes"
    assert (len(quiet.lost), quiet.observations) == (2, [])

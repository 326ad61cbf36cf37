"""`@audited`: a decision function that leaves an entry for every call (spec/entry.md, capture hop
`in_process`).

    @audited
    def decide(application: dict) -> dict: ...

    @app.post("/decide")                       behind the middleware: a mark, and values are kept
    @audited(operation="classify")
    async def decide(application: Application) -> Verdict: ...

The request is the JSON object of the arguments by name, the response the JSON of what comes back; a
generator's items are one JSON array, committed to as they flow. As the handler of a request that the
middleware observes, the function leaves no second entry: the bytes on the wire are the better evidence.
Inside it `auditlog.facts(label=...)` adds to the decision.

Promises: the function's results, exceptions, generators and signature stay what they were; in fail_open no
exception of ours is raised and nothing waits. With AUDITLOG_MODE=fail_closed a call that cannot be put on
record raises `auditlog.errors.UnrecordableError`: before the function is called where there is no room for
its record (`was_called` False), else instead of its result, its exception or the end of its items, when the
record is not durable within AUDITLOG_FAIL_AFTER_MS. A plain function waits by blocking its thread.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, TypeVar, overload

from auditlog.capture.http_exchange import current_exchange
from auditlog.capture.in_process import CallNature, InProcessCall, entered, recorder_for_calls
from auditlog.capture.known_routes import PREDICT
from auditlog.capture.process import RecorderSource, recorder_of_this_process
from auditlog.capture.recorder import Recorder
from auditlog.capture.routes import MARK_ATTRIBUTE, Mark

_F = TypeVar("_F", bound=Callable[..., Any])


@overload
def audited(function: _F, /) -> _F: ...
@overload
def audited(
    *, operation: str = ..., values: bool = ..., recorder: Recorder | None = ..., name: str | None = ...
) -> Callable[[_F], _F]: ...
def audited(
    function: _F | None = None,
    /,
    *,
    operation: str = PREDICT,
    values: bool = True,
    recorder: Recorder | None = None,
    name: str | None = None,
) -> _F | Callable[[_F], _F]:
    """Record each call of a function, coroutine function or generator function.

    `operation` is a word of spec/registry.md. `values` False commits without keeping. `recorder` is the
    process's own by default. `name` is the entry's `route`, by default the function's module and qualified
    name.
    """
    source = recorder_of_this_process if recorder is None else RecorderSource.of(recorder)

    def decorate(target: _F) -> _F:
        route = name or f"{target.__module__}.{target.__qualname__}"
        wrapper = _wrap(_Audited(target, CallNature(operation, route, values), source))
        setattr(wrapper, MARK_ATTRIBUTE, Mark(operation, values))
        return wrapper  # type: ignore[return-value]  # the same signature, by functools.wraps

    return decorate if function is None else decorate(function)


class _Audited:
    """A function and how its calls are observed."""

    def __init__(self, function: Callable[..., Any], nature: CallNature, source: RecorderSource) -> None:
        self.function = function
        self.wrapper: object = None
        self._nature = nature
        self._source = source
        try:
            self._signature: inspect.Signature | None = inspect.signature(function)
        except (TypeError, ValueError):
            self._signature = None

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> InProcessCall | None:
        """Start observing a call, unless the middleware observes it already."""
        exchange = current_exchange.get()
        if exchange is not None and exchange.enter(self.wrapper):
            return None
        return InProcessCall.begin(
            recorder_for_calls(self._source), self._nature, lambda: self._arguments(args, kwargs)
        )

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self._signature is None:
            return {"args": args, "kwargs": kwargs}
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError:  # The call itself will say so.
            return {"args": args, "kwargs": kwargs}
        first = next(iter(bound), None)
        return {key: value for key, value in bound.items() if not (key == first and key in ("self", "cls"))}


def _wrap(audited_function: _Audited) -> Callable[..., Any]:
    function = audited_function.function
    if inspect.isasyncgenfunction(function):
        wrapper = _wrap_async_generator(audited_function)
    elif inspect.isgeneratorfunction(function):
        wrapper = _wrap_generator(audited_function)
    elif inspect.iscoroutinefunction(function):
        wrapper = _wrap_coroutine(audited_function)
    else:
        wrapper = _wrap_plain(audited_function)
    audited_function.wrapper = wrapper
    return wrapper


def _wrap_plain(audited_function: _Audited) -> Callable[..., Any]:
    @functools.wraps(audited_function.function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = audited_function.begin(args, kwargs)
        try:
            with entered(call):
                result = audited_function.function(*args, **kwargs)
        except BaseException as error:
            if call is not None:
                call.failed(error)
                if isinstance(error, Exception):
                    call.settle()
            raise
        if call is not None:
            call.returned(result)
            call.settle()
        return result

    return wrapper


def _wrap_coroutine(audited_function: _Audited) -> Callable[..., Any]:
    @functools.wraps(audited_function.function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        call = audited_function.begin(args, kwargs)
        try:
            with entered(call):
                result = await audited_function.function(*args, **kwargs)
        except BaseException as error:
            if call is not None:
                call.failed(error)
                if isinstance(error, Exception):
                    await call.settle_here()
            raise
        if call is not None:
            call.returned(result)
            await call.settle_here()
        return result

    return wrapper


def _wrap_generator(audited_function: _Audited) -> Callable[..., Any]:
    @functools.wraps(audited_function.function)
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        call = audited_function.begin(args, kwargs)
        items = audited_function.function(*args, **kwargs)
        return (yield from items if call is None else _observed(call, items))

    return wrapper


def _observed(call: InProcessCall, items: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """`yield from items`, seen: values sent and exceptions thrown in reach the inner generator as before."""
    count = 0
    try:
        with entered(call):
            item = next(items)
        while True:
            call.yielded(count, item)
            count += 1
            try:
                sent = yield item
            except GeneratorExit:
                items.close()
                raise
            except BaseException as error:  # noqa: BLE001  thrown in by the caller, for the inner generator
                with entered(call):
                    item = items.throw(error)
            else:
                with entered(call):
                    item = next(items) if sent is None else items.send(sent)
    except StopIteration as stop:
        call.ended(count, "ok")
        call.settle()
        return stop.value
    except BaseException as error:
        call.ended(count, "error" if isinstance(error, Exception) else "aborted")
        if isinstance(error, Exception):
            call.settle()
        raise


def _wrap_async_generator(audited_function: _Audited) -> Callable[..., Any]:
    @functools.wraps(audited_function.function)
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        call = audited_function.begin(args, kwargs)
        items = audited_function.function(*args, **kwargs)
        count = 0
        try:
            with entered(call):
                item = await anext(items)
            while True:
                if call is not None:
                    call.yielded(count, item)
                count += 1
                try:
                    sent = yield item
                except GeneratorExit:
                    await items.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001  thrown in by the caller, for the inner generator
                    with entered(call):
                        item = await items.athrow(error)
                else:
                    with entered(call):
                        item = await items.asend(sent)
        except StopAsyncIteration:
            if call is not None:
                call.ended(count, "ok")
                await call.settle_here()
        except BaseException as error:
            if call is not None:
                call.ended(count, "error" if isinstance(error, Exception) else "aborted")
                if isinstance(error, Exception):
                    await call.settle_here()
            raise

    return wrapper

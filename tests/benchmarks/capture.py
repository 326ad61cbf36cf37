"""What capture costs a serving process: CPU per chat request, latency, throughput, memory, spool.

A small ASGI app answers 32 requests at a time in process, once bare and once wrapped with a real recorder
(spool and disclosure store with fsync, a log in another process). Pairs are interleaved; the headline is the
CPU time of the whole process that a 1 KB chat request adds in fail_open with its promise, until everything is
on disk and sent. The interval is the 95 % bootstrap interval of the median of the pairs. Disk and machine
must be idle: a disk slower than AUDITLOG_WAIT_MS is not waited for, and the share of promises says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from measure import Result, arguments, report
from middleware import CHAT_TEXT, log_process

PATH = "/v1/chat/completions"
CHAT = {
    "model": "m",
    "temperature": 0.2,
    "max_tokens": 64,
    "messages": [{"role": "user", "content": CHAT_TEXT}],
}
ANSWER = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": CHAT_TEXT}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 200, "completion_tokens": 210, "total_tokens": 410},
}  # fmt: skip
BODY = json.dumps(CHAT, separators=(",", ":")).encode()
REPLY = json.dumps(ANSWER, separators=(",", ":")).encode()
AT_ONCE = 32
CHUNKS = 200
MIB = 1 << 20

App = Callable[[Any, Any, Any], Awaitable[None]]


class Server:
    """The bare app. `compute_s` of CPU are spent for each answer; streams have `CHUNKS` events."""

    def __init__(self, compute_s: float = 0.0) -> None:
        self.compute_s = compute_s

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the request, answer it."""
        while (await receive())["more_body"]:
            pass
        if self.compute_s:
            until = time.thread_time() + self.compute_s
            while time.thread_time() < until:
                pass
        kind = b"text/event-stream" if scope["query_string"] else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if scope["query_string"] == b"large":
            for _ in range(1600):
                await send({"type": "http.response.body", "body": bytes(MIB // 16), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        elif scope["query_string"]:
            delta = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
            for _ in range(CHUNKS):
                await send({"type": "http.response.body", "body": delta, "more_body": True})
                await asyncio.sleep(0)
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})
        else:
            await send({"type": "http.response.body", "body": REPLY})


class Seen:
    """What a client saw of answers: promises, and the instants of the first chunks."""

    def __init__(self) -> None:
        self.promised = 0
        self.first_s: list[float] = []
        self.took_s: list[float] = []


async def call(app: App, seen: Seen, query: bytes = b"", chunks: int = 0) -> None:
    """One request through the ASGI interface; with `chunks` a body of so many 64 KiB pieces."""
    started = time.perf_counter()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": PATH, "raw_path": PATH.encode(), "query_string": query, "root_path": "",
        "headers": [(b"content-type", b"application/json")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }  # fmt: skip
    left, is_first = chunks, True

    async def receive() -> dict[str, Any]:
        nonlocal left
        if left <= 0:
            return {"type": "http.request", "body": BODY if not chunks else b"", "more_body": False}
        left -= 1
        return {"type": "http.request", "body": bytes(MIB // 16), "more_body": True}

    async def send(message: Any) -> None:
        nonlocal is_first
        if message["type"] == "http.response.start":
            seen.promised += any(name.lower() == b"audit-promise" for name, _ in message["headers"])
        elif is_first:
            is_first = False
            seen.first_s.append(time.perf_counter() - started)

    await app(scope, receive, send)
    seen.took_s.append(time.perf_counter() - started)


def load(app: App, requests: int, *, at_once: int = AT_ONCE, query: bytes = b"") -> Seen:
    """So many requests, `at_once` of them in flight."""
    seen = Seen()

    async def client(count: int) -> None:
        for _ in range(count):
            await call(app, seen, query)

    async def run() -> None:
        await asyncio.gather(*(client(requests // at_once) for _ in range(at_once)))

    asyncio.run(run())
    return seen


class World:
    """A wrapped and a bare app, and the recorder between them."""

    def __init__(self, url: str, state: str, *, compute_s: float = 0.0, **settings: Any) -> None:
        from auditlog.capture.asgi import AuditMiddleware
        from auditlog.capture.recorder import Recorder
        from auditlog.capture.settings import CaptureSettings

        wanted = {"log_url": url, "token": "t", "producer": "b", "state_dir": Path(state), "heartbeat_s": 0}
        self.recorder = Recorder(CaptureSettings(**{**wanted, **settings}))
        self.recorder.start()
        self.bare: App = Server(compute_s)
        self.wrapped: App = AuditMiddleware(Server(compute_s), self.recorder)
        load(self.wrapped, AT_ONCE)
        self.drain()

    def drain(self) -> None:
        """Wait until every observation is on disk and acknowledged."""
        running, quiet = self.recorder.running, 0
        assert running is not None
        assert running.sender is not None
        while quiet < 2:
            is_done = not len(running.intake) and running.sender.is_drained and not len(running.outbox)
            is_done = is_done and running.writer is not None and running.writer.is_tidy
            quiet = quiet + 1 if is_done else 0
            time.sleep(0.05)

    def cpu(self, requests: int, query: bytes = b"") -> tuple[float, float, float, Seen]:
        """CPU seconds: bare, wrapped until the last answer has left, wrapped until all is sent."""
        begun = time.process_time()
        load(self.bare, requests, query=query)
        bare = time.process_time() - begun
        begun = time.process_time()
        seen = load(self.wrapped, requests, query=query)
        left = time.process_time() - begun
        self.drain()
        return bare, left, time.process_time() - begun, seen


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    choose = random.Random(1)
    medians = sorted(statistics.median(choose.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[1949]


def added(name: str, values: list[float], unit: str, at_most: float | None = None, digits: int = 1) -> Result:
    """One figure with its interval; the target is met when the interval's bad end meets it."""
    low, high = interval(values)
    return Result(
        name=f"{name} [{low:.{digits}f}..{high:.{digits}f}]",
        value=round(statistics.median(values), digits + 1),
        unit=unit,
        target="" if at_most is None else f"<= {at_most:g}",
        met=None if at_most is None else high <= at_most,
    )


def measure_cpu(url: str, state: str, *, pairs: int, requests: int) -> list[Result]:
    """The headline, its part before the answers leave, and how many were promised."""
    world = World(url, state)
    totals, before, promised = [], [], 0
    for _ in range(pairs):
        bare, left, total, seen = world.cpu(requests)
        totals.append((total - bare) / requests * 1e6)
        before.append((left - bare) / requests * 1e6)
        promised += seen.promised
    world.recorder.close()
    share = 100 * promised / (pairs * requests)
    return [
        added("added, 1 KB chat, promised", totals, "us CPU/request", 120),
        added("of it before the answers had left", before, "us CPU/request", 100),
        Result("answers that left with their promise", round(share, 2), "%"),
    ]


def measure_commitments(*, pairs: int) -> Result:
    """Exchange key, both running commitments over 1 KB each, and their digests."""
    from auditlog.capture.minting import RANDOM_BYTES, mint_exchange, wall_clock_us

    def once() -> None:
        exchange = mint_exchange(
            wall_clock_us(), os.urandom(RANDOM_BYTES), receipt_url=lambda _: None, attempts=None
        )
        exchange.request.update(BODY)
        exchange.response.update(REPLY)
        exchange.request.hexdigest()
        exchange.response.hexdigest()

    rows = []
    for _ in range(pairs * 4):
        begun = time.process_time()
        for _ in range(500):
            once()
        rows.append((time.process_time() - begun) / 500 * 1e6)
    return added("whole-body commitments alone", rows, "us CPU/request", 30)


def measure_streams(url: str, state: str, *, pairs: int) -> list[Result]:
    """Time to the first chunk, and CPU per chunk."""
    world = World(url, state)
    first, per_chunk = [], []
    for _ in range(pairs):
        bare, left, _, _ = world.cpu(64, b"stream")
        per_chunk.append((left - bare) / 64 / CHUNKS * 1e6)
        alone = statistics.median(load(world.bare, 50, at_once=1, query=b"stream").first_s)
        ours = statistics.median(load(world.wrapped, 50, at_once=1, query=b"stream").first_s)
        first.append((ours - alone) * 1e3)
    world.recorder.close()
    return [
        added("added to the first chunk", first, "ms", 0.2, digits=3),
        added("added per chunk, all of the stream's cost", per_chunk, "us CPU/chunk", 10),
    ]


def measure_throughput(url: str, state: str, *, pairs: int) -> Result:
    """An app that computes 5 ms: what is left of its rate."""
    world = World(url, state, compute_s=0.005)
    kept = []
    for _ in range(pairs):
        times = []
        for app in (world.bare, world.wrapped):
            begun = time.perf_counter()
            load(app, 96)
            times.append(time.perf_counter() - begun)
        kept.append(100 * times[0] / times[1])
    world.recorder.close()
    low, high = interval(kept)
    return Result(
        f"throughput kept by an app computing 5 ms [{low:.2f}..{high:.2f}]",
        round(statistics.median(kept), 2), "%", target=">= 99", met=low >= 99,
    )  # fmt: skip


def paced(app: App, requests: int, every_s: float) -> float:
    """The 99th percentile of latency, in milliseconds, at a fixed rate of arrivals."""
    seen = Seen()

    async def run() -> None:
        tasks, due = [], time.perf_counter()
        for _ in range(requests):
            due += every_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(call(app, seen)))
        await asyncio.gather(*tasks)

    asyncio.run(run())
    return sorted(seen.took_s)[len(seen.took_s) * 99 // 100] * 1e3


def measure_closed(url: str, state: str, *, pairs: int, requests: int) -> list[Result]:
    """fail_closed at half the rate that the wrapped app reaches."""
    world = World(url, state, mode="fail_closed")
    begun = time.perf_counter()
    load(world.wrapped, requests)
    rate = requests / (time.perf_counter() - begun)
    rows = [
        paced(world.wrapped, requests, 2 / rate) - paced(world.bare, requests, 2 / rate) for _ in range(pairs)
    ]
    world.recorder.close()
    return [
        Result("rate reached in fail_closed", round(rate, 0), "requests/s"),
        added("p99 added in fail_closed at half of that", rows, "ms", 5, digits=2),
    ]


def measure_memory(url: str, state: str) -> Result:
    """The peak that a request and an answer of 100 MB each add to the process."""
    world = World(url, state)
    seen = Seen()
    asyncio.run(call(world.bare, seen, b"large", chunks=1600))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(call(world.wrapped, seen, b"large", chunks=1600))
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    world.recorder.close()
    return Result("memory added by bodies of 100 MB", round(more, 2), "MiB", target="< 10", met=more < 10)


def measure_spool(state: str, *, pairs: int) -> Result:
    """Durable entries of 1 KB a second, in groups as the writer makes them."""
    from auditlog.capture.chain import empty_tip
    from auditlog.capture.frames import SEALED, Record
    from auditlog.capture.spool import Spool

    spool = Spool(Path(state) / "spool", SEALED, segment_bytes=8 * MIB, start=empty_tip(bytes(32)))
    group = [Record("ab" * 16, number, 1, bytes(1081)) for number in range(256)]
    rates = []
    for _ in range(pairs):
        begun = time.perf_counter()
        for _ in range(20):
            spool.append(group)
            spool.acknowledge(spool.next)
        rates.append(20 * len(group) / (time.perf_counter() - begun))
    spool.close()
    low, high = interval(rates)
    return Result(
        f"spool [{low:.0f}..{high:.0f}]", round(statistics.median(rates), 0), "durable entries/s",
        target=">= 20000", met=low >= 20_000,
    )  # fmt: skip


def main() -> None:
    """Print all figures."""
    options = arguments(__doc__ or "")
    pairs, requests = (7, 640) if options.quick else (25, 1280)
    with log_process() as url, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state:
        memory = measure_memory(url, f"{state}/memory")
        results = measure_cpu(url, f"{state}/cpu", pairs=pairs, requests=requests)
        results.append(measure_commitments(pairs=pairs))
        results.append(measure_throughput(url, f"{state}/compute", pairs=3 if options.quick else 10))
        results += measure_closed(url, f"{state}/closed", pairs=3 if options.quick else 10, requests=requests)
        results += measure_streams(url, f"{state}/streams", pairs=2 if options.quick else 10)
        results += [memory, measure_spool(f"{state}/spool", pairs=pairs)]
    report(results, as_json=options.json)


if __name__ == "__main__":
    main()

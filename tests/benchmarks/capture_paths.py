"""The other figures of capture: throughput, fail_closed, streams, memory, spool, generation in process."""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import time
from pathlib import Path
from typing import Any

from capture_world import CHUNKS, MIB, PIECES, App, Seen, Server, World, call, interval, load, stated
from measure import Result


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
        stated("added to the first chunk", first, "ms", 0.2, digits=3),
        stated("added per chunk, all of the stream's cost", per_chunk, "us CPU/chunk", 10),
    ]


def measure_throughput(url: str, state: str, *, pairs: int, requests: int, is_native: bool) -> Result:
    """An app that computes 5 ms, in native code or in Python: what is left of its rate."""
    world = World(url, state, server=Server(0.005, is_native=is_native))
    kept = []
    for number in range(pairs):
        took = {}
        for app in (world.bare, world.wrapped) if number % 2 else (world.wrapped, world.bare):
            begun = time.perf_counter()
            load(app, requests)
            took[app is world.bare] = time.perf_counter() - begun
        kept.append(100 * took[True] / took[False])
    world.recorder.close()
    low, high = interval(kept)
    kind = "native code" if is_native else "Python"
    return Result(
        f"throughput kept, 5 ms of {kind} [{low:.2f}..{high:.2f}]",
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
        stated("p99 added in fail_closed at half of that", rows, "ms", 5, digits=2),
        Result("two fsyncs of this disk, one after the other, p99", disk_p99_ms(Path(state)), "ms"),
    ]


def disk_p99_ms(folder: Path) -> float:
    """What no recorder can be quicker than: the keys and then the entry, on disk."""
    took = []
    with (folder / "one").open("ab", buffering=0) as one, (folder / "two").open("ab", buffering=0) as two:
        for _ in range(500):
            begun = time.perf_counter()
            for file in (one, two):
                file.write(bytes(3000))
                os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun)
            time.sleep(0.001)
    return round(sorted(took)[495] * 1e3, 2)


def measure_memory(url: str, state: str) -> list[Result]:
    """How much the peak of the process grows by a request, and by an answer, of 100 MB."""
    world = World(url, state)
    results = []
    for name, query, chunks in (("a request", b"", PIECES), ("an answer", b"large", 0)):
        asyncio.run(call(world.bare, Seen(), query, chunks=chunks))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        asyncio.run(call(world.wrapped, Seen(), query, chunks=chunks))
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        results.append(
            Result(f"memory added by {name} of 100 MB", round(more, 2), "MiB", target="< 10", met=more < 10)
        )
    world.recorder.close()
    return results


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


def measure_generation(url: str, state: str, *, pairs: int, tokens: int) -> Result | str:
    """What the hook adds to `generate` of SmolLM2-135M on the CPU, per token; or why it was not measured."""
    from auditlog.demo.assistant_model import convert, is_converted

    if not is_converted():
        return "generation: skipped, the model is not converted (`auditlog demo` converts it)"
    import torch
    from transformers import AutoModelForCausalLM

    from auditlog.capture.transformers_hook import install

    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(convert(), dtype=torch.float32).eval()
    asked = torch.arange(100, 116).unsqueeze(0)
    world = World(url, state)

    def once() -> float:
        begun = time.process_time()
        with torch.no_grad():
            model.generate(asked, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
        return time.process_time() - begun

    once()
    shares = []
    for number in range(pairs):
        took = {}
        for is_hooked in (True, False) if number % 2 else (False, True):
            hook = install(model, recorder=world.recorder) if is_hooked else None
            begun = time.process_time()
            once()
            if hook is not None:
                hook.remove()
                world.drain()
            took[is_hooked] = time.process_time() - begun
        shares.append(100 * (took[True] / took[False] - 1))
    world.recorder.close()
    return stated(f"added to generate of SmolLM2-135M, {tokens} tokens", shares, "% CPU/token", 1, digits=2)

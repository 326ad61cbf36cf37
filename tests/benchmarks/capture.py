"""What capture costs a serving process: CPU per chat request, latency, throughput, memory, spool.

An app answers 32 requests at a time in process, once bare and once wrapped with a real recorder. Pairs are
interleaved; the headline is the CPU time of the whole process that a 1 KB chat request adds in fail_open with
its promise, until everything is in the store and sent. The interval is the 95 % bootstrap interval of the
median of the pairs. It holds only where answers left with their promise: the share is printed, and the
headline says so where it is under 95 %. The load average beside it says how much to believe of all this.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from capture_paths import (
    measure_closed,
    measure_generation,
    measure_memory,
    measure_spool,
    measure_streams,
    measure_throughput,
)
from capture_world import BODY, REPLY, Server, World, stated
from measure import Result, arguments, report
from middleware import log_process
from peers import measure_peers

PROMISED_AT_LEAST = 95.0
IN_FLIGHT = 8
"""For the headline: with more the processor is the limit, and answers wait for each other, not for us."""


def measure_cpu(url: str, state: str, *, pairs: int, requests: int) -> list[Result]:
    """The headline, its part before the answers leave, and how many were promised."""
    world = World(url, state)
    totals, before, took, promised = [], [], [], 0
    for _ in range(pairs):
        bare, left, total, seen = world.cpu(requests, at_once=IN_FLIGHT)
        totals.append((total - bare) / requests * 1e6)
        before.append((left - bare) / requests * 1e6)
        took += seen.took_s
        promised += seen.promised
    world.recorder.close()
    share = 100 * promised / (pairs * requests)
    name = "added, 1 KB chat, promised"
    if share < PROMISED_AT_LEAST:
        name += f" (ONLY {share:.0f} % WERE)"
    took.sort()
    return [
        stated(name, totals, "us CPU/request", 120),
        stated("of it before the answers had left", before, "us CPU/request", 100),
        Result("least of the pairs, all of it", round(min(totals), 1), "us CPU/request"),
        Result("answers that left with their promise", round(share, 2), "%", target=">= 95", met=share >= 95),
        Result("an answer with its promise took, median", round(statistics.median(took) * 1e3, 2), "ms"),
        Result("an answer with its promise took, p99", round(took[len(took) * 99 // 100] * 1e3, 2), "ms"),
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
    return stated("whole-body commitments alone", rows, "us CPU/request", 30)


def against(headline: Result, peer: Result | None) -> Result:
    """The headline with its ratio to the usual middleware's cost (1.0: as cheap as that)."""
    if peer is None:
        return headline
    ratio = round(peer.value / headline.value, 3)
    return replace(
        headline, ratio=ratio, ratio_low=ratio, ratio_high=ratio,
        against="a BaseHTTPMiddleware that hashes and appends a line",
    )  # fmt: skip


def main() -> None:
    """Print all figures."""
    options = arguments(__doc__ or "")
    is_quick = options.quick
    pairs, requests, few = (3, 160, 1) if is_quick else (25, 1280, 10)
    notes = [f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"]
    with log_process() as url, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as state:
        memory = measure_memory(url, f"{state}/memory")
        results = measure_cpu(url, f"{state}/cpu", pairs=pairs, requests=requests)
        peers, left_out = measure_peers(Server(), Path(state), pairs=few, requests=requests)
        results[0] = against(results[0], peers[0] if peers else None)
        results += [measure_commitments(pairs=pairs), *peers]
        for is_native in (True, False):
            folder, times = f"{state}/computes-{is_native}", 2 if is_quick else 20
            results.append(
                measure_throughput(
                    url, folder, pairs=times, requests=64 if is_quick else 192, is_native=is_native
                )
            )
        results += measure_closed(url, f"{state}/closed", pairs=few, requests=requests)
        results += measure_streams(url, f"{state}/streams", pairs=few)
        results += [*memory, measure_spool(f"{state}/spool", pairs=pairs)]
        generation: Result | str = "generation: left out with --quick"
        if not is_quick:
            generation = measure_generation(url, f"{state}/generation", pairs=few, tokens=64)
        if isinstance(generation, Result):
            results.append(generation)
        else:
            left_out.append(generation)
    report(results, as_json=options.json)
    for note in (*notes, *left_out):
        sys.stderr.write(f"{note}\n")


if __name__ == "__main__":
    main()

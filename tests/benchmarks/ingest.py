"""Entries a second over HTTP, durable, integrated and committed, with the client on the same cores.

Two real service processes (SQLite; one with its index on, one without) take batches of 500 decisions of 1 KB
from eight producers, each with one batch in flight. The ceiling is `ingest_ceiling.py` under the same client
in the same run. With the index on the clock stops when the index has caught up: nothing is left for later.
Then single entries: as many a second as 64 producers get in, and how long they take at half that load.
"""

from __future__ import annotations

import http.client
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ingest_load import Producer, drive, drive_many, request_of
from measure import Result, arguments, ratio_result, report

from auditlog.demo.processes import Servers, free_port, run_auditlog

BATCH = 500
PRODUCERS = 8
SINGLES = 64
PATH = "/logs/main/batches"
AGAINST = "read, hash, append, group fdatasync"


@dataclass
class Side:
    """One service under load, and what was measured of it."""

    name: str
    origin: str
    port: int
    token: str
    producers: list[Producer]
    is_indexed: bool
    seconds: list[float]
    most_behind: int = 0

    def queues(self, batches: int) -> list[list[bytes]]:
        """The next batches of every producer, as requests."""
        return [
            [request_of(each.batch(BATCH), PATH, self.token) for _ in range(batches)]
            for each in self.producers
        ]

    def caught_up(self) -> None:
        """Wait until the index holds what is committed."""
        while self.is_indexed and (behind := self.index_lag()):
            self.most_behind = max(self.most_behind, behind)
            time.sleep(0.01)

    def index_lag(self) -> int:
        """Committed entries that the index lacks, as the service tells it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        line = next(each for each in text.splitlines() if each.startswith("auditlog_index_lag_entries{"))
        return int(float(line.split()[-1]))


def main() -> None:
    """Print entries a second and the ratio to the ceiling."""
    options = arguments(__doc__ or "")
    rounds, batches, singles = (2, 2, 640) if options.quick else (7, 24, 40_000)
    with tempfile.TemporaryDirectory() as scratch, Servers(Path(scratch) / "output") as servers:
        folder = Path(scratch)
        sides = [_serve(servers, folder, name, is_indexed=name == "indexed") for name in ("indexed", "plain")]
        ceiling_port = _serve_ceiling(servers, folder)
        ceiling: list[float] = []
        for number in range(rounds + 1):
            queues = [side.queues(batches) for side in sides]
            times = [
                drive(side.port, queue, side.caught_up) for side, queue in zip(sides, queues, strict=True)
            ]
            top = drive(ceiling_port, queues[0], lambda: None)
            if number:  # the first round warms up
                ceiling.append(top)
                for side, seconds in zip(sides, times, strict=True):
                    side.seconds.append(seconds)
        lines = _batches(sides, ceiling, PRODUCERS * batches * BATCH, len(queues[0][0][0]) // BATCH)
        lines += _singles(sides[0], singles)
    # One JSON object leads with the index on and has the ratio without it beside.
    report(lines, as_json=options.json, beside={"ratio_index_off": lines[1].ratio})


def _batches(sides: Sequence[Side], ceiling: list[float], operations: int, entry_bytes: int) -> list[Result]:
    on, off = (
        ratio_result(
            f"entries committed over HTTP, index {word}",
            side.seconds,
            ceiling,
            operations=operations,
            unit="entries/s",
            against=AGAINST,
            at_least=target,
        )
        for side, word, target in zip(sides, ("on", "off"), (0.35, 0.5), strict=True)
    )
    return [
        on,
        off,
        Result("the ceiling", round(operations / statistics.median(ceiling)), "entries/s"),
        Result("index lag seen at most after the last answer", sides[0].most_behind, "entries"),
        Result("mean entry with framing", entry_bytes, "bytes"),
    ]


def _singles(side: Side, count: int) -> list[Result]:
    """Posts of one entry: at full load, then at half of it."""
    producers = _enrolled(side.origin, side.port, range(100, 100 + SINGLES), side.token)
    rates: list[float] = []
    latencies: list[float] = []
    for turn in range(3):  # the first one warms up
        queues = [
            [request_of(each.batch(1), PATH, side.token) for _ in range(count // SINGLES)]
            for each in producers
        ]
        _, latencies = drive_many(side.port, queues, rates[0] / 2) if turn == 2 else (0.0, [])
        if turn < 2:
            seconds, _ = drive_many(side.port, queues)
            rates = [sum(map(len, queues)) / seconds]
        side.caught_up()
    latencies.sort()
    p50, p99 = (1e3 * latencies[int(len(latencies) * part)] for part in (0.5, 0.99))
    full = Result("posts of one entry, 64 producers", round(rates[0]), "posts/s")
    middle = Result("one entry at half that load, p50", round(p50, 2), "ms")
    tail = Result("one entry at half that load, p99", round(p99, 2), "ms")
    return [
        replace(full, target="at least 8,000", met=rates[0] >= 8000),
        replace(middle, target="below 10 ms", met=p50 < 10),
        replace(tail, target="below 50 ms", met=p99 < 50),
    ]


def _serve(servers: Servers, folder: Path, name: str, *, is_indexed: bool) -> Side:
    home, port, origin = folder / name, free_port(), f"bench.example/{name}"
    made = run_auditlog(
        ["init", str(home), "--origin", origin, "--port", str(port), "--anchoring", "off",
         "--high-water", str(folder / f"{name}-high-water")],
        folder=folder,
    )  # fmt: skip
    if made.exit_code:
        raise SystemExit(made.output)
    here = Path(__file__).parent
    program = ["-m", "auditlog.cli.main"] if is_indexed else [str(here / "ingest_no_index.py")]
    servers.start(name, [*program, "serve", "--config", str(home / "auditlog.toml")], {})
    servers.wait(name, f"http://127.0.0.1:{port}/health")
    token = (home / "tokens" / "capture.token").read_text(encoding="utf-8").strip()
    producers = _enrolled(origin, port, range(PRODUCERS), token)
    return Side(name, origin, port, token, producers, is_indexed, [])


def _enrolled(origin: str, port: int, numbers: range, token: str) -> list[Producer]:
    producers = [Producer(origin, number) for number in numbers]
    for producer in producers:
        producer.enrol(port, token)
    return producers


def _serve_ceiling(servers: Servers, folder: Path) -> int:
    port = free_port()
    environment = {"AUDITLOG_CEILING_FILE": str(folder / "ceiling"), "PYTHONPATH": str(Path(__file__).parent)}
    servers.serve_app("ceiling", "ingest_ceiling:create_app", port, {**os.environ, **environment})
    servers.wait("ceiling", f"http://127.0.0.1:{port}/")
    return port


if __name__ == "__main__":
    main()

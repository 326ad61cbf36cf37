"""`make faults`: inject thousands of faults into the log engine, audit it after each, and count.

    python -m tests.faults.campaign [--quick] [--seed N] [--json] [--only CASE] [--processes N]

Prints `N faults injected, 0 lost` and what N is made of; exit code 1 if anything acknowledged was lost or an
audit failed, with the command that repeats each. The parts: the matrix in memory (`fault_matrix`), a process
on real files and SQLite under strace (`fault_disk`), the real server under load (`fault_server`), and with
the processes beside it (`fault_beside`, `fault_commit`). What this machine cannot do (strace, ptrace) is said
and counted, never left out in silence.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.support import fault_beside, fault_commit, fault_disk, fault_matrix, fault_server

WHOLE = {
    "matrix": 6800,
    "pair": 1000,
    "second": 700,
    "restore": 700,
    "late": 400,
    "read": 400,
    "flip": 400,
    "disk": 700,
    "server": 120,
    "beside": 90,
    "commit": 150,
}
"""How many cases of each part one run takes, out of all there are; another seed takes others."""
QUICK_SHARE = 50
REPEAT = "python -m tests.faults.campaign --only"
TOLD_EVERY = 500
"""Cases after which a line says how far it is, where there is no terminal to draw on."""
_OF_SERVERS = ("server/", "beside/")
PARTS_IN_MEMORY = ("matrix", "pair", "second", "restore", "late", "read", "flip")
_PARTS = {
    "matrix": "one write fails, dies or meets an outage",
    "pair": "two writes fail in one run",
    "second": "a second sequencer at a write",
    "restore": "an old backup is restored",
    "late": "a commit reported as failed arrives later",
    "read": "a read is refused or has a bit flipped",
    "flip": "a stored bit flips",
    "disk": "files and SQLite: a system call fails, or the process is killed at it",
    "server": "`auditlog serve` under load is killed, or a system call of it fails",
    "commit": "a process beside a log meets one at a system call of a large commit",
    "beside": "the processes beside it, or both, are killed, frozen or meet a failing system call",
}


@dataclass
class Result:
    """What a campaign came to."""

    seed: int
    injected: int = 0
    lost: int = 0
    missed: int = 0
    """Cases whose fault found no place to strike: run and audited, and not counted."""
    seconds: float = 0.0
    parts: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The one line."""
        return f"{self.injected:,} faults injected, {self.lost} lost"


Outcome = tuple[str, bool, str | None]
"""The name of a case, whether its fault struck, and what went wrong."""


def run_one(name: str) -> Outcome:
    """Run one case in a worker."""
    runner = {
        "disk": fault_disk.run_case,
        "server": fault_server.run_case,
        "beside": fault_beside.run_case,
        "commit": fault_commit.run_case,
    }.get(name.partition("/")[0], fault_matrix.run_case)
    try:
        struck = runner(name) > 0
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return name, True, f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
    return name, struck, None


def chosen(seed: int, *, quick: bool, result: Result) -> list[str]:
    """The cases of this run, by name; what cannot be run here is put into `result.skipped`."""
    share = QUICK_SHARE if quick else 1
    found = fault_matrix.cases(seed)
    for part, module in (
        ("disk", fault_disk),
        ("server", fault_server),
        ("beside", fault_beside),
        ("commit", fault_commit),
    ):
        why = module.missing()
        if why:
            result.skipped[part] = why
        found[part] = module.cases(seed, WHOLE[part] // share)
    return [name for part, count in WHOLE.items() for name in found[part][: max(1, count // share)]]


def campaign(
    names: Iterable[str], result: Result, *, hands: Hands | None = None, told: Callable[[Result], None]
) -> Result:
    """Run the cases, in this process or by `hands`."""
    started = time.monotonic()
    names = list(names)
    for name, struck, problem in map(run_one, names) if hands is None else hands.run(names):
        part = name.partition("/")[0]
        result.injected += struck
        result.missed += not struck
        result.parts[part] = result.parts.get(part, 0) + struck
        if problem is not None:
            result.lost += 1
            result.failures.append((name, problem))
            if not sys.stderr.isatty():
                print(f"FAILED {name}: {problem}", file=sys.stderr, flush=True)
        told(result)
    result.seconds = time.monotonic() - started
    return result


class Hands:
    """Processes that run cases: those with servers in processes of their own, forked before anything was run.

    A server is forked from its worker. Of some seven hundred that were forked from workers which had run
    thousands of cases in memory before, three never came up, stuck in a library of theirs.
    """

    def __init__(self, processes: int) -> None:
        """Fork the first of them now."""
        fault_server.prepared()
        fault_beside.prepared()
        self._processes = processes
        self._fork = multiprocessing.get_context("fork")
        self._for_servers = self._fork.Pool(processes)

    def run(self, names: list[str]) -> Iterator[Outcome]:
        """The outcome of each case, as they come."""
        of_servers = [name for name in names if name.startswith(_OF_SERVERS)]
        yield from self._for_servers.imap_unordered(run_one, of_servers)
        others = [name for name in names if not name.startswith(_OF_SERVERS)]
        # Forked now, so that the worlds made while the cases were counted are there already.
        with self._fork.Pool(self._processes) as pool:
            yield from pool.imap_unordered(run_one, others, chunksize=4)

    def close(self) -> None:
        """End them."""
        self._for_servers.terminate()


def report(result: Result, console: Console) -> None:
    """The line, what it is made of, and how to repeat what failed."""
    for part, count in sorted(result.parts.items(), key=lambda item: -item[1]):
        console.print(f"  {count:>6,}  {part:<8} {_PARTS[part]}", highlight=False)
    if result.missed:
        console.print(f"  {result.missed:>6,}  more were run that found no place to strike", highlight=False)
    for part, why in result.skipped.items():
        console.print(f"  skipped  {part:<8} {why}", highlight=False)
    for name, problem in result.failures:
        console.print(f"FAILED {name}: {problem}", highlight=False, markup=False, soft_wrap=True)
        console.print(
            f"  repeat: python -m tests.faults.campaign --only {name}", highlight=False, soft_wrap=True
        )
    console.print(f"seed {result.seed}, {result.seconds:.0f} s", highlight=False)
    console.print(result.line, highlight=False)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="make faults", description="Inject faults into the log engine.")
    parser.add_argument("--quick", action="store_true", help=f"one case in {QUICK_SHARE}")
    parser.add_argument("--seed", type=int, default=1, help="which cases are run (default 1)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--only", metavar="CASE", help="run one case by its name, or those whose name begins so"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    result, console = Result(options.seed), Console(stderr=options.json)
    hands = Hands(options.processes) if options.processes > 1 else None
    if options.only:
        every = [name for names in fault_matrix.cases(options.seed).values() for name in names]
        names = [name for name in every if name.startswith(options.only)] or [options.only]
    else:
        names = chosen(options.seed, quick=options.quick, result=result)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("injecting", total=len(names))

        def tell(so_far: Result) -> None:
            done = so_far.injected + so_far.missed
            if not sys.stderr.isatty() and done % TOLD_EVERY == 0:
                print(f"{done} of {len(names)}, {so_far.lost} lost", file=sys.stderr, flush=True)
            progress.update(task, completed=done, description=f"{so_far.lost} lost")

        try:
            campaign(names, result, hands=hands, told=tell)
        finally:
            if hands is not None:
                hands.close()
            fault_disk.clean()
            fault_server.clean()
            fault_beside.clean()
            fault_commit.clean()
    report(result, console)
    if options.json:
        print(json.dumps(asdict(result) | {"line": result.line}))
    return 1 if result.lost else 0


if __name__ == "__main__":
    sys.exit(main())

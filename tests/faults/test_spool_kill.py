"""A serving process killed with SIGKILL at any moment, with a log that comes and goes: nothing durable is
lost.

The child says on its standard output which decisions are durable. After each kill a new life takes the same
slot. At the end every decision that was said to be durable is in the log exactly once, the chain has no
hole, and every life that did not end in order is followed by a declared gap.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from auditlog.core.entry import parse_entry
from auditlog.core.merkle import hash_leaf
from tests.support.fake_service import FakeLog

CHILD = """
import sys
from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
url, state, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
from pathlib import Path
recorder = Recorder(CaptureSettings(log_url=url, origin="log.example/test", producer="p",
    state_dir=Path(state),
    strict=True, segment_bytes=16384, max_batch_entries=7, close_timeout_s=20.0))
recorder.start()
for n in range(count):
    exchange = recorder.new_exchange()
    seen = Observation(exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok",
        request=ObservedBody(b'{"n":1}'), response=ObservedBody(b'{"m":2}'))
    recorded = recorder.record(seen, want_durable=True)
    recorded.durable.result(20)
    print(recorded.id, flush=True)
recorder.close()
print("closed", flush=True)
"""


def live(
    url: str, state: Path, *, count: int, kill_after: int | None, pause_s: float
) -> tuple[list[str], bool]:
    """One process life; killed after `kill_after` durable decisions and a pause. Returns them,
    and if it closed.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(state), str(count)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line.strip())
        if kill_after is not None and len(said) >= kill_after:
            time.sleep(pause_s)
            process.kill()
            break
    rest, _ = process.communicate()
    # What was still in the pipe was durable before it was said; the last line may be cut.
    said += rest.splitlines()[: rest.count("\n")]
    is_closed = "closed" in said
    return [id_ for id_ in said if id_ != "closed" and len(id_) == 36], is_closed


def check_log(log: FakeLog, durable: list[str], lives: list[bool]) -> None:
    """The chain is whole, all durable decisions are there once, unclean lives are declared."""
    chain = log.chain()
    entries = [parse_entry(entry) for entry in chain.entries]
    prev = chain.producer
    for entry, content in zip(entries, chain.entries, strict=True):
        assert entry.prev == prev
        prev = hash_leaf(content).hex()
    found = [entry.body["id"] for entry in entries if entry.kind == "decision"]
    assert len(found) == len(set(found))
    assert [id_ for id_ in found if id_ in set(durable)] == durable
    instances = list(dict.fromkeys(entry.instance for entry in entries))
    gaps = {entry.body["instance"] for entry in entries if entry.kind == "gap"}
    assert len(instances) <= len(lives)
    if len(instances) == len(lives):
        unclean = {instance for instance, is_closed in zip(instances, lives, strict=True) if not is_closed}
        assert gaps == unclean


def run_lives(tmp_path: Path, seed: int, lives: int) -> None:
    """Several lives on one slot, killed at random points, the log up or down at random."""
    choose = random.Random(seed)
    log = FakeLog()
    durable: list[str] = []
    closed: list[bool] = []
    with log.serve() as url:
        for _ in range(lives):
            log.is_down = choose.random() < 0.3
            log.faults.extend(choose.choices(["honest", "hangup_after", "hangup_before", "error_after"], k=4))
            said, is_closed = live(
                url, tmp_path, count=60, kill_after=choose.randrange(1, 50), pause_s=choose.random() * 0.02
            )
            durable += said
            closed.append(is_closed)
        log.is_down = False
        log.faults.clear()
        said, is_closed = live(url, tmp_path, count=3, kill_after=None, pause_s=0)
        assert is_closed
        check_log(log, durable + said, [*closed, True])


def test_killed_processes_lose_nothing_durable(tmp_path: Path) -> None:
    """Five lives killed at chosen points, with answers lost on the way: the log ends up complete."""
    run_lives(tmp_path, seed=7, lives=5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_killed_processes_lose_nothing_durable_many_times(tmp_path: Path, seed: int) -> None:
    """The same over many seeds."""
    run_lives(tmp_path, seed=seed, lives=8)

"""A witness killed with SIGKILL at every step of a cosignature never signs a second history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from auditlog.core.cosignature import CosignatureVerifier
from tests.support.witness_process import WitnessProcess
from tests.support.witness_world import LOG, Judge, request

STEPS = 13
"""A read, the statements of a transaction (begin, two reads, two writes, commit: 7), four around the mark."""


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    """A witness that has cosigned 3 entries."""
    made = WitnessProcess(tmp_path / "w", LOG.vkey)
    yield made
    made.kill()


def ask(witness: WitnessProcess, judge: Judge, old: int, size: int, branch: int = 0) -> int:
    """Ask; -2 if the witness died before it answered."""
    try:
        answer = httpx.post(f"{witness.url}/add-checkpoint", content=request(old, size, branch), timeout=20)
    except httpx.HTTPError:
        return -2
    return judge.take(size, branch, answer)


@pytest.mark.long
def test_killed_at_every_step_it_forgets_nothing_that_left(witness: WitnessProcess) -> None:
    """After each step, a start goes on: it knows what it answered, and signs no other branch of it."""
    judge = Judge(CosignatureVerifier.from_vkey(witness.vkey))
    known, deaths = 0, 0
    for step in range(1, STEPS + 1):
        witness.start(kill_at=step)
        size = known + 3
        deaths += ask(witness, judge, known, size) == -2
        witness.kill()
        witness.start()
        known = ask(witness, judge, 199, 199)
        assert known in (size - 3, size)
        if known > 5:
            assert ask(witness, judge, known, known, branch=1) == -1
            assert ask(witness, judge, known, known + 20, branch=1) == -1
        known = ask(witness, judge, known, size)
        judge.check()
        witness.kill()
    assert deaths >= 10, "the steps were met"


@pytest.mark.parametrize("step", [1, 7, 8, 10])
def test_killed_around_its_commit_it_goes_on(witness: WitnessProcess, step: int) -> None:
    """Before the transaction, at its commit, before the mark, and after the mark."""
    judge = Judge(CosignatureVerifier.from_vkey(witness.vkey))
    witness.start(kill_at=step)
    assert ask(witness, judge, 0, 50) == -2
    witness.kill()
    witness.start()
    known = ask(witness, judge, 199, 199)
    assert known == (0 if step <= 7 else 50)
    if known:
        assert ask(witness, judge, 50, 50, branch=1) == -1
    assert ask(witness, judge, known, 60) == 60
    judge.check()
    assert witness.stop() == 0

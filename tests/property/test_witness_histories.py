"""Several clients, three branches of one log, kill -9 at any time: no two cosignatures ever contradict."""

from __future__ import annotations

import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from auditlog.core.cosignature import CosignatureVerifier
from tests.support.witness_process import WitnessProcess
from tests.support.witness_world import LOG, MOST, Judge, request

BRANCH = st.integers(0, 2)
SIZE = st.integers(1, MOST)
CLIENTS = 6


class Histories(RuleBasedStateMachine):
    """What clients do to one witness, and what they hold of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="auditlog-witness-"))
        self.witness = WitnessProcess(self.folder / "w", LOG.vkey)
        self.judge = Judge(CosignatureVerifier.from_vkey(self.witness.vkey))
        self.known = 0
        self.taking = threading.Lock()

    @initialize()
    def start(self) -> None:
        """The first life."""
        self.witness.start()

    def ask(self, old: int, size: int, branch: int, proof_of: int | None = None) -> None:
        """One client's request; what comes back goes to the judge."""
        body = request(old, size, branch, proof_of)
        try:
            answer = httpx.post(f"{self.witness.url}/add-checkpoint", content=body, timeout=20)
        except httpx.HTTPError:
            return  # killed
        with self.taking:
            # An answer may be older than one already taken; only its content is judged then.
            if answer.status_code == 200:
                self.judge.take(size, branch, answer)
            elif answer.status_code == 409:
                self.known = int(answer.text)

    @rule(more=st.integers(0, 30), branch=BRANCH)
    def grow(self, more: int, branch: int) -> None:
        """A client that knows the state, on any branch."""
        self.ask(self.known, min(MOST, self.known + more), branch)

    @rule(old=SIZE, size=SIZE, branch=BRANCH, proof_of=BRANCH)
    def guess(self, old: int, size: int, branch: int, proof_of: int) -> None:
        """A client that knows nothing, with a proof of any branch."""
        self.ask(min(old, size), size, branch, proof_of)

    @rule()
    def learn(self) -> None:
        """Ask for the size."""
        self.ask(MOST, MOST, 0)

    @rule(
        wishes=st.lists(st.tuples(st.integers(0, 20), BRANCH), min_size=2, max_size=CLIENTS),
        kill_after_s=st.none() | st.floats(0, 0.05),
    )
    def crowd(self, wishes: list[tuple[int, int]], kill_after_s: float | None) -> None:
        """All clients at once, on all branches, from the same state; the witness may die meanwhile."""
        killer = None if kill_after_s is None else threading.Timer(kill_after_s, self.witness.kill)
        with ThreadPoolExecutor(CLIENTS) as clients:
            for more, branch in wishes:
                clients.submit(self.ask, self.known, min(MOST, self.known + more), branch)
            if killer is not None:
                killer.start()
        if killer is not None:
            killer.join()
            self.witness.kill()
            self.witness.start()

    @rule()
    def kill(self) -> None:
        """Between requests."""
        self.witness.kill()
        self.witness.start()

    @invariant()
    def is_one_history(self) -> None:
        """Whatever left the witness, in whichever of its lives."""
        self.judge.check()

    def teardown(self) -> None:
        """At the end it still knows all of it."""
        try:
            if not self.witness.is_running:
                self.witness.kill()
                self.witness.start()
            answer = httpx.post(
                f"{self.witness.url}/add-checkpoint", content=request(MOST, MOST, 0), timeout=20
            )
            if answer.status_code == 409:
                self.judge.take(MOST, 0, answer)
        finally:
            self.witness.kill()
            shutil.rmtree(self.folder)


def run(examples: int, steps: int) -> None:
    """Run the machine so often."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=slow
        ),
    )


def test_no_two_inconsistent_cosignatures() -> None:
    """A few lives of a witness among hostile clients."""
    run(2, 14)


@pytest.mark.long
def test_no_two_inconsistent_cosignatures_in_many_lives() -> None:
    """The same for minutes."""
    run(12, 40)

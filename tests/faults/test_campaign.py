"""The fault campaign: a few cases of each part in every run of the tests, all of it in the long one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.faults.campaign import PARTS_IN_MEMORY, Hands, Result, campaign, chosen, run_one
from tests.support import fault_beside, fault_commit, fault_disk, fault_matrix, fault_server
from tests.support.contract import ContractBroken
from tests.support.fault_scenarios import SCENARIOS
from tests.support.fault_world import begun
from tests.support.testlog import TestBench


@pytest.fixture(scope="module", autouse=True)
def _tidy() -> Iterator[None]:
    """The folders that the cases share go away."""
    yield
    fault_disk.clean()
    fault_server.clean()
    fault_beside.clean()
    fault_commit.clean()


@pytest.fixture(scope="module")
def names() -> dict[str, list[str]]:
    """The cases in memory, by part."""
    return fault_matrix.cases(7)


@pytest.mark.parametrize("part", PARTS_IN_MEMORY)
def test_some_faults_in_memory(part: str, names: dict[str, list[str]]) -> None:
    """A handful of the cases of each part: nothing acknowledged is lost, every audit is clean."""
    for name in names[part][:5]:
        assert run_one(name)[2] is None, name


ONCE_WRONG = [
    # A number that came late into the database was no entry of the tree in memory: its sender was told 404.
    "late/rotation/hashes/go-on/19/1",
    # Heads of a commit that came while they were read, on the tree before it: acknowledged before it was
    # applied, and an honest key doubted.
    "late/repeats/public/go-on/1/1",
    "late/rotation/private/go-on/14/1",
    "late/publish/hashes/reload/24/5",
]


@pytest.mark.parametrize("name", ONCE_WRONG)
def test_what_once_went_wrong(name: str) -> None:
    """What the campaign found is tried in every run."""
    assert run_one(name) == (name, True, None)


@pytest.mark.parametrize("fault", fault_disk.FAULTS)
def test_a_system_call_fails(fault: str) -> None:
    """The write-ahead log of the database, at a call in the middle of one batch."""
    why = fault_disk.missing()
    if why:
        pytest.skip(why)
    assert run_one(f"disk/{fault}/public/pwrite64/7") == (f"disk/{fault}/public/pwrite64/7", True, None)


def test_the_server_is_killed_under_load() -> None:
    """One life of the real server, ended by SIGKILL while two senders post."""
    assert run_one("server/SIGKILL/moment/1-60")[2] is None


@pytest.mark.parametrize("case", ["process/SIGKILL/moment/0-5", "both/SIGKILL/moment/4-9"])
def test_processes_beside_the_server_are_killed_under_load(case: str) -> None:
    """One dies alone, or all do a moment before the service: it goes on, and nothing is lost."""
    assert run_one(f"beside/{case}") == (f"beside/{case}", True, None)


def test_a_service_that_stops_leaves_neither_process_nor_file() -> None:
    """SIGTERM of every process of the service, under load."""
    case = "beside/group/SIGTERM/moment/7-20"
    assert run_one(case) == (case, True, None)


@pytest.mark.long
def test_a_system_call_of_a_process_beside_the_server_fails() -> None:
    """Naming a tile of a large commit: the service does it itself."""
    why = fault_beside.missing()
    if why:
        pytest.skip(why)
    case = "beside/process/EIO/link/6-2"
    assert run_one(case) == (case, True, None)


@pytest.mark.parametrize("case", ["EIO/link/2", "ENOSPC/fsync/3", "SIGKILL/openat/2", "EIO/fchmod/1"])
def test_a_system_call_of_a_large_commit_fails(case: str) -> None:
    """In the process that applies it: the tree is that of a log without processes."""
    why = fault_commit.missing()
    if why:
        pytest.skip(why)
    assert run_one(f"commit/{case}") == (f"commit/{case}", True, None)


def test_every_scenario_ends_well_when_nothing_fails() -> None:
    """What the matrix counts its writes by: a run of each scenario, with a write in it to spoil."""
    for scenario in SCENARIOS:
        writes, reads = fault_matrix.counted(scenario, "hashes")
        assert len(writes) > 10
        assert reads > 1


def test_a_loss_is_counted_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A campaign that loses something says which case it was, and does not end well."""
    monkeypatch.setattr(TestBench, "audit", lambda bench: [])
    result = Result(seed=1)
    campaign(["matrix/own/public/refused/once/go-on/3"], result, told=lambda _: None)
    assert result.line == "1 faults injected, 1 lost"
    assert result.failures[0][0] == "matrix/own/public/refused/once/go-on/3"


def test_the_contract_stops_a_wrong_step_where_it_stands() -> None:
    """A checkpoint shown before its commit was read back, a tile changed or applied too early: each fails."""
    bench = begun("public").bench
    note = bench.contract.committed[-1]
    other = note.replace("\n250\n", "\n251\n")
    for wrong in (
        lambda: bench.public.replace("checkpoint", other.encode()),
        lambda: bench.outside.record(other),
        lambda: bench.public.put_new("tile/0/000", bytes(8192)),
        lambda: bench.staging.delete(next(iter(bench.staging.objects))),
        lambda: bench.public.delete("checkpoint"),
    ):
        with pytest.raises(ContractBroken):
            wrong()
    assert len(bench.contract.broken) == 5


@pytest.mark.long
def test_the_whole_campaign() -> None:
    """Ten thousand faults and more: none loses anything."""
    result = Result(seed=1)
    names = chosen(1, quick=False, result=result)
    hands = Hands(os.cpu_count() or 1)
    try:
        campaign(names, result, hands=hands, told=lambda _: None)
    finally:
        hands.close()
    assert result.failures == []
    assert result.injected >= (9_000 if result.skipped else 10_000)

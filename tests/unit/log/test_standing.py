"""The standing of a log: nothing is lost on the way, and a retired log never signs again."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from auditlog.core.entry import parse_entry
from auditlog.core.keys import Ed25519Signer
from auditlog.errors import (
    ConfigurationError,
    LogQuiesced,
    LogReadOnly,
    LogRetired,
    MalformedError,
    Pushback,
    StorageError,
)
from auditlog.log.log import Log
from auditlog.storage.memory import Fault
from auditlog.storage.records import OPEN, QUIESCED, READ_ONLY, RETIRED
from tests.support.testlog import TestBench

NEXT = Ed25519Signer.from_seed("next.example.org/test", b"n" * 32).vkey


@pytest.fixture
def bench() -> TestBench:
    """A log that was created."""
    bench = TestBench()
    bench.create()
    return bench


def _log(bench: TestBench) -> Log:
    assert bench.log is not None
    return bench.log


def test_a_quiesced_log_commits_and_publishes_what_it_had(bench: TestBench) -> None:
    """Admitted entries are committed and shown; new ones are told to come again, also after a restart."""
    producer, log = bench.started("host"), _log(bench)
    waiting = log.submit(producer.batch([first := producer.decide(1)]))
    log.set_standing(QUIESCED)
    assert waiting.result(timeout=0).count == 1
    assert log.published_size == log.tree_size == log.status().tree_size
    sealed = [producer.decide(2)]
    for life in (log, bench.restart()):
        assert life.standing == life.status().standing == QUIESCED
        with pytest.raises(LogQuiesced) as caught:
            life.submit(producer.batch(sealed))
        assert caught.value.retry_after_s > 0
        with pytest.raises(LogQuiesced):
            life.append_own("notice", {"what": "stopped"})
        with pytest.raises(LogQuiesced):
            life.retire(producer.producer)
    again = producer.batch([first])
    assert bench.wait(_log(bench).submit(again)).skipped == 1
    _log(bench).set_standing(OPEN)
    bench.send(producer, sealed)
    bench.publish()
    bench.audit()


def test_a_read_only_log_signs_nothing(bench: TestBench) -> None:
    """Nothing is admitted or signed, COSE receipts among it; reads and what is there already go on."""
    producer = bench.started("host")
    bench.send(producer, sealed := [producer.decide(1)])
    log = _log(bench)
    log.set_standing(READ_ONLY)
    size, late = log.tree_size, producer.batch([producer.decide(2)])
    for life in (log, bench.restart()):
        assert life.standing == READ_ONLY
        with pytest.raises(LogReadOnly):
            life.submit(late)
        with pytest.raises(LogReadOnly):
            life.append_own("notice", {"what": "stopped"})
        with pytest.raises(LogReadOnly):
            life.receipts.issue_cose(size - 1)
        assert life.receipts.issue(size - 1)
        again = life.submit(producer.batch(sealed))
        life.run_pending()
        assert again.result(timeout=0).skipped == 1
        assert life.tree_size == life.published_size == size
    bench.audit()


def test_a_retired_log_ends_with_its_successor(bench: TestBench) -> None:
    """The last entry of all names the log that goes on, and the last checkpoint is published."""
    producer = bench.started("host")
    waiting = _log(bench).submit(producer.batch([producer.decide(1)]))
    ended = _log(bench).end(NEXT)
    assert waiting.result(timeout=0).count == 1
    entries = bench.audit()
    last = parse_entry(entries[-1])
    assert (last.kind, last.producer) == ("successor", "log")
    assert last.body == {"origin": "next.example.org/test", "vkey": NEXT}
    assert ended.index == len(entries) - 1
    late = producer.batch([producer.decide(2)])
    for life in (_log(bench), bench.restart()):
        assert (life.standing, life.published_size) == (RETIRED, len(entries))
        assert life.successor == ended
        with pytest.raises(LogRetired) as caught:
            life.submit(late)
        assert caught.value.expected == {"origin": "next.example.org/test", "vkey": NEXT}
        for wanted in (OPEN, READ_ONLY):
            with pytest.raises(LogRetired):
                life.set_standing(wanted)
        assert life.end(NEXT) == ended
        with pytest.raises(LogRetired):
            life.end(Ed25519Signer.from_seed("third.example.org/test", b"t" * 32).vkey)


def test_another_process_cannot_sign_past_the_end(bench: TestBench) -> None:
    """A process that has not heard of the end is refused by the commit, and hears of it."""
    producer, log = bench.started("host"), _log(bench)
    other = bench.restart()
    log.end(NEXT)
    refused = other.submit(producer.batch([producer.decide(1)]))
    bench.settle()
    assert isinstance(refused.exception(timeout=0), Pushback)
    assert other.standing == RETIRED
    with pytest.raises(LogRetired):
        other.append_own("notice", {"what": "stopped"})
    assert other.tree_size == log.tree_size


def test_another_process_hears_of_a_standing_at_its_next_commit(bench: TestBench) -> None:
    """Quiesced elsewhere: what is admitted meanwhile is committed, and nothing after it."""
    producer, log = bench.started("host"), _log(bench)
    other = bench.restart()
    log.set_standing(QUIESCED)
    bench.wait(other.submit(producer.batch([producer.decide(1)])))
    assert other.standing == QUIESCED
    with pytest.raises(LogQuiesced):
        other.submit(producer.batch([producer.decide(2)]))


def test_a_row_put_back_does_not_bring_an_ended_log_back(bench: TestBench) -> None:
    """The start goes by the successor entry, whatever the database says."""
    _log(bench).end(NEXT)
    committed = bench.state.read()
    assert committed is not None
    bench.state._committed = replace(committed, standing=OPEN)
    log = bench.restart()
    assert log.standing == RETIRED
    with pytest.raises(LogRetired):
        log.append_own("notice", {"what": "stopped"})


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.STORED])
@pytest.mark.parametrize("operation", ["state.set_standing", "state.commit", "staging.put_new"])
def test_an_end_that_fails_is_asked_for_again(bench: TestBench, operation: str, fault: Fault) -> None:
    """Whichever write fails, reported or not, nothing is lost and the next attempt ends the log."""
    producer = bench.started("host")
    waiting = _log(bench).submit(producer.batch([producer.decide(1)]))
    failed: list[str] = []

    def hook(found: str, path: str) -> Fault | None:
        if found == operation and not failed:
            failed.append(path)
            return fault
        return None

    bench.fault = hook
    with contextlib.suppress(StorageError, Pushback):
        _log(bench).end(NEXT)
    bench.fault = None
    assert failed
    bench.settle()
    if waiting.exception(timeout=0) is None:
        bench.acknowledged[99] = _log(bench).reader.entry(waiting.result(timeout=0).first_index)
    assert bench.restart().end(NEXT).index == _log(bench).tree_size - 1
    bench.audit()


def test_a_successor_is_another_log(bench: TestBench) -> None:
    """Its own origin, something that is no key, and an entry by the side door are refused."""
    log = _log(bench)
    for vkey, error in ((log.vkey, ConfigurationError), ("no key", MalformedError)):
        with pytest.raises(error):
            log.end(vkey)
    with pytest.raises(MalformedError, match="by way of"):
        log.append_own("successor", {"origin": "next.example.org/test", "vkey": NEXT})
    with pytest.raises(MalformedError):
        log.set_standing("asleep")
    assert log.standing == OPEN

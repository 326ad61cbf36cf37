"""The recorder end to end against a log service in memory: chains, models, drafts, gaps, forks, shutdown."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
from auditlog.capture.disclose import find_kept, find_record
from auditlog.capture.recorder import mint_id
from auditlog.capture.slots import list_slots
from auditlog.core.bodies import check_body
from auditlog.core.capability import is_receipt_capability
from auditlog.core.commitment import commit_body, field_root
from auditlog.core.entry import Entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Verifier, open_note
from auditlog.core.statements import instance_text
from auditlog.errors import NotFoundError
from tests.support.fake_service import RECEIPT_KEY, FakeLog

REQUEST = b'{"messages":[{"role":"user","content":"hello"}],"temperature":0.7}'
RESPONSE = b'{"choices":[{"text":"hi"}]}'


@pytest.fixture
def log() -> FakeLog:
    """An honest log."""
    return FakeLog()


@pytest.fixture
def url(log: FakeLog) -> Iterator[str]:
    """Its address on loopback."""
    with log.serve() as address:
        yield address


@pytest.fixture
def make(tmp_path: Path, url: str, log: FakeLog) -> Iterator[Callable[..., Recorder]]:
    """Makes recorders on one state directory; all are closed at the end."""
    made: list[Recorder] = []

    def build(**changes: Any) -> Recorder:
        settings = {
            "log_url": url,
            "origin": log.origin,
            "producer": "p",
            "state_dir": tmp_path,
            "strict": True,
            "heartbeat_s": 0,
        }
        recorder = Recorder(CaptureSettings(**{**settings, "close_timeout_s": 20.0, **changes}))
        made.append(recorder)
        return recorder

    yield build
    for recorder in made:
        recorder.close()


def decide(recorder: Recorder, **changes: Any) -> str:
    """Record one decision; returns its id."""
    exchange = recorder.new_exchange()
    assert exchange is not None
    exchange.request.update(REQUEST)
    exchange.response.update(RESPONSE)
    members: dict[str, Any] = {
        "exchange": exchange,
        "operation": "chat",
        "capture": "asgi",
        "duration_us": 1200,
        "ended": "ok",
        "request": ObservedBody(REQUEST),
        "response": ObservedBody(RESPONSE),
    }
    recorded = recorder.record(Observation(**{**members, **changes}))
    assert recorded is not None
    return recorded.id


def until(condition: Callable[[], bool]) -> None:
    """Wait for a thread of the recorder to get somewhere."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "expected the recorder to get there, found it stuck"
        time.sleep(0.005)


def check_chain(entries: list[Entry], producer_leaf: str, raw: list[bytes]) -> None:
    """Numbers are dense in each life, each `prev` is the entry before, each life begins with its
    statement.
    """
    prev, seq, instance = producer_leaf, -1, ""
    for entry, content in zip(entries, raw, strict=True):
        assert entry.prev == prev
        if entry.instance != instance:
            assert entry.kind == "instance"
            instance, seq = entry.instance, -1
        seq += 1
        assert entry.seq == seq
        assert check_body(entry.kind, entry.body) == []
        prev = hash_leaf(content).hex()


def kinds(log: FakeLog) -> list[str]:
    """The kinds of all entries in order."""
    return [entry.kind for entry in log.entries()]


def test_decision_reaches_the_log_and_opens(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """A recorded decision becomes an entry whose commitments open with what the store kept."""
    recorder = make()
    recorder.start()
    id_ = decide(
        recorder, status=200, method="POST", route="/v1/chat", facts={"label": "approved", "score": 0.25}
    )
    recorder.close()
    (entry,) = log.decisions()
    chain = log.chain()
    check_chain(log.entries(), chain.producer, chain.entries)
    assert entry.body["id"] == id_
    assert entry.body["model"] == "unregistered"
    assert entry.body["values"] == "kept"
    kept = find_record(tmp_path, id_)
    assert kept.exchange_key is not None
    assert kept.facts_key is not None
    assert entry.body["request"]["commitment"] == commit_body(kept.exchange_key, "request", REQUEST).hex()
    assert entry.body["response"]["commitment"] == commit_body(kept.exchange_key, "response", RESPONSE).hex()
    for name, key, content in (
        ("request", kept.exchange_key, REQUEST),
        ("facts", kept.facts_key, b'{"label":"approved","score":0.25}'),
    ):
        root = field_root(key, name, content)
        assert root is not None
        assert entry.body[name]["fields"] == root.member()


def test_no_secret_and_no_payload_in_the_entry(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Neither names nor values of the bodies appear in what is sent."""
    recorder = make()
    decide(recorder, facts={"subject": "Ada Lovelace"})
    recorder.close()
    sent = b"".join(log.batch_bytes)
    for word in (b"hello", b"messages", b"Lovelace", b"subject", b"temperature"):
        assert word not in sent


def test_instance_statement_is_signed_by_the_producer(make: Callable[..., Recorder], log: FakeLog) -> None:
    """The first entry of a life is the producer's signature over origin, producer, instance and prev."""
    recorder = make()
    recorder.start()
    recorder.close()
    entry, stopped = log.entries()
    assert (stopped.kind, stopped.body) == ("notice", {"what": "stopped"})
    chain = log.chain()
    opened = open_note(entry.body["note"], [Ed25519Verifier.from_vkey(chain.vkey)])
    assert opened.text == instance_text(log.origin, chain.producer, entry.instance, chain.producer)


def test_restart_continues_the_chain_without_gap(make: Callable[..., Recorder], log: FakeLog) -> None:
    """After a clean end the next life follows directly, with the same producer."""
    for _ in range(3):
        recorder = make()
        decide(recorder)
        recorder.close()
    chain = log.chain()
    check_chain(log.entries(), chain.producer, chain.entries)
    assert kinds(log) == ["instance", "decision", "notice"] * 3
    assert log.enrolments == 1


def test_receipt_url_is_an_unguessable_address(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Once enrolled, an exchange knows where its receipt will be; before that there is no address."""
    log.is_down = True
    recorder = make(public_url="https://receipts.example/logs/main")
    exchange = recorder.new_exchange()
    assert exchange is not None
    assert exchange.receipt_url is None
    log.is_down = False
    recorder.close()
    recorder = make(public_url="https://receipts.example/logs/main")
    recorder.start()
    recorder.close()
    recorder = make(public_url="https://receipts.example/logs/main")
    exchange = recorder.new_exchange()
    assert exchange is not None
    assert exchange.receipt_url is not None
    prefix, id_, capability = exchange.receipt_url.rsplit("/", 2)
    assert prefix == f"https://receipts.example/logs/main/receipts/{log.chain().producer[:16]}"
    assert id_ == exchange.id
    assert is_receipt_capability(RECEIPT_KEY, exchange.id, capability)


def test_model_is_pending_until_registered_then_named(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Decisions name the leaf hash of the model entry once there is one; before that they say so."""
    recorder = make()
    recorder.expect_model()
    decide(recorder)
    until(lambda: len(log.decisions()) == 1)
    reference = recorder.register_model(name="m", root=bytes(32), files=3, adapters=(("lora", bytes(32), 1),))
    decide(recorder)
    decide(recorder, model="m")
    decide(recorder, model="another")
    decide(recorder, model_override="unregistered")
    recorder.close()
    model = next(e for e, raw in zip(log.entries(), log.chain().entries, strict=True) if e.kind == "model")
    leaf = hash_leaf(log.chain().entries[model.seq]).hex()
    assert reference.result(0) == leaf
    models = [entry.body["model"] for entry in log.decisions()]
    assert models == ["pending", leaf, leaf, "pending", "unregistered"]
    chain = log.chain()
    check_chain(log.entries(), chain.producer, chain.entries)


def test_drafts_before_enrolment_are_sealed_in_order(make: Callable[..., Recorder], log: FakeLog) -> None:
    """While the log was never reached, decisions wait as drafts; then all are sealed under their own life."""
    log.is_down = True
    first = make(close_timeout_s=0.3)
    first.expect_model()
    ids = [decide(first)]
    first.register_model(name="m", root=bytes(32), files=1)
    ids += [decide(first) for _ in range(3)]
    first.close()
    second = make(close_timeout_s=0.3)
    ids.append(decide(second))
    second.close()
    assert log.entries() == []
    log.is_down = False
    third = make()
    ids.append(decide(third))
    until(lambda: len(log.decisions()) == 6)
    ids.append(decide(third))
    third.close()
    chain = log.chain()
    check_chain(log.entries(), chain.producer, chain.entries)
    assert [entry.body["id"] for entry in log.decisions()] == ids
    leaf = hash_leaf(chain.entries[2]).hex()
    models = [entry.body["model"] for entry in log.decisions()]
    assert models == ["pending", leaf, leaf, leaf] + ["unregistered"] * 3
    assert len({entry.instance for entry in log.entries()}) == 3
    assert "gap" not in kinds(log)


def test_model_registered_as_draft_is_named_after_enrolment(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """A model registered while the log was away keeps its place: later decisions name its leaf hash."""
    log.is_down = True
    recorder = make()
    recorder.register_model(name="m", root=bytes(32), files=1).result(10)
    decide(recorder)
    log.is_down = False
    until(lambda: len(log.decisions()) == 1)
    decide(recorder)
    recorder.close()
    leaf = hash_leaf(log.chain().entries[1]).hex()
    assert [entry.body["model"] for entry in log.decisions()] == [leaf, leaf]


def test_full_queue_is_declared_as_a_gap(make: Callable[..., Recorder], log: FakeLog) -> None:
    """What the queue could not take is counted in a gap entry, never silently missing."""
    recorder = make(max_queue_items=5)
    recorder.start()
    until(lambda: len(log.entries()) == 1)
    assert recorder.running is not None
    hold = threading.Event()
    writer = recorder.running.writer
    assert writer is not None
    journal = writer._journal
    append = journal.append

    def slow(records: Any) -> None:
        hold.wait()
        append(records)

    journal.append = slow  # type: ignore[method-assign]
    decide(recorder)
    until(lambda: len(recorder.running.intake) == 0)  # type: ignore[union-attr]
    time.sleep(0.05)
    ids = [decide(recorder) for _ in range(12)]
    hold.set()
    recorder.close()
    (gap,) = [entry for entry in log.entries() if entry.kind == "gap"]
    assert gap.body["count"] == 7
    assert gap.body["instance"] == gap.instance
    assert gap.body["after_seq"] == gap.seq - 1
    assert len(log.decisions()) == 6
    assert [e.body["id"] for e in log.decisions()][1:] == ids[:5]
    assert recorder.metrics.get("lost") == 7


def test_full_spool_is_declared_once_there_is_room(make: Callable[..., Recorder], log: FakeLog) -> None:
    """A log that is away for long fills the spool; the loss is declared when it is back."""
    recorder = make(max_spool_bytes=64 << 10, segment_bytes=8 << 10)
    recorder.start()
    until(lambda: len(log.entries()) == 1)
    log.is_down = True
    total = 0
    while recorder.metrics.get("spool_full") == 0:
        decide(recorder)
        total += 1
        time.sleep(0.001)
    log.is_down = False
    until(lambda: "gap" in kinds(log))
    decide(recorder)
    recorder.close()
    declared = sum(entry.body["count"] for entry in log.entries() if entry.kind == "gap")
    assert declared == recorder.metrics.get("lost") >= 1
    assert len(log.decisions()) == total + 1 - declared
    chain = log.chain()
    check_chain(log.entries(), chain.producer, chain.entries)


def test_two_workers_take_two_slots(make: Callable[..., Recorder], log: FakeLog, tmp_path: Path) -> None:
    """Recorders alive at once are two producers; a freed slot is taken again."""
    one, two = make(), make()
    decide(one)
    decide(two)
    assert {report.name for report in list_slots(tmp_path) if report.is_held} == {"p-0", "p-1"}
    one.close()
    two.close()
    assert sorted(chain.name for chain in log.chains.values()) == ["p-0", "p-1"]
    three = make()
    decide(three)
    three.close()
    assert len(log.chains) == 2


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_child_gets_its_own_producer(make: Callable[..., Recorder], log: FakeLog) -> None:
    """After a fork parent and child record into different chains, and neither loses anything."""
    recorder = make()
    decide(recorder)
    until(lambda: len(log.decisions()) == 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            decide(recorder)
            recorder.close()
            code = 0
        finally:
            os._exit(code)
    decide(recorder)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    recorder.close()
    assert sorted(len(chain.entries) for chain in log.chains.values()) == [3, 4]
    for chain in log.chains.values():
        check_chain(log.entries(chain.producer), chain.producer, chain.entries)


def test_outcome_is_recorded_under_its_own_key(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """An outcome names decision and item only; its facts are kept and committed."""
    recorder = make()
    id_ = decide(recorder)
    recorder.record_outcome(id_, {"label": "overridden"}, item="instances/0")
    recorder.close()
    (outcome,) = [entry for entry in log.entries() if entry.kind == "outcome"]
    assert outcome.body["decision"] == id_
    assert outcome.body["item"] == "instances/0"
    assert [record.kind for record in find_kept(tmp_path, id_)] == ["decision", "outcome"]


def test_values_not_kept_leaves_commitments_only(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """A route that keeps no values commits to the whole bodies and keeps the key, no bytes and no fields."""
    recorder = make()
    id_ = decide(recorder, keep_values=False)
    recorder.close()
    (entry,) = log.decisions()
    assert entry.body["values"] == "not_kept"
    assert set(entry.body["request"]) == {"commitment"}
    kept = find_record(tmp_path, id_)
    assert kept.request is None
    assert kept.exchange_key is not None


def test_broken_disclosure_store_does_not_stop_the_log(
    make: Callable[..., Recorder], log: FakeLog, tmp_path: Path
) -> None:
    """If keys cannot be kept the entry says so, and is recorded all the same."""
    slot = tmp_path / "slots" / "p-0"
    slot.mkdir(parents=True)
    (slot / "disclosures.sqlite3").write_bytes(b"not a database, surely" * 100)
    recorder = make()
    id_ = decide(recorder)
    recorder.close()
    (entry,) = log.decisions()
    assert entry.body["values"] == "not_kept"
    with pytest.raises((NotFoundError, Exception)):
        find_record(tmp_path, id_)


def test_bad_observation_is_lost_alone_and_declared(make: Callable[..., Recorder], log: FakeLog) -> None:
    """An observation that no entry can hold is counted; those around it are recorded."""
    recorder = make(strict=False)
    decide(recorder)
    decide(recorder, operation="\ud800")
    decide(recorder, duration_us=1.5)
    decide(recorder)
    recorder.close()
    assert len(log.decisions()) == 2
    assert sum(entry.body["count"] for entry in log.entries() if entry.kind == "gap") == 2


def test_huge_free_texts_are_left_out_rather_than_lost(make: Callable[..., Recorder], log: FakeLog) -> None:
    """An entry that would not fit goes without sampling, defaults and adapters, but it goes."""
    recorder = make(strict=False)
    decide(recorder, sampling={f"k{n}": "v" * 500 for n in range(200)})
    recorder.close()
    (entry,) = log.decisions()
    assert "sampling" not in entry.body


def test_durable_future_resolves_after_the_disk(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Who asks can wait until the entry is on disk, enrolled or not."""
    log.is_down = True
    recorder = make(close_timeout_s=0.5)
    exchange = recorder.new_exchange()
    assert exchange is not None
    observation = Observation(exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok")
    recorded = recorder.record(observation, want_durable=True)
    assert recorded is not None
    assert recorded.durable is not None
    assert recorded.durable.result(10) is None


def test_cancelled_wait_for_durability_harms_nobody(make: Callable[..., Recorder], log: FakeLog) -> None:
    """A caller that gave up waiting does not disturb the writer."""
    recorder = make()
    for _ in range(5):
        exchange = recorder.new_exchange()
        assert exchange is not None
        observation = Observation(
            exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok"
        )
        recorded = recorder.record(observation, want_durable=True)
        assert recorded is not None
        assert recorded.durable is not None
        recorded.durable.cancel()
    recorder.close()
    assert len(log.decisions()) == 5


def test_unusable_settings_count_and_never_raise(tmp_path: Path) -> None:
    """Without a log, or switched off, nothing is recorded, nothing raised, everything counted."""
    for settings in (
        CaptureSettings(state_dir=tmp_path),
        CaptureSettings(log_url="http://x.example", state_dir=tmp_path, enabled=False),
    ):
        recorder = Recorder(settings)
        recorder.start()
        assert recorder.new_exchange() is None
        assert not recorder.is_recording
        assert recorder.metrics.get("unrecorded") == 1
        assert recorder.register_model(name="m", root=bytes(32), files=1).cancelled()
        recorder.close()


def test_unwritable_state_directory_never_raises(tmp_path: Path) -> None:
    """A state directory that cannot exist leaves the application alone."""
    (tmp_path / "file").write_text("x")
    recorder = Recorder(
        CaptureSettings(log_url="http://127.0.0.1:9/logs/x", state_dir=tmp_path / "file" / "state")
    )
    recorder.start()
    assert recorder.new_exchange() is None
    assert recorder.metrics.get("failures.start.FileExistsError") == 1
    recorder.close()


def test_recording_after_close_is_refused_and_counted(make: Callable[..., Recorder]) -> None:
    """A closed recorder does not come to life again by itself."""
    recorder = make()
    recorder.start()
    recorder.close()
    assert recorder.new_exchange() is None
    assert recorder.metrics.get("unrecorded") == 1


def test_ids_are_version_7_and_carry_the_time() -> None:
    """RFC 9562: 48 bits of milliseconds, version 7, variant 10."""
    found = mint_id(1_700_000_000_123_456, b"\xff" * 10)
    assert found == "018bcfe5-687b-7fff-bfff-ffffffffffff"
    assert mint_id(1_700_000_000_123_456, bytes(10)) == "018bcfe5-687b-7000-8000-000000000000"


def test_own_entries_take_their_place_and_know_what_is_sealed(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """An entry of the layer itself is the next of the chain; its body is made at sealing, with exact
    counts.
    """
    recorder = make()
    decide(recorder)
    decide(recorder)
    running = recorder.running
    assert running is not None

    def body() -> dict[str, Any]:
        return {"what": "stopped", "detail": {"recorded": running.decisions}}

    reference = running.write_own("notice", body)
    decide(recorder)
    failing = running.write_own("notice", {"real": 0.5})
    assert len(reference.result(10)) == 64 or reference.result(0).startswith("draft:")
    assert failing.exception(10) is not None
    recorder.close()
    assert kinds(log) == ["instance", "decision", "decision", "notice", "decision", "notice"]
    notice = next(entry for entry in log.entries() if entry.kind == "notice")
    assert notice.body["detail"] == {"recorded": 2}

"""Heartbeats, coverage entries and notices of a running capture, and how it looks at the world outside."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder
from auditlog.capture import pulse as pulse_module
from auditlog.capture.coverage import Coverage, CoverageNote, CoveredRoute
from auditlog.capture.covered import coverage_of
from auditlog.capture.fetching import fetch
from auditlog.capture.metrics import Counters
from auditlog.capture.outside import Outside, Sighting, parse_block
from auditlog.capture.pulse import NOTE_NAME, Pulse, PulseNote, read_pulse, write_pulse
from auditlog.capture.routes import RouteTable
from auditlog.capture.safety import Guard
from auditlog.capture.settings import RouteRule
from auditlog.core.bodies import check_body
from auditlog.core.entry import Entry
from auditlog.errors import LogUnreachable
from auditlog.verify.evidence_counts import _alone
from auditlog.verify.steps_chain import Placed
from tests.support.fake_service import Answer, FakeLog

BLOCK = {"chain_id": 11155111, "number": 7, "hash": "0x" + "ab" * 32}
LOGGER = logging.getLogger("test.pulse")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> FakeLog:
    """An honest log that knows a finalized block."""
    log = FakeLog()
    honest = log._handle

    def handle(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if (method, path) == ("GET", "/blocks/finalized"):
            return Answer(200, dict(BLOCK))
        return honest(method, path, headers, body)

    monkeypatch.setattr(log, "_handle", handle)
    return log


@pytest.fixture
def make(tmp_path: Path, log: FakeLog) -> Iterator[Callable[..., Recorder]]:
    """Makes recorders on one state directory; all are closed at the end."""
    made: list[Recorder] = []
    with log.serve() as url:

        def build(**changes: Any) -> Recorder:
            settings = {"log_url": url, "producer": "p", "state_dir": tmp_path / "state", "strict": True}
            recorder = Recorder(CaptureSettings(**{"close_timeout_s": 20.0, **settings, **changes}))
            made.append(recorder)
            return recorder

        yield build
        for recorder in made:
            recorder.close()


def decide(recorder: Recorder, ended: Any = "ok") -> None:
    """One decision, handed over."""
    exchange = recorder.new_exchange()
    assert exchange is not None
    body = ObservedBody(b"{}")
    recorder.record(Observation(exchange, "chat", "in_process", 1, ended, request=body, response=body))


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "in time"
        time.sleep(0.01)


def of_kind(log: FakeLog, kind: str) -> list[Entry]:
    """The entries of one kind, all well formed and understood."""
    found = [entry for entry in log.entries() if entry.kind == kind]
    for entry in found:
        assert check_body(kind, entry.body) == []
    return found


def test_a_heartbeat_counts_what_stands_before_it(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Exactly the decisions sealed before, calls by how they ended, the block; a last one before the end."""
    recorder = make(heartbeat_s=3600)
    decide(recorder)
    decide(recorder, "error")
    exchange = recorder.new_exchange()
    assert exchange is not None
    recorder.metrics.add("refused.401")
    running = recorder.running
    assert running is not None
    running.signals.pulse.beat()
    until(lambda: len(of_kind(log, "heartbeat")) == 1)
    recorder.drop(exchange)
    decide(recorder)
    recorder.close()
    kinds = [entry.kind for entry in log.entries()]
    assert kinds == [
        "instance", "decision", "decision", "coverage", "heartbeat", "decision", "heartbeat", "notice",
    ]  # fmt: skip
    first, last = (entry.body for entry in of_kind(log, "heartbeat"))
    names = ("started", "finished", "failed", "in_flight", "refused", "recorded", "interval_s")
    assert [first[name] for name in names] == [3, 1, 1, 1, 1, 2, 3600]
    assert [last[name] for name in names] == [4, 2, 1, 0, 1, 3, 3600]
    assert first["block"] == last["block"] == BLOCK
    assert last["head"].startswith("auditlog/head@v1\n")
    assert "engine" not in first or isinstance(first["engine"], dict)
    notes = read_pulse(running.slot.directory) if running.slot is not None else None
    assert notes is not None
    assert notes.interval_s == 3600


def test_no_heartbeats_and_no_coverage_are_possible(make: Callable[..., Recorder], log: FakeLog) -> None:
    """AUDITLOG_HEARTBEAT_S=0 in a process without routes: nothing of ours is between the decisions."""
    recorder = make(heartbeat_s=0)
    decide(recorder)
    recorder.close()
    assert [entry.kind for entry in log.entries()] == ["instance", "decision", "notice"]


def test_changes_of_the_coverage_are_told_once_they_settle(
    make: Callable[..., Recorder], log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Routes, a port, a model: one entry for what comes together, another one when a model is registered,
    naming it.
    """
    monkeypatch.setattr(pulse_module, "SETTLE_S", 0.05)
    recorder = make(heartbeat_s=3600)
    recorder.start()
    recorder.cover(CoverageNote((CoveredRoute("POST", "/decide", "values", "predict"),)))
    recorder.note_port(8000)
    until(lambda: len(of_kind(log, "coverage")) >= 1)
    until(lambda: of_kind(log, "coverage")[-1].body["ports"] == [8000])
    before = len(of_kind(log, "coverage"))
    leaf_hash = recorder.register_model(name="m", root=bytes(32), files=1).result(20)
    until(lambda: len(of_kind(log, "coverage")) == before + 1)
    recorder.note_port(8000)
    recorder.close()
    covered = [entry.body for entry in of_kind(log, "coverage")]
    assert len(covered) == before + 1
    assert covered[0]["model"] == "unregistered"
    assert covered[-1]["model"] == leaf_hash
    assert covered[-1]["routes"][0]["path"] == "/decide"


def test_a_life_that_began_later_in_the_process_counts_from_its_own_start(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """Counters are the process's, a heartbeat is the instance's."""
    recorder = make(heartbeat_s=3600)
    recorder.metrics.add("started", 100)
    recorder.metrics.add("finished", 100)
    recorder.metrics.add("refused.429", 100)
    decide(recorder)
    recorder.close()
    (beat,) = of_kind(log, "heartbeat")
    assert (beat.body["started"], beat.body["refused"], beat.body["recorded"]) == (1, 0, 1)


def test_switched_off_starts_are_said_by_the_next_one(
    make: Callable[..., Recorder], log: FakeLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Two starts with AUDITLOG_ENABLED=0: one notice and one line, then never again."""
    for _ in range(2):
        recorder = make(enabled=False)
        recorder.start()
        assert recorder.new_exchange() is None
        recorder.close()
    assert "AUDITLOG_ENABLED=0: decisions pass unrecorded" in caplog.text
    for _ in range(2):
        recorder = make(heartbeat_s=0)
        decide(recorder)
        recorder.close()
    notices = [entry.body for entry in of_kind(log, "notice") if entry.body["what"] == "disabled"]
    assert [notice["detail"]["starts"] for notice in notices] == [2]
    assert caplog.text.count("AUDITLOG_ENABLED=0 was used at 2 start(s)") == 1


def test_dying_before_the_notice_is_durable_keeps_the_mark(
    make: Callable[..., Recorder], log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start after that says it."""
    recorder = make(enabled=False)
    recorder.start()
    recorder.close()
    with monkeypatch.context() as patched:
        lost: Callable[..., Future[str]] = lambda *_: Future()  # noqa: E731
        patched.setattr("auditlog.capture.running.RunningCapture.write_own", lost)
        child = os.fork()
        if child == 0:
            make(heartbeat_s=0).start()
            os._exit(0)
        os.waitpid(child, 0)
    recorder = make(heartbeat_s=0)
    recorder.start()
    recorder.close()
    assert [entry.body["what"] for entry in of_kind(log, "notice")] == ["disabled", "stopped"]


def test_a_forked_child_has_a_pulse_of_its_own(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Its own slot, instance and counts, from nothing; the parent's go on."""
    recorder = make(heartbeat_s=3600)
    decide(recorder)
    child = os.fork()
    if child == 0:
        decide(recorder)
        decide(recorder)
        recorder.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    recorder.close()
    beats = of_kind(log, "heartbeat")
    assert len({entry.instance for entry in beats}) == len(beats) == 2
    assert {(entry.body["started"], entry.body["recorded"]) for entry in beats} == {(1, 1), (2, 2)}


def contradiction(beat: Entry) -> str | None:
    """What the rule `counter_mismatch` of evidence says to it alone."""
    return _alone(Placed(beat, bytes(32), 1000))


@pytest.mark.parametrize("end", ["record", "drop", "lose", "defer", "deferred"])
def test_a_child_that_goes_on_with_its_parents_call_contradicts_nothing(
    make: Callable[..., Recorder], log: FakeLog, end: str
) -> None:
    """Begun before the fork, ended on both sides: neither heartbeat ends or records more than it started."""
    recorder = make(heartbeat_s=3600)
    decide(recorder)
    exchange = recorder.new_exchange()
    assert exchange is not None
    observation = Observation(exchange, "chat", "in_process", 1, "ok")

    def go_on() -> None:
        if end.startswith("defer"):
            recorder.defer(exchange)
        if end in ("drop", "lose"):
            getattr(recorder, end)(exchange)
        elif end != "defer":
            recorder.record(observation)
        recorder.start()
        recorder.close()

    child = os.fork()
    if child == 0:
        try:
            go_on()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    go_on()
    beats = of_kind(log, "heartbeat")
    assert len({entry.instance for entry in beats}) == len(beats) == 2
    assert [contradiction(entry) for entry in beats] == [None, None]
    by_started = sorted((entry.body for entry in beats), key=lambda body: body["started"])
    if end == "record":
        assert [(body["started"], body["recorded"]) for body in by_started] == [(1, 1), (2, 2)]
    if end == "deferred":
        assert [body["deferred"] for body in by_started] == [0, 1]


def test_a_call_handed_over_twice_is_two(make: Callable[..., Recorder], log: FakeLog) -> None:
    """A host that hands over the same exchange again never records more than it started."""
    recorder = make(heartbeat_s=3600)
    exchange = recorder.new_exchange()
    assert exchange is not None
    for _ in range(2):
        recorder.record(Observation(exchange, "chat", "in_process", 1, "ok"))
    recorder.close()
    [beat] = of_kind(log, "heartbeat")
    assert [beat.body[name] for name in ("started", "finished", "recorded", "in_flight")] == [2, 2, 2, 0]


def test_a_deferral_counts_in_the_life_of_its_call(make: Callable[..., Recorder], log: FakeLog) -> None:
    """Who gave up waiting after the instance was replaced does not defer an answer of the new one."""
    recorder = make(heartbeat_s=3600)
    exchange = recorder.new_exchange()
    assert exchange is not None
    old = recorder.running
    assert old is not None
    recorder.record(Observation(exchange, "chat", "in_process", 1, "ok"))
    old.close()
    with recorder._lock:
        recorder._running = recorder._new_running()
        recorder._open(recorder._running)
    recorder.defer(exchange)
    recorder.close()
    first, second = of_kind(log, "heartbeat")
    assert first.instance != second.instance
    assert (second.body["started"], second.body["deferred"], contradiction(second)) == (0, 0, None)
    assert recorder.metrics.get("deferred") == 1


def test_the_end_of_the_token_is_what_the_log_said(make: Callable[..., Recorder], log: FakeLog) -> None:
    """A token of the service does not say it itself: the answer to the enrolment did, and it is kept."""
    log.token_expires = "2027-01-31T00:00:00Z"
    recorder = make()
    recorder.start()
    assert recorder._running is not None
    signals, slot = recorder._running.signals, recorder._running.slot
    assert slot is not None
    until((slot.directory / "enrolment.json").exists)
    signals._refresh()
    assert signals.vitals().key_expires_s == 1_801_353_600


def test_a_call_that_began_before_this_instance_ends_in_it(
    make: Callable[..., Recorder], log: FakeLog
) -> None:
    """The process counts on when its slot was deleted and opened anew: no more ends than started."""
    recorder = make(heartbeat_s=3600)
    recorder.metrics.add("started", 5)
    recorder.metrics.add("finished", 2)
    recorder.metrics.add("dropped", 1)
    recorder.start()
    recorder.metrics.add("finished")
    recorder.close()
    [beat] = of_kind(log, "heartbeat")
    assert [beat.body[name] for name in ("started", "finished", "in_flight")] == [2, 1, 1]


def test_the_last_heartbeat_counts_what_ended_while_the_recorder_closed(
    make: Callable[..., Recorder], log: FakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call turned away behind the begin of a close is in flight nowhere; one that runs on is declared."""
    recorder = make(heartbeat_s=3600)
    recorder.start()
    refused, running_on = recorder.new_exchange(), recorder.new_exchange()
    assert refused is not None
    assert running_on is not None
    assert recorder._running is not None
    sender = recorder._running.sender
    assert sender is not None
    hurry = sender.hurry

    def meanwhile() -> None:
        recorder.drop(refused)
        recorder.metrics.add("refused.404")
        hurry()

    monkeypatch.setattr(sender, "hurry", meanwhile)
    recorder.close()
    [beat], [gap] = of_kind(log, "heartbeat"), of_kind(log, "gap")
    assert (beat.body["in_flight"], beat.body["refused"], gap.body["at_most"]) == (1, 1, 1)
    assert gap.seq + 1 == beat.seq


class Beating:
    """A pulse without a capture: what it writes, and futures that the test resolves."""

    def __init__(self, *, interval_s: int = 3600, fetch_body: Any = None) -> None:
        self.written: list[tuple[str, Future[str], Callable[[], dict[str, Any]]]] = []
        self.last: list[Callable[[], dict[str, Any]]] = []
        self.coverage = Coverage()
        metrics = Counters()
        self.outside = Outside("http://log", "", metrics=metrics, fetch_body=fetch_body or failing)
        self.pulse = Pulse(
            interval_s=interval_s,
            write_own=self._write,
            say_last=self.last.append,
            make_heartbeat=lambda seen: {"seen": seen.block},
            make_coverage=lambda: {"model": "pending", "ports": []},
            coverage=self.coverage,
            outside=self.outside,
            refresh=lambda: None,
            note=lambda: None,
            guard=Guard(metrics, LOGGER, strict=True),
        )

    @property
    def kinds(self) -> list[str]:
        """What was written, in order."""
        return [kind for kind, _, _ in self.written]

    def _write(self, kind: str, body: Callable[[], dict[str, Any]]) -> Future[str]:
        self.written.append((kind, Future(), body))
        return self.written[-1][1]


def failing(url: str, max_bytes: int) -> bytes:
    """A log that does not answer."""
    raise LogUnreachable(f"{url} {max_bytes}")


def test_a_stuck_disk_holds_one_heartbeat_and_not_many() -> None:
    """While one waits for the writer no other is queued; the last one, at the end, is left with it."""
    beating = Beating()
    for _ in range(5):
        beating.pulse._write_heartbeat()
    assert beating.kinds == ["heartbeat"]
    beating.written[0][1].set_result("x")
    beating.pulse._write_heartbeat()
    assert beating.kinds == ["heartbeat"] * 2
    beating.pulse.stop()
    beating.pulse.stop()
    beating.pulse._write_heartbeat()
    assert beating.kinds == ["heartbeat", "heartbeat", "coverage"]
    assert len(beating.last) == 1


def test_stopping_waits_for_nobody() -> None:
    """A log that never answers holds the look outside, not the beat for long, and not the end at all."""
    release = threading.Event()

    def stuck(url: str, max_bytes: int) -> bytes:
        release.wait(20)
        return b""

    beating = Beating(interval_s=1, fetch_body=stuck)
    threads = [threading.Thread(target=target) for target in (beating.outside.run, beating.pulse.run)]
    for thread in threads:
        thread.start()
    until(lambda: "heartbeat" in beating.kinds)
    beating.pulse.stop()
    threads[1].join(10)
    assert not threads[1].is_alive()
    assert beating.kinds[-1] == "heartbeat"
    release.set()
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_after_the_slot_was_deleted_nothing_is_written() -> None:
    """Not by the beat that was due, nor by the end."""
    beating = Beating()
    beating.pulse.abandon()
    beating.pulse._write_heartbeat()
    beating.pulse.cover()
    beating.pulse.stop()
    assert beating.kinds == []


def test_an_old_block_is_told_and_old_totals_are_not() -> None:
    """A block of a minute ago still bounds the time; totals of a minute ago would look like a mismatch."""
    answers: list[bytes] = [json.dumps(BLOCK).encode()]

    def once(url: str, max_bytes: int) -> bytes:
        if "blocks" in url:
            if answers:
                return answers.pop()
            raise LogUnreachable("gone")
        return b"vllm:prompt_tokens_total 5\n"

    outside = Outside("http://log", "http://engine", metrics=Counters(), fetch_body=once)
    assert outside.look(wait_s=0) == Sighting()
    thread = threading.Thread(target=outside.run)
    thread.start()
    assert outside.look(wait_s=10) == Sighting(BLOCK, {"vllm:prompt_tokens_total": "5"})
    assert outside.look(wait_s=10).block == BLOCK
    outside.end()
    thread.join(10)
    assert outside.look(wait_s=0) == Sighting(BLOCK)
    assert outside.engine_here() is None


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b"[" * 100_000, b'{"chain_id":1,"number":2}', b'{"chain_id":true,"number":2}',
        json.dumps({**BLOCK, "number": -1}).encode(), json.dumps({**BLOCK, "number": 2**53}).encode(),
        json.dumps({**BLOCK, "hash": "0x" + "AB" * 32}).encode(), json.dumps({**BLOCK, "hash": 5}).encode(),
    ],
)  # fmt: skip
def test_a_block_of_another_form_is_none(body: bytes) -> None:
    """The log's answer is attacker-controlled; what is not of the form is absent."""
    assert parse_block(body) is None


def test_only_three_members_of_the_answer_are_told() -> None:
    """Whatever else the log says stays with it."""
    assert parse_block(json.dumps({**BLOCK, "more": "x" * 100}).encode()) == BLOCK


def test_a_fetch_is_bounded_and_silent(caplog: pytest.LogCaptureFixture) -> None:
    """Too many bytes or a redirect: an error of ours, and no line of httpx's."""
    caplog.set_level(logging.INFO)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/long":
            return httpx.Response(200, content=b"x" * 101)
        if request.url.path == "/moved":
            return httpx.Response(302, headers={"location": "http://elsewhere/"})
        return httpx.Response(200, content=b"body")

    client = httpx.Client(transport=httpx.MockTransport(answer))
    assert fetch(client, "http://x/", max_bytes=100, within_s=5) == b"body"
    for url in ("http://x/long", "http://x/moved"):
        with pytest.raises(LogUnreachable):
            fetch(client, url, max_bytes=100, within_s=5)
    assert caplog.text == ""


def test_the_note_of_a_pulse_survives_nonsense(tmp_path: Path) -> None:
    """What was written is read; anything else is no note."""
    note = PulseNote(5, 60, ("a problem",))
    write_pulse(tmp_path, note)
    assert read_pulse(tmp_path) == note
    for content in (
        "",
        "[]",
        '{"at":"x","interval_s":1,"problems":[]}',
        '{"at":1,"interval_s":1,"problems":3}',
    ):
        (tmp_path / NOTE_NAME).write_text(content)
        assert read_pulse(tmp_path) is None
    write_pulse(tmp_path / "gone", note)


def test_the_routes_of_an_application_are_covered_as_they_will_be_judged() -> None:
    """Its own routes, mounted ones with their prefix, through other layers; pages and checks are left out."""

    async def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse("")

    async def socket(websocket: Any) -> None: ...

    inner = [Route("/infer", page, methods=["POST"]), Route("/health", page)]
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", page, methods=["POST"]),
            Route("/v1/models/{name}:predict", page, methods=["POST"]),
            Route("/load_lora_adapter", page, methods=["POST"]),
            Route("/other", page, methods=["GET", "POST"]),
            Route("/secret", page, methods=["POST"]),
            WebSocketRoute("/v1/realtime", socket),
            Mount("/sub", routes=inner),
        ]
    )
    table = RouteTable((RouteRule("POST", "/secret", "skip"),))
    note = coverage_of(app, table)
    assert note.others == "record"
    assert [(route.method, route.path, route.record, route.operation) for route in note.routes] == [
        ("POST", "/secret", "skip", None),
        ("POST", "/v1/chat/completions", "values", "chat"),
        ("POST", "/v1/models/{name}:predict", "values", "predict"),
        ("POST", "/load_lora_adapter", "model", None),
        ("POST", "/other", "record", "unknown"),
        ("WEBSOCKET", "/v1/realtime", "values", "chat"),
        ("POST", "/sub/infer", "record", "unknown"),
    ]


def test_an_application_that_tells_no_routes_is_covered_by_name() -> None:
    """The operator's rules first, then every route that is known; others are what a rule makes of them."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    note = coverage_of(app, RouteTable((RouteRule("*", "/*", "skip"),)))
    assert note.others == "skip"
    assert note.routes[0] == CoveredRoute("*", "/*", "skip")
    known = coverage_of(app, RouteTable())
    assert CoveredRoute("POST", "/v1/chat/completions", "values", "chat") in known.routes
    assert CoveredRoute("GET", "/v1/responses/{response}", "values", "chat") in known.routes
    body = Coverage()
    body.cover(known)
    assert "routes_left_out" not in body.body(CaptureSettings(), workers=1, model="unregistered")

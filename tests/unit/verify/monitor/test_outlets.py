"""Receivers that trickle, flood or hang hold up nothing; numbers go on; words are clean."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.monitor_parts import Wanted, read_trust_of
from auditlog.cli.monitor_run import EXIT_NOT_CHECKED, headline, is_blind
from auditlog.errors import ConfigurationError
from auditlog.verify.monitor import running, telling
from auditlog.verify.monitor.page import page
from auditlog.verify.monitor.status import LogStatus
from auditlog.verify.monitor.telling import MailServer, Webhook, _message
from tests.support.monitor_world import Bench, HostWorld, honest
from tests.support.tlog_writer import ORIGIN

LINE: dict[str, Any] = {"id": 1, "origin": ORIGIN, "alarm": "gap", "detail": "d", "says": "s", "time": "t"}


def bench_of(folder: Path, world: HostWorld, **options: object) -> Bench:
    """A monitor of what this world serves."""
    world.publish()
    return Bench(folder, world.trust(0), world.source(), origin=ORIGIN, **options)  # type: ignore[arg-type]


@pytest.fixture
def receiver() -> Iterator[Callable[[Callable[[socket.socket, threading.Event], None]], str]]:
    """Starts a server that treats each connection so; returns its URL."""
    stop, threads = threading.Event(), list[threading.Thread]()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)

    def start(treat: Callable[[socket.socket, threading.Event], None]) -> str:
        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                treat(connection, stop)

        def serve() -> None:
            while not stop.is_set():
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    connection.settimeout(1)
                    threads.append(threading.Thread(target=one, args=(connection,)))
                    threads[-1].start()

        thread = threading.Thread(target=serve)
        thread.start()
        threads.insert(0, thread)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield start
    stop.set()
    for thread in threads:
        thread.join()
    listener.close()


def test_a_receiver_that_trickles_is_given_up(
    receiver: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header now and then meets no time-out of a read, and the deadline all the same."""
    monkeypatch.setattr(telling, "TIMEOUT_S", 0.5)

    def trickle(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.05):
            connection.sendall(b"X: y\r\n")

    assert not Webhook(receiver(trickle), time.monotonic).send(LINE, None)


def test_an_answer_without_end_is_not_read(receiver: Callable[[Any], str]) -> None:
    """The status is the receipt; what follows it is left where it is."""
    sent = []

    def flood(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8000000000\r\n\r\n")
        while not stop.is_set():
            connection.sendall(bytes(1 << 20))
            sent.append(1)

    assert Webhook(receiver(flood), time.monotonic).send(LINE, None)
    assert len(sent) < 64


class Hanging:
    """A receiver that does not come back until it is let go."""

    def __init__(self) -> None:
        self.let_go, self.begun, self.took = threading.Event(), threading.Event(), list[int]()

    def send(self, line: dict[str, Any], evidence: bytes | None) -> bool:
        """Hangs."""
        self.begun.set()
        self.let_go.wait()
        self.took.append(line["id"])
        return True


def test_a_receiver_that_hangs_holds_up_neither_folder_nor_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alarms raised meanwhile are written; the monitor stops; what was not taken is told later."""
    monkeypatch.setattr(running, "SETTLE_S", 0.0)
    world, hanging = honest(), Hanging()
    world.entries.append(b"no entry")
    bench = bench_of(tmp_path, world, channels={"hook": hanging})
    bench.look()
    assert hanging.begun.wait(10)
    world.entries.append(b"no entry either")
    world.serve(bench.source)  # type: ignore[arg-type]
    bench.look(10)
    assert bench.words() == ["entry_malformed", "entry_malformed"]
    assert bench.monitor.outbox.waiting == 2
    bench.close()
    hanging.let_go.set()
    for thread in bench.monitor.outbox._at_work.values():
        thread.join()
    bench.start()
    bench.monitor.outbox.deliver()
    bench.monitor.outbox.settle(10)
    assert bench.monitor.outbox.waiting == 0
    assert hanging.took == [1, 1, 2]
    bench.close()


def test_numbers_go_on_behind_the_lines_after_the_store_was_put_back(tmp_path: Path) -> None:
    """A store from before some alarms, or none at all: whatever is raised then has its line and its file."""
    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    bench.close()
    before = (tmp_path / "monitor.sqlite").read_bytes()
    for number in range(3):
        bench.start()
        world.entries += [b"no entry %d" % number] * 3
        world.serve(bench.source)  # type: ignore[arg-type]
        bench.look(10)
        bench.close()
        if number == 0:
            (tmp_path / "monitor.sqlite").write_bytes(before)
        else:
            (tmp_path / "monitor.sqlite").unlink()
    ids = [line["id"] for line in bench.lines()]
    assert ids == list(range(1, 3 + 6 + 9 + 1))
    assert all((tmp_path / line["file"]).exists() for line in bench.lines())


def test_a_stranger_writes_no_line_of_a_mail() -> None:
    """Control characters in what a log says stay out of headers and body."""
    server = MailServer("127.0.0.1", 25, "a@localhost", ("b@localhost",))
    bad = "x\nGrade: proven\x1b[2J\r\n\r\nAll is well"
    line = {**LINE, "detail": bad, "says": bad, "origin": bad, "class": "notice", "grade": "stated"}
    message = _message(server, line, has_file=True)
    assert "\x1b" not in message.as_string()
    assert not any(row.startswith(("Grade:", "All is well")) for row in message.get_content().splitlines())


def test_a_fingerprint_is_printable_in_an_alarm(tmp_path: Path) -> None:
    """What a producer calls the root of its model is its own word."""
    world = honest()
    world.model("ab" * 32)
    world.model("\x1b[31m\n" + "cd" * 32)
    bench = bench_of(tmp_path, world)
    bench.look()
    (line,) = [line for line in bench.lines() if line["alarm"] == "model_changed"]
    assert line["detail"].isprintable()
    bench.close()


def test_a_wrong_vkey_is_called_by_its_option(tmp_path: Path) -> None:
    """`--vkey nonsense+abc`."""
    wanted = Wanted(logs=("x",), trust=None, vkey="nonsense+abc", state=tmp_path)
    with pytest.raises(ConfigurationError, match="--vkey"):
        read_trust_of(wanted)


def test_nothing_read_is_not_nothing_wrong(tmp_path: Path) -> None:
    """A log that is not there: the report and the page say that nothing was checked."""
    bench = bench_of(tmp_path, honest())
    bench.source.down = True  # type: ignore[attr-defined]
    statuses = [bench.look()]
    assert is_blind(statuses)
    said = headline(EXIT_NOT_CHECKED, 0, is_blind=True)
    assert "NOTHING COULD BE CHECKED" in said
    assert "othing wrong" not in page(statuses, []) + said
    assert not is_blind([*statuses, LogStatus(origin="x", note="n")])
    bench.close()


def test_entries_that_want_a_token_name_the_option(tmp_path: Path) -> None:
    """What to do about it is in the sentence."""
    bench = bench_of(tmp_path, honest())
    source = bench.source
    source.refused = {path for path in source.files if "entries" in path}  # type: ignore[attr-defined]
    assert "--token-file" in " ".join(bench.look().unread)
    bench.close()

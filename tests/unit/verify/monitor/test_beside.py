"""What others show: witnesses, other monitors, anchors, promises; and who is told, and what is shown."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from auditlog.core.anchor import DevnetAnchor, sign_devnet_anchor
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.verify.evidence_check import check_evidence
from auditlog.verify.monitor.anchors import DevnetNotes, check_anchors
from auditlog.verify.monitor.beside import Beside, Other, checkpoint_path
from auditlog.verify.monitor.clocks import Limits
from auditlog.verify.monitor.following import Look
from auditlog.verify.monitor.metrics import METRICS
from auditlog.verify.monitor.server import StatusServer
from auditlog.verify.monitor.telling import Mail, MailServer, Webhook
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench, HostWorld, honest
from tests.support.promise_world import absent, conflict, declared_lost, skipped_by_restart
from tests.support.tlog_writer import ORIGIN

WITHOUT_ANCHORS = Limits(anchor_s=1e9)


def watched(folder: Path, world: HostWorld, notes: dict[str, MemorySource], **options: Any) -> Bench:
    """A monitor with two witnesses and a peer, each behind a source of its own."""
    world.publish()
    others = [
        Other(f"w{number}", f"http://w{number}", each.key.verifier)
        for number, each in enumerate(world.cosigners)
    ]
    others.append(Other("http://peer", "http://peer"))
    beside = Beside(others, open_source=lambda url: notes[url])
    return Bench(
        folder, world.trust(), world.source(), origin=ORIGIN, beside=beside, limits=WITHOUT_ANCHORS, **options
    )


def sources(note: str) -> dict[str, MemorySource]:
    """Three others that show the same checkpoint."""
    path = checkpoint_path(ORIGIN)
    return {url: MemorySource({path: note.encode()}) for url in ("http://w0", "http://w1", "http://peer")}


def test_others_that_agree_raise_nothing(tmp_path: Path) -> None:
    """Equal, older and newer checkpoints of one history; and one that cannot be reached is not checked."""
    world = honest()
    notes = sources(world.publish())
    bench = watched(tmp_path, world, notes)
    assert bench.look().unread == ()
    world.answer(5)
    newer = world.publish()
    notes["http://w0"].files[checkpoint_path(ORIGIN)] = newer.encode()
    assert bench.look(5).unread == ()
    bench.source.files = world.source().files  # type: ignore[attr-defined]
    status = bench.look(5)
    assert {other.name: other.size for other in status.others}["w0"] == len(world.entries)
    notes["http://w1"].down = True
    assert any("w1" in text for text in bench.look(5).unread)
    assert bench.words() == []
    bench.close()


@pytest.mark.parametrize(("url", "word"), [("http://w1", "witness_disagrees"), ("http://peer", "fork")])
@pytest.mark.parametrize("more", [0, 3])
def test_another_history_in_other_hands_is_proven(tmp_path: Path, url: str, word: str, more: int) -> None:
    """A checkpoint that the log signed for somebody else, as large or smaller: raised once, with proof."""
    world, other = honest(), honest()
    other.entries[4], other.entries[5] = other.entries[5], other.entries[4]
    note = other.publish()
    world.answer(more) if more else None
    notes = sources(world.publish())
    notes[url].files[checkpoint_path(ORIGIN)] = note.encode()
    bench = watched(tmp_path, world, notes)
    bench.look()
    bench.look(5)
    (line,) = bench.lines()
    assert (line["alarm"], line["grade"]) == (word, "proven")
    assert check_evidence(bench.evidence(line), world.trust(0)).exit_code == 0
    bench.close()


def test_a_witness_that_stays_behind_is_raised(tmp_path: Path) -> None:
    """Only after the time agreed, and not while it follows at its own pace."""
    world = honest()
    notes = sources(world.publish())
    bench = watched(tmp_path, world, notes)
    bench.look()
    world.answer(5)
    world.beat()
    world.serve(bench.source)  # type: ignore[arg-type]
    bench.look(10)
    assert bench.words() == []
    bench.look(1800)
    bench.restart()
    bench.look(1900)
    assert bench.words().count("witness_behind") == 2
    bench.close()


def test_an_anchor_of_another_root_is_proven(tmp_path: Path) -> None:
    """A note by the devnet's key over a root the tree does not have; an honest one is compared and fine."""
    world = honest()
    devnet = Ed25519Signer.from_seed("devnet.example", b"\x66" * 32)
    trust = world.trust()
    text = json.loads(json.dumps({"policy": trust.policy.text}))["policy"]
    from auditlog.core.trust import parse_trust

    value = {"v": "auditlog/trust@v1", "policy": text, "issuer": {"name": "x", "role": "self"}}
    trust = parse_trust(json.dumps(value | {"devnet": devnet.vkey}).encode())
    world.publish()
    bench = Bench(tmp_path / "s", trust, world.source(), origin=ORIGIN, limits=WITHOUT_ANCHORS)
    folder = tmp_path / "notes"
    folder.mkdir()
    leaves = [hash_leaf(entry) for entry in world.entries]
    for name, root in (("good", root_hash(leaves[:7])), ("bad", b"\7" * 32)):
        anchor = DevnetAnchor(
            origin=ORIGIN, chain_id=1, contract=b"\1" * 20, size=7, root=root, tx=b"\2" * 32, block_number=1,
            block_hash=b"\3" * 32, block_time="2026-01-01T00:00:00.000000Z",
        )  # fmt: skip
        (folder / name).write_text(sign_devnet_anchor(anchor, devnet))
    (folder / "other").write_bytes(b"\xff nothing")
    watch = bench.monitor.watches[0]
    assert trust.devnet is not None
    watch.anchors.append(DevnetNotes(folder, trust.devnet))
    status = bench.look()
    assert status.anchors_checked == 2
    (line,) = bench.lines()
    assert (line["alarm"], line["grade"]) == ("anchor_fork", "proven")
    assert check_evidence(bench.evidence(line), trust).exit_code == 0
    check_anchors(watch.follower, Look(ORIGIN), watch.anchors)
    bench.close()


@pytest.mark.parametrize("broken", [conflict, skipped_by_restart, absent])
def test_a_broken_promise_is_proven(tmp_path: Path, broken: Any) -> None:
    """A note left in the folder is judged when it is due, once, whatever broke it."""
    world, kept = broken()
    folder = tmp_path / "promises"
    folder.mkdir()
    (folder / "mine").write_text(kept.note)
    (folder / "noise").write_bytes(b"\xff")
    bench = Bench(
        tmp_path / "s", world.trust(), world.source(), origin=ORIGIN, promises=folder, limits=WITHOUT_ANCHORS
    )
    bench.now_us = world.now_s * 1_000_000
    bench.look()
    bench.restart()
    bench.look(3600)
    found = [line for line in bench.lines() if line["alarm"] == "promise_broken"]
    (line,) = found
    assert check_evidence(bench.evidence(line), world.trust()).exit_code == 0
    bench.close()


def test_a_late_promise_is_proven_by_a_checkpoint_of_long_ago(tmp_path: Path) -> None:
    """Handed in long after: a kept checkpoint was dated after merge-by, and lacks the entry."""
    world = honest()
    bench = Bench(
        tmp_path / "s", world.trust(), world.serve(), origin=ORIGIN, promises=tmp_path / "p",
        limits=WITHOUT_ANCHORS,
    )  # fmt: skip
    (tmp_path / "p").mkdir()
    before = (list(world.entries), world.seq, world.prev, world.started)
    kept = world.answer()
    held = world.entries[-1]
    world.entries = list(before[0])
    for _ in range(12):
        world.now_s += 10
        world.write_log("notice", {"what": "restored"})
        world.serve(bench.source)  # type: ignore[arg-type]
        bench.now_us = world.now_s * 1_000_000
        bench.look()
    world.entries.append(held)
    for _ in range(6):
        world.now_s += 10
        world.answer()
        world.serve(bench.source)  # type: ignore[arg-type]
        bench.now_us = world.now_s * 1_000_000
        bench.look()
    bench.restart()
    (tmp_path / "p" / "mine").write_text(kept.note)
    bench.look()
    line = next(line for line in bench.lines() if line["alarm"] == "promise_broken")
    told = check_evidence(bench.evidence(line), world.trust())
    assert (told.exit_code, told.verdict) == (0, "LATE")
    bench.close()


def test_a_lost_promise_is_a_notice(tmp_path: Path) -> None:
    """What the log has declared lost is told, and is no broken promise."""
    world, lost = declared_lost()
    (tmp_path / "lost").write_text(lost.note)
    bench = Bench(
        tmp_path / "s",
        world.trust(),
        world.source(),
        origin=ORIGIN,
        promises=tmp_path,
        limits=WITHOUT_ANCHORS,
    )
    bench.now_us = world.now_s * 1_000_000
    assert bench.look().promises == {"declared lost": 1}
    assert set(bench.words()) == {"gap"}
    bench.close()


def test_a_kept_promise_is_judged_when_it_is_due(tmp_path: Path) -> None:
    """Not before; and after that it is in the log, and nothing is raised."""
    world = honest()
    (tmp_path / "kept").write_text(world.answer().note)
    world.publish()
    bench = Bench(
        tmp_path / "s",
        world.trust(),
        world.source(),
        origin=ORIGIN,
        promises=tmp_path,
        limits=WITHOUT_ANCHORS,
    )
    bench.now_us = world.now_s * 1_000_000
    assert bench.look().promises == {"not yet due": 1}
    assert bench.look(61).promises == {"in the log": 1}
    assert bench.words() == []
    bench.close()


def test_a_promise_still_being_written_is_read_again(tmp_path: Path) -> None:
    """A file that held half a promise at one look is judged at the next, when it holds all of it."""
    world = honest()
    note = world.answer().note
    (tmp_path / "kept").write_text(note[: len(note) // 2])
    world.publish()
    bench = Bench(
        tmp_path / "s",
        world.trust(),
        world.source(),
        origin=ORIGIN,
        promises=tmp_path,
        limits=WITHOUT_ANCHORS,
    )
    bench.now_us = world.now_s * 1_000_000
    assert bench.look().promises == {}
    (tmp_path / "kept").write_text(note)
    assert bench.look().promises == {"not yet due": 1}
    bench.close()


class Hook(BaseHTTPRequestHandler):
    """Refuses the first, takes the rest."""

    taken: list[tuple[str, dict[str, Any]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.taken.append((self.headers["Idempotency-Key"], body))
        self.send_response(503 if len(self.taken) == 1 else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silence."""


class Post(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        in_message = False
        for line in self.rfile:
            if in_message:
                self.server.lines.append(line.decode())  # type: ignore[attr-defined]
                if line == b".\r\n":
                    in_message = False
                    self.wfile.write(b"250 ok\r\n")
                continue
            word = line[:4].upper()
            in_message = word == b"DATA"
            self.wfile.write(
                b"354 go\r\n" if in_message else b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n"
            )


@pytest.fixture
def receivers() -> Iterator[tuple[HTTPServer, socketserver.TCPServer]]:
    """A webhook and a mail server on loopback."""
    Hook.taken = []
    hook, post = HTTPServer(("127.0.0.1", 0), Hook), socketserver.TCPServer(("127.0.0.1", 0), Post)
    post.lines = []  # type: ignore[attr-defined]
    threads = [threading.Thread(target=server.serve_forever) for server in (hook, post)]
    for thread in threads:
        thread.start()
    yield hook, post
    for server in (hook, post):
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


def test_webhook_and_mail_are_told_until_they_take_it(
    tmp_path: Path, receivers: tuple[HTTPServer, socketserver.TCPServer]
) -> None:
    """A failure is tried again later under the same id; the other receiver does not wait for it."""
    hook, post = receivers
    clock = [0.0]
    server = MailServer("127.0.0.1", post.server_address[1], "monitor@example.org", ("audit@example.org",))
    channels: dict[str, Any] = {
        "webhook": Webhook(f"http://127.0.0.1:{hook.server_port}/", lambda: clock[0]),
        "mail": Mail(server, lambda: clock[0]),
    }
    world = honest()
    world.write_log("notice", {"what": "restored"})
    world.entries.append(b"no entry")
    world.publish()
    bench = Bench(
        tmp_path, world.trust(), world.source(), origin=ORIGIN, channels=channels, limits=WITHOUT_ANCHORS
    )
    bench.look()
    assert bench.monitor.outbox.waiting == 1
    bench.look()
    assert len(Hook.taken) == 1
    clock[0] = 10.0
    bench.look()
    assert bench.monitor.outbox.waiting == 0
    assert [key for key, _ in Hook.taken] == [f"{ORIGIN}#1"] * 2
    assert Hook.taken[1][1]["alarm"] == "entry_malformed"
    text = "".join(post.lines)  # type: ignore[attr-defined]
    assert text.count("Subject:") == 1
    assert "entry_malformed" in text
    bench.close()


def test_the_status_server_shows_page_metrics_and_checkpoint(tmp_path: Path) -> None:
    """A page without scripts and with nothing unescaped, every metric, the checkpoint for other monitors."""
    world = honest()
    world.entries.append(b"<script>alert(1)</script>")
    world.publish()
    bench = Bench(tmp_path, world.trust(), world.source(), origin=ORIGIN, limits=WITHOUT_ANCHORS)
    server = StatusServer(
        ("127.0.0.1", 0), lambda: list(bench.monitor.statuses.values()), bench.monitor.store
    )
    server.start()
    with httpx.Client(base_url=server.url) as client:
        assert "The first look has not ended yet" in client.get("/").text
        bench.look()
        page = client.get("/")
        assert "something is wrong with 1 of 1" in page.text
        assert "<script" not in page.text
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
        metrics = client.get("/metrics").text
        assert all(f"# TYPE {name} " in metrics for name in METRICS)
        assert f'auditlog_monitor_alarms_total{{log="{ORIGIN}",alarm="entry_malformed"}} 1' in metrics
        assert client.get(f"/{checkpoint_path(ORIGIN)}").text == world.checkpoints[-1]
        assert client.get("/status.json").json()["alarms"][0]["alarm"] == "entry_malformed"
        assert client.get("/health").text == "ok\n"
        assert client.get("/nothing").status_code == 404
    server.stop()
    bench.close()


def test_the_specification_names_every_metric() -> None:
    """Each metric is on the page that describes the monitor."""
    page = (Path(__file__).parents[4] / "auditlog" / "spec" / "monitor.md").read_text(encoding="utf-8")
    assert [name for name in METRICS if f"`{name}`" not in page] == []

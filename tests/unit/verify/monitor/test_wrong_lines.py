"""Lines below a checkpoint that nobody made: the log signed all the same, and is held to what it signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.note import Signature, format_signature, split_note
from auditlog.core.trust import Trust, parse_trust
from auditlog.verify.evidence_check import check_evidence
from auditlog.verify.monitor.beside import Beside, Other, checkpoint_path
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench, HostWorld, honest
from tests.support.promise_world import log_signer
from tests.support.tlog_writer import ORIGIN
from tests.unit.verify.monitor.test_following import bench_of

STRANGER = CosignatureSigner.from_seed("regulator.example/w9", b"9" * 32)


def junk(name: str, key_id: bytes) -> str:
    """A line in that name with nothing behind it."""
    return format_signature(Signature(name, key_id, bytes(72)))


def _of_witness(world: HostWorld) -> str:
    key = world.cosigners[0].key
    return junk(key.name, key.key_id)


def _of_log(_world: HostWorld) -> str:
    return junk(log_signer().name, log_signer().key_id)


def _of_stranger(_world: HostWorld) -> str:
    return junk(STRANGER.name, STRANGER.key_id)


def readers_trust(world: HostWorld) -> Trust:
    """Of somebody who knows one witness more than the monitor."""
    own = world.trust(0).policy.text.replace("quorum none\n", f"witness w9 {STRANGER.vkey}\nquorum none\n")
    issuer = {"name": "regulator", "role": "regulator"}
    value = {"v": "auditlog/trust@v1", "issuer": issuer, "policy": own, "require": []}
    return parse_trust(json.dumps(value).encode())


def forked(bench: Bench, line: str) -> None:
    """Another history of the log that `bench` follows, and a line below its checkpoint."""
    other = honest()
    other.answer(2)
    other.entries[4], other.entries[5] = other.entries[5], other.entries[4]
    other.cosigners = []
    other.answer(1)
    assert isinstance(bench.source, MemorySource)
    other.serve(bench.source)
    bench.source.files["checkpoint"] += line.encode()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (_of_witness, ["fork", "quorum_missing"]),
        (_of_log, ["fork", "quorum_missing"]),
        (_of_stranger, ["fork"]),
        (lambda world: _of_witness(world) + _of_log(world) + _of_stranger(world), ["fork", "quorum_missing"]),
    ],
    ids=["a-witness", "the-log", "a-stranger", "all"],
)
def test_a_wrong_line_hides_no_fork(
    tmp_path: Path, line: Callable[[HostWorld], str], words: list[str]
) -> None:
    """The alarm is raised, once, and its file convicts for readers who know other witnesses too."""
    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    for _ in range(3):
        forked(bench, line(world))
        assert bench.look(30).unread == ()
    assert sorted(set(bench.words())) == words
    lines = {each["alarm"]: each for each in bench.lines()}
    assert bench.words().count("fork") == 1
    file = bench.evidence(lines["fork"])
    for trust in (world.trust(0), readers_trust(world)):
        told = check_evidence(file, trust)
        assert (told.exit_code, told.verdict, told.against[:1]) == (0, "FORK", ("the log",))
    note = json.loads(file)["checkpoint"]
    assert len(split_note(note)[1]) <= 1 + len(world.cosigners)
    bench.close()


def test_a_wrong_line_below_an_honest_checkpoint_is_told_once(tmp_path: Path) -> None:
    """The log is followed by its own signature; who is named is told once, with the note as it was served."""
    world = honest()
    bench = bench_of(tmp_path, world)
    for round_ in range(3):
        world.answer(2)
        world.beat()
        world.serve(bench.source)  # type: ignore[arg-type]
        bench.source.files["checkpoint"] += _of_witness(world).encode()  # type: ignore[attr-defined]
        status = bench.look(10)
        assert (status.is_current, status.tree_size) == (True, len(world.entries))
        if round_ == 1:
            bench.restart()
    (line,) = bench.lines()
    assert (line["alarm"], line["class"], line["grade"]) == ("quorum_missing", "stated", "stated")
    assert world.cosigners[0].key.name in line["detail"]
    (shown,) = json.loads(bench.evidence(line))["shown"]
    assert _of_witness(world) in shown
    bench.close()


def test_a_peer_that_adds_a_line_is_compared(tmp_path: Path) -> None:
    """What another monitor has seen counts by the log's own signature."""
    world, other = honest(), honest()
    other.answer(2)
    other.entries[4], other.entries[5] = other.entries[5], other.entries[4]
    other.publish()
    note = other.source().files["checkpoint"] + _of_witness(world).encode() + _of_log(world).encode()
    source = MemorySource({checkpoint_path(ORIGIN): note})
    beside = Beside([Other("http://peer", "http://peer")], open_source=lambda _url: source)
    world.answer(9)
    bench = bench_of(tmp_path, world, beside=beside)
    bench.look()
    assert bench.words() == ["fork"]
    assert check_evidence(bench.evidence(bench.lines()[0]), world.trust(0)).exit_code == 0
    bench.close()

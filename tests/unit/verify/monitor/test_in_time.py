"""What is early is not wrong: anchors ahead of a look, hosts that spool, replicas a moment behind."""

from __future__ import annotations

from pathlib import Path

from auditlog.core.anchor import DevnetAnchor, sign_devnet_anchor
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.verify.monitor.anchors import GRACE_S, DevnetNotes
from auditlog.verify.monitor.following import ASK_AGAIN_S, ASKED_AGAIN
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench, HostWorld, honest
from tests.support.tlog_writer import ORIGIN
from tests.unit.verify.monitor.test_any_content import bench_of

DEVNET = Ed25519Signer.from_seed("devnet.example", b"\x66" * 32)


def anchored(folder: Path, world: HostWorld, root: bytes | None = None) -> None:
    """A note of the devnet over the whole log as it is."""
    folder.mkdir(exist_ok=True)
    root = root or root_hash([hash_leaf(entry) for entry in world.entries])
    anchor = DevnetAnchor(
        origin=ORIGIN, size=len(world.entries), root=root, chain_id=31337, contract=b"\xab" * 20,
        tx=b"\1" * 32, block_number=5, block_hash=b"\2" * 32, block_time="2026-01-01T00:00:00.000000Z",
    )  # fmt: skip
    (folder / f"{len(world.entries)}.note").write_text(sign_devnet_anchor(anchor, DEVNET))


def with_notes(bench: Bench, notes: Path) -> Bench:
    """The monitor reads that folder."""
    bench.monitor.watches[0].anchors.append(DevnetNotes(notes, DEVNET.verifier))
    return bench


def ahead(tmp_path: Path, root: bytes | None = None) -> tuple[Bench, HostWorld]:
    """The log has grown and anchored since the look that reads the note."""
    world = honest()
    bench = with_notes(bench_of(tmp_path / "state", world), tmp_path / "notes")
    world.answer(3)
    world.beat()
    anchored(tmp_path / "notes", world, root)
    status = bench.look()
    assert bench.words() == []
    assert any("not compared yet" in text for text in status.unread)
    return bench, world


def test_an_anchor_ahead_of_the_look_is_compared_when_the_log_is_there(tmp_path: Path) -> None:
    """No alarm for an honest log; and another root is one, after a restart too."""
    for name, root, words in (("honest", None, []), ("other", b"\7" * 32, ["anchor_fork"])):
        bench, world = ahead(tmp_path / name, root)
        bench.restart()
        world.serve(bench.source)  # type: ignore[arg-type]
        bench.look(GRACE_S + 1)
        status = bench.look(5)
        assert bench.words() == words
        assert status.anchors_checked == 1
        bench.close()


def test_an_anchor_that_the_log_never_reaches_is_a_rewind(tmp_path: Path) -> None:
    """After a later look, and some grace, the log still shows less."""
    bench, _world = ahead(tmp_path)
    bench.look(5)
    assert bench.words() == []
    bench.restart()
    bench.look(GRACE_S)
    bench.look(5)
    assert bench.words() == ["rewind"]
    bench.close()


def test_time_in_which_the_log_was_away_is_nobody_s_silence(tmp_path: Path) -> None:
    """Hosts spool; the log is back before they have delivered: no alarm before it was there for long."""
    world = honest()
    bench = bench_of(tmp_path, world)
    source = bench.source
    assert isinstance(source, MemorySource)
    bench.look(1)
    source.down = True
    for _ in range(20):
        bench.look(60)
    source.down = False
    bench.look(5)
    bench.restart()
    world.enrol("gpu-9")
    world.serve(source)
    bench.look(5)
    assert bench.words() == []
    bench.look(300)
    assert bench.words() == ["silent"]
    bench.close()


class Copies(MemorySource):
    """Two copies of a log behind one address, one of them behind: it answers so many times."""

    def __init__(self, files: dict[str, bytes], old: bytes, times: int) -> None:
        super().__init__(files)
        self.old, self.times = old, times

    def fetch(self, path: str) -> bytes:
        """From the one or the other."""
        if path == "checkpoint" and self.times > 0:
            self.times -= 1
            return self.old
        return super().fetch(path)


def test_a_copy_a_moment_behind_is_no_rewind(tmp_path: Path) -> None:
    """It is asked again, seconds later, and the report says so; who stays behind is told."""
    world = honest()
    old = world.publish().encode()
    world.answer(3)
    for times, words in ((ASKED_AGAIN, []), (ASKED_AGAIN + 1, ["rewind"])):
        bench = bench_of(tmp_path / str(times), world)
        bench.look()
        follower, pauses = bench.monitor.watches[0].follower, list[float]()
        follower.source, follower._pause = Copies(world.source().files, old, times), pauses.append
        status = bench.look(5)
        assert bench.words() == words
        assert status.is_current is not bool(words)
        assert any("older checkpoint" in text for text in status.reservations) is not bool(words)
        assert pauses == [ASK_AGAIN_S] * ASKED_AGAIN
        bench.close()


def test_a_copy_of_another_history_is_told_at_once(tmp_path: Path) -> None:
    """An older checkpoint of another branch is a fork, whatever is served a moment later."""
    world, other = honest(), honest()
    other.entries[4], other.entries[5] = other.entries[5], other.entries[4]
    old = other.publish().encode()
    world.answer(3)
    bench = bench_of(tmp_path, world)
    bench.look()
    bench.monitor.watches[0].follower.source = Copies(world.source().files, old, 1)
    bench.look(5)
    assert bench.words() == ["fork"]
    bench.close()

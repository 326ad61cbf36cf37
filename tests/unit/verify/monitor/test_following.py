"""The monitor over whole logs: honest ones raise nothing, each dishonest one raises its alarm, with proof."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from auditlog.core.entry import Entry, encode_entry, format_time, parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.trust import Trust
from auditlog.verify.evidence_check import check_evidence
from auditlog.verify.finding import ALARMS, AlarmClass
from auditlog.verify.monitor.clocks import Limits
from tests.support.monitor_world import Bench, HostWorld, honest
from tests.support.promise_world import World
from tests.support.tlog_writer import ORIGIN


def bench_of(folder: Path, world: World, trust: Trust | None = None, **options: object) -> Bench:
    """A monitor of what this world serves now; its clock is the world's."""
    source = world.source() if world.checkpoints else None
    if source is None:
        world.publish()
        source = world.source()
    options.setdefault("limits", Limits(anchor_s=1e9))
    made = Bench(folder, trust or world.trust(), source, origin=ORIGIN, **options)  # type: ignore[arg-type]
    made.now_us = world.now_s * 1_000_000
    return made


def test_an_honest_log_raises_nothing(tmp_path: Path) -> None:
    """Growth, restarts of host and monitor, rotations, new producers, anchors: no alarm, all of it read."""
    world = honest()
    bench = bench_of(tmp_path, world)
    for round_ in range(8):
        world.answer(1 + round_ * 40)
        if round_ == 2:
            world.rotate()
        if round_ == 3:
            world.enrol("gpu-1")
        if round_ in (4, 6):
            world.anchor(len(world.entries) - 5)
        if round_ == 5:
            world.beat()
            world.stop()
            world.again()
        first = world.seq + 1
        world.answer(2)
        world.beat(head=world.head(first))
        world.serve(bench.source)  # type: ignore[arg-type]
        status = bench.look(10)
        if round_ % 3 == 1:
            bench.restart()
    assert bench.lines() == []
    assert (status.is_current, status.unread) == (True, ())
    assert status.signed_size == status.tree_size == status.entries_size == len(world.entries)
    assert (status.anchors_checked, status.producers) == (2, 2)
    assert status.facts["heads_checked"] == 8
    assert "heads_not_checked" not in status.facts
    assert status.cosigned == ("w0", "w1")
    bench.close()


def _entry(world: World, **changed: object) -> Entry:
    last = parse_entry(world.entries[-1])
    members = {name: getattr(last, name) for name in Entry.__slots__} | changed
    return Entry(**members)


def _malformed(world: HostWorld) -> None:
    world.entries.append(b"no entry")


def _foreign(world: HostWorld) -> None:
    world.entries.append(encode_entry(_entry(world, origin="log.example/other")))


def _twice(world: HostWorld) -> None:
    world.entries.append(encode_entry(_entry(world, time=format_time(world.now_s * 1_000_000 + 7))))


def _skipped(world: HostWorld) -> None:
    with world.drop(number_too=False):
        world.decide()
    world.decide()


def _unknown(world: HostWorld) -> None:
    world.entries.append(encode_entry(_entry(world, producer="cd" * 32)))


def _forged(world: HostWorld) -> None:
    world.enrol("gpu-9", name="gpu-8")


def _wrong_key(world: HostWorld) -> None:
    world.restart()
    start = parse_entry(world.entries.pop())
    note = parse_entry(world.entries[2]).body["note"]
    forged = {name: getattr(start, name) for name in Entry.__slots__} | {
        "body": {"note": note, "software": "test"}
    }
    world.prev = world._append(Entry(**forged))


def _retired(world: HostWorld) -> None:
    last = {"instance": world.instance, "seq": world.seq, "leaf_hash": world.prev}
    world.write_log("retirement", {"producer": world.identity, "last": last})
    world.decide()


def _miscounted(world: HostWorld) -> None:
    world.beat(recorded=world.started - 1)


def _fell(world: HostWorld) -> None:
    world.started -= 2
    world.beat(recorded=world.started + 2)


def _lying_head(world: HostWorld) -> None:
    first = world.seq + 1
    world.answer(2)
    world.beat(head=world.head(first, root=b"\1" * 32))


def _lying_head_hash(world: HostWorld) -> None:
    first = world.seq + 1
    world.answer(2)
    head = world.head(first, leaf_hash=b"\1" * 32)
    world.beat(head=head)


def _anchor_fork(world: HostWorld) -> None:
    world.anchor(4, "12" * 32)


def _anchor_foreign(world: HostWorld) -> None:
    world.anchor(4, log_id="12" * 32)


def _anchor_early(world: HostWorld) -> None:
    world.anchor(len(world.entries) + 50, "12" * 32)


CONVICTING = [
    (_malformed, "entry_malformed"),
    (_foreign, "foreign_entry"),
    (_twice, "duplicate_number"),
    (_skipped, "broken_chain"),
    (_unknown, "unknown_producer"),
    (_forged, "forged_enrolment"),
    (_wrong_key, "wrong_key"),
    (_retired, "after_retirement"),
    (_miscounted, "counter_mismatch"),
    (_fell, "counter_mismatch"),
    (_lying_head, "broken_head"),
    (_lying_head_hash, "broken_head"),
    (_anchor_fork, "anchor_fork"),
    (_anchor_foreign, "anchor_foreign"),
    (_anchor_early, "anchor_foreign"),
]


@pytest.mark.parametrize(("cheat", "word"), CONVICTING)
def test_a_lie_in_the_entries_is_raised_and_proven(
    tmp_path: Path, cheat: Callable[[HostWorld], None], word: str
) -> None:
    """Each is raised once, whenever it comes, and the file convinces one who has only the trust file."""
    world = honest()
    bench = bench_of(tmp_path, world)
    assert bench.look().unread == ()
    cheat(world)
    world.serve(bench.source)  # type: ignore[arg-type]
    bench.look(5)
    bench.restart()
    bench.look(5)
    found = [line for line in bench.lines() if line["alarm"] == word]
    assert found, bench.words()
    assert len({line["detail"] for line in bench.lines()}) == len(bench.lines())
    told = check_evidence(bench.evidence(found[0]), world.trust(0))
    assert (told.exit_code, found[0]["grade"]) == (0, "proven"), told.headline
    bench.close()


def test_two_histories_are_raised_with_both_notes(tmp_path: Path) -> None:
    """A larger tree that does not begin with the one shown is a fork; the one known stays; told once."""
    world, other = honest(), honest()
    other.answer(2)
    other.entries[4], other.entries[5] = other.entries[5], other.entries[4]
    bench = bench_of(tmp_path, world)
    before = bench.look()
    other.cosigners = []
    for _ in range(3):
        other.answer(1)
        other.serve(bench.source)  # type: ignore[arg-type]
        status = bench.look(5)
    assert bench.words() == ["fork"]
    assert status.root == before.root
    assert check_evidence(bench.evidence(bench.lines()[0]), world.trust(0)).exit_code == 0
    bench.close()


def test_two_roots_of_one_size_are_a_fork(tmp_path: Path) -> None:
    """Same size, other root: the notes alone convict."""
    world, other = honest(), honest()
    other.entries[-1] = other.entries[-1].replace(b'"interval_s":10', b'"interval_s":11')
    bench = bench_of(tmp_path, world)
    bench.look()
    other.cosigners = []
    other.serve(bench.source)  # type: ignore[arg-type]
    bench.look(5)
    assert bench.words() == ["fork"]
    assert check_evidence(bench.evidence(bench.lines()[0]), world.trust(0)).exit_code == 0
    bench.close()


def test_a_rewind_is_raised_once(tmp_path: Path) -> None:
    """A smaller tree than was shown, of the same history: stated by the monitor's own key."""
    world = honest()
    bench = bench_of(tmp_path, world)
    old = dict(bench.source.files)  # type: ignore[attr-defined]
    world.answer(3)
    world.serve(bench.source)  # type: ignore[arg-type]
    bench.look()
    bench.source.files = old  # type: ignore[attr-defined]
    bench.look(5)
    bench.look(5)
    (line,) = bench.lines()
    assert (line["alarm"], line["grade"]) == ("rewind", "stated")
    assert check_evidence(bench.evidence(line), world.trust(0)).exit_code == 3
    bench.close()


def test_withheld_and_changed_tiles_are_raised(tmp_path: Path) -> None:
    """A tile taken away after it was shown, and one of another tree; both end when the log serves again."""
    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    world.answer(300)
    world.serve(bench.source)  # type: ignore[arg-type]
    files = bench.source.files  # type: ignore[attr-defined]
    tile = files.pop("tile/0/000")
    status = bench.look(5)
    assert (bench.words(), status.is_current) == (["tiles_withheld"], False)
    files["tile/0/000"] = tile[:-1] + bytes([tile[-1] ^ 1])
    bench.look(5)
    assert bench.words() == ["tiles_withheld", "tiles_mismatch"]
    files["tile/0/000"] = tile
    assert bench.look(5).is_current
    assert len(bench.lines()) == 2
    bench.close()


def test_changed_and_missing_bundles_are_raised(tmp_path: Path) -> None:
    """Entries that are not the tree's; and a bundle that is gone, where others were served."""
    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    world.answer(300)
    world.serve(bench.source)  # type: ignore[arg-type]
    files = bench.source.files  # type: ignore[attr-defined]
    bundle = files["tile/entries/000"]
    files["tile/entries/000"] = bundle.replace(b"fail_open", b"fail_closed"[:9], 1)
    status = bench.look(5)
    assert bench.words() == ["tiles_mismatch"]
    assert status.tree_size == len(world.entries)
    assert status.entries_size < 256
    del files["tile/entries/000"]
    bench.look(5)
    assert bench.words() == ["tiles_mismatch", "tiles_withheld"]
    files["tile/entries/000"] = bundle
    status = bench.look(5)
    assert status.entries_size == len(world.entries)
    bench.close()


def test_a_log_without_public_entries_is_followed_as_a_tree(tmp_path: Path) -> None:
    """Not accused: the entries are not checked, and are all read once there is a token."""
    world = honest()
    world.answer(600)
    world.publish()
    bench = Bench(tmp_path, world.trust(), world.source(bundles=False), origin=ORIGIN)
    status = bench.look()
    assert status.tree_size == len(world.entries)
    assert status.entries_size == 0
    assert any("the entries were not checked" in text for text in status.unread)
    bench.source.files = world.source().files  # type: ignore[attr-defined]
    status = bench.look(5)
    assert status.entries_size == status.tree_size == len(world.entries)
    assert (bench.words(), status.unread) == ([], ())
    bench.close()


def test_an_unreachable_log_is_no_alarm_before_it_is_stale(tmp_path: Path) -> None:
    """What cannot be reached is not checked; after the time agreed it is stale, once."""
    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    bench.source.down = True  # type: ignore[attr-defined]
    status = bench.look(60)
    assert status.unread
    assert bench.words() == []
    bench.look(3600)
    bench.look(3600)
    assert bench.words() == ["stale_checkpoint"]
    bench.close()


def test_a_checkpoint_nobody_signed_changes_nothing(tmp_path: Path) -> None:
    """Garbage, or another key's checkpoint, is not checked and not held against the log."""
    world = honest()
    bench = bench_of(tmp_path, world)
    size = bench.look().signed_size
    for content in (b"", b"\xff\xfe", b"x\n1\nAAAA\n\n", "\u2014 a b\n".encode()):
        bench.source.files["checkpoint"] = content  # type: ignore[attr-defined]
        status = bench.look(5)
        assert (status.signed_size, bool(status.unread)) == (size, True)
    assert bench.words() == []
    bench.close()


def test_changes_and_losses_are_notices_with_proof(tmp_path: Path) -> None:
    """Gap, other coverage, another model, a late entry: each has a file, and is nothing wrong by itself."""
    world = honest()
    world.model()
    bench = bench_of(tmp_path, world)
    bench.look()
    lost, after = world.instance, world.seq
    world.again()
    world.gap(lost, after)
    world.cover(mode="fail_closed")
    world.model()
    world.model("cd" * 32)
    held = world.now_s
    world.serve(bench.source)  # type: ignore[arg-type]
    bench.look(10)
    world.now_s += 7300
    world.serve(bench.source)  # type: ignore[arg-type]
    bench.look(7300)
    world.now_s = held
    world.answer(2)
    world.now_s += 7310
    world.serve(bench.source)  # type: ignore[arg-type]
    bench.look(10)
    words = [line["alarm"] for line in bench.lines() if line["class"] == "notice"]
    assert sorted(words) == ["backdated", "coverage_changed", "gap", "model_changed"]
    for line in bench.lines():
        if ALARMS[line["alarm"]].kind is AlarmClass.NOTICE:
            assert check_evidence(bench.evidence(line), world.trust()).exit_code == 0, line
    bench.close()


def test_a_silent_producer_is_raised_once_while_it_lasts_and_when_it_ends(tmp_path: Path) -> None:
    """By the monitor's clock while nothing comes, and not again when the next entry shows how long it was."""
    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    bench.look(30)
    assert bench.words() == []
    for _ in range(4):
        bench.look(120)
    assert bench.words() == ["silent"]
    bench.restart()
    world.now_s += 510
    world.answer(1)
    world.beat()
    world.serve(bench.source)  # type: ignore[arg-type]
    bench.look()
    assert bench.words() == ["silent"]
    bench.close()


def test_who_stopped_or_retired_is_not_silent(tmp_path: Path) -> None:
    """Taking leave in order is no silence, and a log that everybody left is not stale."""
    world = honest()
    world.beat()
    world.stop()
    bench = bench_of(tmp_path, world)
    bench.look()
    bench.look(7200)
    bench.look(86400)
    assert bench.words() == []
    bench.close()


def test_a_missing_quorum_is_raised_until_it_is_there_again(tmp_path: Path) -> None:
    """The trust file requires witnesses, and the newest checkpoint has too few."""
    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    for _ in range(3):
        world.answer(1)
        world.publish(witnesses=1)
        bench.source.files = world.source().files  # type: ignore[attr-defined]
        bench.look(5)
    assert bench.words() == ["quorum_missing"]
    bench.close()


def test_another_key_is_refused(tmp_path: Path) -> None:
    """What was remembered under one key is not gone on with under another."""
    from auditlog.errors import ConfigurationError

    world = honest()
    bench = bench_of(tmp_path, world)
    bench.look()
    bench.close()
    other = honest()
    text = other.trust(0).policy.text
    assert hash_leaf(text.encode())
    from auditlog.core.keys import Ed25519Signer
    from auditlog.core.trust import parse_trust

    key = Ed25519Signer.from_seed(ORIGIN, b"\x77" * 32)
    policy = f"log {key.vkey}\nquorum none\n"
    import json

    value = {"v": "auditlog/trust@v1", "policy": policy, "issuer": {"name": "x", "role": "self"}}
    with pytest.raises(ConfigurationError, match="under the key"):
        Bench(tmp_path, parse_trust(json.dumps(value).encode()), bench.source, origin=ORIGIN)

"""Attacks on what is written from now on: entries that no honest log has, or that say what is not so.

Spec: auditlog/spec/registry.md, "Alarms"; auditlog/spec/evidence.md, "ENTRIES". Each goes on from the honest
log, is cosigned (a witness reads no entries), and leaves every old receipt as good as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from auditlog.attack.attack import Attack
from auditlog.attack.pen import INTERVAL_S, Pen
from auditlog.attack.results import By, Piece
from auditlog.attack.scene import Scene
from auditlog.attack.twin import read_entry, suite_key
from auditlog.core.anchor import log_id
from auditlog.core.entry import Entry, encode_entry, format_time
from auditlog.core.statements import producer_key_name

_FSCK = (Piece.FSCK, Piece.MONITOR)
_HOUR_US = 3_600_000_000


def _written(write: Callable[[Pen], None]) -> Callable[[Scene], None]:
    """An attack that writes something and publishes it."""

    def play(scene: Scene) -> None:
        pen = scene.pen()
        pen.now_s += 1
        write(pen)
        scene.publish(pen)

    return play


def _newest(pen: Pen) -> Entry:
    entry = read_entry(pen.entries[-1])
    assert entry is not None
    return entry


def _foreign(pen: Pen) -> None:
    """The host's next entry, whole and linked, as it would be in another log."""
    pen.decide(origin="another-log.example/decisions")


def _replay(pen: Pen) -> None:
    """An entry that is in the log already, byte for byte."""
    pen.entries.append(pen.entries[pen.entries.index(encode_entry(_newest(pen)))])


def _not_an_entry(pen: Pen) -> None:
    pen.entries.append(b'{"approved":true}')


def _forged_enrolment(pen: Pen) -> None:
    """Somebody's host is enrolled whose key nobody has asked."""
    thief = suite_key(producer_key_name(pen.origin, "the-regulator"), "of the operator")
    pen.enrol("the-regulator", signed_by=thief)


def _unknown_producer(pen: Pen) -> None:
    pen.decide(producer="5e" * 32)


def _duplicate_number(pen: Pen) -> None:
    """Two decisions under one number, both after the same entry."""
    before = replace(pen.host, hashes=list(pen.host.hashes))
    pen.decide('{"a":"refused"}')
    pen.host = before
    pen.decide('{"a":"approved"}')


def _skipped_number(pen: Pen) -> None:
    """A number nobody holds a promise for is left out, without a word."""
    pen.host.seq += 1
    pen.decide()


def _broken_head(pen: Pen) -> None:
    """The host signed for other entries than those that the log holds."""
    pen.decide()
    pen.beat(head=pen.head(root=b"\x66" * 32))


def _old_producer_key(pen: Pen) -> None:
    """A host has changed its key; whoever stole the old one begins a life of the host with it."""
    old = pen.rotate()
    pen.start(signed_by=old)


def _after_retirement(pen: Pen) -> None:
    pen.retire()
    pen.decide()


def _count_less(pen: Pen) -> None:
    """Three calls are answered and recorded; the heartbeat counts one of them."""
    for _ in range(3):
        pen.decide()
    pen.beat(recorded=pen.host.started - 2, started=pen.host.started - 2, finished=pen.host.started - 2)


def _count_backwards(pen: Pen) -> None:
    """Calls that were counted as refused are counted no more."""
    pen.beat(refused=7)
    pen.beat(refused=2)


def _backdate(pen: Pen) -> None:
    """A decision of today is sealed as one of yesterday."""
    then = int(pen.now_s * 1_000_000) - 24 * _HOUR_US
    pen.decide(time=format_time(then))


def _model_swap(pen: Pen) -> None:
    """Other weights answer under the same name."""
    pen.model("aa" * 32)
    pen.decide()
    pen.model("bb" * 32)


def _anchor_elsewhere(pen: Pen) -> None:
    """The log shows an anchor that stands in the slot of another log."""
    pen.anchor(len(pen.entries), log_id=log_id("another-log.example/decisions").hex())


def _anchor_ahead(pen: Pen) -> None:
    """The log shows an anchor of a tree that it did not have yet."""
    size = len(pen.entries)
    root = "cc" * 32
    pen.write_anchor(size + 100, root)


def _anchor_other_root(pen: Pen) -> None:
    """The log says that another root was anchored than it signed."""
    pen.write_anchor(len(pen.entries) - 1, "dd" * 32)


def _anchor_fork(scene: Scene) -> None:
    """It anchors one history and shows another."""
    pen = scene.pen()
    pen.decide()
    scene.anchors = [scene.world.devnet_note(len(pen.entries) - 3, b"\xee" * 32)]
    scene.publish(pen)


def _silence(scene: Scene) -> None:
    """The host records nothing any more, and says nothing; the log goes on with another."""
    pen = scene.pen()
    pen.now_s += 1
    other = pen.enrol("another-host")
    scene.publish(pen)
    pen.host = other
    pen.start()
    pen.now_s += 20 * INTERVAL_S
    pen.decide()
    scene.publish(pen)


def _freeze(scene: Scene) -> None:
    """It shows this one monitor the same checkpoint for ever, and goes on for everybody else."""
    world = scene.world
    scene.serve(world.files, world.pen.now_s + 1)
    scene.serve(world.files, world.pen.now_s + 3 * 3600)


def _attack(
    name: str, title: str, play: Callable[[Scene], None], alarm: str, *,
    should: tuple[Piece, ...] = _FSCK, due: str = "proven", by: By = By.OPERATOR,
) -> Attack:  # fmt: skip
    return Attack(name=name, title=title, by=by, should=should, play=play, due=due, alarm=alarm)


ATTACKS: tuple[Attack, ...] = (
    _attack("foreign-entry", "puts an entry of another log into this one", _written(_foreign),
            "foreign_entry"),
    _attack("replayed-entry", "puts an entry into the log a second time", _written(_replay),
            "duplicate_number"),
    _attack("not-an-entry", "puts something into the log that is no entry", _written(_not_an_entry),
            "entry_malformed"),
    _attack("forged-enrolment", "enrols a host in somebody's name, without its key",
            _written(_forged_enrolment), "forged_enrolment"),
    _attack("unknown-producer", "writes as a host that was never enrolled", _written(_unknown_producer),
            "unknown_producer"),
    _attack("duplicate-numbers", "gives two decisions one number", _written(_duplicate_number),
            "duplicate_number"),
    _attack("skipped-number", "leaves a number out", _written(_skipped_number), "broken_chain"),
    _attack("broken-head", "delivers other entries than the host signed for", _written(_broken_head),
            "broken_head", should=(Piece.FSCK, Piece.MONITOR)),
    _attack("old-key", "starts a host's life with the key that the host had before",
            _written(_old_producer_key), "wrong_key", by=By.THIEF),
    _attack("after-retirement", "writes on as a host that has ended", _written(_after_retirement),
            "after_retirement", by=By.PRODUCER),
    _attack("lying-heartbeat", "counts fewer calls than it recorded", _written(_count_less),
            "counter_mismatch", by=By.PRODUCER),
    _attack("counters-fall", "lets a counter fall within one life", _written(_count_backwards),
            "counter_mismatch", should=(Piece.MONITOR, Piece.COMPLETENESS), by=By.PRODUCER),
    _attack("back-date", "seals a decision of today as one of yesterday", _written(_backdate), "backdated",
            should=(Piece.MONITOR,), due="notice"),
    _attack("model-swap", "lets other weights answer under the same name", _written(_model_swap),
            "model_changed", should=(Piece.MONITOR,), due="notice"),
    _attack("anchor-elsewhere", "shows an anchor in another log's slot", _written(_anchor_elsewhere),
            "anchor_foreign"),
    _attack("anchor-too-early", "shows an anchor of a tree it did not have yet", _written(_anchor_ahead),
            "anchor_foreign"),
    _attack("anchor-other-root", "says that another root was anchored than it signed",
            _written(_anchor_other_root), "anchor_fork"),
    _attack("anchor-fork", "anchors one history and shows another", _anchor_fork, "anchor_fork",
            should=(Piece.MONITOR,)),
    _attack("silent-host", "switches a host's recording off", _silence, "silent", should=(Piece.MONITOR,),
            due="stated"),
    _attack("freeze", "shows a monitor the same checkpoint for hours", _freeze, "stale_checkpoint",
            should=(Piece.MONITOR,), due="stated"),
)  # fmt: skip

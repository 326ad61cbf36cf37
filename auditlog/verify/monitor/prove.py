"""Evidence for what was raised: the smallest file that proves it, or else this monitor's signed word.

Spec: auditlog/spec/monitor.md, "Alarms"; auditlog/spec/evidence.md. Candidates are built from the tree in
hand and each is checked as a stranger would check it; the first that proves its claim is taken. Promises:
never raises for want of evidence. Must never: call proven what its own check does not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from auditlog.core.entry import Entry, parse_entry
from auditlog.core.keys import Ed25519Signer
from auditlog.core.scalars import format_time
from auditlog.core.tiles import TILE_WIDTH
from auditlog.core.trust import Trust
from auditlog.errors import EvidenceError, MalformedError, StorageError
from auditlog.verify.evidence_build import Exhibits, finding, observed_file
from auditlog.verify.finding import ALARMS, AlarmClass, Finding
from auditlog.verify.lives import ProducerLife
from auditlog.verify.monitor.raised import Raised
from auditlog.verify.plain_entries import read_plain
from auditlog.verify.report import Grade
from auditlog.verify.tlogclient import VerifiedTree

logger = logging.getLogger("auditlog.monitor")

SEARCHED: Final = 16_384
"""Entries looked through for those that belong into a file; no file shows more."""
MAX_LEAVES: Final = 300_000
"""Leaf hashes put into a file at most, 43 bytes each: a file that can still be sent."""


@dataclass(frozen=True, slots=True)
class Sight:
    """The tree that is looked at when something is raised, and what is known of its producers."""

    tree: VerifiedTree
    note: str
    lives: Mapping[str, ProducerLife] = field(default_factory=dict)


class Prover:
    """Makes findings. Not for several threads."""

    def __init__(self, trust: Trust, signer: Ed25519Signer, clock_us: Callable[[], int]) -> None:
        """`signer` is the monitor's own key, for what only it saw."""
        self._trust, self._signer, self._clock_us = trust, signer, clock_us

    def finding(self, raised: Raised, origin: str, note: str, sight: Sight | None) -> Finding:
        """What was raised, with the best evidence there is. `note` is the newest checkpoint checked, or
        empty; `sight` is the tree to show it by, if there is one.
        """
        for file in self._candidates(raised, sight):
            try:
                found = finding(raised.alarm, raised.detail, file, self._trust, index=raised.index)
            except StorageError:
                raise
            except Exception as error:  # noqa: BLE001  without a file the alarm is told all the same
                logger.debug("%s: %s", raised.key, error)
                continue
            if found.grade is Grade.PROVEN or ALARMS[raised.alarm].kind is AlarmClass.NOTICE:
                return found
        return self._stated(raised, origin, note)

    def _stated(self, raised: Raised, origin: str, note: str) -> Finding:
        """Nobody but this monitor can say it."""
        # Before the first checkpoint is accepted there is only the one that it was raised about.
        note, shown = (
            (note, raised.notes) if note or not raised.notes else (raised.notes[0], raised.notes[1:])
        )
        if note:
            try:
                time = format_time(self._clock_us())
                file = observed_file(
                    raised.alarm, note, raised.detail, signer=self._signer, time=time, shown=shown[:16]
                )
                return finding(raised.alarm, raised.detail, file, self._trust, index=raised.index)
            except EvidenceError:
                pass
        return Finding(raised.alarm, origin, raised.detail, None, Grade.STATED, raised.index)

    def _candidates(self, raised: Raised, sight: Sight | None) -> Iterator[bytes]:
        if raised.evidence is not None:
            yield raised.evidence
        makers = () if sight is None else _MAKERS.get(raised.alarm, ())
        for make in makers:
            if sight is None:
                return
            try:
                yield make(raised, sight)
            except StorageError:
                raise
            except Exception as error:  # noqa: BLE001  the log does not serve it, or it does not fit the case
                logger.debug("%s: %s", raised.key, error)
                continue


Maker = Callable[[Raised, Sight], bytes]


def _fork(raised: Raised, sight: Sight) -> bytes:
    return Exhibits(sight.tree, sight.note).fork(raised.notes[0])


def _one(raised: Raised, sight: Sight) -> bytes:
    return Exhibits(sight.tree, sight.note).entries(raised.alarm, [_index(raised)])


def _pair(raised: Raised, sight: Sight) -> bytes:
    return Exhibits(sight.tree, sight.note).entries(raised.alarm, _both(raised))


def _pair_as_chain(raised: Raised, sight: Sight) -> bytes:
    return Exhibits(sight.tree, sight.note).entries("broken_chain", _both(raised))


def _with_leaves(raised: Raised, sight: Sight) -> bytes:
    if sight.tree.checkpoint.tree_size > MAX_LEAVES:
        raise MalformedError(f"expected a tree of at most {MAX_LEAVES} entries for a file, found a larger")
    return Exhibits(sight.tree, sight.note).entries(raised.alarm, [_index(raised)], with_leaves=True)


def _wrong_key(raised: Raised, sight: Sight) -> bytes:
    """The enrolment, and everything of that producer up to the entry: nothing may be left out."""
    index = _index(raised)
    life = sight.lives[_entry(sight, index).producer]
    found = [at for at, entry in _before(sight, index) if entry.producer == life.id and at > life.enrolled_at]
    return Exhibits(sight.tree, sight.note).entries(raised.alarm, [life.enrolled_at, *reversed(found), index])


def _heartbeats(raised: Raised, sight: Sight) -> bytes:
    """This heartbeat and the one before."""
    index = _index(raised)
    return Exhibits(sight.tree, sight.note).entries(raised.alarm, [_of_life(sight, index)[0], index])


def _counted(raised: Raised, sight: Sight) -> bytes:
    """Everything of the life from the heartbeat before, or from its start."""
    index = _index(raised)
    return Exhibits(sight.tree, sight.note).entries(raised.alarm, [*_of_life(sight, index), index])


def _of_life(sight: Sight, index: int) -> list[int]:
    """Entries of the life that a heartbeat is of, from the heartbeat before it, or from its start."""
    last, found = _entry(sight, index), []
    for at, entry in _before(sight, index):
        if (entry.producer, entry.instance) != (last.producer, last.instance):
            continue
        found.append(at)
        if entry.kind == "heartbeat" or entry.seq == 0:
            break
    return found[::-1]


def _head(raised: Raised, sight: Sight) -> bytes:
    """The head in a heartbeat, its producer's keys, and the entries it is about."""
    from auditlog.core.head import parse_head_text
    from auditlog.core.note import split_note

    index = _index(raised)
    heartbeat = _whole(sight, index)
    note = str(heartbeat.body["head"])
    head = parse_head_text(split_note(note)[0])
    life = sight.lives[heartbeat.producer]
    found = [
        at
        for at, entry in _before(sight, index)
        if (entry.producer, entry.instance) == (head.producer, head.instance)
        and head.first_seq <= entry.seq <= head.seq
    ][::-1]
    last = found[-1:] if sight.tree.leaf_hash(found[-1]) != head.leaf_hash else found
    return Exhibits(sight.tree, sight.note).entries(
        raised.alarm, last, head=note, producer=life.enrolled_at, rotations=life.rotated_at
    )


def _anchor_entry(raised: Raised, sight: Sight) -> bytes:
    return Exhibits(sight.tree, sight.note).anchor_entry(_index(raised))


def _notice(raised: Raised, sight: Sight) -> bytes:
    return Exhibits(sight.tree, sight.note).notice(raised.alarm, [_index(raised)])


def _changed(raised: Raised, sight: Sight) -> bytes:
    return Exhibits(sight.tree, sight.note).notice(raised.alarm, _both(raised))


def _backdated(raised: Raised, sight: Sight) -> bytes:
    return Exhibits(sight.tree, sight.note).notice(raised.alarm, [_index(raised)], earlier=raised.notes[0])


_MAKERS: Final[dict[str, tuple[Maker, ...]]] = {
    "fork": (_fork,),
    "witness_disagrees": (_fork,),
    "entry_malformed": (_one,),
    "foreign_entry": (_one,),
    "forged_enrolment": (_one,),
    "duplicate_number": (_pair, _pair_as_chain),
    "broken_chain": (_pair, _one, _with_leaves),
    "unknown_producer": (_pair, _with_leaves),
    "wrong_key": (_wrong_key,),
    "after_retirement": (_pair,),
    "counter_mismatch": (_one, _heartbeats, _counted),
    "broken_head": (_head,),
    "anchor_fork": (_anchor_entry,),
    "anchor_foreign": (_one, _notice),
    "gap": (_notice,),
    "coverage_changed": (_changed,),
    "model_changed": (_changed,),
    "backdated": (_backdated,),
}


def _index(raised: Raised) -> int:
    if raised.index is None:
        raise MalformedError(f"{raised.alarm}: expected the entry it is about, found none")
    return raised.index


def _both(raised: Raised) -> list[int]:
    if raised.other is None or raised.other < 0:
        raise MalformedError(f"{raised.alarm}: expected the other entry, found none")
    return sorted({raised.other, _index(raised)})


def _entry(sight: Sight, index: int) -> Entry:
    data = sight.tree.bundle(index // TILE_WIDTH)[index % TILE_WIDTH]
    return _read(data, sight.tree.checkpoint.origin)


def _whole(sight: Sight, index: int) -> Entry:
    return parse_entry(sight.tree.bundle(index // TILE_WIDTH)[index % TILE_WIDTH])


def _read(data: bytes, origin: str) -> Entry:
    return read_plain(data, origin) or parse_entry(data)


def _before(sight: Sight, index: int) -> Iterator[tuple[int, Entry]]:
    """The entries before an index, newest first, as far back as it is worth looking."""
    end = max(0, index - SEARCHED)
    for number in range((index - 1) // TILE_WIDTH, end // TILE_WIDTH - 1, -1):
        entries = sight.tree.bundle(number)
        for place in range(min(len(entries), index - number * TILE_WIDTH) - 1, -1, -1):
            try:
                yield number * TILE_WIDTH + place, _read(entries[place], sight.tree.checkpoint.origin)
            except MalformedError:
                continue

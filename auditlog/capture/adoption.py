"""Opening a slot's chain: drafts of earlier lives are sealed, then this process gets its place.

Spec: entry.md, "Producer chain". Order, each step durable before the next: (1) drafts left from before
enrolment are sealed in their order under the instance that made them, (2) the draft files go, (3) this
process writes its `instance` entry, and a `gap` if the process before it did not end in order. Dying between
(1) and (2) is harmless: drafts keep their numbers, so those already in the spool are recognised and skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditlog.capture.books import DRAFT_MODEL, DraftBook, SealedBook, gap_body, read_draft
from auditlog.capture.chain import Chain, Tip
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.frames import Record
from auditlog.capture.spool import Spool
from auditlog.core.entry import parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer

if TYPE_CHECKING:
    from auditlog.capture.rotation import SlotKeys

_GROUP = 500


@dataclass(frozen=True, slots=True)
class Opening:
    """What is needed to write entries of this slot: who we are to the log, our key, our name for
    ourselves.
    """

    enrolment: Enrolment
    signer: Ed25519Signer
    software: str
    clock: Callable[[], int]
    keys: SlotKeys | None = None
    """Where the slot's keys are followed through a rotation; `signer` is the one that seals at the start."""


@dataclass(frozen=True, slots=True)
class Unclean:
    """An earlier life that did not end in order: the last thing known of it, and how many calls at most are
    missing after it (None: nobody knows).
    """

    tip: Tip
    at_most: int | None = None

    def gap(self, now_us: int) -> dict[str, object]:
        """The body of the entry that declares it."""
        return gap_body(self.tip, count=None, from_us=self.tip.time_us, to_us=now_us, at_most=self.at_most)


def begin_drafts(
    drafts: Spool, instance: str, software: str, now_us: int, unclean: Unclean | None
) -> DraftBook:
    """Start a process life before enrolment; durable on return. Raises OSError."""
    book = DraftBook(instance)
    records = [book.begin(software, now_us)]
    if unclean is not None:
        records.append(book.add("gap", unclean.gap(now_us), now_us)[0])
    drafts.append(records, is_whole=unclean is not None)
    return book


def begin_sealed(spool: Spool, opening: Opening, instance: str, unclean: Unclean | None) -> SealedBook:
    """Start a process life as an enrolled producer; durable on return. Raises OSError.

    `unclean` is an earlier life that did not end in order, or None.
    """
    book = SealedBook(_chain(opening, instance, spool.tip))
    now_us = opening.clock()
    records = [book.begin(opening.signer, opening.software, now_us)]
    if unclean is not None:
        records.append(book.add("gap", unclean.gap(now_us), now_us)[0])
    # Dying here must not leave the start without the gap: the next life would declare what this one lost, and
    # nobody what the one before it did.
    spool.append(records, is_whole=unclean is not None)
    return book


def adopt_drafts(drafts: Spool, spool: Spool, opening: Opening) -> tuple[SealedBook | None, dict[int, str]]:
    """Seal every draft that is not sealed yet, then delete the drafts.

    Returns the book of the last life that had drafts (to go on in, if that is this process) and the leaf
    hash of each of its models by number. Raises OSError: call again; nothing is sealed twice.
    """
    models = _models_in(spool, spool.tip.instance)
    book: SealedBook | None = None
    group: list[Record] = []
    for draft in _unsealed(drafts, spool.tip):
        if book is None or book.instance != draft.instance:
            _flush(spool, group)
            if book is not None or spool.tip.instance != draft.instance:
                models = {}
            book = SealedBook(_chain(opening, draft.instance, spool.tip))
        record, reference = _seal_draft(book, draft, opening, models)
        if reference is not None:
            models[record.seq] = reference
        group.append(record)
        if len(group) >= _GROUP:
            _flush(spool, group)
    _flush(spool, group)
    if book is None and not spool.tip.is_empty:
        book = SealedBook(_chain(opening, spool.tip.instance, spool.tip))
    drafts.erase_all()
    return book, models


def _flush(spool: Spool, group: list[Record]) -> None:
    spool.append(group)
    group.clear()


def _seal_draft(
    book: SealedBook, draft: Record, opening: Opening, models: dict[int, str]
) -> tuple[Record, str | None]:
    kind, body = read_draft(draft)
    now_us = opening.clock()
    if kind == "instance":
        return book.begin(opening.signer, str(body.get("software", "")), now_us), None
    model = body.get("model")
    if type(model) is str and model.startswith(DRAFT_MODEL):
        body["model"] = models.get(int(model.removeprefix(DRAFT_MODEL)), "unregistered")
    record, reference = book.add(kind, body, now_us)
    return record, reference if kind == "model" else None


def _unsealed(drafts: Spool, sealed: Tip) -> Iterator[Record]:
    """The drafts after `sealed`, the newest entry of the spool, in order."""
    position = 0
    if not sealed.is_empty:
        position = drafts.next
        for number, record in _all(drafts):
            if (record.instance, record.seq) == (sealed.instance, sealed.seq):
                position = number + 1
    for number, record in _all(drafts):
        if number >= position:
            yield record


def _models_in(spool: Spool, instance: str) -> dict[int, str]:
    """The models that a half-finished adoption has already sealed for `instance`."""
    models = {}
    for _, record in _all(spool):
        if record.instance == instance and parse_entry(record.payload).kind == "model":
            models[record.seq] = hash_leaf(record.payload).hex()
    return models


def _all(spool: Spool) -> Iterator[tuple[int, Record]]:
    number = spool.first
    while records := spool.read(number, max_records=_GROUP, max_bytes=1 << 20):
        for record in records:
            yield number, record
            number += 1


def _chain(opening: Opening, instance: str, tip: Tip) -> Chain:
    enrolment = opening.enrolment
    return Chain(origin=enrolment.origin, producer=enrolment.producer, instance=instance, tip=tip)

"""At which checkpoint a promise is judged, and what the log shows under it: the newest that was shown at all.

Spec: auditlog/spec/promise.md, "Asking the log". A log may answer a look-up from a state that is old and
genuinely signed, and so leave out what its own public tree proves; such an answer is a hint and no more. What
comes out is attacker-controlled but for the checkpoint. Promises: the checkpoint is the largest the log has
signed, of those at hand whose tree it shows. Must never: decide anything about a promise.
"""

from __future__ import annotations

from auditlog.core.promise import Promise
from auditlog.core.receipt import Related
from auditlog.errors import EvidenceError, SourceError
from auditlog.verify.promise_sources import View, why_unread
from auditlog.verify.promise_view import LogSight
from auditlog.verify.steps import Opened

UNREAD = (SourceError, EvidenceError)


def look(note: str, promise: Promise, sight: LogSight, unread: list[str]) -> tuple[Opened, View]:
    """The newest checkpoint whose tree is shown, and what is said of the promise in it.

    What the log did not show is added to `unread`. The public checkpoint is read before the look-up: an
    honest log that grows in between answers with the larger tree.

    Raises:
        SourceError, EvidenceError: no checkpoint at all.
    """
    public, failure = _public(sight)
    view = _asked(note, sight, unread)
    if view is None:
        if failure is not None:
            raise failure
    elif failure is not None:
        unread.append(f"its checkpoint ({why_unread(failure)})")
    newest = sight.largest()
    hint = None if view is None else sight.open(view.checkpoint)
    if view is not None and hint is not None and hint.checkpoint.tree_size >= newest.checkpoint.tree_size:
        return hint, view
    under = look_under(promise, sight, newest, view, unread)
    if under is not None:
        return newest, under
    if view is not None and hint is not None:
        return hint, view  # smaller than what was signed: whoever judges it finds that out, and says so
    assert public is not None  # without a look-up its failure was raised
    return public, look_under(promise, sight, public, None, unread) or View(public.note)


def _public(sight: LogSight) -> tuple[Opened | None, SourceError | EvidenceError | None]:
    try:
        return sight.newest(), None
    except UNREAD as error:
        return None, error


def _asked(note: str, sight: LogSight, unread: list[str]) -> View | None:
    """What the look-up answers, asked once more if that is older than what the log has shown elsewhere."""
    view = None
    for _ in range(2):
        try:
            view = sight.ask(note) or view
        except UNREAD as error:
            if view is None:
                unread.append(f"the look-up of this promise ({why_unread(error)})")
            break
        if view is None or sight.shows_less(sight.open(view.checkpoint)) <= 0:
            break
    return None if view is None or view.producer is None else view


def look_under(
    promise: Promise, sight: LogSight, opened: Opened, hint: View | None, unread: list[str]
) -> View | None:
    """What is in the tree of a checkpoint: by reading it, else by what a hint says, proven into it.

    None if neither is shown; `unread` then says what.
    """
    try:
        return sight.read(promise, opened)
    except UNREAD as error:
        unread.append(f"its entries ({why_unread(error)})")
    if hint is None:
        return None
    try:
        return _lifted(hint, sight, opened)
    except UNREAD as error:
        unread.append(f"the hash tiles of another of its checkpoints ({why_unread(error)})")
        return None


def _lifted(view: View, sight: LogSight, opened: Opened) -> View:
    """The entries of an answer with proofs into another tree; what is beyond either of them goes."""
    tree = sight.tree(opened)
    size = min(opened.checkpoint.tree_size, sight.open(view.checkpoint).checkpoint.tree_size)

    def lift(item: Related | None) -> Related | None:
        if item is None or item.index >= size:
            return None
        return Related(item.entry, item.index, tuple(tree.inclusion(item.index)))

    def lift_all(items: tuple[Related, ...]) -> tuple[Related, ...]:
        return tuple(lifted for item in items if (lifted := lift(item)) is not None)

    return View(
        opened.note,
        producer=lift(view.producer),
        rotations=lift_all(view.rotations),
        entry=lift(view.entry),
        next=lift(view.next),
        base=lift(view.base),
        life=lift(view.life),
        gaps=lift_all(view.gaps),
        notices=lift_all(view.notices),
    )

"""Evidence there may be in what a log shows of a promise, put together to be proven.

Spec: auditlog/spec/promise.md, "Broken promises" and "Declared lost"; auditlog/spec/evidence.md. Nothing here
is a verdict: whether a candidate holds is for `auditlog.verify.promise_proofs` to say. Must never: leave one
out because another entry speaks of the same number.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditlog.verify.promise_evidence import Cause, Evidence
from auditlog.verify.promise_sources import View
from auditlog.verify.steps import Opened


def candidates(note: str, opened: Opened, view: View) -> Iterator[Evidence]:
    """Evidence about the promise `note` that entries may be, the weightiest first."""
    if view.entry is not None:
        yield evidence_of(Cause.CONFLICT, note, opened, view, entry=view.entry)
    if view.next is not None:
        yield evidence_of(Cause.SKIPPED, note, opened, view, successor=view.next)
    for notice in view.notices:
        yield evidence_of(Cause.DECLARED_LOST, note, opened, view, notice=notice)
    for gap in view.gaps:
        yield evidence_of(Cause.SKIPPED, note, opened, view, gap=gap)
    if (cut := view.restart) is not None:
        life = {} if cut.life is None else {"life": cut.life}
        yield evidence_of(Cause.SKIPPED, note, opened, view, start=cut.start, base=cut.base, **life)
    elif view.next is not None and view.base is not None:
        restart = {"start": view.next, "base": view.base}
        yield evidence_of(Cause.SKIPPED, note, opened, view, **restart)
        if view.life is not None:
            yield evidence_of(Cause.SKIPPED, note, opened, view, **restart, life=view.life)


def evidence_of(cause: Cause, note: str, opened: Opened, view: View, **members: object) -> Evidence:
    """Evidence into the tree of a checkpoint; `members` are those of the cause."""
    return Evidence(
        verdict=cause,
        checkpoint=opened.note,
        promise=note,
        producer=view.producer,
        rotations=view.rotations,
        **members,  # type: ignore[arg-type]
    )

"""Going on after a storage failure: the same recovery and the same guards as a start, in a running engine.

Spec: design section 6. A halt whose cause is a store that failed ends by itself once the store is whole; one
whose cause is a contradiction (a rollback, other bytes than were signed) or a defect never does. What memory
knows is one more guard: the committed tree it holds was acknowledged, so the stores must hold or extend it.
Must never: sign, or take a store that came back older for one that came back.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.errors import (
    AuditLogError,
    DamagedStoreError,
    GuardUnreachable,
    ImmutableObjectError,
    RollbackError,
    StorageError,
)
from auditlog.log.live import Live
from auditlog.log.reader import Reader
from auditlog.log.recover import Recovered, check_own_head, recover
from auditlog.log.rollback import Guard, ask, check_not_older, check_not_rolled_back

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0


def may_pass(error: AuditLogError) -> bool:
    """Whether a failure is one of a store or a guard being away, which time may mend."""
    if isinstance(error, DamagedStoreError | ImmutableObjectError):
        return False
    return isinstance(error, StorageError | GuardUnreachable)


def next_delay(delay_s: float) -> float:
    """The wait after a wait of `delay_s` that did not help."""
    return min(2 * delay_s, LONGEST_DELAY_S)


def check_extends(live: Live, found: Recovered | None) -> None:
    """The stores must hold the committed tree that memory holds, or one that extends it.

    Raises:
        RollbackError: they hold less, or another tree: acknowledged entries are missing from them.
        StorageError: a store failed.
    """
    known = live.tree
    if not known.size:
        return
    size = 0 if found is None else found.tree.size
    if found is None or size < known.size or _reader_of(live, found).root_at(known.size) != known.root_hash:
        raise RollbackError(
            f"expected stores that hold the committed tree of size {known.size}, found another of size {size}"
        )


def recover_guarded(live: Live, outside: Sequence[Guard]) -> Recovered:
    """Recover as a start does, and ask every guard, before anything may be signed again.

    Raises:
        RollbackError: the stores are older than what was signed.
        StorageError, GuardUnreachable: something is still away; see `may_pass`.
    """
    asked = ask(outside, live.stores)
    unguarded = live.config.allow_unguarded
    found = recover(
        live.layout,
        live.signer.verifier,
        lambda size: check_not_older(asked, tree_size=size, allow_unguarded=unguarded),
    )
    check_extends(live, found)
    if found is None:
        raise RollbackError("expected a committed log in the stores, found none")
    check_own_head(found.committed, _reader_of(live, found))
    check_not_rolled_back(
        asked,
        tree_size=found.tree.size,
        root_at=_reader_of(live, found).root_at,
        allow_unguarded=unguarded,
    )
    return found


def _reader_of(live: Live, found: Recovered) -> Reader:
    """Reads the recovered tree, nothing of it cached: memory is not asked about the stores."""
    return Reader(Live(live.config, live.stores, live.signer, live.clock, found.tree))

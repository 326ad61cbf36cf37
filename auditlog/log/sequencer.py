"""The sequencer: turns the pool into a committed tree. One commit at a time for each log.

Spec: design section 6. The order of durable steps, and what a death after each one means:

    1 stage        create-only, fsynced, read back and hashed        nothing happened: the object is swept
    2 sign         in memory; the note is shown to nobody            nothing happened
    3 commit       ONE transaction: the whole previous note and
                   every chain head compared and swapped             it happened: the next start applies it
    4 read back    the note in the database is the note we signed    as 3
    5 apply        full tiles and bundles, durable                   as 3
    6 guard        the high-water mark outside our stores            as 3
    7 resolve      futures: the caller is acknowledged               done; sent again, it is skipped
    8 sweep        staged objects that this commit superseded        one too many: swept after the next one

While one group goes through 2 to 7, the next one is staged (1) by another thread, on the tree that
the first one leads to. It is committed only after 7 of the first, and given back if that one's tree
did not become the log's: nothing else of the order changes.

A failure before 3 gives the items back to their senders (pushback). Any failure from 3 on:
stop, read again, recover through the same `apply_staged`; what turns out committed is
acknowledged, the rest is pushed back. If recovery fails too the engine halts: while the cause
is a store that is away, it tries again with growing delays (`retry`, with the guards of a
start), else for good. Must never: sign two trees of one size, or show a note before step 4.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.errors import AuditLogError, LogHalted, LogQuiesced, Pushback, StorageError
from auditlog.log.live import Live
from auditlog.log.pool import Pending, head_updates, merged_runs
from auditlog.log.preparing import Group, prepare
from auditlog.log.recover import Recovered, recover
from auditlog.log.regain import FIRST_DELAY_S, check_extends, may_pass, next_delay, recover_guarded
from auditlog.log.rollback import Guard
from auditlog.log.stager import Stager
from auditlog.log.staging import Staged
from auditlog.log.sweeping import StagedObjects
from auditlog.log.tree import Tree
from auditlog.storage.records import (
    COMMITTING,
    LOG_CHAIN,
    Commit,
    LossRecord,
    RetirementRecord,
    RotationRecord,
)

logger = logging.getLogger("auditlog.log")


class Sequencer:
    """Commits what is in the pool of one log. `step` may be called from any thread: calls take turns."""

    def __init__(
        self,
        live: Live,
        outside: Sequence[Guard],
        on_commit: Callable[[Staged | None], None],
        later: Callable[[float], None],
        stager: Stager,
    ) -> None:
        """`on_commit` is given what a commit finished, if that is in hand; `later(seconds)` runs `retry`."""
        self._live = live
        self._outside = outside
        self._on_commit = on_commit
        self._later = later
        self._stager = stager
        self._delay_s = FIRST_DELAY_S
        self._line = threading.Lock()
        """Held from taking a group until its turn has come: groups are committed in the order of the pool."""
        self._turn = threading.Lock()
        self._staged = StagedObjects(live.stores.staging)
        self._newest: tuple[str, int] | None = None
        """Of the turn: the name of what it committed and the size of its tree, to be swept after it."""
        # Under `live.lock`:
        self._ahead: Tree | None = None
        """The tree that everything taken from the pool leads to, if that is not the committed one."""
        self._lives = 0
        """How often what was pending lost its place: a group that was taken before that must not go on."""
        self._is_staging = False
        self._committing = 0
        """Entries of the group whose turn it is; 0 if it is nobody's."""

    def advance(self) -> bool:
        """As `step`, but do nothing while that would only cut the next group short: whoever commits looks at
        the pool again after it. For threads that have other work.
        """
        live = self._live
        with live.lock:
            if self._is_staging or live.pool.entries < self._committing:
                return False
        return self.step()

    def step(self) -> bool:
        """Commit one group from the pool, after those taken before it; return whether more is waiting. Never
        raises an `AuditLogError`.
        """
        with self._line:
            group = self._prepare()
            self._turn.acquire()
        return self._take_turn(group)

    def _take_turn(self, group: Group | None) -> bool:
        """Commit a prepared group; the turn is held, and given up here."""
        live = self._live
        try:
            with live.lock:
                self._is_staging = False
                self._committing = max(1, group.entries) if group else 0
            if group is not None:
                self._sequence(group)
        finally:
            with live.lock:
                self._committing = 0
                is_waiting = bool(live.pool)
            newest, self._newest = self._newest, None
            self._turn.release()
        if newest is not None:
            self._staged.sweep(*newest)
        return is_waiting

    def _prepare(self) -> Group | None:
        """Take a group from the pool and stage it, beside the commit of the one before it."""
        live = self._live
        with live.lock:
            items = live.pool.take(live.config.max_commit_entries, live.config.max_commit_bytes)
            if not items:
                return None
            live.inflight = [*live.inflight, *items]
            group = Group(items, self._lives, self._ahead or live.tree)
            self._is_staging = True
        if live.halted is None and live.standing in COMMITTING:
            prepare(group, self._stager)
        if group.tree is not None:
            self._staged.add(group.name)
            with live.lock:
                if group.life == self._lives:
                    self._ahead = group.tree
        return group

    def _sequence(self, group: Group) -> None:
        """It is the group's turn: what was taken before it is committed, or was given back."""
        live, items = self._live, group.items
        with live.lock:
            has_place = group.life == self._lives
        try:
            if live.halted is not None:
                self._leave(items)
                self._give_back(items, live.halted)
            elif not has_place:
                self._leave(items)
                self._give_back(
                    items, Pushback("expected the commit before it, found it failed; nothing was accepted")
                )
            elif not group.entries:
                self._acknowledge(items, live.tree)
            elif isinstance(group.error, AuditLogError):
                self._push_back(items, group.error)
            elif group.error is not None:
                raise group.error
            elif group.tree is None:
                self._push_back(items, LogQuiesced(f"expected a log that may grow, found {live.standing}"))
            else:
                self._commit(group)
        except Exception as error:
            # A fault of our own code leaves nobody waiting for ever, and signs nothing more.
            self._halt(items, f"{type(error).__name__}: {error}", error)
            raise

    def _commit(self, group: Group) -> None:
        live, items, old, grown = self._live, group.items, self._live.tree, group.tree
        assert grown is not None
        assert group.staged is not None
        assert (old.size, old.root_hash) == (group.old.size, group.old.root_hash)
        if live.standing not in COMMITTING:
            self._push_back(items, LogQuiesced(f"expected a log that may grow, found {live.standing}"))
            return
        checkpoint = Checkpoint(live.config.origin, grown.size, grown.root_hash)
        tree = replace(grown, note=sign_checkpoint(checkpoint, live.signer))
        try:
            live.stores.state.commit(self._change(group, old, tree))
            read_at = live.stands_since
            standing = self._read_back(tree)
            self._stager.apply(group.name, group.staged)
            self._record_outside(tree)
        except AuditLogError as error:
            logger.warning("commit in doubt, recovering: %s", error)
            self._recover(items, old, tree, error)
            return
        live.stand(standing, read_at=read_at)
        self._settle(group, tree)

    def _change(self, group: Group, old: Tree, tree: Tree) -> Commit:
        live, items = self._live, group.items
        committed = live.chains.committed
        updates = {update.producer: update for update in head_updates(items, committed)}
        own = updates.pop(LOG_CHAIN, None)
        own_expected = committed.get(LOG_CHAIN)
        own_head = own.new if own is not None else own_expected
        assert own_head is not None, "genesis is the first entry"
        assert tree.note is not None
        return Commit(
            previous_note=old.note,
            note=tree.note,
            staged=group.name,
            own_expected=own_expected,
            own_head=own_head,
            heads=list(updates.values()),
            producers=[item.producer for item in items if item.producer is not None],
            rotations=[item.life for item in items if isinstance(item.life, RotationRecord)],
            retirements=[item.life for item in items if isinstance(item.life, RetirementRecord)],
            losses=[item.life for item in items if isinstance(item.life, LossRecord)],
            runs=merged_runs(items),
            batch_heads=[item.batch_head for item in items if item.batch_head is not None],
            decisions_size=tree.size if any(item.decides for item in items) else None,
            retires=any(item.ends for item in items),
        )

    def _read_back(self, tree: Tree) -> str:
        """The database holds exactly the note we signed, or we do not go on. Returns the standing there:
        another process may have changed it.
        """
        found = self._live.stores.state.read()
        if found is None or found.note != tree.note:
            raise StorageError("expected the committed checkpoint to be the one just signed, found another")
        return found.standing

    def _record_outside(self, tree: Tree) -> None:
        assert tree.note is not None
        for source in self._outside:
            source.record(tree.note)

    def _settle(self, group: Group, tree: Tree) -> None:
        """Steps after the last durable one: memory follows, then the senders hear of it."""
        live, items = self._live, group.items
        with live.lock:
            live.tree = tree
            if self._ahead is group.tree:
                self._ahead = None
            live.is_ending = False
            for item in items:
                if item.new_head is not None:
                    live.chains.committed[item.chain] = item.new_head
                if item.producer is not None:
                    live.chains.add_producer(item.producer)
        self._newest = (group.name, tree.size)
        self._acknowledge(items, tree)
        self._on_commit(group.staged)

    def _recover(self, items: list[Pending], old: Tree, tree: Tree, cause: AuditLogError) -> None:
        """Find out what the stores hold, make it whole, and tell each sender the truth."""
        try:
            found, waiting = self._take_over(old)
        except AuditLogError as error:
            self._halt(items, f"{cause}; then recovery: {error}", error, for_good=not may_pass(error))
            return
        ours = found is not None and found.tree.note == tree.note
        if found is not None and not ours and found.tree.note != old.note:
            logger.error(
                "the database holds a commit of %d entries that is another process's, or came late; nothing "
                "of ours was put over it. If this repeats, two sequencers work on one log: stop the other "
                "`auditlog serve` on this database, or have them elect one (`[ingest]`)",
                found.tree.size,
            )
        if found is not None:
            self._staged.add(found.staged_name)
        if ours and found is not None:
            self._newest = (found.staged_name, found.tree.size)
            self._acknowledge(items, found.tree)
        reason = Pushback(f"expected a commit, found a storage failure; nothing was accepted: {cause}")
        self._give_back(waiting if ours else [*items, *waiting], reason)
        self._on_commit(None)

    def _take_over(self, old: Tree) -> tuple[Recovered | None, list[Pending]]:
        """Recover, and have memory follow."""
        live = self._live
        found = recover(live.layout, live.signer.verifier)
        check_extends(live, found)
        if found is not None:
            self._record_outside(found.tree)
        with live.lock:  # nothing may be admitted on a tip that is about to change
            return found, self._reload(found, old)

    def retry(self) -> None:
        """Try to end a halt for a while: recover, ask the guards as a start does. Raises no `AuditLogError`.
        Whoever waited was told that the outcome is unknown: sending again, it is skipped or committed now.
        """
        live = self._live
        with self._turn:
            if live.halted is None or live.is_stopped:
                return
            try:
                found = recover_guarded(live, self._outside)
                self._record_outside(found.tree)
                with live.lock:
                    waiting = self._reload(found, live.tree)
            except AuditLogError as error:
                self._still_halted(error)
                return
            except Exception as error:
                self._halt([], f"{type(error).__name__}: {error}", error)
                raise
            self._staged.add(found.staged_name)
            self._delay_s = FIRST_DELAY_S
            runs = live.resume()
        self._give_back(waiting, Pushback("expected a running log, found one that was halted; send again"))
        if runs:
            logger.warning("recovered after a storage failure at size %d, going on", found.tree.size)
            self._on_commit(None)

    def _still_halted(self, error: AuditLogError) -> None:
        if may_pass(error):
            self._delay_s = next_delay(self._delay_s)
            logger.warning("recovery failed, again in %g s: %s", self._delay_s, error)
            self._later(self._delay_s)
        else:
            self._halt([], f"recovery: {error}", error)

    def _reload(self, found: Recovered | None, old: Tree) -> list[Pending]:
        """Take over tree and chains; return what was waiting on the old tip and lost its place."""
        live = self._live
        live.chains.load(found.chains if found is not None else None)
        live.tree = found.tree if found is not None else old
        self._lose_places()
        live.next_index = live.tree.size
        if found is not None:
            live.stand(found.committed.standing)
        live.is_ending = False
        return live.pool.take_all()

    def _push_back(self, items: list[Pending], cause: AuditLogError) -> None:
        """Nothing was signed: everything pending goes back to its sender, and the engine goes on."""
        live = self._live
        logger.warning("staging failed, nothing committed: %s", cause)
        with live.lock:
            live.chains.forget_pending(live.tree.size)
            self._lose_places()
            live.next_index = live.tree.size
            live.is_ending = False
            waiting = live.pool.take_all()
        reason = Pushback(
            f"expected to stage the commit, found a storage failure; nothing was accepted: {cause}"
        )
        self._give_back([*items, *waiting], reason)

    def _halt(self, items: list[Pending], why: str, cause: Exception, *, for_good: bool = True) -> None:
        live = self._live
        reason = LogHalted(f"expected the stores to hold what was signed, found otherwise: {why}")
        reason.__cause__ = cause
        logger.error("halted %s: %s", "for good" if for_good else "until the stores are whole", why)
        live.halt(reason, for_good=for_good)
        with live.lock:
            self._lose_places()
            waiting = live.pool.take_all()
        self._give_back([*items, *waiting], reason)
        if not for_good:
            self._later(self._delay_s)

    def _acknowledge(self, items: Sequence[Pending], tree: Tree) -> None:
        self._leave(items)
        for item in items:
            if not item.future.done():
                item.future.set_result(item.result(tree.size))

    def _lose_places(self) -> None:
        """What is in flight has no place any more; who staged it gives it back. Under the lock."""
        self._live.inflight = []
        self._ahead = None
        self._lives += 1

    def _leave(self, items: Sequence[Pending]) -> None:
        """They are in flight no longer."""
        gone = set(map(id, items))
        with self._live.lock:
            self._live.inflight = [item for item in self._live.inflight if id(item) not in gone]

    def _give_back(self, items: Sequence[Pending], reason: AuditLogError) -> None:
        for item in items:
            if not item.future.done():
                item.future.set_exception(copy(reason))

"""Backups that come back, and bits that flip: what a start must refuse, and what it must say.

A backup is taken at a write of the scenario and restored after its end, whole or in part. With a guard that
knows more there is no start; without any, only under the explicit flag, which the log then tells for ever. A
bit is flipped in one stored object; the next signature must not stand on it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from typing import Any

from auditlog.errors import AuditLogError, ConfigurationError, DamagedStoreError, RollbackError
from auditlog.log import open_log
from auditlog.storage.memory import Fault
from tests.support.contract import size_of
from tests.support.fault_run import Loss, check_history, drive, finish, parsed
from tests.support.fault_world import Scenario, World
from tests.support.log_audit import stored_entries
from tests.support.testlog import ManualWorkers

BACKUP_KINDS = ("backup-guard", "backup-guard-lost", "backup-no-guard", "backup-flag", "backup-database",
                "backup-files")  # fmt: skip


class Backup:
    """A consistent copy of the stores, taken before write number `at`."""

    def __init__(self, world: World, at: int) -> None:
        self._world, self._at, self._seen = world, at, 0
        self.taken: tuple[list[dict[str, bytes]], dict[str, Any]] | None = None

    def __call__(self, operation: str, path: str) -> Fault | None:
        """Called before every write; spoils none."""
        if self._seen == self._at:
            bench = self._world.bench
            stores = (bench.public, bench.private, bench.staging)
            self.taken = ([dict(each.objects) for each in stores], bench.state.saved())
        self._seen += 1
        return None

    def restore(self, *, files: bool, database: bool) -> None:
        """Put it back."""
        assert self.taken is not None
        bench = self._world.bench
        if files:
            for store, objects in zip(
                (bench.public, bench.private, bench.staging), self.taken[0], strict=True
            ):
                store.objects = dict(objects)
        if database:
            bench.state.restore(self.taken[1])


def run_restored(world: World, scenario: Scenario, kind: str, at: int) -> int:
    """The scenario, then an old backup in the place of the stores; then the truth put back and audited."""
    bench = world.bench
    bench.restart()
    backup = Backup(world, at)
    bench.fault = backup
    drive(world, scenario, reload=False, mend=lambda: None)
    bench.fault = None
    bench.publish()
    truth = Backup(world, 0)
    truth("", "")
    size = _committed_size(world)
    backup.restore(files=kind != "backup-database", database=kind != "backup-files")
    is_older = _committed_size(world) < size
    _check_restored(world, kind, is_older=is_older)
    truth.restore(files=True, database=True)
    bench.settings.pop("allow_unguarded", None)
    finish(world)
    return 1


def _check_restored(world: World, kind: str, *, is_older: bool) -> None:
    bench = world.bench
    guard = bench.outside.note
    if kind in {"backup-guard", "backup-database"}:
        if is_older:
            # With other files than the database's, recovery may find that before the guard is asked.
            _expect_refused(
                world, (RollbackError, DamagedStoreError), " newest " if kind == "backup-guard" else ""
            )
        else:
            bench.restart()
    elif kind == "backup-files":
        # The database is the newest; the files may lack what it needs, and then nothing is signed.
        _signs_nothing_or_whole(world)
    elif kind == "backup-guard-lost":
        bench.outside.note = None
        _expect_refused(world, (RollbackError,), "allow_unguarded_start")
    elif kind == "backup-no-guard":
        _expect_refused(world, (ConfigurationError,), "allow_unguarded_start", outside=[])
    else:
        _start_unguarded(world)
    bench.outside.note = guard


def _expect_refused(
    world: World, error: tuple[type[AuditLogError], ...], says: str, *, outside: list[Any] | None = None
) -> None:
    bench = world.bench
    # Tiles of a commit that the backup caught half applied may be finished: they follow from what was signed.
    before = bench.public.objects.get("checkpoint"), dict(bench.staging.objects)
    try:
        _open(world, [bench.outside] if outside is None else outside)
    except error as refused:
        if says not in str(refused):
            raise Loss(f"expected an error that says {says!r}, found: {refused}") from refused
    else:
        raise Loss(f"expected one of {[each.__name__ for each in error]}, found a start")
    if (bench.public.objects.get("checkpoint"), dict(bench.staging.objects)) != before:
        raise Loss("expected that a start that is refused shows and stages nothing, found new objects")


def _open(world: World, outside: list[Any]) -> Any:
    bench = world.bench
    bench.contract.new_life()
    bench.workers = ManualWorkers()
    bench.log = open_log(
        bench.config, bench.stores, bench.signer, bench.clock, outside=outside, engine=bench.workers
    )
    bench.settle()
    return bench.log


def _signs_nothing_or_whole(world: World) -> None:
    try:
        world.bench.restart()
    except AuditLogError:
        return
    check_history(world, stored(world))


def _start_unguarded(world: World) -> None:
    bench = world.bench
    committed, shown = list(bench.contract.committed), list(bench.contract.shown)
    bench.settings["allow_unguarded"] = True
    log = _open(world, [])
    bench.publish()
    entries = stored(world)
    notice = parsed(entries[log.tree_size - 1])
    if (notice.kind, notice.body.get("what")) != ("notice", "unguarded_start"):
        raise Loss("expected that an unguarded start is told in the log, found no notice")
    # What the operator's flag signed over is no history of ours any more.
    bench.contract.committed[:], bench.contract.shown[:] = committed, shown


def stored(world: World) -> list[bytes]:
    """The entries of the published tree."""
    bench = world.bench
    bundles = bench.public if bench.visibility == "public" else bench.private
    return stored_entries(bundles, size_of(bench.public.objects["checkpoint"].decode()))


def _committed_size(world: World) -> int:
    committed = world.bench.state.read()
    return 0 if committed is None else size_of(committed.note)


def flips_of(world: World, seed: int) -> Iterator[tuple[str, str, int]]:
    """(store, path, bit) for some bits of every object, and every field of the committed row."""
    chance = random.Random(seed)
    bench = world.bench
    for where in ("public", "private", "staging"):
        for path, data in sorted(getattr(bench, where).objects.items()):
            for _ in range(4):
                yield where, path, chance.randrange(8 * len(data))
    for name in ("note", "own_seq", "own_leaf_hash", "own_index", "head_seq", "head_leaf_hash", "head_index"):
        for bit in range(3):
            yield "state", name, chance.randrange(64) if bit else 0


def run_flipped(world: World, where: str, path: str, bit: int) -> int:
    """One bit flips while the log is down. It does not start; or it signs on, and only what is true."""
    bench = world.bench
    undo = _flip(world, where, path, bit)
    a = world.producers["a"]
    batch = [a.decide(n) for n in range(7000, 7012)]
    try:
        bench.restart()
        bench.send(a, batch)
        bench.publish()
    except AuditLogError:
        pass  # found: nothing is signed on it
    undo()
    bench.restart()
    bench.send(a, batch)
    entries = finish(world)
    check_history(world, entries)
    return 1


def _flip(world: World, where: str, path: str, bit: int) -> Any:
    """Flip it; returns what puts the object back, if nothing was put in its place meanwhile."""
    bench = world.bench
    if where == "state":
        return _flip_row(world, path, bit)
    objects = getattr(bench, where).objects
    whole = objects[path]
    data = bytearray(whole)
    data[bit // 8] ^= 1 << (bit % 8)
    objects[path] = bytes(data)

    def undo() -> None:
        if objects.get(path) == bytes(data):
            objects[path] = whole

    return undo


def _flip_row(world: World, name: str, bit: int) -> Any:
    state = world.bench.state
    saved, old = state.saved(), state.read()
    assert old is not None
    if name == "note":
        at = bit % len(old.note)
        note = old.note[:at] + chr(ord(old.note[at]) ^ 1) + old.note[at + 1 :]
        state._committed = replace(old, note=note)
        return lambda: state.restore(saved)
    chain, _, member = name.partition("_")
    head = old.own_head if chain == "own" else state._heads[world.producers["a"].producer]
    found = getattr(head, member)
    changed: Any = found ^ (1 << bit % 4) if isinstance(found, int) else bytes([found[0] ^ 1]) + found[1:]
    flipped = replace(head, **{member: changed})
    if chain == "own":
        state._committed = replace(old, own_head=flipped)
    else:
        state._heads = copy(state._heads) | {world.producers["a"].producer: flipped}

    def undo() -> None:
        """If the log went on upon the wrong row there is no way back, and the audit says so."""
        if state._committed is not None and state._committed.note == old.note:
            state.restore(saved)

    return undo

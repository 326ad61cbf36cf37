"""The rules between the engine and its stores, asserted at every call: who writes what, in which order.

Spec: design section 6. `Contract` watches every store of one log; `ContractStore` and `ContractState` are the
memory stores with it inside. A step of the engine that breaks a rule fails at once, where it stands, by an
error that no code of ours may catch; it is also kept in `broken`, so that a run cannot end well after it.

The rules: a commit names what was staged and read back, and grows the tree; nothing of it is applied, shown
or told to a guard before its note was read back; nothing is acknowledged before it is applied and the guard
knows; an object is written once, finished if torn, and never changed; heads and the index only move forward;
no staged object goes away while a commit could still need it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import fields
from typing import Any, NoReturn

from auditlog.core.tiles import TilePath, parse_path
from auditlog.errors import CommitConflictError, MalformedError
from auditlog.storage.memory import FaultHook, MemoryState, MemoryStore
from auditlog.storage.memory_snapshot import MemorySnapshot
from auditlog.storage.records import ChainRun, Commit, Committed, IndexRows


class ContractBroken(BaseException):
    """The engine broke a rule of the storage contract. Not an `Exception`: no code of ours may survive it."""


def size_of(note: str) -> int:
    """Tree size in a checkpoint. Nothing else of it is believed here."""
    return int(note.split("\n")[1])


def root_of(note: str) -> bytes:
    """Root in a checkpoint."""
    return base64.b64decode(note.split("\n")[2])


def body_of(note: str) -> str:
    """What a checkpoint says, without the signatures, which witnesses may add to."""
    return note.partition("\n\n")[0]


class Contract:
    """What one life of a log has read, and what it may therefore write."""

    def __init__(self) -> None:
        self.state: ContractState | None = None
        self.public: ContractStore | None = None
        self.staging: ContractStore | None = None
        self.tree: list[ContractStore] = []
        self.broken: list[str] = []
        self.committed: list[str] = []
        """Every note that was ever committed, in order: they must all be of one history."""
        self.shown: list[str] = []
        """Every note that left: published, or told to a guard."""
        self.dies: BaseException | None = None
        """Raised once, right after the write that is under way took effect."""
        self._read_back: dict[str, int] = {}
        self._staged: dict[str, bytes] = {}

    def watch(
        self, public: ContractStore, private: ContractStore, staging: ContractStore, state: ContractState
    ) -> None:
        """Which store is what."""
        self.public, self.staging, self.state = public, staging, state
        self.tree = [public, private]

    def new_life(self) -> None:
        """A new process has read nothing yet."""
        self._read_back.clear()
        self._staged.clear()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Around every write: a death that was planned for after it comes now."""
        try:
            yield
        finally:
            dies, self.dies = self.dies, None
            if dies is not None:
                raise dies

    @property
    def known_size(self) -> int:
        """The largest tree whose commit this life has read back."""
        return max(self._read_back.values(), default=0)

    def fail(self, why: str) -> NoReturn:
        """A rule is broken."""
        self.broken.append(why)
        raise ContractBroken(why)

    def expect(self, is_so: bool, why: str) -> None:
        """Fail unless it is so."""
        if not is_so:
            self.fail(why)

    def note_read(self, committed: Committed | None) -> None:
        """The engine read the committed row: from here on this note may be shown."""
        if committed is not None:
            self._read_back[body_of(committed.note)] = size_of(committed.note)

    def staged_read(self, name: str, data: bytes | None) -> None:
        """The engine read a staged object."""
        if data is not None:
            self._staged[name] = data

    def commit(self, change: Commit, old: Committed | None) -> None:
        """Before a commit is tried."""
        size = size_of(change.note)
        root = root_of(change.note).hex()
        before = size_of(change.previous_note) if change.previous_note else 0
        name = f"{before}-{size}-{root}"
        assert self.staging is not None
        self.expect(change.staged == name, f"the commit names {name}, what recovery is to apply")
        self.expect(size > before, f"a commit from {before} to {size} grows the tree")
        self.expect(name in self._staged, f"{name} was staged and read back before its commit")
        self._check_heads(change, before, size)
        if (old.note if old else None) != change.previous_note:
            return  # it will be refused: whoever committed meanwhile may have swept what this one staged
        self.expect(
            self.staging.objects.get(name) == self._staged[name],
            f"{name} is stored as it was read back when its commit is tried",
        )
        if old is not None:
            self.expect(old.own_head.index < size, "the log's own head lies in the tree")

    def _check_heads(self, change: Commit, before: int, size: int) -> None:
        for update in change.heads:
            new, expected = update.new, update.expected
            self.expect(before <= new.index < size, "a new head lies among the new entries")
            if expected is not None:
                self.expect(new.index > expected.index, "a producer's head moves forward")
                self.expect(
                    new.instance != expected.instance or new.seq > expected.seq, "numbers of a life only grow"
                )
        if change.own_expected is not None and change.own_head != change.own_expected:
            self.expect(change.own_head.seq > change.own_expected.seq, "the log's own chain moves forward")
        for run in change.runs:
            end = run.first_index + run.seq - run.first_seq
            self.expect(before <= run.first_index <= end < size, "a run lies among the new entries")

    def may_show(self, note: str, where: str) -> None:
        """A checkpoint is about to leave the engine."""
        size = size_of(note)
        if size:
            self.expect(
                body_of(note) in self._read_back, f"{where}: size {size} was committed and read back before"
            )
        self.shown.append(note)

    def may_write(self, store: ContractStore, path: str, data: bytes, *, replaces: bool) -> None:
        """An object is about to be written."""
        if store is self.staging:
            self._may_stage(path, data)
        elif path == "checkpoint":
            self._may_publish(data.decode())
        elif path.startswith("tile/"):
            self._may_apply(store, parse_path(path), data, replaces=replaces)

    def _may_stage(self, name: str, data: bytes) -> None:
        assert self.staging is not None
        held = self.staging.objects.get(name)
        if held is not None and held != data:
            self.expect(data.startswith(held), f"{name}: only a torn beginning of it is written again")

    def _may_publish(self, note: str) -> None:
        assert self.public is not None
        size, held = size_of(note), self.public.objects.get("checkpoint", b"")
        with suppress(ValueError, IndexError, UnicodeDecodeError):
            text = held.decode()
            if body_of(text) in {body_of(each) for each in self.shown}:
                self.expect(
                    size_of(text) <= size, "a published checkpoint is never replaced by a smaller one"
                )
        self.may_show(note, "publication")

    def _may_apply(self, store: ContractStore, path: TilePath, data: bytes, *, replaces: bool) -> None:
        end = (path.index * 256 + path.width) << (8 * (path.level or 0))
        self.expect(end <= self.known_size, f"{path}: its commit was read back before it is written")
        held = store.objects.get(str(path))
        if replaces and held is not None and not path.is_partial:
            self.expect(data.startswith(held), f"{path}: a full tile is only finished, never changed")

    def may_delete(self, store: ContractStore, path: str) -> None:
        """An object is about to be removed."""
        if store is self.staging:
            self._may_sweep(path)
            return
        try:
            tile = parse_path(path)
        except MalformedError:
            self.fail(f"{path}: only partial tiles are ever removed")
        if self._is_pruned(tile):
            return
        self.expect(tile.is_partial, f"{path}: a full tile is never removed")
        whole = str(TilePath(tile.level, tile.index))
        self.expect(whole in store.objects, f"{path}: its full tile is there before it goes")

    def _is_pruned(self, tile: TilePath) -> bool:
        """Whether a bundle lies below the minimum that is durable, and public."""
        assert self.state is not None
        assert self.public is not None
        committed = MemoryState.read(self.state)
        if tile.level is not None or committed is None or committed.retention is None:
            return False
        self.expect(
            self.public.objects.get("retention") == committed.retention.encode(),
            f"{tile}: the minimum is public before anything below it goes",
        )
        return (tile.index + 1) * 256 <= committed.minimum

    def _may_sweep(self, name: str) -> None:
        assert self.state is not None
        committed = MemoryState.read(self.state)
        if committed is None:
            self.fail(f"{name}: nothing is swept before a commit")
        size = size_of(committed.note)
        old = int(name.split("-", 1)[0])
        self.expect(old < size, f"{name}: a commit from {old} could still arrive at size {size}")
        self.expect(name != committed.staged, f"{name}: the committed one stays until the next commit")

    def index_rows(self, rows: IndexRows) -> None:
        """The index follows what is committed."""
        self.expect(rows.end <= self.known_size, "the index holds committed entries only")

    def resolved(self, done: Future[Any], guard: str | None) -> None:
        """A sender is told something: if it is that its entries are in the tree, then so it must be."""
        size = None if done.cancelled() or done.exception() else getattr(done.result(), "tree_size", None)
        if isinstance(size, int):
            self._acknowledged(size, guard)

    def _acknowledged(self, size: int, guard: str | None) -> None:
        self.expect(size <= self.known_size, f"size {size} was read back before it was acknowledged")
        self.expect(
            guard is not None and size_of(guard) >= size,
            f"the guard knew size {size} before it was acknowledged",
        )
        objects = {path for store in self.tree for path in store.objects}
        for index in range(size // 256):
            for path in (TilePath(None, index), TilePath(0, index)):
                self.expect(
                    str(path) in objects or self._is_pruned(path),
                    f"{path} was applied before size {size} was acknowledged",
                )


class ContractStore(MemoryStore):
    """A `MemoryStore` that asks the contract before every write. `reads`, if set, can spoil reads too."""

    def __init__(self, contract: Contract, fault: FaultHook | None = None) -> None:
        super().__init__(fault)
        self.contract = contract
        self.reads: Callable[[str, str, bytes | None], bytes | None] | None = None

    def put_new(self, path: str, data: bytes) -> None:
        """Create it, if the rules allow it."""
        self.contract.may_write(self, path, data, replaces=False)
        with self.contract.write():
            super().put_new(path, data)

    def replace(self, path: str, data: bytes) -> None:
        """Put it in its place, if the rules allow it."""
        self.contract.may_write(self, path, data, replaces=True)
        with self.contract.write():
            super().replace(path, data)

    def delete(self, path: str) -> None:
        """Remove it, if the rules allow it."""
        self.contract.may_delete(self, path)
        with self.contract.write():
            super().delete(path)

    def get(self, path: str) -> bytes | None:
        """The bytes; the contract takes note of what was read."""
        data = super().get(path)
        if self.reads is not None:
            data = self.reads("get", path, data)
        if self is self.contract.staging:
            self.contract.staged_read(path, data)
        return data

    def list(self, prefix: str = "") -> list[str]:
        """Paths that begin with `prefix`, sorted."""
        if self.reads is not None:
            self.reads("list", prefix, None)
        return super().list(prefix)


class ContractState(MemoryState):
    """A `MemoryState` that asks the contract before every change, and keeps every note that was committed."""

    def __init__(self, contract: Contract, fault: FaultHook | None = None) -> None:
        super().__init__(fault)
        self.contract = contract
        self.reads: Callable[[], None] | None = None
        self.late: Commit | None = None

    def read(self) -> Committed | None:
        """The newest committed state; its note may be shown from here on."""
        self._reading()
        committed = super().read()
        self.contract.note_read(committed)
        return committed

    def _reading(self) -> None:
        if self.reads is not None:
            self.reads()

    @contextmanager
    def snapshot(self) -> Iterator[Any]:
        """The newest committed state, each part of it another read; its note may be shown from here on."""
        self._reading()
        with super().snapshot() as found:
            self.contract.note_read(None if found is None else found.committed)
            yield None if found is None else _Snapshot(found, self._reading)

    def run_of(self, producer: bytes, instance: str, seq: int) -> ChainRun | None:
        """The run that holds a number."""
        self._reading()
        return super().run_of(producer, instance, seq)

    def index_size(self) -> int:
        """Entries in the index."""
        self._reading()
        return super().index_size()

    def saved(self) -> dict[str, Any]:
        """A consistent copy of everything it holds, as a backup takes one."""
        return _copied({name: value for name, value in vars(self).items() if name not in _NOT_HELD})

    def restore(self, saved: dict[str, Any]) -> None:
        """Hold what a backup held."""
        vars(self).update(_copied(saved))

    def commit(self, change: Commit) -> None:
        """Commit, if the rules allow it."""
        self.contract.commit(change, super().read())
        self.late = change
        with self.contract.write():
            super().commit(change)

    def arrive(self, change: Commit) -> None:
        """A commit that was reported as failed arrives after all, if it still can."""
        with self._lock, suppress(CommitConflictError):
            self._compare(change)
            self._apply(change)

    def _apply(self, change: Commit) -> None:
        super()._apply(change)
        self.contract.committed.append(change.note)

    def add_index_rows(self, rows: IndexRows) -> list[int]:
        """Index, if the rules allow it."""
        self.contract.index_rows(rows)
        with self.contract.write():
            return super().add_index_rows(rows)


class _Snapshot:
    """A snapshot that tells of every read."""

    def __init__(self, found: MemorySnapshot, reading: Callable[[], None]) -> None:
        self.committed = found.committed
        self._found = found
        self._reading = reading

    def __getattr__(self, name: str) -> Any:
        self._reading()
        return getattr(self._found, name)


_NOT_HELD = {"fault", "contract", "reads", "late", "_lock"}
"""What a `ContractState` has besides what it keeps; records are frozen, so copies share them."""


def _copied(held: dict[str, Any]) -> dict[str, Any]:
    index: IndexRows = held["_index"]
    rows = {each.name: copy(getattr(index, each.name)) for each in fields(index)}
    return {name: copy(value) for name, value in held.items()} | {"_index": IndexRows(**rows)}

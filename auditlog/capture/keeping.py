"""A disclosure store that is durable quickly: an append-only file first, the store behind it later.

An entry may say "kept" only when its keys are on disk, so this is on the way of every answer: one write and
one fdatasync for the group (`keeping_files`), instead of a transaction. A thread carries full files, and
what is left after a quiet moment, into the store behind, and a file goes then. After a crash the files that
are left are moved the same way. What the store behind refuses to take stays here and is tried again. Must
never: forget what `keep` took, wait for the store behind, or let the two differ in what is erased (`erase`
and `find` have everything moved first).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from auditlog.capture.disclosures import DisclosureStore, KeptRecord, StoreFullError
from auditlog.capture.durable import create_private_dir
from auditlog.capture.forking import ForkGate
from auditlog.capture.keeping_files import OpenFile, begin_file, destroy, read_groups
from auditlog.errors import StorageError

FOLDER = "keeping"
FILE_RECORDS = 512
FILE_BYTES = 4 << 20
"""A file is full at either. It is one transaction of the store behind, most of whose cost is its fsyncs."""
QUIET_S = 0.25
"""After so long without a record what is here is moved, full or not."""
HELD_BYTES = 32 << 20
"""So much is kept in memory until it is moved; beyond that a file is read again when its turn comes."""
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 30.0
_OVERHEAD_BYTES = 256

Group = tuple[int, list[KeptRecord]]
"""When it was kept, and the records."""


class _Full:
    """A file that is written no more. `groups` None: read it. `doubtful`: the store may have some of it."""

    __slots__ = ("doubtful", "groups", "path", "size")

    def __init__(self, path: Path, groups: list[Group] | None, size: int, *, doubtful: bool = False) -> None:
        self.path, self.groups, self.size, self.doubtful = path, groups, size, doubtful


class QuickKeeping:
    """A `DisclosureStore` in front of another. The writer's thread keeps; a thread of its own moves."""

    def __init__(
        self,
        directory: Path,
        store: DisclosureStore,
        store_key: bytes,
        rng: Callable[[int], bytes],
        *,
        max_bytes: int,
        gate: ForkGate,
        failed: Callable[[Exception], None] = lambda _failure: None,
    ) -> None:
        """Have what an earlier life left moved into `store`, which holds `max_bytes`; `failed` is told what
        the store refuses. Raises StorageError.
        """
        self._directory = directory
        self._store = store
        self._store_key = store_key
        self._rng = rng
        self._max_bytes = max_bytes
        self._gate = gate
        self._failed = failed
        self._changed = threading.Condition()
        self._full: list[_Full] = []
        self._file: OpenFile | None = None
        self._spare: OpenFile | None = None
        self._groups: list[Group] = []
        self._records = self._bytes = self._waiting_bytes = 0
        self._kept_s = 0.0
        self._is_hurried = self._is_closing = self._is_stuck = self._is_writing = False
        try:
            create_private_dir(directory)
            self._number = self._recover()
        except OSError as error:
            raise StorageError(f"keeping: expected to open {directory.name}, found {error}") from error
        self._thread = threading.Thread(target=self._move_all, name="auditlog-keeping", daemon=True)
        self._thread.start()

    @property
    def size_bytes(self) -> int:
        """Bytes of records held, here and behind."""
        return self._store.size_bytes + self._waiting_bytes + self._bytes

    @property
    def is_settled(self) -> bool:
        """See `DisclosureStore.is_settled`."""
        with self._changed:
            return not self._groups and not self._full

    def keep(self, records: Sequence[KeptRecord], now_us: int) -> None:
        """See `DisclosureStore.keep`: one write, one fdatasync."""
        size = sum(map(_size, records))
        if self.size_bytes + size > self._max_bytes:
            raise StoreFullError(f"disclosure store: expected at most {self._max_bytes} bytes, found it full")
        group = (now_us, list(records))
        with self._changed:
            self._is_writing = True  # the mover leaves the file alone
            self._file, self._spare = (self._spare, None) if self._file is None else (self._file, self._spare)
        try:
            if self._file is None:
                self._file = self._begin()
            self._file.append(msgspec.msgpack.encode(group))
        except OSError as error:
            # The file's state is unknown: never append to it again. It is moved and goes like any other.
            with self._changed:
                self._is_writing = False
                self._set_aside()
            raise StorageError(f"keeping: expected to write, found {error}") from error
        with self._changed:
            self._is_writing = False
            self._note(group, size)

    def _note(self, group: Group, size: int) -> None:
        """The group is durable. Under the lock."""
        self._groups.append(group)
        self._records += len(group[1])
        self._bytes += size
        self._kept_s = time.monotonic()
        is_first = len(self._groups) == 1
        is_full = self._records >= FILE_RECORDS or self._bytes >= FILE_BYTES
        if is_full:
            self._set_aside()
        if is_full or is_first:
            self._changed.notify_all()

    def find(self, id: str) -> list[KeptRecord]:  # noqa: A002  the word of the format
        """See `DisclosureStore.find`."""
        self.settle()
        return self._store.find(id)

    def erase(self, id: str) -> int:  # noqa: A002  the word of the format
        """See `DisclosureStore.erase`."""
        self.settle()
        return self._store.erase(id)

    def expire(self, now_us: int) -> int:
        """See `DisclosureStore.expire`. What still waits here is too young, or expires the next time."""
        return self._store.expire(now_us)

    def settle(self) -> None:
        """Have all that is here moved, and wait for it. Raises StorageError: it stays, and is tried again."""
        with self._changed:
            self._is_hurried, self._is_stuck = True, False
            self._changed.notify_all()
            while (self._groups or self._full) and not self._is_stuck and self._thread.is_alive():
                self._changed.wait(1.0)
            self._is_hurried = False
            if self._groups or self._full:
                raise StorageError("disclosure store: expected to take what was kept, found it refusing")

    def close(self) -> None:
        """Move what is here and close both. Idempotent. What cannot be moved stays for the next life."""
        with self._changed:
            self._is_closing, self._is_stuck = True, False
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            self._set_aside()
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()
            destroy(spare.path)
        self._store.close()

    def _begin(self) -> OpenFile:
        with self._changed:
            path = self._directory / f"{self._number:012d}.log"
            self._number += 1
        return begin_file(path, self._store_key, self._rng)

    def _set_aside(self) -> None:
        """The file being written is full, or failed: the mover's from now on. Under the lock."""
        file, self._file = self._file, None
        if file is None:
            return
        file.close()
        is_held = self._waiting_bytes + self._bytes <= HELD_BYTES
        self._full.append(_Full(file.path, self._groups if is_held else None, self._bytes))
        self._waiting_bytes += self._bytes
        self._groups, self._records, self._bytes = [], 0, 0

    def _recover(self) -> int:
        """Give what is left from earlier lives to the mover; returns the number of the next file."""
        number = 0
        for path in sorted(self._directory.glob("*.log")):
            number = max(number, int(path.stem) + 1) if path.stem.isdigit() else number
            # What was moved before the file could go is in the store already.
            self._full.append(_Full(path, None, path.stat().st_size, doubtful=True))
            self._waiting_bytes += self._full[-1].size
        return number

    def _move_all(self) -> None:
        """The body of the thread: oldest file first, until closed and empty, or closed and refused."""
        wait_s = FIRST_WAIT_S
        while (full := self._next_full()) is not None:
            try:
                with self._gate:
                    self._move(full)
            except Exception as failure:  # noqa: BLE001  whatever it is: nothing is lost, and it is tried again
                self._failed(failure)
                with self._changed:
                    full.doubtful = self._is_stuck = True
                    self._changed.notify_all()
                    if self._is_closing:
                        return
                    self._changed.wait(wait_s)
                wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
            else:
                wait_s = FIRST_WAIT_S

    def _next_full(self) -> _Full | None:
        """The next file to move, when it is time; None at the end. Makes the next file ready meanwhile."""
        while True:
            if self._spare is None and not self._is_closing:
                with contextlib.suppress(OSError), self._gate:  # who keeps meets it as well, and says so
                    self._spare = self._begin()
            with self._changed:
                if self._full:
                    return self._full[0]
                quiet_s = time.monotonic() - self._kept_s
                if (
                    self._groups
                    and not self._is_writing
                    and (quiet_s >= QUIET_S or self._is_hurried or self._is_closing)
                ):
                    self._set_aside()
                    continue
                if self._is_closing:
                    return None
                self._changed.wait(max(0.001, QUIET_S - quiet_s) if self._groups else None)

    def _move(self, full: _Full) -> None:
        """Move one file. Dying before it is gone: the next start moves again what the store does not have."""
        groups = read_groups(full.path, self._store_key) if full.groups is None else full.groups
        for now_us, records in _merged(groups):
            missing = records
            if full.doubtful:
                missing = [record for record in records if record not in self._store.find(record.id)]
            self._store.keep(missing, now_us)
        destroy(full.path)
        with self._changed:
            self._full.remove(full)
            self._waiting_bytes -= full.size
            self._changed.notify_all()


def _merged(groups: list[Group]) -> list[Group]:
    """All of a file as one group: one transaction. The youngest time counts: nothing expires too early."""
    if not groups:
        return []
    return [(max(now_us for now_us, _ in groups), [record for _, records in groups for record in records])]


def find_waiting(directory: Path, store_key: bytes, id: str) -> list[KeptRecord]:  # noqa: A002
    """What the files of a slot that another process may be writing hold of a decision."""
    found = []
    for path in sorted(directory.glob("*.log")):
        try:
            groups = read_groups(path, store_key)
        except FileNotFoundError:  # moved while we looked
            continue
        except OSError as error:
            raise StorageError(f"keeping: expected to read {path.name}, found {error}") from error
        found += [record for _, records in groups for record in records if record.id == id]
    return found


def _size(record: KeptRecord) -> int:
    bodies = (record.request, record.response)
    facts = len(record.facts or b"")
    return _OVERHEAD_BYTES + facts + sum(len(body.data) for body in bodies if body is not None)

"""The rollback guard: what somebody outside our stores remembers of this log.

Spec: design section 2, "restore an old backup and go on". Before its first signature after a start the log
asks every source and refuses unless its own tree equals or extends all of them. Promises: a source that
cannot be read is never taken for one that has nothing to say. Must never: live in the stores it guards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.note import NoteVerifier
from auditlog.errors import (
    AuditLogError,
    ConfigurationError,
    DamagedStoreError,
    GuardUnreachable,
    ImmutableObjectError,
    LedgerError,
    RollbackError,
    StorageError,
)
from auditlog.log.config import Stores
from auditlog.log.cosigners import Signer, read_cosigners
from auditlog.storage.files import locked, write_durably
from auditlog.storage.temporary import read_whole


@dataclass(frozen=True, slots=True)
class SeenTree:
    """A tree that an outside source has seen signed by this log."""

    tree_size: int
    root_hash: bytes


class Outside(Protocol):
    """Somebody outside our stores: a file on another disk, an anchor slot, a witness, a mirror."""

    @property
    def name(self) -> str:
        """How it is called in messages."""

    def record(self, note: str) -> None:
        """Take note of a committed checkpoint, durably, before anyone outside hears of it. May do nothing.

        Raises:
            StorageError: it could not; the engine then stops, because its guard would fall behind.
        """


class RollbackSource(Outside, Protocol):
    """One that is asked by itself."""

    def newest(self) -> SeenTree | None:
        """The largest tree it has seen; None if it has seen none.

        Raises:
            AuditLogError: it cannot be asked, or what it says cannot be believed. The log then does not
            start.
        """


@runtime_checkable
class RollbackPanel(Outside, Protocol):
    """Several that are asked together, with a rule for those that do not answer: `witness_guard`."""

    def ask_each(
        self, cosigned: frozenset[Signer], *, is_new: bool = False, may_be_silent: bool = False
    ) -> Asked:
        """What each has seen, of those that answered; `cosigned` are those of whom our stores hold a
        signature. `is_new` before a log is created, with `may_be_silent` if silence is no reason not to.

        Raises:
            GuardUnreachable: too few answered to go by.
        """


Guard = RollbackSource | RollbackPanel


class HighWaterFile:
    """The largest committed checkpoint in one small file, best on another disk than the log's stores."""

    def __init__(self, path: str | Path, verifier: NoteVerifier) -> None:
        """Guard the log whose key is `verifier`. The path must not be below the log's own directories."""
        self.path = Path(path)
        self._verifier = verifier
        self._recorded = b""
        """What this object wrote last: found again byte for byte, it is not verified anew for each commit."""

    @property
    def name(self) -> str:
        """The file, for messages."""
        return f"high-water file {self.path}"

    def newest(self) -> SeenTree | None:
        """Read the file; a missing file has seen nothing, a damaged or foreign one is an error."""
        found = self._read()
        return None if found is None else self._open(found)

    def record(self, note: str) -> None:
        """Replace the file, durable on return, unless it holds a larger tree: another process on this log may
        have committed between a commit of ours and its record, and a mark never goes back.
        """
        data = note.encode("utf-8")
        # A lock of its own: the file itself is replaced. It dies with its process.
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            if self._held_size() <= _size_of(data):
                write_durably(self.path, data)
                self._recorded = data

    def _held_size(self) -> int:
        """Size of the tree in the file; below all others if there is none to go by."""
        found = self._read()
        if found is None:
            return -1
        if found == self._recorded:
            return _size_of(found)
        try:
            return self._open(found).tree_size
        except DamagedStoreError:
            return -1  # torn, or foreign: a start would have refused; a running log knows its own tree

    def _read(self) -> bytes | None:
        try:
            return read_whole(self.path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self.name}: expected to read it, found {type(error).__name__}") from error

    def _open(self, found: bytes) -> SeenTree:
        try:
            checkpoint, _ = open_checkpoint(found.decode("utf-8"), [self._verifier], self._verifier.name)
        except UnicodeDecodeError as error:
            raise DamagedStoreError(f"{self.name}: expected a checkpoint, found other bytes") from error
        except AuditLogError as error:
            raise DamagedStoreError(
                f"{self.name}: expected a checkpoint of this log, found: {error}"
            ) from error
        return SeenTree(checkpoint.tree_size, checkpoint.root_hash)


def _size_of(note: bytes) -> int:
    """Tree size in a checkpoint that this process signed."""
    return int(note.split(b"\n", 2)[1])


FLAG = (
    "`allow_unguarded_start = true` there starts it once; the log then says so for ever, by a `notice` entry "
    "`unguarded_start`. Take the flag out again"
)
_IF_RESTORED = (
    ". Nothing was signed. If a backup was restored, stop and bring back the newest database together with "
    "the newest folders of this log (staging, private, public). If those are gone for good, entries that "
    "were acknowledged are gone with them and this log must not go on: begin a successor, under another "
    "origin"
)

Asked = Sequence[tuple[Outside, SeenTree | None]]
"""What each source answered."""


def ask(sources: Sequence[Guard], stores: Stores) -> Asked:
    """Ask every source. To be done before the tree is read from our stores: while it is, another process may
    commit. (Who has cosigned us is read first: that only grows.)

    Raises:
        RollbackError: a source says what cannot be believed. GuardUnreachable: one cannot be asked now.
        StorageError: a store failed.
    """
    has_panel = any(isinstance(source, RollbackPanel) for source in sources)
    cosigned = read_cosigners(stores) if has_panel else frozenset()
    asked: list[tuple[Outside, SeenTree | None]] = []
    for source in sources:
        if isinstance(source, RollbackPanel):
            asked += source.ask_each(cosigned)
        else:
            asked.append((source, _ask(source)))
    return asked


def check_not_rolled_back(
    asked: Asked,
    *,
    tree_size: int,
    root_at: Callable[[int], bytes],
    allow_unguarded: bool,
) -> bool:
    """Compare our tree with every answer; return whether at least one source had something to compare.

    Raises:
        RollbackError: a source has seen a larger or another tree, or none has seen any and `allow_unguarded`
        is not set.
        ConfigurationError: there is no source at all and `allow_unguarded` is not set.
    """
    guarded = check_not_older(asked, tree_size=tree_size, allow_unguarded=allow_unguarded)
    for source, seen in asked:
        if seen is None:
            continue
        ours = root_at(seen.tree_size)
        if ours != seen.root_hash:
            raise RollbackError(
                f"{source.name}: expected the root {seen.root_hash.hex()} at size {seen.tree_size}, "
                f"found {ours.hex()}: our stores hold another history{_IF_RESTORED}"
            )
    return guarded


def check_not_older(asked: Asked, *, tree_size: int, allow_unguarded: bool) -> bool:
    """The sizes alone, for which no tile is read: what is refused here has changed nothing in our stores.

    Raises:
        RollbackError, ConfigurationError: as `check_not_rolled_back`.
    """
    for source, seen in asked:
        if seen is not None and seen.tree_size > tree_size:
            raise RollbackError(
                f"{source.name}: expected a tree of at least {seen.tree_size} entries in our stores, "
                f"found {tree_size}: they are older than what was signed{_IF_RESTORED}"
            )
    guarded = any(seen is not None for _, seen in asked)
    if guarded or allow_unguarded:
        return guarded
    if not asked:
        raise no_guard()
    names = ", ".join(source.name for source, _ in asked)
    raise RollbackError(
        f"{names}: expected a checkpoint seen earlier, found none (the explicit flag starts all the same). "
        "Nothing was signed. Bring back what this guard held; if it is lost for good and these are the "
        f"newest stores there are, {FLAG}"
    )


def no_guard() -> ConfigurationError:
    """What a log without any guard is told that was not given the flag."""
    return ConfigurationError(
        "expected a rollback guard (high-water file, witness, anchor) or the explicit flag, found neither. "
        "Name one: `high_water_file` under the log's [[logs]], on another disk than its stores; without one, "
        f"{FLAG}"
    )


def check_nothing_seen(sources: Sequence[Guard], *, is_key_new: bool, allow_unguarded: bool) -> bool:
    """Before a log is created: nobody outside may know it already. Returns False if witnesses were silent
    and the flag was needed.

    A key made just now (`is_key_new`) has signed nothing, whoever is silent. An older one may have a history
    that only the witnesses remember: a high-water file that is empty stands beside a new log and beside one
    whose disk was lost.

    Raises:
        RollbackError: a source has seen a tree of this origin. GuardUnreachable: one cannot be asked now.
    """
    was_guarded = True
    asked: list[tuple[Outside, SeenTree | None]] = []
    for each in sources:
        if not isinstance(each, RollbackPanel):
            asked.append((each, _ask(each)))
            continue
        try:
            asked += each.ask_each(frozenset(), is_new=True, may_be_silent=is_key_new)
        except GuardUnreachable as error:
            if not allow_unguarded:
                raise GuardUnreachable(
                    f"{error} (the key is older than this call, and may have signed a log before; the "
                    "explicit flag creates one all the same)"
                ) from error
            was_guarded = False
            # Those that do answer are heard all the same.
            asked += each.ask_each(frozenset(), is_new=True, may_be_silent=True)
    for source, seen in asked:
        # Size 0 is what an attempt to create the log leaves when it dies before its first commit.
        if seen is not None and seen.tree_size > 0:
            raise RollbackError(
                f"{source.name}: expected no earlier log of this origin, found one of size {seen.tree_size}"
            )
    return was_guarded


def _ask(source: RollbackSource) -> SeenTree | None:
    try:
        return source.newest()
    except (DamagedStoreError, ImmutableObjectError) as error:
        raise RollbackError(f"{source.name}: expected an answer before signing, found: {error}") from error
    except (StorageError, LedgerError) as error:
        # A disk or a node that is away comes back by itself, and is asked again then.
        raise GuardUnreachable(f"{source.name}: expected an answer before signing, found: {error}") from error
    except AuditLogError as error:
        raise RollbackError(f"{source.name}: expected an answer before signing, found: {error}") from error

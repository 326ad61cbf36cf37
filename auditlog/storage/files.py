"""Durable objects in a directory: temporary file, fsync, link or rename, fsync of the directory.

Contract: `auditlog.storage.ports.ObjectStore`. What a power loss can leave at each step:

    temporary files written, fsynced    nothing in the store; stray files in the temporary directory
    link (create) or rename (replace)   the object whole, or not there
    fsync of the directory              the object is there for good

Temporary files never lie below the root, because the root may be served to the world: they lie in a hidden
directory beside it (same file system), and leftovers of a crash are swept when the store is opened.
Must never: follow a path out of the root, or show a half-written object.
"""
# Every commit comes by here, and pathlib takes longer than some of the system calls:
# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH112

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from auditlog.errors import StorageError
from auditlog.storage.ahead import Ahead, failed
from auditlog.storage.alone import ALONE
from auditlog.storage.owned import (
    OWNER_DIR,
    OWNER_FILE,
    PUBLIC_DIR,
    PUBLIC_FILE,
    make_dir,
)
from auditlog.storage.temporary import Temporary, read_whole, sync_dir
from auditlog.storage.together import sync_together

_SWEEP_AGE_S = 3600.0
_LOCK = "lock"
LOCK_WAIT_S = 5.0
"""Nobody holds a lock for longer than a few writes take."""
_LOCK_LOOK_S = 0.002
TOGETHER = 64
"""So many files at most are open at once to be written."""


class FileStore:
    """An `ObjectStore` in a directory, which is created if it is missing."""

    def __init__(
        self, root: str | Path, *, temp: str | Path | None = None, for_all_to_read: bool = False
    ) -> None:
        """Open the store below `root`; `temp` (default `.<root name>.tmp` beside it) must be on its file
        system. What it creates is its owner's alone, or `for_all_to_read`; the umask has no say.
        """
        self._file_mode, self._dir_mode = (
            (PUBLIC_FILE, PUBLIC_DIR) if for_all_to_read else (OWNER_FILE, OWNER_DIR)
        )
        self.root = Path(root).absolute()
        self._temp = Path(temp).absolute() if temp else self.root.with_name(f".{self.root.name}.tmp")
        self._base = str(self.root)
        self._known_dirs: set[str] = set()
        # Names of temporary files that no other process has; random bytes for each would be a system call.
        self._own, self._numbers = f"{self._temp}/{secrets.token_hex(16)}", itertools.count()
        try:
            self._make_dir(self._base)
            make_dir(self._temp)
            self._sweep()
        except OSError as error:
            raise failed("opening", str(self.root), error) from error

    @property
    def place(self) -> tuple[str, str, bool]:
        """Where it is, for another process that opens it: root, temporary directory, who may read."""
        return self._base, str(self._temp), self._file_mode == PUBLIC_FILE

    def put_new(self, path: str, data: bytes) -> None:
        """Create the object; see the port."""
        self.put_new_all([(path, data)])

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Create several objects with one directory fsync for each directory; see the port."""
        waiting = list(objects)
        for at in range(0, len(waiting), TOGETHER):
            self.write_ahead(waiting[at : at + TOGETHER]).name()

    def write_ahead(self, objects: Sequence[tuple[str, bytes]]) -> Ahead:
        """The part of `put_new_all` that takes long: `TOGETHER` objects at most, durable under no name yet.

        Dying before they are named leaves temporary files. Raises: StorageError.
        """
        files: list[Temporary] = []
        path, folders = "", []
        try:
            for path, data in objects:
                target = self._target(path)
                folders.append(_folder_of(target))
                self._make_dir(folders[-1])
                files.append(self._open_temp(target))
                files[-1].write(data)
            for (path, _), error in zip(  # noqa: B007  told by the handler
                objects, sync_together([each.fd for each in files]), strict=True
            ):
                if error is not None:
                    raise error
            for each in files:
                each.close()
        except OSError as error:
            for each in files:
                each.drop()
            raise failed("creating", path, error) from error
        return Ahead(list(zip(objects, files, strict=True)), list(dict.fromkeys(folders)))

    def replace(self, path: str, data: bytes) -> None:
        """Put `data` in the place of the object; see the port."""
        target = self._target(path)
        try:
            self._make_dir(_folder_of(target))
            self._open_temp(target).replace(data)
            sync_dir(_folder_of(target))
        except OSError as error:
            raise failed("replacing", path, error) from error

    def replace_unless(self, path: str, data: bytes, keeps: Callable[[bytes], bool]) -> bool:
        """Replace it unless what is there stays; see the port. The lock dies with its process."""
        # Every other such call on this directory waits: of this process, and of others.
        with locked(self._temp / _LOCK):
            found = self.get(path)
            if found is not None and keeps(found):
                return False
            self.replace(path, data)
            return True

    def get(self, path: str) -> bytes | None:
        """The bytes, or None."""
        try:
            return read_whole(self._target(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise failed("reading", path, error) from error

    def list(self, prefix: str = "") -> list[str]:
        """Paths that begin with `prefix`, sorted."""
        # Only the directory that the prefix names is walked: staging is listed on every start.
        top = self.root / prefix.rpartition("/")[0]
        paths = [
            (Path(folder) / name).relative_to(self.root).as_posix()
            for folder, _, names in os.walk(top, onerror=_listing_failed)
            for name in names
        ]
        return sorted(path for path in paths if path.startswith(prefix))

    def delete(self, path: str) -> None:
        """Remove the object if it is there, and its folder of partial tiles if it was the last of them."""
        target = self._target(path)
        folder = _folder_of(target)
        try:
            with suppress(FileNotFoundError):
                os.unlink(target)
            if folder.endswith(".p"):
                self._known_dirs.discard(folder)
                os.rmdir(folder)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
                raise failed("deleting", path, error) from error

    def _target(self, path: str) -> str:
        for part in path.split("/"):
            if part in {"", ".", ".."} or "\0" in part:
                raise StorageError(f"expected a relative path without empty, . or .. parts, found {path!r}")
        return f"{self._base}/{path}"

    def _open_temp(self, target: str) -> Temporary:
        path = f"{self._own}-{next(self._numbers)}"
        return Temporary(path, self._file_mode, target)

    def _make_dir(self, directory: str) -> None:
        """Create the directory and its parents, each durable in its parent before anything is put in it.

        One below the root that is there already may have been made by a process that died before its sync.
        """
        if directory in self._known_dirs:
            return
        is_there, is_ours = os.path.isdir(directory), directory.startswith(f"{self._base}/")
        if is_ours or not is_there:
            self._make_dir(_folder_of(directory))
        if not is_there:
            with suppress(FileExistsError):
                os.mkdir(directory, self._dir_mode)
            os.chmod(directory, self._dir_mode)
        if is_ours or not is_there:
            sync_dir(_folder_of(directory))
        self._known_dirs.add(directory)

    def _sweep(self) -> None:
        """Remove temporary files that a crash left. Age is told by the file system's own clock."""
        leftovers = [path for path in self._temp.iterdir() if path.name not in {_LOCK, ALONE}]
        if not leftovers:
            return  # the rule: a service of hundreds of logs opens three stores for each
        probe = self._open_temp("")
        now = os.fstat(probe.fd).st_mtime
        probe.drop()
        for leftover in leftovers:
            try:
                if now - leftover.stat().st_mtime > _SWEEP_AGE_S:
                    leftover.unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # another store on the same directory just finished with it


@contextmanager
def locked(path: Path, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the lock in this file, created with its directory; it dies with its process.

    Raises:
        StorageError: the file system refuses, or another process holds it for so long: one that is stopped
        holds it until it goes on, or is ended.
    """
    try:
        # Opened anew each time: locks of one opened file do not exclude the threads that share it.
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_FILE)
        except FileNotFoundError:
            make_dir(path.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_FILE)
    except OSError as error:
        raise failed("locking", str(path), error) from error
    try:
        _take_lock(fd, path, time.monotonic() + wait_s)
        yield
    finally:
        os.close(fd)


def _take_lock(fd: int, path: Path, until: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise StorageError(
                    f"expected the lock {path}, found that another process holds it and does not go on: find "
                    "out which (fuser, lslocks), and continue or end it"
                ) from None
            time.sleep(_LOCK_LOOK_S)
        except OSError as error:
            raise failed("locking", str(path), error) from error
        else:
            return


def write_durably(path: Path, data: bytes) -> None:
    """Replace one file outside any store, atomically and durably, for its owner alone; its directory is
    created.

    Raises:
        StorageError: it failed, and may have happened all the same.
    """
    folder = str(path.parent)
    name = f"{folder}/.{path.name}.{secrets.token_hex(8)}.tmp"
    try:
        try:
            temporary = Temporary(name, OWNER_FILE, str(path))
        except FileNotFoundError:
            make_dir(path.parent)
            temporary = Temporary(name, OWNER_FILE, str(path))
        temporary.replace(data)
        sync_dir(folder)
    except OSError as error:
        raise failed("replacing", str(path), error) from error


def _folder_of(path: str) -> str:
    return path[: path.rindex("/")] or "/"


def _listing_failed(error: OSError) -> None:
    """A folder that is not there holds nothing; one that cannot be read must not look like that."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise failed("listing", str(error.filename), error) from error

"""Durable objects in a directory: temporary file, fsync, link or rename, fsync of the directory.

Contract: `auditlog.storage.ports.ObjectStore`. What a power loss can leave at each step:

    temporary file written, fsynced     nothing in the store; a stray file in the temporary directory
    link (create) or rename (replace)   the object whole, or not there
    fsync of the directory              the object is there for good

Temporary files never lie below the root, because the root may be served to the world: they lie in a hidden
directory beside it (same file system), and leftovers of a crash are swept when the store is opened.
Must never: follow a path out of the root, or show a half-written object.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from auditlog.errors import ImmutableObjectError, StorageError
from auditlog.storage.owned import (
    OWNER_DIR,
    OWNER_FILE,
    PUBLIC_DIR,
    PUBLIC_FILE,
    make_dir,
    open_new,
)

_SWEEP_AGE_S = 3600.0
_LOCK = "lock"
LOCK_WAIT_S = 5.0
"""Nobody holds a lock for longer than a few writes take."""
_LOCK_LOOK_S = 0.002
_READ_BYTES = 1 << 20
_TOGETHER = 4
"""From this many objects on, as many are written at once."""


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
        self._known_dirs: set[Path] = set()
        # Names of temporary files that no other process has; random bytes for each would be a system call.
        self._own, self._numbers = secrets.token_hex(16), itertools.count()
        try:
            self._make_dir(self.root)
            make_dir(self._temp)
            self._sweep()
        except OSError as error:
            raise _failed("opening", str(self.root), error) from error

    def put_new(self, path: str, data: bytes) -> None:
        """Create the object; see the port."""
        self.put_new_all([(path, data)])

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Create several objects with one directory fsync for each directory; see the port."""
        waiting = list(objects)
        if len(waiting) < _TOGETHER:
            touched = [self._put(path, data) for path, data in waiting]
        else:
            # fsyncs that wait together share one journal commit: a third of the time of one after the other.
            with ThreadPoolExecutor(_TOGETHER) as threads:
                touched = list(threads.map(lambda item: self._put(*item), waiting))
        for directory in dict.fromkeys(touched):
            try:
                _sync_dir(directory)
            except OSError as error:
                raise _failed("syncing the directory of", str(directory), error) from error

    def _put(self, path: str, data: bytes) -> Path:
        """Create one object, whole and durable but for its directory, which is returned."""
        target = self._target(path)
        try:
            self._make_dir(target.parent)
            self._create(target, path, data)
        except OSError as error:
            raise _failed("creating", path, error) from error
        return target.parent

    def replace(self, path: str, data: bytes) -> None:
        """Put `data` in the place of the object; see the port."""
        target = self._target(path)
        try:
            self._make_dir(target.parent)
            temporary = self._write_temp(data)
            temporary.replace(target)
            _sync_dir(target.parent)
        except OSError as error:
            raise _failed("replacing", path, error) from error

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
            raise _failed("reading", path, error) from error

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
        try:
            target.unlink(missing_ok=True)
            if target.parent.suffix == ".p":
                self._known_dirs.discard(target.parent)
                target.parent.rmdir()
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
                raise _failed("deleting", path, error) from error

    def _target(self, path: str) -> Path:
        parts = path.split("/")
        if any(part in {"", ".", ".."} or "\0" in part for part in parts):
            raise StorageError(f"expected a relative path without empty, . or .. parts, found {path!r}")
        return self.root.joinpath(*parts)

    def _create(self, target: Path, path: str, data: bytes) -> None:
        temporary = self._write_temp(data)
        try:
            # link, unlike rename, refuses to take the place of what is there: create-only without a race.
            os.link(temporary, target)
        except FileExistsError:
            if read_whole(target) != data:
                raise ImmutableObjectError(
                    f"expected no object or the same {len(data)} bytes at {path}, found other bytes"
                ) from None
            # The bytes are right but whoever wrote them may have died before their fsync.
            _sync_file(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _write_temp(self, data: bytes) -> Path:
        temporary = self._temp / f"{self._own}-{next(self._numbers)}"
        fd = open_new(temporary, self._file_mode)
        try:
            _write_all(fd, data)
            os.fsync(fd)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        return temporary

    def _make_dir(self, directory: Path) -> None:
        """Create the directory and its parents, each durable in its parent before anything is put in it.

        One below the root that is there already may have been made by a process that died before its sync.
        """
        if directory in self._known_dirs:
            return
        is_there, is_ours = directory.is_dir(), self.root in directory.parents
        if is_ours or not is_there:
            self._make_dir(directory.parent)
        if not is_there:
            directory.mkdir(mode=self._dir_mode, exist_ok=True)
            directory.chmod(self._dir_mode)
        if is_ours or not is_there:
            _sync_dir(directory.parent)
        self._known_dirs.add(directory)

    def _sweep(self) -> None:
        """Remove temporary files that a crash left. Age is told by the file system's own clock."""
        leftovers = [path for path in self._temp.iterdir() if path.name != _LOCK]
        if not leftovers:
            return  # the rule: a service of hundreds of logs opens three stores for each
        probe = self._write_temp(b"")
        now = probe.stat().st_mtime
        probe.unlink()
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
        make_dir(path.parent)
        # Opened anew each time: locks of one opened file do not exclude the threads that share it.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_FILE)
    except OSError as error:
        raise _failed("locking", str(path), error) from error
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
            raise _failed("locking", str(path), error) from error
        else:
            return


def read_whole(path: Path) -> bytes:
    """The bytes of a file, in four system calls where the library takes nine: each lets go of the
    interpreter's lock, and a thread that commits beside busy ones waits to get it back.

    Raises:
        OSError: as `os.open` and `os.read`.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size + 1)
        if len(data) == size:
            return data
        # Cut short (a read takes 2 GB at most), or it has grown: to the end, whatever its size was.
        parts = [data]
        while parts[-1]:
            parts.append(os.read(fd, _READ_BYTES))
        return b"".join(parts)
    finally:
        os.close(fd)


def write_durably(path: Path, data: bytes) -> None:
    """Replace one file outside any store, atomically and durably, for its owner alone; its directory is
    created.

    Raises:
        StorageError: it failed, and may have happened all the same.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        make_dir(path.parent)
        fd = open_new(temporary, OWNER_FILE)
        try:
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        temporary.replace(path)
        _sync_dir(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _failed("replacing", str(path), error) from error


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_dir(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_file(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _listing_failed(error: OSError) -> None:
    """A folder that is not there holds nothing; one that cannot be read must not look like that."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise _failed("listing", str(error.filename), error) from error


def _failed(doing: str, what: str, error: OSError) -> StorageError:
    return StorageError(f"{doing} {what}: expected the file system to obey, found {error.strerror or error}")

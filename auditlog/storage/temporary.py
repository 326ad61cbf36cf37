"""One file on its way to its name, and the system calls it takes: none more, and none through pathlib.

Contract: `auditlog.storage.ports.ObjectStore`; the order of steps is in `files`. Each system call lets go of
the interpreter's lock, and a thread that commits beside busy ones waits to get it back. Must never: replace
by `link`, or name what was not fsynced.
"""
# ruff: noqa: PTH105, PTH108

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from auditlog.errors import ImmutableObjectError
from auditlog.storage.owned import open_new

_READ_BYTES = 1 << 20


class Temporary:
    """An open temporary file, to be given the name of its object. Every step raises OSError."""

    __slots__ = ("_is_open", "_path", "_target", "fd")

    def __init__(self, path: str, mode: int, target: str) -> None:
        """Create the file `path`, for the object at `target` on its file system."""
        self._path, self._target = path, target
        self.fd, self._is_open = open_new(path, mode), True

    def write(self, data: bytes) -> None:
        """Write all of it, not durable yet; `fd` is to be synced."""
        write_all(self.fd, data)

    def close(self) -> None:
        """After it was synced."""
        self._is_open = False
        os.close(self.fd)

    def link(self, path: str, data: bytes) -> None:
        """Create the object, durable but for its directory; the temporary name goes.

        Raises:
            ImmutableObjectError: it is there with other bytes.
        """
        try:
            # link, unlike rename, refuses to take the place of what is there: create-only without a race.
            os.link(self._path, self._target)
        except FileExistsError:
            if read_whole(self._target) != data:
                raise ImmutableObjectError(
                    f"expected no object or the same {len(data)} bytes at {path}, found other bytes"
                ) from None
            # The bytes are right but whoever wrote them may have died before their fsync.
            sync_file(self._target)
        os.unlink(self._path)
        self._path = ""

    def replace(self, data: bytes) -> None:
        """Put these bytes in the place of the object, durable but for its directory; nothing else is left."""
        try:
            self.write(data)
            os.fsync(self.fd)
            self.close()
            os.replace(self._path, self._target)
            self._path = ""
        finally:
            self.drop()

    def drop(self) -> None:
        """Leave nothing behind of what did not become an object; never raises."""
        with suppress(OSError):
            if self._is_open:
                self.close()
        with suppress(OSError):
            if self._path:
                os.unlink(self._path)


def read_whole(path: str | Path) -> bytes:
    """The bytes of a file, in four system calls where the library takes nine.

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


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however little the system takes at a time. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_dir(directory: str) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: str) -> None:
    """Make a file durable that somebody else wrote. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

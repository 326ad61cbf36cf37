"""Files and folders of their owner alone, whatever the umask; and the lock on a folder of one process.

Spec: `auditlog/spec/api.md`, "Configuration". What exists is left as its owner made it. Must never: make
anything that others may read, even for a moment.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from auditlog.errors import ConfigurationError, StorageError

OWNER_FILE, OWNER_DIR = 0o600, 0o700
PUBLIC_FILE, PUBLIC_DIR = 0o644, 0o755
LOCK_NAME = "service.lock"


def make_dir(directory: Path, mode: int = OWNER_DIR) -> None:
    """Create a directory and its parents with exactly this mode each; those that exist are left alone.

    Raises:
        OSError: the file system refuses.
    """
    if directory.is_dir():
        return
    make_dir(directory.parent, mode)
    directory.mkdir(mode=mode, exist_ok=True)
    directory.chmod(mode)  # the umask took some of it away


def make_private_file(path: Path) -> None:
    """Create an empty file, with its directory, unless there is one. Raises OSError."""
    make_dir(path.parent)
    try:
        os.close(open_new(path, OWNER_FILE))
    except FileExistsError:
        return


def open_new(path: str | Path, mode: int) -> int:
    """Create a file with exactly this mode, and open it for writing. Raises OSError, FileExistsError: then it
    has not been created.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_FILE)
    try:
        os.fchmod(fd, mode)
    except OSError:
        os.close(fd)
        with suppress(OSError):
            Path(path).unlink()
        raise
    return fd


class FolderLock:
    """One process at a time in a folder. The system lets go when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            ConfigurationError: another process (or object) has it.
            StorageError: the file system refuses.
        """
        path = folder / LOCK_NAME
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_FILE)
        except OSError as error:
            raise StorageError(f"expected to lock {path}, found {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if isinstance(error, BlockingIOError):
                raise ConfigurationError(
                    f"expected {folder} to be used by one auditlog process, found another that serves it. "
                    f"Nothing was signed. Stop that one first: `fuser {path}` names it"
                ) from None
            raise StorageError(f"expected to lock {path}, found {error.strerror}") from error

    def release(self) -> None:
        """Let another process have it."""
        os.close(self._fd)

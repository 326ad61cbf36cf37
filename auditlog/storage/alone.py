"""One run at a time on a folder that is copied into: a backup, a mirror; and a restore, which reads one.

Spec: auditlog/spec/log.md, "Mirrors" and "Backups". The lock is a file in the hidden directory beside the
tree, where `files` has its temporary ones: it is no part of a copy, none needs it, and it may be deleted when
nothing runs. It dies with its process; what it says of its holder is for people. Must never: wait, since what
runs may take hours, or change anything that is copied.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from auditlog.errors import StorageError
from auditlog.storage.ahead import failed
from auditlog.storage.owned import OWNER_FILE, make_dir

ALONE = "run.lock"
_SAID_BYTES = 200


@contextmanager
def alone(root: Path, doing: str, *, only_reads: bool = False) -> Iterator[None]:
    """Hold the tree at `root` for one run of the command `doing`; nothing of the tree need be there yet.

    Who `only_reads` goes on without a lock file where it may not make one (a read-only disk, another owner's
    copy): what it reads is checked against what was signed all the same.

    Raises:
        StorageError: another run holds it, which is named; or the file system refuses.
    """
    # By its real name, so that two names of one folder do not make two locks.
    real = Path(os.path.realpath(root))
    path = real.with_name(f".{real.name}.tmp") / ALONE
    fd, writes = _open(path, only_reads=only_reads)
    try:
        if fd is not None:
            _take(fd, real, path, doing, exclusive=writes)
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _open(path: Path, *, only_reads: bool) -> tuple[int | None, bool]:
    """The lock file, and whether it may be written; None where there is none and none can be made."""
    try:
        make_dir(path.parent)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_FILE), True
    except OSError as error:
        if not only_reads or error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
            raise failed("locking", str(path), error) from error
    with suppress(OSError):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
    return None, False


def _take(fd: int, root: Path, path: Path, doing: str, *, exclusive: bool) -> None:
    try:
        # A file that is only read takes the shared kind everywhere: NFS refuses the other.
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        if exclusive:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"auditlog {doing}, process {os.getpid()} on {platform.node()}".encode(), 0)
    except BlockingIOError:
        said = os.pread(fd, _SAID_BYTES, 0).decode("utf-8", "replace")
        holder = "".join(each for each in said if each.isprintable()) or "another run of auditlog"
        raise StorageError(
            f"expected to be alone with {root} for auditlog {doing}, found another run under way there: "
            f"{holder}. Nothing was changed. Wait until it has ended, or end it, and run this again (`fuser "
            f"{path}` names the process)"
        ) from None
    except OSError as error:
        raise failed("locking", str(path), error) from error

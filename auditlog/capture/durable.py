"""Small files that survive a crash: written whole or not at all, and readable by their owner only.

Every write is temp, fsync, rename, fsync of the directory: dying anywhere leaves the old file or the new one.
"""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIR = 0o700


def create_private_dir(path: Path) -> None:
    """Create `path` and what is missing above it, readable by the owner only; durable on return."""
    if path.is_dir():
        return
    # One by one: what `mkdir` makes of missing parents is open to everyone.
    create_private_dir(path.parent)
    path.mkdir(mode=PRIVATE_DIR, exist_ok=True)
    sync_dir(path.parent)


def sync_dir(path: Path) -> None:
    """Make the names in a directory durable (a file's fsync does not cover its name)."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durable(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `content` atomically; durable when it returns. One writer per path.
    Raises OSError.
    """
    _write(path, content, mode, is_durable=True)


def write_whole(path: Path, content: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `content` atomically, for what may be lost in a power cut. Raises OSError."""
    _write(path, content, mode, is_durable=False)


def _write(path: Path, content: bytes, mode: int, *, is_durable: bool) -> None:
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(handle, content)
        if is_durable:
            os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    if is_durable:
        sync_dir(path.parent)


def write_all(handle: int, content: bytes) -> None:
    """Write every byte of `content`; a short write (full disk, signal) is continued or raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def pad(handle: int, end: int, size: int) -> int:
    """Write zeros from `end` on, up to `size` bytes; returns where they end. For a file that grows in place:
    its next writes change no length and no extent, so that an fdatasync is one write of the disk and not two.

    A disk that refuses costs that, nothing else. Durable with the caller's next fdatasync.
    """
    try:
        return end + os.pwrite(handle, bytes(size), end)
    except OSError:
        return end


def free_bytes(path: Path) -> int:
    """What the file system of `path` has left for this user; 0 if it does not say."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize

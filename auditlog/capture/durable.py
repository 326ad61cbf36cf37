"""Small files that survive a crash: written whole or not at all, and readable by their owner only.

Every write is temp, fsync, rename, fsync of the directory: dying anywhere leaves the old file or the new one.
"""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_DIR = 0o700


def create_private_dir(path: Path) -> None:
    """Create `path` and its parents, readable by the owner only, and make the last name durable."""
    if path.is_dir():
        return
    path.mkdir(mode=PRIVATE_DIR, parents=True, exist_ok=True)
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
    temporary = path.with_name(path.name + ".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)
    sync_dir(path.parent)


def write_all(handle: int, content: bytes) -> None:
    """Write every byte of `content`; a short write (full disk, signal) is continued or raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]

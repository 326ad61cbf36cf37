"""Writing secrets: private keys and tokens go into files only their owner can read, and nowhere else.

Promises: created with mode 0600 and never over an existing
file; durable on return. Must never: print what it writes.
"""

from __future__ import annotations

import os
from pathlib import Path

from auditlog.errors import ConfigurationError

_OWNER_ONLY = 0o600


def write_secret(path: Path, text: str) -> None:
    """Write one line into a new file that only its owner can read.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    _write_new(path, f"{text}\n".encode(), _OWNER_ONLY)


def write_new(path: Path, text: str) -> None:
    """Write a new file that everybody may read.

    Raises:
        ConfigurationError: the file exists, or cannot be written.
    """
    _write_new(path, text.encode("utf-8"), 0o644)


def write_new_bytes(path: Path, data: bytes) -> None:
    """The same with bytes."""
    _write_new(path, data, 0o644)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        # Folders made for a secret are the owner's as well; one that exists keeps its mode.
        folder_mode = 0o700 if mode == _OWNER_ONLY else 0o755
        path.parent.mkdir(mode=folder_mode, parents=True, exist_ok=True)
        # O_EXCL: a key that is already there may be in use, and overwriting it would end its log.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except FileExistsError as error:
        raise ConfigurationError(f"expected a new file, found {path} already there") from error
    except OSError as error:
        raise ConfigurationError(f"expected to write {path}, found: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

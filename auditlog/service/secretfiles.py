"""Secret files the service makes: the key of a log, the
secret its receipt keys come from. Readable by the owner.

Promises: a file that exists is never replaced, and is durable before anything is signed with it. Must
never: print or log what it reads or writes.
"""

from __future__ import annotations

import os
from pathlib import Path

from auditlog.core.keys import Ed25519Signer
from auditlog.errors import AuditLogError, ConfigurationError
from auditlog.service.settings import read_secret
from auditlog.storage.owned import make_dir

RECEIPT_SECRET_BYTES = 32


def read_log_key(path: Path, origin: str) -> Ed25519Signer:
    """The key of the log `origin`. Raises ConfigurationError: unreadable, or the key of something else."""
    signer = _read_key(path, "a log")
    if signer.name != origin:
        raise ConfigurationError(f"expected the key of {origin} in {path}, found the key of {signer.name}")
    return signer


def read_devnet_key(path: Path) -> Ed25519Signer:
    """The key devnet evidence is signed with, whatever its name. Raises ConfigurationError."""
    return _read_key(path, "a devnet")


def read_receipt_secret(path: Path) -> bytes:
    """The 32 bytes written as 64 hex digits. Raises ConfigurationError."""
    try:
        secret = bytes.fromhex(read_secret(path))
    except ValueError:
        raise ConfigurationError(f"expected 64 hex digits in {path}, found something else") from None
    if len(secret) != RECEIPT_SECRET_BYTES:
        raise ConfigurationError(f"expected 64 hex digits in {path}, found {2 * len(secret)}")
    return secret


def make_key(path: Path, name: str, *, seed: bytes) -> bool:
    """Write a new Ed25519 key called `name`, from 32 random bytes; an existing file is left alone. Whether
    it was written.
    """
    return write_once(path, Ed25519Signer.from_seed(name, seed).private_key)


def make_receipt_secret(path: Path, *, randomness: bytes) -> None:
    """Write a new receipt secret, from 32 random bytes; an existing file is left alone."""
    write_once(path, randomness.hex())


def write_once(path: Path, line: str) -> bool:
    """Create a secret file (mode 0600), durably; an existing one is left alone. Whether it was created.

    Dying half way leaves a temporary file and no secret: the next
    call makes another, and nothing was signed with the first.

    Raises:
        ConfigurationError: the file system refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        make_dir(path.parent)
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise ConfigurationError(
            f"expected to write the secret file {path}, found {error.strerror}"
        ) from error
    return True


def _read_key(path: Path, what: str) -> Ed25519Signer:
    text = read_secret(path)
    try:
        return Ed25519Signer.from_private_key(text)
    except AuditLogError:
        # Not from the error: it may hold a piece of the key.
        raise ConfigurationError(
            f"expected the private key of {what} in {path}, found another text"
        ) from None


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

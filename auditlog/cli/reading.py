"""Reading files somebody names on the command line: bounded, and any trouble is one clear line.

Promises: at most `limit` + 1 bytes are read, so the parser behind sees that there is more and says so itself;
a pipe or device that lies about is not waited for.
Must never: follow a name into a folder, or hold more of a file than the limit.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from auditlog.errors import ConfigurationError

MAX_RECEIPT_BYTES = 16 * 1024 * 1024
MAX_ENTRY_BYTES = 65_535
MAX_TRUST_BYTES = 1024 * 1024
MAX_DISCLOSURES_BYTES = 64 * 1024 * 1024
MAX_KEY_BYTES = 64 * 1024


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """Read a file, or standard input for `-`; at most `limit` + 1 bytes.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(limit + 1)
        with os.fdopen(_open_plain(str(path)), "rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        from auditlog.verify.wording import printable

        reason = getattr(error, "strerror", None) or "not a usable file name"
        raise ConfigurationError(
            f"expected a readable file for {what}, found {printable(str(path))}: {reason}"
        ) from error


def _open_plain(path: str) -> int:
    """Open a file without waiting for anybody: a pipe in a folder of receipts must not hang the call.

    What the shell puts there (`<(...)`, /dev/stdin) is under /dev, and is waited for.
    """
    if path.startswith("/dev/"):
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "a folder, pipe or device, not a plain file")


def read_text_line(path: Path, what: str) -> str:
    """Read a file of one line of text, such as a vkey or a token.

    Raises:
        ConfigurationError: unreadable, not UTF-8, empty, or too long. The message never holds what was read.
    """
    data = read_bounded(path, MAX_KEY_BYTES, what)
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"expected text for {what}, found other bytes in {path}") from error
    if not text or "\n" in text or len(data) > MAX_KEY_BYTES:
        raise ConfigurationError(f"expected one line for {what}, found another number in {path}")
    return text

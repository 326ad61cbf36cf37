"""Promises and checkpoints as people have them in files: notes, header lines, comment lines, folders.

Spec: auditlog/spec/promise.md, "Where a promise comes". Everything read is attacker-controlled; what it says
is judged elsewhere. Promises: a folder of kept checkpoints only gains files, each named after its content.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING

from auditlog.cli.reading import read_bounded
from auditlog.errors import ConfigurationError, MalformedError

if TYPE_CHECKING:
    from auditlog.verify.promise_view import LogSight

_MAX_PROMISE_BYTES = 64 * 1024
_MAX_CHECKPOINT_BYTES = 1_000_000
_LEADS = ("audit-promise:", ": audit-promise", ":audit-promise", "audit-promise")
_SUFFIX = ".checkpoint"


def read_promise_note(path: Path) -> str:
    """The note in a file that holds it as it is, or in base64 as a header or comment line.

    Raises:
        ConfigurationError: unreadable, or no promise.
    """
    data = read_bounded(path, _MAX_PROMISE_BYTES, "a promise")
    note = promise_note(data)
    if note is None:
        raise ConfigurationError(f"expected a promise in {path}, found something else")
    return note


def promise_note(data: bytes) -> str | None:
    """The note of a promise in any of the forms it is given in, or None."""
    from auditlog.core.promise import PROMISE_HEADER
    from auditlog.verify.promise_verdict import read_promise

    try:
        text = data.decode("utf-8")
        if not text.startswith(PROMISE_HEADER):
            text = base64.b64decode(_bare(text), validate=True).decode("utf-8")
        read_promise(text)
    except (UnicodeDecodeError, binascii.Error, ValueError, MalformedError):
        return None
    return text


def _bare(line: str) -> str:
    line = line.strip()
    for lead in _LEADS:
        if line.lower().startswith(lead):
            return line[len(lead) :].strip()
    return line


def kept_checkpoints(files: list[Path], folder: Path | None) -> list[str]:
    """Notes of the checkpoints in files, which must be readable, and in a folder, where what is not is passed
    over.

    Raises:
        ConfigurationError: a file that was named cannot be read.
    """
    notes = [_text(read_bounded(path, _MAX_CHECKPOINT_BYTES, "--checkpoint")) for path in files]
    if folder is not None and folder.is_dir():
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            try:
                notes.append(_text(read_bounded(path, _MAX_CHECKPOINT_BYTES, "--keep")))
            except ConfigurationError:
                continue
    return notes


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def keep_checkpoints(folder: Path, sight: LogSight) -> None:
    """Write every checkpoint that was seen; one that is there already is the same."""
    from auditlog.core.merkle import hash_leaf

    folder.mkdir(parents=True, exist_ok=True)
    for note, opened in sight.seen.items():
        name = f"{opened.checkpoint.tree_size:012d}-{hash_leaf(note.encode('utf-8')).hex()[:16]}{_SUFFIX}"
        (folder / name).write_text(note, encoding="utf-8")

"""What a witness remembers of each log: the checkpoint it cosigned last, one file a log.

The file is that checkpoint note itself, with the log's signature and the witness's own: size and root are
read from it, and whether it is whole is checked with both keys. Written before a cosignature leaves: temp,
fsync, rename, fsync of the directory, so that dying anywhere leaves the old file or the new one; either way
nothing left that the file does not know. A second file, `known`, names every log ever cosigned. Must never:
take a file that is damaged, or gone, for a log never seen, since a witness that forgot would sign a second
history. Only whoever deletes both files, or the folder, makes it forget.
"""

from __future__ import annotations

import fcntl
import os
import threading
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.cosignature import CosignatureVerifier, cosignature_timestamp
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint
from auditlog.errors import ConfigurationError, DamagedStoreError, EvidenceError, StorageError

MAX_GROWTH = 16
"""Files kept of growth that did not hold: whoever has true checkpoints could make more of them for ever."""


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The newest checkpoint cosigned, as a note, and when (POSIX seconds)."""

    checkpoint: Checkpoint
    note: str
    timestamp: int


class States:
    """The states of one witness in a directory of its own. One process at a time."""

    def __init__(self, folder: Path, verifier: CosignatureVerifier) -> None:
        """Open `folder`, made if missing, for this process alone.

        Raises:
            ConfigurationError: another process has it. StorageError: it cannot be made.
        """
        self._folder = folder
        self._verifier = verifier
        self._known_lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(folder.parent)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"expected to open {folder}, found {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            # Two that do not know of each other's signatures could sign two histories between them.
            raise ConfigurationError(
                f"expected {folder} for this witness alone, found another process on it"
            ) from None

    def load(self, log: Ed25519Verifier) -> Cosigned | None:
        """What was cosigned last for a log; None if nothing ever was.

        Raises:
            DamagedStoreError: the file is not what this witness wrote, or is gone. StorageError: it cannot be
                read.
        """
        path = self._path(log.name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if name_of(log.name) in self._known():
                raise DamagedStoreError(
                    f"expected {path.name} of a log that was cosigned before, found none"
                ) from None
            return None
        except OSError as error:
            raise StorageError(f"expected to read {path.name}, found {error.strerror}") from error
        try:
            checkpoint, opened = open_checkpoint(data, [log, self._verifier], log.name)
            mine = [each for each in opened.verified if each.vkey == self._verifier.vkey]
            return Cosigned(checkpoint, data.decode("utf-8"), cosignature_timestamp(mine[0]))
        except (EvidenceError, IndexError) as error:
            raise DamagedStoreError(
                f"expected the checkpoint that this witness cosigned in {path.name}, found damage: {error}"
            ) from error

    def save(self, origin: str, note: str) -> None:
        """Remember a cosigned note; durable on return.

        Raises:
            StorageError: it failed, and may have happened all the same; nothing may leave.
        """
        self._write(self._path(origin), note)
        # Dying here leaves a log that is not known yet, and its checkpoint, from which it goes on; the
        # cosignature has not left.
        with self._known_lock:
            known = self._known()
            if name_of(origin) not in known:
                self._write(
                    self._folder / "known", "".join(f"{name}\n" for name in [*known, name_of(origin)])
                )

    def keep_evidence(self, origin: str, note: str) -> None:
        """Keep the first note that cannot be true beside what was cosigned. Raises StorageError."""
        path = self._path(origin).with_suffix(".conflict")
        if not path.exists():
            self._write(path, note)

    def keep_growth(self, origin: str, root: bytes, request: AddCheckpoint, known: Cosigned) -> None:
        """Keep a request whose proof does not join its checkpoint to the one cosigned last, behind it the
        latter. Raises StorageError.
        """
        name = name_of(origin)
        path = self._folder / f"{name}.growth-{root.hex()[:16]}.conflict"
        if not path.exists() and len(list(self._folder.glob(f"{name}.growth-*.conflict"))) < MAX_GROWTH:
            self._write(path, format_add_checkpoint(request).decode("utf-8") + "\n" + known.note)

    def close(self) -> None:
        """Give the directory free. Twice is once."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _known(self) -> list[str]:
        """The names of all logs ever cosigned."""
        try:
            return (self._folder / "known").read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise StorageError("expected to read the names of the logs known, found a failure") from error

    def _path(self, origin: str) -> Path:
        # An origin may hold anything a path may not.
        return self._folder / f"{name_of(origin)}.checkpoint"

    def _write(self, path: Path, note: str) -> None:
        temporary = path.with_name(path.name + ".new")
        try:
            with temporary.open("wb") as file:
                file.write(note.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(self._folder)
        except OSError as error:
            raise StorageError(f"expected to write {path.name}, found {error.strerror}") from error


def name_of(origin: str) -> str:
    """The name of a log in files and URLs: SHA-256 of its origin in hex (C2SP tlog-witness)."""
    return sha256(origin.encode("utf-8")).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""A process beside the service: the program it runs. `processes` starts it and asks, `aside` says what for.

What takes long under the interpreter's lock keeps the sequencer waiting, however many threads there are. This
program answers one question after the other on its standard input, a socket (`questions`). What it refuses
or fails at the asker does again, and finds what is wrong: that is rare, and errors need no second form. Must
never: hold a key that signs, open a database, or delete anything but temporary files of its own.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import cast

import msgspec

from auditlog.core.batch import decode_batch
from auditlog.core.note import Ed25519Verifier
from auditlog.errors import AuditLogError
from auditlog.log.admission import Batch, check_batch, claimed_head
from auditlog.log.config import Layout, Stores, Visibility
from auditlog.log.questions import (
    LENGTH,
    LENGTHS,
    ApplyStaged,
    CheckBatch,
    CheckStaged,
    Finding,
    Folders,
    Question,
    done,
    take,
)
from auditlog.log.staging import Staged, apply_staged, by_store, hashes_of, read_staged
from auditlog.storage.ahead import Ahead
from auditlog.storage.files import TOGETHER, FileStore
from auditlog.storage.ports import LogState

_NEWEST = 4
"""So many staged commits are kept between their check and their turn, over all logs."""


@lru_cache(maxsize=1024)
def _layout(folders: Folders) -> Layout:
    public, private, staging = (
        FileStore(each.root, temp=each.temp, for_all_to_read=each.for_all_to_read)
        for each in (folders.public, folders.private, folders.staging)
    )
    # No question touches the state.
    return Layout(Stores(public, private, staging, cast("LogState", None)), Visibility(folders.visibility))


@lru_cache(maxsize=1024)
def _verifier(vkey: str) -> Ed25519Verifier:
    return Ed25519Verifier.from_vkey(vkey)


class _Coming:
    """A staged commit whose turn has not come: while it is checked, its tiles are written, under no name."""

    def __init__(self, about: CheckStaged) -> None:
        """Check it. Raises: DamagedStoreError, StorageError."""
        self._layout = _layout(about.folders)
        # None until every tile is written: whatever the writer dies of, nothing that is missing is named.
        self._ahead: list[Ahead] | None = None
        self._writer: threading.Thread | None = None
        try:
            self.staged, hashes = hashes_of(
                self._layout.stores.staging, about.name, about.size, about.root, self._begin
            )
        except BaseException:
            self.drop()
            raise
        self.digest = sha256(b"".join(hashes)).digest()

    def _begin(self, staged: Staged) -> None:
        writer = threading.Thread(target=self._write, args=(staged,))
        with suppress(RuntimeError):  # no more threads for this user: `apply` takes the long way
            writer.start()
            self._writer = writer

    def _write(self, staged: Staged) -> None:
        """Beside the check, which is the interpreter's, as this is the disk's."""
        ahead: list[Ahead] = []
        try:
            for store, objects in by_store(staged.full, self._layout):
                assert isinstance(store, FileStore)
                named = [(str(path), data) for path, data in objects]
                for at in range(0, len(named), TOGETHER):
                    ahead.append(store.write_ahead(named[at : at + TOGETHER]))  # noqa: PERF401  dropped if one fails
        except Exception:  # noqa: BLE001  the long way meets it again, and says what it is
            _drop(ahead)
        else:
            self._ahead = ahead

    def apply(self) -> int:
        """Put it into the tree, durably; how many objects. Raises: StorageError, ImmutableObjectError."""
        self._wait()
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            try:
                for each in ahead:
                    each.name()
            except AuditLogError:
                _drop(ahead)
            else:
                return sum(map(len, ahead))
        # The long way says what is wrong, and finishes what an earlier death tore.
        return _apply(self.staged, self._layout)

    def drop(self) -> None:
        """It was given back, or is applied by another."""
        self._wait()
        _drop(self._ahead or ())

    def _wait(self) -> None:
        if self._writer is not None:
            self._writer.join()


def _apply(staged: Staged, layout: Layout) -> int:
    apply_staged(staged, layout)
    return len(staged.full)


def _drop(ahead: Sequence[Ahead]) -> None:
    for each in ahead:
        each.drop()


class Worker:
    """Answers questions."""

    def __init__(self) -> None:
        self._coming: dict[tuple[Folders, str], _Coming] = {}

    def answer(self, question: Question, payload: bytes) -> bytes:
        """The answer; the payload is attacker-controlled.

        Raises:
            AuditLogError: refused, or failed.
        """
        match question:
            case CheckBatch():
                return _check_batch(question, payload)
            case CheckStaged():
                return self._check_staged(question)
            case ApplyStaged():
                return self._apply(question)
        return b""

    def _check_staged(self, about: CheckStaged) -> bytes:
        coming = _Coming(about)
        self._forget((about.folders, about.name))
        self._coming[about.folders, about.name] = coming
        if len(self._coming) > _NEWEST:
            self._forget(next(iter(self._coming)))
        return coming.digest

    def _apply(self, about: ApplyStaged) -> bytes:
        coming = self._coming.pop((about.folders, about.name), None)
        if coming is not None:
            return done(coming.apply())
        layout = _layout(about.folders)
        return done(_apply(read_staged(layout.stores.staging, about.name, about.size, about.root), layout))

    def _forget(self, which: tuple[Folders, str]) -> None:
        coming = self._coming.pop(which, None)
        if coming is not None:
            coming.drop()

    def close(self) -> None:
        """Leave no temporary file behind."""
        for which in list(self._coming):
            self._forget(which)


def _check_batch(about: CheckBatch, framed: bytes) -> bytes:
    batch = Batch(*decode_batch(framed))
    keys = [_verifier(each) for each in about.vkeys]
    checked = check_batch(batch, claimed_head(batch), about.origin, keys)
    return msgspec.msgpack.encode(
        Finding(
            leaf_hashes=b"".join(checked.leaf_hashes),
            prev=checked.prev,
            decides=checked.decides,
            next_vkey=checked.next_vkey,
            retires=checked.retires,
        )
    )


def main() -> None:
    """Answer until the asker is gone, however it went: then there is nothing more to read."""
    asker, worker = socket.socket(fileno=sys.stdin.fileno()), Worker()
    try:
        while True:
            about, size = LENGTHS.unpack(take(asker, LENGTHS.size))
            question = msgspec.msgpack.decode(take(asker, about), type=Question)
            payload = take(asker, size)
            try:
                found = worker.answer(question, payload)
            except Exception:  # noqa: BLE001  foreseen or not: the asker meets it again, where it is told
                found = b""
            asker.sendall(LENGTH.pack(len(found)) + found)
    except (EOFError, OSError):
        pass
    finally:
        worker.close()


if __name__ == "__main__":
    main()

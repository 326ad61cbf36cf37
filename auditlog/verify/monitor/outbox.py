"""Telling of alarms: files and `alarms.jsonl` in the monitor's folder, then whoever else is to be told.

Spec: auditlog/spec/monitor.md, "Telling". An alarm stays in the outbox of a channel until that channel has
taken it. Promises: each is in `alarms.jsonl` and has its file exactly once, whenever the process is killed;
webhook and mail get it at least once, under an id that stays the same. Must never: hold up the monitor, the
folder or a stop for a receiver that does not answer: each has a thread of its own.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from auditlog.errors import StorageError
from auditlog.verify.monitor.store import Store

SETTLE_S: Final = 60.0
"""How long one look alone waits for receivers before the process ends."""
MAX_AT_ONCE: Final = 50
"""Alarms handed to one slow channel in one go."""


class Channel(Protocol):
    """A receiver beside the folder."""

    def send(self, line: dict[str, Any], evidence: bytes | None) -> bool:
        """Whether it was taken."""


class Outbox:
    """Hands alarms on. Not for several threads; it has one of its own for each channel at work."""

    def __init__(self, store: Store, channels: Mapping[str, Channel] | None = None) -> None:
        self._store, self._channels = store, dict(channels or {})
        self._folder = store.folder / "alarms"
        self._lines = store.folder / "alarms.jsonl"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._at_work: dict[str, threading.Thread] = {}
        self._failure: Exception | None = None
        self._is_closed = False
        # The store may be older than the lines, put back from a copy: what comes is numbered behind them.
        store.floor = self._last_written()

    def deliver(self) -> list[dict[str, Any]]:
        """Hand on all that waits; returns the lines that are new in the folder. Waits for no channel.

        Raises:
            StorageError: the folder or the store cannot be written.
        """
        told = self._to_folder()
        if self._failure is not None:
            raise self._failure
        for name, channel in self._channels.items():
            thread = self._at_work.get(name)
            if thread is None or not thread.is_alive():
                thread = threading.Thread(target=self._run, args=(name, channel), name=name, daemon=True)
                self._at_work[name] = thread
                thread.start()
        return told

    def settle(self, limit_s: float) -> None:
        """Wait for the channels at work, no longer than that. What is not taken by then waits for
        the next start.
        """
        until = time.monotonic() + limit_s
        for thread in self._at_work.values():
            thread.join(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Begin nothing more."""
        self._is_closed = True

    def _run(self, name: str, channel: Channel) -> None:
        try:
            self._to_channel(name, channel)
        except Exception as error:  # noqa: BLE001  the boundary of the thread: raised again by `deliver`
            if not self._is_closed:
                self._failure = error

    @property
    def waiting(self) -> int:
        """Alarms that some channel has not taken yet."""
        return int(self._store.read("SELECT count(*) FROM alarm WHERE channels != ''")[0][0])

    def _to_folder(self) -> list[dict[str, Any]]:
        query = (
            "SELECT number, line, evidence, channels FROM alarm "
            "WHERE (',' || channels || ',') LIKE '%,line,%' ORDER BY number LIMIT 1000"
        )
        told: list[dict[str, Any]] = []
        while rows := self._store.read(query):
            written = self._last_written()
            texts = []
            for number, line, evidence, _ in rows:
                value = {"id": number, **json.loads(line)}
                if evidence is not None:
                    name = f"{value['time'].replace(':', '')}-{value['alarm']}-{number}.json"
                    _write_once(self._folder / name, evidence)
                    value["file"] = f"alarms/{name}"
                told.append(value)
                if number > written:
                    texts.append(json.dumps(value, ensure_ascii=True) + "\n")
            _append(self._lines, "".join(texts))
            # Dying here: the lines are there, and the next start finds their numbers in the file.
            self._done("file,line", [row[0] for row in rows], keep_evidence=bool(self._channels))
        return told

    def _last_written(self) -> int:
        """The number of the last whole line; what was torn behind it is cut off."""
        try:
            with self._lines.open("rb+") as file:
                end = file.seek(0, os.SEEK_END)
                start = max(0, end - (1 << 20))
                file.seek(start)
                tail = file.read()
                whole = tail.rfind(b"\n") + 1
                if whole < len(tail):
                    file.truncate(start + whole)
                    os.fsync(file.fileno())
                lines = tail[:whole].splitlines()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StorageError(f"alarms.jsonl: expected to read it, found {error.strerror}") from error
        try:
            return int(json.loads(lines[-1])["id"]) if lines else 0
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError("alarms.jsonl: expected lines of this monitor, found others") from error

    def _to_channel(self, name: str, channel: Channel) -> None:
        query = (
            # First the folder, which needs the file that is dropped when all have it.
            "SELECT number, line, evidence FROM alarm WHERE (',' || channels || ',') LIKE ? "
            "AND (',' || channels || ',') NOT LIKE '%,line,%' ORDER BY number LIMIT ?"
        )
        for number, line, evidence in self._store.read(query, (f"%,{name},%", MAX_AT_ONCE)):
            if self._is_closed or not channel.send({"id": number, **json.loads(line)}, evidence):
                return
            self._done(name, [number], keep_evidence=len(self._channels) > 1)

    def _done(self, channels: str, numbers: list[int], *, keep_evidence: bool) -> None:
        """These channels have taken these alarms. Evidence stays in the store while somebody waits for it."""
        gone = set(channels.split(","))
        with self._store.transaction() as connection:
            for number in numbers:
                ((left,),) = connection.execute("SELECT channels FROM alarm WHERE number = ?", (number,))
                rest = ",".join(name for name in left.split(",") if name and name not in gone)
                connection.execute("UPDATE alarm SET channels = ? WHERE number = ?", (rest, number))
                if not rest or not keep_evidence:
                    connection.execute("UPDATE alarm SET evidence = NULL WHERE number = ?", (number,))


def _write_once(path: Path, content: bytes) -> None:
    """Durable and whole under its name, or not there; the same again after a kill."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path.name}: expected to write it, found {error.strerror}") from error


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path.name}: expected to write it, found {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

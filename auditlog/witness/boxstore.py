"""What a drop-box keeps: promises that wait, and evidence of those that were broken. A file and a folder.

Spec: `auditlog/spec/witness.md`, "Drop-box". Apart from the store of cosignatures: nothing here can stop the
witness, and losing it loses deposits only. Evidence is a file of its own, whole under its name before a row
says so; dying in between leaves a file that the next judgement writes again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from auditlog.errors import StorageError
from auditlog.witness.database import connect
from auditlog.witness.mark import sync_folder

BOX = "promises.sqlite"
EVIDENCE = "broken"
WAITING = "waiting"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS promise (
    name TEXT PRIMARY KEY, origin TEXT NOT NULL, note TEXT NOT NULL, due_s INTEGER NOT NULL,
    until_s INTEGER NOT NULL, next_s INTEGER NOT NULL, tries INTEGER NOT NULL, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS promise_next ON promise (next_s);
CREATE INDEX IF NOT EXISTS promise_due ON promise (origin, state, due_s);
CREATE TABLE IF NOT EXISTS broken (
    name TEXT PRIMARY KEY, origin TEXT NOT NULL, verdict TEXT NOT NULL, cause TEXT NOT NULL,
    found_s INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seen (
    number INTEGER PRIMARY KEY, origin TEXT NOT NULL, note TEXT NOT NULL UNIQUE);
"""
_MAX_LISTED = 10_000
MAX_SEEN = 32
"""Checkpoints kept of each log with promises: an earlier one can show that an entry came late."""


class Deposit(NamedTuple):
    """A promise that waits: its id, its log, its note, when it is due, and how long it is kept."""

    name: str
    origin: str
    note: str
    due_s: int
    until_s: int
    tries: int = 0


def promise_id(note: str) -> str:
    """The id of a promise in a box: SHA-256 of its note in hex."""
    return sha256(note.encode("utf-8")).hexdigest()


class BoxStore:
    """The store of one box. Safe to use from any thread."""

    def __init__(self, folder: Path, *, grace_s: int = 5) -> None:
        """Open the store in `folder`, made if missing. A promise is judged `grace_s` after it was due.

        Raises:
            StorageError: it cannot be opened.
        """
        self._evidence = folder / EVIDENCE
        self._grace_s = grace_s
        self._turn = threading.Lock()
        try:
            self._evidence.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / BOX).touch(mode=0o600)
            self._connection = connect(folder / BOX)
            # What was judged is forgotten: its pages are overwritten.
            self._connection.execute("PRAGMA secure_delete = ON")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version not in (0, _VERSION):
                raise StorageError(f"expected a drop-box of version {_VERSION}, found {version}")
            self._connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;")
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"expected to open {folder / BOX}, found: {error}") from error

    def keep(self, deposit: Deposit, *, most: int, most_bytes: int, first_s: int) -> bool:
        """Store a promise if there is room among those of its log, and look it up first at `first_s`, or once
        it is due. Where there is none, the one that waits and is due last gives way, if it is due later than
        this one: to invent one that is soon judged takes no place for long. Durable on return.

        Raises:
            StorageError: it failed.
        """
        query = "SELECT count(*), coalesce(sum(length(note)), 0) FROM promise WHERE origin = ?"
        count, size = self._run(query, (deposit.origin,))[0]
        if count >= most or size + len(deposit.note) > most_bytes:
            query = (
                "SELECT name, due_s, length(note) FROM promise WHERE origin = ? AND state = ? "
                "ORDER BY due_s DESC LIMIT 1"
            )
            last = self._run(query, (deposit.origin, WAITING))
            if not last or last[0][1] <= deposit.due_s:
                return False
            if count > most or size + len(deposit.note) - last[0][2] > most_bytes:
                return False
            self.drop(last[0][0])
        row = (*deposit[:5], min(first_s, deposit.due_s + self._grace_s), 0, WAITING)
        self._run("INSERT OR IGNORE INTO promise VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return True

    def state(self, name: str) -> str | None:
        """`waiting`, `withheld`, `unreachable`, `broken`, `declared lost`; None if it is not here."""
        for query in (
            "SELECT state FROM promise WHERE name = ?",
            "SELECT verdict FROM broken WHERE name = ?",
        ):
            found = self._run(query, (name,))
            if found:
                return str(found[0][0])
        return None

    def due(self, now_s: int, most: int) -> list[Deposit]:
        """Promises to judge now, of each log in turn, those that wait longest first."""
        query = (
            "SELECT name, origin, note, due_s, until_s, tries FROM (SELECT *, row_number() OVER "
            "(PARTITION BY origin ORDER BY next_s) AS place FROM promise WHERE next_s <= ?) "
            "ORDER BY place, next_s LIMIT ?"
        )
        return [Deposit(*row) for row in self._run(query, (now_s, most))]

    def later(self, name: str, state: str, next_s: int) -> None:
        """Not decided: ask again then."""
        self._run(
            "UPDATE promise SET state = ?, next_s = ?, tries = tries + 1 WHERE name = ?",
            (state, next_s, name),
        )

    def when_due(self, deposit: Deposit) -> None:
        """Not due yet, and of a producer that the log has: look again once it is."""
        next_s = deposit.due_s + self._grace_s
        self._run("UPDATE promise SET next_s = ? WHERE name = ?", (next_s, deposit.name))

    def drop(self, name: str) -> None:
        """Decided, or too old: forget it."""
        self._run("DELETE FROM promise WHERE name = ?", (name,))

    def publish(
        self,
        deposit: Deposit,
        verdict: str,
        cause: str,
        evidence: bytes | None,
        *,
        now_s: int,
        most_bytes: int,
    ) -> None:
        """Show a promise as broken, with its evidence if there is room for it; durable on return."""
        size = len(evidence) if evidence is not None else 0
        if size + self.evidence_bytes() > most_bytes:
            evidence, size = None, 0
        if evidence is not None:
            self._write(self._evidence / f"{deposit.name}.json", evidence)
        row = (deposit.name, deposit.origin, verdict, cause, now_s, size)
        self._run("INSERT OR REPLACE INTO broken VALUES (?, ?, ?, ?, ?, ?)", row)
        self.drop(deposit.name)

    def broken(self) -> list[dict[str, Any]]:
        """Those shown as broken, newest first."""
        query = (
            "SELECT name, origin, verdict, cause, found_s, size FROM broken "
            "ORDER BY found_s DESC, name LIMIT ?"
        )
        return [
            {
                "promise": name,
                "origin": origin,
                "verdict": verdict,
                "cause": cause,
                "found_s": found_s,
                "evidence": f"promises/broken/{name}" if size else None,
            }
            for name, origin, verdict, cause, found_s, size in self._run(query, (_MAX_LISTED,))
        ]

    def undecided(self) -> list[dict[str, Any]]:
        """Those that are due and not decided, longest due first."""
        query = (
            "SELECT name, origin, state, due_s, tries FROM promise WHERE state <> ? "
            "ORDER BY due_s, name LIMIT ?"
        )
        names = ("promise", "origin", "state", "due_s", "tries")
        return [dict(zip(names, row, strict=True)) for row in self._run(query, (WAITING, _MAX_LISTED))]

    def evidence(self, name: str) -> bytes | None:
        """The evidence file of a promise shown as broken."""
        if not self._run("SELECT 1 FROM broken WHERE name = ? AND size > 0", (name,)):
            return None
        try:
            return (self._evidence / f"{name}.json").read_bytes()
        except OSError as error:
            raise StorageError(f"expected the evidence {name}, found: {error.strerror}") from error

    def seen(self, origin: str) -> list[str]:
        """Checkpoints kept of a log, oldest first."""
        rows = self._run("SELECT note FROM seen WHERE origin = ? ORDER BY number", (origin,))
        return [note for (note,) in rows]

    def remember(self, origin: str, notes: list[str]) -> None:
        """Keep checkpoints of a log, the newest `MAX_SEEN` of them."""
        for note in notes:
            self._run("INSERT OR IGNORE INTO seen (origin, note) VALUES (?, ?)", (origin, note))
        self._run(
            "DELETE FROM seen WHERE origin = ? AND number NOT IN "
            "(SELECT number FROM seen WHERE origin = ? ORDER BY number DESC LIMIT ?)",
            (origin, origin, MAX_SEEN),
        )

    def counts(self) -> dict[str, int]:
        """How many of each state."""
        found = self._run("SELECT state, count(*) FROM promise GROUP BY state")
        found += self._run("SELECT verdict, count(*) FROM broken GROUP BY verdict")
        return {WAITING: 0, "broken": 0, **dict(found)}

    def waiting_bytes(self) -> int:
        """Bytes of the notes that wait."""
        return int(self._run("SELECT coalesce(sum(length(note)), 0) FROM promise")[0][0])

    def evidence_bytes(self) -> int:
        """Bytes of the evidence published."""
        return int(self._run("SELECT coalesce(sum(size), 0) FROM broken")[0][0])

    def close(self) -> None:
        """Close the file. Twice is once."""
        with self._turn:
            self._connection.close()

    def _run(self, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._turn:
            try:
                # A statement by itself is a transaction of its own.
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StorageError(f"drop-box: expected to read or write, found: {error}") from error

    def _write(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(path.name + ".new")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        except OSError as error:
            raise StorageError(f"expected to write {path.name}, found: {error.strerror}") from error

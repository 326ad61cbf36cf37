"""The sending journal: what was signed, before it was sent. One SQLite file, one writer.

Decision 0003. The order is sign, journal, broadcast: a process that dies after `open_intent` finds the signed
bytes again and sends the same transaction, so a nonce is never used for two checkpoints.

    intent    one checkpoint to anchor; at most one at work for a log    open -> failed | final -> told
    attempt   one signed transaction for it; a fee bump adds one, and any of them may be the one mined

Promises: a method that returned is on disk (synchronous=FULL, rollback
journal); a second process or object on the same file is refused. Must never:
hold a private key. Raw transactions are public the moment they are sent.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog.anchoring.evm import Opening
from auditlog.anchoring.fees import Offer
from auditlog.anchoring.registry import Mined
from auditlog.errors import ConfigurationError, LedgerError
from auditlog.storage.owned import make_private_file

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS intent (
    id INTEGER PRIMARY KEY,
    log_id BLOB NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note TEXT NOT NULL,
    acc BLOB NOT NULL,
    nonce INTEGER UNIQUE,
    gas INTEGER,
    calldata BLOB,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'final', 'told', 'failed')),
    tx BLOB,
    block_number INTEGER,
    block_hash BLOB,
    block_time INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS one_at_work_per_log ON intent (log_id) WHERE state IN ('open', 'final');
CREATE INDEX IF NOT EXISTS intent_by_log ON intent (log_id, size);
CREATE TABLE IF NOT EXISTS attempt (
    id INTEGER PRIMARY KEY,
    intent INTEGER NOT NULL REFERENCES intent (id),
    tx BLOB NOT NULL,
    raw BLOB,
    max_fee INTEGER NOT NULL,
    tip INTEGER NOT NULL,
    signed_us INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS attempt_by_intent ON attempt (intent);
"""

_INTENT = (
    "SELECT id, log_id, size, root, note, acc, nonce, gas, calldata, state, tx, block_number,"
    " block_hash, block_time FROM intent "
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What our own transactions for one checkpoint have in common."""

    nonce: int
    gas: int
    calldata: bytes


@dataclass(frozen=True, slots=True)
class Intent:
    """One checkpoint the journal knows."""

    id: int
    log_id: bytes
    root: bytes
    note: str
    """The signed checkpoint."""
    opening: Opening
    """What opens the slot once this is mined; its size is the checkpoint's."""
    plan: Plan | None
    """None for an anchor found on the chain that no journal of ours sent."""
    state: str
    mined: Mined | None

    @property
    def size(self) -> int:
        """Tree size of the checkpoint."""
        return self.opening.size


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed transaction."""

    tx: bytes
    raw: bytes | None
    """None only for a transaction found on the chain."""
    offer: Offer
    signed_us: int
    """When, microseconds since the epoch, by our clock."""


class Journal:
    """The journal of one key on one chain.

    Args:
        path: the SQLite file; made if missing, with its folder. `path` with ".lock" appended is held while
            this is open.

    Raises:
        ConfigurationError: another process (or object) has it open.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        make_private_file(path)
        self._lock_file = _hold(path.with_name(path.name + ".lock"))
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = DELETE")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let another process open it."""
        with self._lock:
            self._db.close()
            os.close(self._lock_file)

    def bind(self, **facts: str) -> None:
        """Tie a new journal to a chain, contract and owner, or check that an old one is tied to the same.

        Raises:
            ConfigurationError: it belongs to another; the nonces in it mean nothing here.
        """
        with self._writing() as db:
            for key, value in facts.items():
                db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
                ((found,),) = db.execute("SELECT value FROM meta WHERE key = ?", (key,))
                if found != value:
                    raise ConfigurationError(f"anchoring journal: expected {key} {found}, found {value}")

    def open_intent(
        self, *, log_id: bytes, root: bytes, note: str, opening: Opening, plan: Plan | None, attempt: Attempt
    ) -> Intent:
        """Record a checkpoint and its first signed transaction, in one commit."""
        planned = (None, None, None) if plan is None else (plan.nonce, plan.gas, plan.calldata)
        with self._writing() as db:
            cursor = db.execute(
                "INSERT INTO intent (log_id, size, root, note, acc, nonce, gas, calldata)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (log_id, opening.size, root, note, opening.acc, *planned),
            )
            assert cursor.lastrowid is not None
            self._insert_attempt(db, cursor.lastrowid, attempt)
            return self._one("WHERE id = ?", (cursor.lastrowid,))

    def add_attempt(self, intent: Intent, attempt: Attempt) -> None:
        """Record one more signed transaction for the same nonce."""
        with self._writing() as db:
            self._insert_attempt(db, intent.id, attempt)

    def settle(self, intent: Intent, mined: Mined) -> Intent:
        """Record that the anchor is final."""
        with self._writing() as db:
            db.execute(
                "UPDATE intent SET state = 'final', tx = ?, block_number = ?, block_hash = ?, block_time = ?"
                " WHERE id = ?",
                (mined.tx, mined.block_number, mined.block_hash, mined.block_time, intent.id),
            )
            return self._one("WHERE id = ?", (intent.id,))

    def fail(self, intent: Intent) -> None:
        """Record that none of its transactions can succeed any more."""
        with self._writing() as db:
            db.execute("UPDATE intent SET state = 'failed' WHERE id = ?", (intent.id,))

    def tell(self, intent: Intent) -> None:
        """Record that the caller knows the anchor is final."""
        with self._writing() as db:
            db.execute("UPDATE intent SET state = 'told' WHERE id = ? AND state = 'final'", (intent.id,))

    def at_work_for(self, log_id: bytes) -> Intent | None:
        """Return the intent of a log that is open, or final and not told."""
        return self._first("WHERE log_id = ? AND state IN ('open', 'final')", (log_id,))

    def find(self, log_id: bytes, size: int, root: bytes) -> Intent | None:
        """Return the newest intent for exactly this checkpoint, whatever its state."""
        return self._first(
            "WHERE log_id = ? AND size = ? AND root = ? ORDER BY id DESC", (log_id, size, root)
        )

    def newest_final(self, log_id: bytes) -> Intent | None:
        """Return the final anchor of a log with the largest tree size."""
        return self._first("WHERE log_id = ? AND state IN ('final', 'told') ORDER BY size DESC", (log_id,))

    def attempts(self, intent: Intent) -> list[Attempt]:
        """Return every signed transaction of an intent, newest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT tx, raw, max_fee, tip, signed_us FROM attempt WHERE intent = ? ORDER BY id DESC",
                (intent.id,),
            )
            return [Attempt(tx, raw, Offer(max_fee, tip), us) for tx, raw, max_fee, tip, us in rows]

    def next_nonce(self) -> int:
        """Return one more than the largest nonce ever signed for, 0 for none."""
        with self._lock:
            ((largest,),) = self._db.execute("SELECT MAX(nonce) FROM intent")
            return 0 if largest is None else int(largest) + 1

    def _first(self, where: str, values: tuple[object, ...]) -> Intent | None:
        with self._lock:
            row = self._db.execute(_INTENT + where + " LIMIT 1", values).fetchone()
        return None if row is None else _intent(row)

    def _one(self, where: str, values: tuple[object, ...]) -> Intent:
        found = self._first(where, values)
        if found is None:
            raise LedgerError("anchoring journal: expected the record just written, found none")
        return found

    @staticmethod
    def _insert_attempt(db: sqlite3.Connection, intent_id: int, attempt: Attempt) -> None:
        db.execute(
            "INSERT INTO attempt (intent, tx, raw, max_fee, tip, signed_us) VALUES (?, ?, ?, ?, ?, ?)",
            (intent_id, attempt.tx, attempt.raw, attempt.offer.max_fee, attempt.offer.tip, attempt.signed_us),
        )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _hold(path: Path) -> int:
    """Take the lock file. The system lets it go when the process ends, however it ends."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ConfigurationError(
            f"expected to be the only sender, found {path.name} held by another"
        ) from error
    return handle


def _intent(row: tuple[Any, ...]) -> Intent:
    key, log_id, size, root, note, acc, nonce, gas, calldata, state, *mined_in = row
    plan = None if nonce is None else Plan(nonce, gas, calldata)
    mined = None if mined_in[0] is None else Mined(*mined_in)
    return Intent(key, log_id, root, note, Opening(size, acc), plan, state, mined)

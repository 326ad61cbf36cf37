"""The book of alarms of one log: what was raised in a look, turned into findings, and written once each.

Spec: auditlog/spec/monitor.md, "Alarms". Promises: an occasion that is in the book is not raised again, a
kill at any instant included; of very many of one word in one look the first are told one by one and the rest
counted. Must never: write outside the transaction that also writes what was read.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from auditlog.core.scalars import format_time
from auditlog.verify.finding import Finding
from auditlog.verify.monitor.prove import Prover, Sight
from auditlog.verify.monitor.raised import Raised, Remark
from auditlog.verify.monitor.store import Store

MAX_OF_A_WORD: Final = 100
"""Alarms of one word told one by one in one look."""
MAX_REMARKS: Final = 500
"""Remarks kept of one log."""
CHANNELS: Final = "file,line"
"""Where every alarm goes; `webhook` and `mail` are added where they are set up."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A finding that is ready to be written."""

    key: str
    finding: Finding


class AlarmBook:
    """The alarms of one log. Not for several threads."""

    def __init__(self, store: Store, origin: str, prover: Prover, channels: str = CHANNELS) -> None:
        self._store, self._origin, self._prover, self._channels = store, origin, prover, channels
        self._waiting: dict[str, Raised] = {}
        self._remarks: list[Remark] = []
        self._told: Counter[str] = Counter()
        self.suppressed: Counter[str] = Counter()
        """Alarms that were too many in this look, by word."""

    def begin(self) -> None:
        """A new look begins."""
        self._told.clear()

    def take(self, raised: Raised) -> None:
        """One more; known occasions are passed over."""
        if raised.key in self._waiting or self.has(raised.key):
            return
        if self._told[raised.alarm] >= MAX_OF_A_WORD:
            self.suppressed[raised.alarm] += 1
            return
        self._told[raised.alarm] += 1
        self._waiting[raised.key] = raised

    def remark(self, remark: Remark) -> None:
        """One more remark; of very many the newest are kept."""
        self._remarks.append(remark)
        if len(self._remarks) > 2 * MAX_REMARKS:
            del self._remarks[:MAX_REMARKS]

    def has(self, key: str) -> bool:
        """Whether that occasion was raised before."""
        query = "SELECT 1 FROM alarm WHERE origin = ? AND key = ?"
        return bool(self._store.read(query, (self._origin, key)))

    def prepare(self, note: str, sight: Sight | None) -> list[Prepared]:
        """Findings for all that waits; reads the log for evidence, so it stands before the transaction."""
        return [
            Prepared(raised.key, self._prover.finding(raised, self._origin, note, sight))
            for raised in self._waiting.values()
        ]

    def write(self, connection: sqlite3.Connection, prepared: list[Prepared], now_us: int) -> None:
        """Into the book, in the transaction of `connection`."""
        for each in prepared:
            line = json.dumps(_line(each.finding, now_us))
            connection.execute(
                "INSERT OR IGNORE INTO alarm "
                "(number, origin, key, alarm, raised_us, line, evidence, channels) VALUES "
                "((SELECT max(coalesce(max(number), 0), ?) + 1 FROM alarm), ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._store.floor,
                    self._origin,
                    each.key,
                    each.finding.alarm,
                    now_us,
                    line,
                    each.finding.evidence,
                    self._channels,
                ),
            )
        rows = [(self._origin, each.kind, each.producer, each.text) for each in self._remarks[-MAX_REMARKS:]]
        if rows:
            connection.executemany(
                "INSERT INTO remark (origin, kind, producer, text) VALUES (?, ?, ?, ?)", rows
            )
            connection.execute(
                "DELETE FROM remark WHERE origin = ? AND number <= (SELECT max(number) FROM remark) - ?",
                (self._origin, MAX_REMARKS),
            )

    def written(self) -> None:
        """The transaction is durable."""
        self._waiting.clear()
        self._remarks.clear()

    def forget(self) -> None:
        """What was read was taken back, and so is what it raised: it will be read again."""
        for raised in self._waiting.values():
            self._told[raised.alarm] -= 1
        self.written()


def _line(finding: Finding, now_us: int) -> dict[str, Any]:
    return {"time": format_time(now_us), **finding.to_json(), "says": finding.sentence}

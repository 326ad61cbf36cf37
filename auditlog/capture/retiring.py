"""A slot whose producer has ended: it is set aside, and the slot begins anew (entry.md, "Ends and losses").

A producer ends itself when its host leaves for good (`retire.request`, obeyed by whoever ends the slot's
chain next), or the log ends it. Either way `retired.json` says so. The next process that takes the slot moves
key, enrolment and spool to `retired/<id>/`, where they stay as evidence, and enrols again: the old name is
taken, so it gets one with the hash of its new key. What the log will never take is declared by the new
producer, in a `gap` entry that names the old life. The disclosure store stays where it is. Must never: delete
what was not sent, or use a key of an ended producer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog.capture.books import gap_body
from auditlog.capture.chain import NO_INSTANCE, Tip
from auditlog.capture.durable import create_private_dir, sync_dir, write_durable
from auditlog.capture.frames import HEADER_BYTES, Record, decode_header, scan_frames
from auditlog.capture.segments import list_segments
from auditlog.core.scalars import is_instance_hex
from auditlog.errors import MalformedError

MARK = "retired.json"
REQUEST = "retire.request"
FOLDER = "retired"
UNDECLARED = "undeclared.json"
_KEYS = ("producer.key", "next.key", "enrolment.json")
_MOVED = (*_KEYS, "sending.json", "spool", "drafts", REQUEST, "rotate.request")
_DECISION = b'"kind":"decision"'


@dataclass(frozen=True, slots=True)
class Undeclared:
    """What an ended producer could not send: the body of the gap entry that says so, and its file."""

    path: Path
    body: dict[str, Any]

    def settled(self) -> None:
        """The gap entry is durable. Dying before this line declares it once more at the next start."""
        self.path.rename(self.path.with_name("declared.json"))


def request_retirement(slot_dir: Path) -> None:
    """Have whoever ends the slot's chain next end its producer too; durable on return. Raises OSError."""
    write_durable(slot_dir / REQUEST, b"{}\n")


def is_requested(slot_dir: Path) -> bool:
    """Whether the producer is to be ended with this life."""
    return (slot_dir / REQUEST).exists()


def mark_retired(slot_dir: Path, producer: str, last: dict[str, Any]) -> None:
    """Note that the log takes nothing more of this producer; durable on return. Raises OSError."""
    members = {"producer": producer, "last": last}
    write_durable(slot_dir / MARK, json.dumps(members, sort_keys=True, indent=1).encode() + b"\n")


def is_retired(slot_dir: Path) -> bool:
    """Whether the slot's producer has ended."""
    return (slot_dir / MARK).exists()


def renew(slot_dir: Path) -> None:
    """Move what belongs to the ended producer aside, so that the slot enrols anew. Only its holder may.

    Dying anywhere in here: the mark goes last, so the next start goes on. Raises OSError.
    """
    mark = slot_dir / MARK
    if not mark.exists():
        return
    members = _read_mark(mark)
    create_private_dir(slot_dir / FOLDER)
    aside = slot_dir / FOLDER / str(members.get("producer", "unknown"))[:16]
    create_private_dir(aside)
    if (slot_dir / "spool").is_dir() and not (aside / UNDECLARED).exists():
        body = _unsent(slot_dir / "spool", members.get("last"))
        if body is not None:
            write_durable(aside / UNDECLARED, json.dumps(body, indent=1).encode() + b"\n")
    for name in _MOVED:
        if (slot_dir / name).exists():
            (slot_dir / name).replace(aside / name)
    sync_dir(aside)
    sync_dir(slot_dir)
    mark.replace(aside / MARK)
    sync_dir(slot_dir)


def list_undeclared(slot_dir: Path) -> list[Undeclared]:
    """What ended producers of this slot could not send and nobody declared yet."""
    found = []
    for path in sorted((slot_dir / FOLDER).glob(f"*/{UNDECLARED}")):
        try:
            found.append(Undeclared(path, json.loads(path.read_bytes())))
        except (OSError, ValueError):
            continue
    return found


def _read_mark(mark: Path) -> dict[str, Any]:
    try:
        members = json.loads(mark.read_bytes())
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}


def _unsent(spool_dir: Path, last: object) -> dict[str, Any] | None:
    """The gap over what is behind `last` in the spool; None if nothing is.

    Without a usable `last` all that is in the spool counts: too much is better than too little.
    """
    records = _records(spool_dir)
    known = last if isinstance(last, dict) else {}
    place = (known.get("instance"), known.get("seq"))
    at = next((n for n, each in enumerate(records) if (each.instance, each.seq) == place), None)
    unsent = records if at is None else records[at + 1 :]
    # Starts, heartbeats and notices are no calls: only what answered somebody is lost.
    if not unsent:
        return None
    lost = sum(_DECISION in each.payload for each in unsent)
    before = records[at] if at is not None else None
    instance = before.instance if before is not None else unsent[0].instance
    seq = before.seq if before is not None else -1
    tip = Tip(instance if is_instance_hex(instance) else NO_INSTANCE, seq, bytes(32), unsent[0].time_us)
    return gap_body(tip, count=lost, from_us=unsent[0].time_us, to_us=unsent[-1].time_us)


def _records(spool_dir: Path) -> list[Record]:
    records: list[Record] = []
    for path in list_segments(spool_dir):
        content = path.read_bytes()
        try:
            decode_header(content)
        except MalformedError:
            continue
        records += [each.record for each in scan_frames(content, HEADER_BYTES) if each.record is not None]
    return records

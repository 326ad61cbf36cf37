"""Producer slots: a directory with a key and a spool, held by one process at a time.

Spec: entry.md, "Producer chain". `<state>/slots/<name>-<k>/` holds

    lock            held with flock for the life of the process; the kernel frees it however the process ends
    producer.key    the Ed25519 key in the signed-note private form, 0600, made once, never replaced
    enrolment.json  what the log answered at enrolment, 0600: producer id, its entry, the receipt key
    conflict.json   written when the log contradicts this chain: the slot is then never used again

A second worker takes the next free slot. A forked child holds nothing: the inherited descriptor is closed in
the child, so that the lock ends with the parent. Must never: give one slot to two processes, or overwrite a
key.
"""

from __future__ import annotations

import fcntl
import json
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditlog.capture.durable import create_private_dir, write_durable
from auditlog.capture.enrolment import Enrolment, decode_enrolment, encode_enrolment
from auditlog.core.note import Ed25519Signer
from auditlog.core.statements import producer_key_name
from auditlog.errors import ConfigurationError, MalformedError

MAX_SLOTS = 256
"""More workers than this on one host and state directory is a mistake in the settings."""


class Slot:
    """A slot held by this process until `release` or its end."""

    def __init__(self, directory: Path, name: str, lock: int) -> None:
        self.directory = directory
        self.name = name
        self._lock: int | None = lock
        _close_in_children(self)

    @property
    def spool_dir(self) -> Path:
        """Where sealed entries wait for the log."""
        return self.directory / "spool"

    @property
    def drafts_dir(self) -> Path:
        """Where observations wait for the first enrolment."""
        return self.directory / "drafts"

    @property
    def store_path(self) -> Path:
        """The disclosure store of this slot."""
        return self.directory / "disclosures.sqlite3"

    @property
    def store_key_path(self) -> Path:
        """The key of the disclosure store."""
        return self.directory / "store.key"

    def load_enrolment(self) -> Enrolment | None:
        """What the log answered at enrolment, or None before it.

        Raises:
            MalformedError: the file is not what we wrote; the slot must not be used.
            OSError: it cannot be read.
        """
        path = self.directory / "enrolment.json"
        return decode_enrolment(path.read_bytes()) if path.exists() else None

    def save_enrolment(self, enrolment: Enrolment) -> None:
        """Keep the log's answer; durable when it returns. Raises OSError."""
        write_durable(self.directory / "enrolment.json", encode_enrolment(enrolment))

    def signer(self, origin: str, rng: Callable[[int], bytes]) -> Ed25519Signer:
        """The slot's key for `origin`, made on first use.

        Raises:
            ConfigurationError: the key on disk belongs to another origin or name.
            MalformedError, OSError: the key file cannot be read.
        """
        path = self.directory / "producer.key"
        name = producer_key_name(origin, self.name)
        if not path.exists():
            # Durable before anything is signed with it: a key that only ever lived in memory could not finish
            # what it began.
            made = Ed25519Signer.from_seed(name, rng(32))
            write_durable(path, made.private_key.encode("ascii") + b"\n")
        signer = Ed25519Signer.from_private_key(path.read_text(encoding="ascii").strip())
        if signer.name != name:
            raise ConfigurationError(f"slot {self.name}: expected a key named {name}, found {signer.name}")
        return signer

    def mark_conflict(self, detail: dict[str, object]) -> None:
        """Set the slot aside for good: its chain and the log's contradict each other. Raises OSError."""
        text = json.dumps(detail, sort_keys=True, indent=1) + "\n"
        write_durable(self.directory / "conflict.json", text.encode())

    def release(self) -> None:
        """Give the slot back. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


@dataclass(frozen=True, slots=True)
class SlotReport:
    """A slot as `auditlog doctor` shows it."""

    name: str
    directory: Path
    is_held: bool
    is_conflicted: bool
    is_enrolled: bool


def acquire_slot(state_dir: Path, prefix: str, *, origin: str | None = None) -> Slot:
    """Take the first free slot `<prefix>-<k>`, creating it if needed.

    Slots in conflict and slots enrolled with another origin are passed over.

    Raises:
        ConfigurationError: all slots are held.
        OSError: the state directory cannot be used.
    """
    for number in range(MAX_SLOTS):
        name = f"{prefix}-{number}"
        directory = state_dir / "slots" / name
        create_private_dir(directory)
        if (directory / "conflict.json").exists():
            continue
        lock = _try_lock(directory)
        if lock is None:
            continue
        slot = Slot(directory, name, lock)
        if _belongs_to(slot, origin):
            return slot
        slot.release()
    raise ConfigurationError(f"slots: expected a free one of {MAX_SLOTS}, found all held or set aside")


def list_slots(state_dir: Path) -> list[SlotReport]:
    """All slots under a state directory, without disturbing their holders."""
    root = state_dir / "slots"
    if not root.is_dir():
        return []
    return [_report(path) for path in sorted(root.iterdir()) if path.is_dir()]


def _report(directory: Path) -> SlotReport:
    lock = _try_lock(directory) if (directory / "lock").exists() else None
    if lock is not None:
        os.close(lock)
    return SlotReport(
        name=directory.name,
        directory=directory,
        is_held=lock is None and (directory / "lock").exists(),
        is_conflicted=(directory / "conflict.json").exists(),
        is_enrolled=(directory / "enrolment.json").exists(),
    )


def _belongs_to(slot: Slot, origin: str | None) -> bool:
    try:
        enrolment = slot.load_enrolment()
    except (MalformedError, OSError):
        return False
    return enrolment is None or origin is None or enrolment.origin == origin


def _try_lock(directory: Path) -> int | None:
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _close_in_children(slot: Slot) -> None:
    """A forked child shares the lock's open file, so the lock would outlive the parent. Close it there."""
    reference = weakref.ref(slot)

    def drop() -> None:
        held = reference()
        if held is not None:
            held.release()

    os.register_at_fork(after_in_child=drop)

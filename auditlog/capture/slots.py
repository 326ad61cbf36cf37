"""Producer slots: a directory with a key and a spool, held by one process at a time.

Spec: entry.md, "Producer chain". `<state>/slots/<name>-<k>/` holds

    lock            held with flock for the life of the process; the kernel frees it however the process ends
    producer.key    the Ed25519 key in the signed-note private form, 0600
    next.key        the key that takes its place, until the log has the rotation (rotation.py)
    retired.json    the producer has ended: the next start begins the slot anew (retiring.py)
    enrolment.json  what the log answered at enrolment, 0600: producer id, its entry, the receipt key
    conflict.json   written when the log contradicts this chain: the slot is then never used again
    sending.json    how far the sender came and what it last met, for `doctor` and for who drains what is left

The name in the log is the slot's own, unless another key already has it there: then it is
`<name>-<k>-<8 hex digits of the key's hash>`, which the key file keeps. A slot whose key or enrolment cannot
be read is passed over. A second worker takes the next free slot. A forked child holds nothing: the inherited
descriptor is closed in the child, so that the lock ends with the parent. Must never: give one slot to two
processes, or lose a key.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from auditlog.capture.durable import create_private_dir, write_durable
from auditlog.capture.enrolment import Enrolment, decode_enrolment, encode_enrolment
from auditlog.capture.retiring import is_retired, renew
from auditlog.core.keys import Ed25519Signer, split_vkey
from auditlog.core.scalars import parse_base64
from auditlog.core.statements import producer_key_name
from auditlog.errors import ConfigurationError, MalformedError

KEY, NEXT_KEY = "producer.key", "next.key"
MAX_NAME_CHARS = 100
"""The longest name a producer may have (entry.md)."""
MAX_SLOTS = 256
"""More workers than this on one host and state directory is a mistake in the settings."""


class Slot:
    """A slot held by this process until `release` or its end."""

    def __init__(self, directory: Path, name: str, lock: int | None) -> None:
        """Without a `lock` only to look at."""
        self.directory = directory
        self.name = name
        self._lock = lock
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
    def keeping_dir(self) -> Path:
        """What is on its way into the disclosure store."""
        return self.directory / "keeping"

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

    def load_key(self, name: str = KEY) -> Ed25519Signer | None:
        """The slot's key as it is on disk, None before its first use. Raises MalformedError, OSError."""
        try:
            content = (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Ed25519Signer.from_private_key(content.decode("ascii").strip())
        except ValueError as error:
            raise MalformedError(f"{name}: expected a private key, found other bytes") from error

    def signer(self, origin: str, rng: Callable[[int], bytes]) -> Ed25519Signer:
        """The slot's key for `origin`, made on first use.

        Raises:
            ConfigurationError: the key on disk belongs to another origin or name.
            MalformedError, OSError: the key file cannot be read.
        """
        signer = self.load_key()
        if signer is None:
            # Durable before anything is signed with it: a key that only ever lived in memory could not finish
            # what it began.
            signer = Ed25519Signer.from_seed(producer_key_name(origin, self.name), rng(32))
            self.keep_key(signer)
        if signer.name not in self._names(signer, origin):
            name = producer_key_name(origin, self.name)
            raise ConfigurationError(f"slot {self.name}: expected a key named {name}, found {signer.name}")
        return signer

    def rename_key(self, signer: Ed25519Signer, origin: str) -> Ed25519Signer:
        """The same key under the name that only this key can have; durable on return. Raises OSError.

        Only before enrolment: the name is part of what the log signs for.
        """
        renamed = Ed25519Signer.from_seed(self._key_names(signer, origin)[1], _seed_of(signer))
        self.keep_key(renamed)
        return renamed

    def flaw(self, origin: str | None) -> str | None:
        """Why this slot cannot be used for `origin` (None: for any log), or None if it can."""
        try:
            enrolment, signer = self.load_enrolment(), self.load_key()
        except (MalformedError, OSError) as error:
            return str(error) if isinstance(error, MalformedError) else f"cannot be read: {error.strerror}"
        if enrolment is None:
            is_ours = signer is None or origin is None or signer.name in self._key_names(signer, origin)
            return None if is_ours else "its key is for another log"
        if origin is not None and enrolment.origin != origin:
            return f"enrolled with another log, {enrolment.origin}"
        is_same = signer is not None and enrolment.vkey_in_force in {signer.vkey, self._next_vkey()}
        return None if is_same else "producer.key: expected the key that is enrolled, found another or none"

    def is_in_place(self) -> bool:
        """Whether the directory that this process holds is still the one with that name."""
        try:
            ours = None if self._lock is None else os.fstat(self._lock)
            found = (self.directory / "lock").stat()
        except OSError:
            return False
        return ours is not None and (ours.st_dev, ours.st_ino) == (found.st_dev, found.st_ino)

    def keep_key(self, signer: Ed25519Signer, name: str = KEY) -> None:
        """Keep a key; durable on return. Raises OSError."""
        write_durable(self.directory / name, signer.private_key.encode("ascii") + b"\n")

    def _next_vkey(self) -> str | None:
        """A rotation that died between its last two steps left the key in force under the other name."""
        following = self.load_key(NEXT_KEY)
        return None if following is None else following.vkey

    def _names(self, signer: Ed25519Signer, origin: str) -> tuple[str, ...]:
        """The names this key may have: once enrolled the one the log knows, which no rotation changes."""
        enrolment = self.load_enrolment()
        if enrolment is not None:
            return (producer_key_name(origin, enrolment.name),)
        return self._key_names(signer, origin)

    def _key_names(self, signer: Ed25519Signer, origin: str) -> tuple[str, str]:
        """The names this key may have: the slot's, or the slot's with the hash of the key."""
        digest = hashlib.sha256(split_vkey(signer.vkey)[2]).hexdigest()[:8]
        own = f"{self.name[: MAX_NAME_CHARS - len(digest) - 1]}-{digest}"
        return producer_key_name(origin, self.name), producer_key_name(origin, own)

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
    flaw: str | None
    """Why no process would take it (damaged, or of another log)."""
    is_retired: bool = False
    """Whether its producer has ended: the next start enrols anew."""


def acquire_slot(
    state_dir: Path,
    prefix: str,
    *,
    origin: str | None = None,
    passed_over: Callable[[str, str], None] = lambda _name, _flaw: None,
) -> Slot:
    """Take the first free slot `<prefix>-<k>`, creating it if needed.

    Slots in conflict, damaged ones and those of another origin are passed over; `passed_over` is told
    the name and the flaw of the free ones among them.

    Raises:
        ConfigurationError: all slots are held.
        OSError: the state directory cannot be used.
    """
    for number in range(MAX_SLOTS):
        name = f"{prefix}-{number}"
        directory = state_dir / "slots" / name
        create_private_dir(directory)
        slot = take_slot(directory)
        if slot is None:
            continue
        renew(directory)
        flaw = slot.flaw(origin)
        if flaw is None:
            return slot
        slot.release()
        passed_over(name, flaw)
    raise ConfigurationError(f"slots: expected a free one of {MAX_SLOTS}, found all held or set aside")


def take_slot(directory: Path) -> Slot | None:
    """This one slot, whatever its state; None if it is held or set aside. Raises OSError."""
    if (directory / "conflict.json").exists():
        return None
    lock = _try_lock(directory)
    return None if lock is None else Slot(directory, directory.name, lock)


def list_slots(state_dir: Path, *, origin: str | None = None) -> list[SlotReport]:
    """All slots under a state directory, without disturbing their holders."""
    root = state_dir / "slots"
    if not root.is_dir():
        return []
    return [_report(path, origin) for path in sorted(root.iterdir()) if path.is_dir()]


def _report(directory: Path, origin: str | None) -> SlotReport:
    lock = _try_lock(directory) if (directory / "lock").exists() else None
    flaw = Slot(directory, directory.name, None).flaw(origin)
    if lock is not None:
        os.close(lock)
    return SlotReport(
        name=directory.name,
        directory=directory,
        is_held=lock is None and (directory / "lock").exists(),
        is_conflicted=(directory / "conflict.json").exists(),
        is_enrolled=(directory / "enrolment.json").exists(),
        flaw=flaw,
        is_retired=is_retired(directory),
    )


def _seed_of(signer: Ed25519Signer) -> bytes:
    return parse_base64(signer.private_key.split("+", 4)[4], "private key")[1:]


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

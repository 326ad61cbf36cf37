"""The keys of a slot: which one signs what, and how one takes the place of another.

Spec: entry.md, "Keys of a producer". A rotation is an entry: what was sealed before it is sent under the old
key, what is sealed after it is signed by the new one. In the slot's directory, each step durable before the
next:

    1 next.key         the new key is made                      dying here: used by the next request, or never
    2 the spool        the `rotation` entry, signed by both     from here on the new key signs what is sealed
    3 enrolment.json   the log has the entry: the new key is in force
    4 producer.key     next.key is renamed to it; the old key is gone

Dying between two steps leaves both keys, and `open_keys` finds the step by looking. Step 3 comes before the
spool may drop the entry, so that it is never forgotten which key is in force. Must never: lose a key that
something unsent needs, or sign with two keys for one place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from auditlog.capture.durable import sync_dir, write_durable
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.frames import HEADER_BYTES, Record, scan_frames
from auditlog.capture.retiring import mark_retired
from auditlog.capture.segments import list_segments
from auditlog.capture.slots import KEY, NEXT_KEY, Slot
from auditlog.core.entry import parse_entry
from auditlog.core.keys import Ed25519Signer
from auditlog.core.note import sign_note
from auditlog.core.statements import MAX_ROTATIONS, rotation_text
from auditlog.errors import AuditLogError, ConfigurationError

ROTATION, RETIREMENT = "rotation", "retirement"
_ENDS = (b'"kind":"rotation"', b'"kind":"retirement"')
ROTATE_REQUEST = "rotate.request"


class SlotKeys:
    """The keys of an enrolled slot that this process holds. The writer's thread begins a rotation, the
    sender's ends it.
    """

    def __init__(
        self, slot: Slot, enrolment: Enrolment, heads: Ed25519Signer, following: Ed25519Signer | None = None
    ) -> None:
        """`following` is the key of a rotation that is sealed and not acknowledged."""
        self._slot = slot
        self._enrolment = enrolment
        self.heads = heads
        """Signs what is sent now."""
        self.sealing = following or heads
        """Signs what is sealed now: starts and promises."""

    @property
    def is_turning(self) -> bool:
        """Whether a rotation waits for the log."""
        return self.sealing.vkey != self.heads.vkey

    def prepare(self, rng: Callable[[int], bytes]) -> Ed25519Signer:
        """The next key, durable: the one an interrupted request left, or a new one.

        Raises:
            RotationsUsedUp: the log would not take it. ConfigurationError: another rotation waits for the
                log. OSError, MalformedError.
        """
        if self.is_turning:
            raise ConfigurationError("rotation: expected the one before in the log, found it not sent yet")
        check_rotations(self._enrolment)
        following = self._slot.load_key(NEXT_KEY)
        if following is None or following.vkey == self.heads.vkey:
            following = Ed25519Signer.from_seed(self.heads.name, rng(32))
            self._slot.keep_key(following, NEXT_KEY)
        return following

    def body(self, following: Ed25519Signer) -> dict[str, Any]:
        """The body of the rotation entry, signed by both keys."""
        enrolment = self._enrolment
        text = rotation_text(enrolment.origin, enrolment.producer, following.vkey)
        notes = [sign_note(text, [key]) for key in (self.sealing, following)]
        return {"vkey": following.vkey, "notes": notes}

    def sealed(self, following: Ed25519Signer) -> None:
        """The rotation entry is durable: what is sealed from now on is signed by the new key."""
        self.sealing = following

    def settle(self, records: Iterable[Record]) -> Ed25519Signer | None:
        """The log has these records, of which it is not forgotten yet that they were sent: keep what they
        say of the slot. Returns the key that signs the next batch, if it is another. Raises OSError.
        """
        following: Ed25519Signer | None = None
        for record in records:
            kind = ending_kind(record.payload)
            if kind == ROTATION and parse_entry(record.payload).body["vkey"] == self.sealing.vkey:
                following = self._take_over(self.sealing)
            elif kind == RETIREMENT:
                last = {"instance": record.instance, "seq": record.seq}
                mark_retired(self._slot.directory, self._enrolment.producer, last)
        return following

    def in_force(self, vkey: str) -> None:
        """The log names the key in force: a rotation of ours may be in it though no answer said so."""
        if self.is_turning and vkey == self.sealing.vkey:
            self.heads = self._take_over(self.sealing)

    def _take_over(self, following: Ed25519Signer) -> Ed25519Signer:
        if following.vkey != self._enrolment.vkey_in_force:
            # The same entry may be met again, in what another answer or the spool says: it counts once.
            turned = self._enrolment.rotations + 1
            self._enrolment = replace(self._enrolment, key_in_force=following.vkey, rotations=turned)
        self._slot.save_enrolment(self._enrolment)
        # Dying here leaves both files, and an enrolment that names the new key.
        finish_take_over(self._slot)
        return following


def open_keys(slot: Slot, enrolment: Enrolment, rng: Callable[[int], bytes]) -> SlotKeys:
    """The keys of a slot as an earlier life left them, whatever step it died at.

    Raises:
        ConfigurationError: the key belongs to another name. MalformedError, OSError: it cannot be read.
    """
    following = slot.load_key(NEXT_KEY)
    if following is not None and following.vkey == enrolment.vkey_in_force:
        finish_take_over(slot)
        following = None
    heads = slot.signer(enrolment.origin, rng)
    if following is not None and not _is_sealed(slot.spool_dir, following.vkey):
        following = None
    return SlotKeys(slot, enrolment, heads, following)


class RotationsUsedUp(ConfigurationError):
    """This producer has changed its key as often as the log's format allows."""


def check_rotations(enrolment: Enrolment) -> None:
    """Raises RotationsUsedUp: no log would take the next rotation (entry.md, "Keys of a producer")."""
    if enrolment.rotations >= MAX_ROTATIONS:
        raise RotationsUsedUp(
            f"rotation: expected fewer than {MAX_ROTATIONS} of one producer, found {enrolment.rotations}: "
            "retire this producer and enrol anew"
        )


def finish_take_over(slot: Slot) -> None:
    """Step 4: the new key takes the old one's name. Any number of times. Raises OSError."""
    path = slot.directory / NEXT_KEY
    if path.exists():
        path.replace(slot.directory / KEY)
        sync_dir(slot.directory)


def ending_kind(payload: bytes) -> str | None:
    """`rotation` or `retirement` if this sealed entry is one: it ends the batch it is in."""
    # Almost no entry holds these bytes, and only an entry's own kind can stand there unescaped at its level.
    if not any(mark in payload for mark in _ENDS):
        return None
    try:
        kind = parse_entry(payload).kind
    except AuditLogError:
        return None
    return kind if kind in {ROTATION, RETIREMENT} else None


def request_rotation(slot_dir: Path) -> None:
    """Ask who holds the slot, or holds it next, for a new key; durable on return. Raises OSError."""
    write_durable(slot_dir / ROTATE_REQUEST, b"{}\n")


def refuse_request(slot_dir: Path, reason: str) -> None:
    """Say in the request why it cannot be carried out; durable on return. Raises OSError."""
    write_durable(slot_dir / ROTATE_REQUEST, json.dumps({"refused": reason}, indent=1).encode() + b"\n")


def refusal_of(slot_dir: Path) -> str | None:
    """Why the slot's request for a new key cannot be carried out; None if it can, or there is none."""
    try:
        members = json.loads((slot_dir / ROTATE_REQUEST).read_bytes())
    except (OSError, ValueError):
        return None
    refused = members.get("refused") if isinstance(members, dict) else None
    return refused if isinstance(refused, str) else None


def forget_request(slot_dir: Path) -> None:
    """The request is fulfilled. Raises OSError."""
    (slot_dir / ROTATE_REQUEST).unlink(missing_ok=True)


def _is_sealed(spool_dir: Path, vkey: str) -> bool:
    """Whether the spool holds the rotation to this key; what recovery cuts off is not seen here either."""
    for path in list_segments(spool_dir):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        for scanned in scan_frames(content, HEADER_BYTES):
            record = scanned.record
            if record is None or ending_kind(record.payload) != ROTATION:
                continue
            if parse_entry(record.payload).body.get("vkey") == vkey:
                return True
    return False

"""What a producer signs about itself: its enrolment, each start, each change of its key (spec/entry.md,
"Statements"); and what a monitor signs about what it saw (spec/evidence.md, "OBSERVED").

All are C2SP signed notes. A producer's are under its key, whose name is `<origin>/producer/<name>`. The
second line is the origin, never digits only, so none can be read as a checkpoint. A rotation is two notes
over one text: by the key in force and by the next one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditlog.core.keys import Ed25519Verifier
from auditlog.core.scalars import (
    check_hash,
    check_hash_hex,
    check_instance_hex,
    check_name,
    check_origin,
    encode_base64,
    parse_decimal,
    parse_hash_base64,
    parse_time,
    text_lines,
)
from auditlog.core.signed import open_one
from auditlog.errors import EvidenceError, MalformedError

PRODUCER_HEADER = "auditlog/producer@v1"
INSTANCE_HEADER = "auditlog/instance@v1"
ROTATION_HEADER = "auditlog/rotation@v1"
OBSERVED_HEADER = "auditlog/observed@v1"

OUTCOMES_PRODUCER = "outcomes"
"""The name under which a log service writes outcomes for others; it lets nobody else enrol under it."""

MAX_ROTATIONS = 61
"""A receipt has room for so many beside the producer's, the instance's and the model's entry."""


MAX_OBSERVED_DETAIL = 500
"""Characters of the sentence in which a monitor says what it saw."""

_ALARM = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DETAIL = re.compile(rf"[ -~]{{1,{MAX_OBSERVED_DETAIL}}}")


@dataclass(frozen=True, slots=True)
class Observed:
    """What a monitor says it saw of a log, and when."""

    origin: str
    alarm: str
    """A word of registry.md, "Alarms"."""
    time: str
    """By the monitor's clock, in the one spelling of an entry's `time`."""
    size: int
    """Of the newest tree of the log that it had checked."""
    root: bytes
    shown: bytes
    """RFC 6962 root over the notes shown with the statement, each a leaf."""
    detail: str
    """One line of printable ASCII, at most `MAX_OBSERVED_DETAIL` characters."""


@dataclass(frozen=True, slots=True)
class InstanceStatement:
    """What the note of an `instance` entry says; hashes and instance in hex."""

    origin: str
    producer: str
    instance: str
    prev: str


def producer_key_name(origin: str, name: str) -> str:
    """Return the key name of a producer, `<origin>/producer/<name>`."""
    return f"{check_origin(origin)}/producer/{check_name(name)}"


def producer_text(origin: str, name: str) -> str:
    """Return the text a producer signs to enrol."""
    return f"{PRODUCER_HEADER}\n{check_origin(origin)}\n{check_name(name)}\n"


def parse_producer_text(text: str) -> tuple[str, str]:
    """Read the enrolment text: (origin, name).

    Raises:
        MalformedError: not exactly what `producer_text` writes.
    """
    origin, name = text_lines(text, PRODUCER_HEADER, 2)
    return check_origin(origin), check_name(name)


def instance_text(origin: str, producer: str, instance: str, prev: str) -> str:
    """Return the text a producer signs at each start; `producer` and `prev` are 64 hex digits, `instance` is
    32.
    """
    check_hash_hex(producer, "producer")
    check_hash_hex(prev, "prev")
    return f"{INSTANCE_HEADER}\n{check_origin(origin)}\n{producer}\n{check_instance_hex(instance)}\n{prev}\n"


def parse_instance_text(text: str) -> InstanceStatement:
    """Read the start text.

    Raises:
        MalformedError: not exactly what `instance_text` writes.
    """
    origin, producer, instance, prev = text_lines(text, INSTANCE_HEADER, 4)
    return InstanceStatement(
        origin=check_origin(origin),
        producer=check_hash_hex(producer, "producer"),
        instance=check_instance_hex(instance),
        prev=check_hash_hex(prev, "prev"),
    )


def rotation_text(origin: str, producer: str, vkey: str) -> str:
    """Return the text that the key in force and the next one both sign; `producer` is 64 hex digits, `vkey`
    the next key.

    Raises:
        MalformedError: a member out of form.
    """
    check_hash_hex(producer, "producer")
    return f"{ROTATION_HEADER}\n{check_origin(origin)}\n{producer}\n{Ed25519Verifier.from_vkey(vkey).vkey}\n"


def open_rotation(
    body: Mapping[str, Any], *, origin: str, producer: str, keys: Sequence[Ed25519Verifier]
) -> Ed25519Verifier:
    """Return the key that is in force after a `rotation` entry: attacker-controlled, but of the right shape.

    `keys` are all that this producer had, in their order: the enrolled one first, the one in force last.

    Raises:
        EvidenceError: the new key has another name or was this producer's before, one of the two notes is
            not by its key, or says something else.
    """
    if len(keys) > MAX_ROTATIONS:
        raise MalformedError(f"rotation: expected at most {MAX_ROTATIONS} of one producer, found another")
    following = Ed25519Verifier.from_vkey(body["vkey"])
    if following.name != keys[-1].name:
        raise MalformedError(f"rotation: expected a key named {keys[-1].name}, found another name")
    if following.vkey in {key.vkey for key in keys}:
        raise MalformedError("rotation: expected a key that is new, found one this producer had before")
    text = rotation_text(origin, producer, following.vkey)
    for note, key, which in zip(body["notes"], (keys[-1], following), ("old", "new"), strict=True):
        try:
            stated = open_one(note, key)
        except EvidenceError as error:
            raise type(error)(f"rotation: note by the {which} key: {error}") from error
        if stated != text:
            raise MalformedError(f"rotation: expected the {which} key over this rotation, found another text")
    return following


def observed_text(seen: Observed) -> str:
    """Return the text a monitor signs about what it saw.

    Raises:
        MalformedError: a member out of form.
    """
    lines = (
        OBSERVED_HEADER,
        seen.origin,
        seen.alarm,
        seen.time,
        str(seen.size),
        encode_base64(check_hash(seen.root, "observed root")),
        encode_base64(check_hash(seen.shown, "observed notes")),
        seen.detail,
    )
    text = "".join(f"{line}\n" for line in lines)
    parse_observed_text(text)
    return text


def parse_observed_text(text: str) -> Observed:
    """Read the text of an observation: attacker-controlled.

    Raises:
        MalformedError: not exactly what `observed_text` writes.
    """
    origin, alarm, time, size, root, shown, detail = text_lines(text, OBSERVED_HEADER, 7)
    parse_time(time)
    if _ALARM.fullmatch(alarm) is None:
        raise MalformedError("observed alarm: expected a word of 1 to 64 of a-z 0-9 _, found another")
    if _DETAIL.fullmatch(detail) is None:
        raise MalformedError(
            f"observed detail: expected 1 to {MAX_OBSERVED_DETAIL} printable characters, found another line"
        )
    return Observed(
        origin=check_origin(origin),
        alarm=alarm,
        time=time,
        size=parse_decimal(size, "observed tree size"),
        root=parse_hash_base64(root, "observed root"),
        shown=parse_hash_base64(shown, "observed notes"),
        detail=detail,
    )

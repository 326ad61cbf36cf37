"""What a producer signs about itself: its enrolment and each start (spec/entry.md, "Producer chain").

Both are C2SP signed notes under the producer's key, whose name is `<origin>/producer/<name>`. The second
line is the origin, never digits only, so neither can be read as a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.core.scalars import check_hash_hex, check_instance_hex, check_name, check_origin, text_lines

PRODUCER_HEADER = "auditlog/producer@v1"
INSTANCE_HEADER = "auditlog/instance@v1"


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

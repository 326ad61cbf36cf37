"""What a producer posts to a log: one signed head and the framed entries it covers.

Spec: `auditlog/spec/log.md`, "Batch framing".

    batch  = uint32 big-endian length of head || head note, UTF-8 || entry+
    entry  = uint16 big-endian length || entry bytes          (as in an entry bundle)

The framing knows nothing of what is inside: opening the
head and parsing the entries is the log's admission. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.tiles import decode_bundle, encode_bundle
from auditlog.errors import MalformedError, TooLargeError

BATCH_MEDIA_TYPE = "application/vnd.auditlog.batch"
"""Content type of a posted batch."""

MAX_HEAD_BYTES = 65_536
"""A head is one statement with one signature, well under 2 KiB; above this it is not read."""

_LENGTH_BYTES = 4


def encode_batch(head_note: str, entries: Sequence[bytes]) -> bytes:
    """Frame a head note and its entries.

    Raises:
        TooLargeError: the head or an entry is over its limit.
        ValueError: no entries; an empty batch says nothing.
    """
    if not entries:
        raise ValueError("expected at least one entry in a batch, found none")
    head = head_note.encode("utf-8")
    if len(head) > MAX_HEAD_BYTES:
        raise TooLargeError(f"expected a head of at most {MAX_HEAD_BYTES} bytes, found {len(head)}")
    return len(head).to_bytes(_LENGTH_BYTES, "big") + head + encode_bundle(entries)


def decode_batch(data: bytes) -> tuple[str, list[bytes]]:
    """Undo `encode_batch`; `data` is attacker-controlled. Bound its size before reading it from a socket.

    Raises:
        MalformedError: cut short, a head over its limit or not UTF-8, or no entries.
    """
    head_bytes = int.from_bytes(data[:_LENGTH_BYTES], "big")
    start = _LENGTH_BYTES + head_bytes
    if head_bytes > MAX_HEAD_BYTES:
        raise MalformedError(f"expected a head of at most {MAX_HEAD_BYTES} bytes, found {head_bytes}")
    if len(data) < start:
        raise MalformedError(f"expected at least {start} bytes of batch, found {len(data)}")
    try:
        head_note = data[_LENGTH_BYTES:start].decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError("expected a head note in UTF-8, found other bytes") from None
    entries = decode_bundle(data[start:])
    if not entries:
        raise MalformedError("expected at least one entry in a batch, found none")
    return head_note, entries

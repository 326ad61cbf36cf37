"""The file format of the spool: one segment, framed records (README.md of this package, "The spool on disk").

    segment := header frame*
    header  := "auditspl" u16 version u16 content u64 first | 16 instance u64 seq 32 leaf_hash u64 time_us |
    u32 crc frame   := u32 length u32 crc payload          crc over length and payload payload := u8 type |
    type 1: 16 instance u64 seq u64 time_us record bytes | type 2 (clean close): nothing

Big-endian; crc is CRC-32 (torn and rotten writes, not attackers). The header repeats the tip before the
segment, so the chain can go on after every older segment has been dropped. Promises: `scan_segment` is total
and stops at the first byte it cannot vouch for. Must never: trust a length before the checksum has confirmed
it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from auditlog.capture.chain import Tip
from auditlog.errors import MalformedError

MAGIC = b"auditspl"
VERSION = 1
SEALED = 1
"""Content of a spool: entries, byte for byte as they go into the log."""
DRAFTS = 2
"""Content of a draft spool: numbered but unsealed records (JSON), before enrolment."""

MAX_PAYLOAD = 1 << 17

_FIXED = struct.Struct(">8sHHQ16sQ32sQ")
_CRC = struct.Struct(">I")
_FRAME = struct.Struct(">II")
_RECORD = struct.Struct(">B16sQQ")
HEADER_BYTES = _FIXED.size + _CRC.size
FRAME_OVERHEAD = _FRAME.size + _RECORD.size
"""Bytes a record takes beyond its own."""

_TYPE_RECORD = 1
_TYPE_CLEAN = 2


class Record(msgspec.Struct, frozen=True):
    """One record of the spool: an entry or a draft, with its place in the chain."""

    instance: str
    seq: int
    time_us: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a segment says: its content, the number of its first record, the tip before it."""

    content: int
    first: int
    tip: Tip


class Scanned(msgspec.Struct, frozen=True):
    """One good frame: where it ends, and its record (None for the mark of a clean close)."""

    end: int
    record: Record | None


def encode_header(header: Header) -> bytes:
    """Write the header of a new segment."""
    tip = header.tip
    fixed = _FIXED.pack(
        MAGIC, VERSION, header.content, header.first,
        bytes.fromhex(tip.instance), tip.seq, tip.leaf_hash, tip.time_us,
    )  # fmt: skip
    return fixed + _CRC.pack(zlib.crc32(fixed))


def decode_header(content: bytes) -> Header:
    """Read the header of a segment.

    Raises:
        MalformedError: too short, torn, of another version, or not a segment.
    """
    if len(content) < HEADER_BYTES:
        raise MalformedError(f"segment: expected a header of {HEADER_BYTES} bytes, found {len(content)}")
    fixed = content[: _FIXED.size]
    magic, version, kind, first, instance, seq, leaf_hash, time_us = _FIXED.unpack(fixed)
    if magic != MAGIC or _CRC.unpack_from(content, _FIXED.size)[0] != zlib.crc32(fixed):
        raise MalformedError("segment: expected an intact header, found something else")
    if version != VERSION:
        raise MalformedError(f"segment: expected version {VERSION}, found {version}")
    return Header(kind, first, Tip(instance.hex(), seq, leaf_hash, time_us))


def encode_record(record: Record) -> bytes:
    """Write one record as a frame."""
    head = _RECORD.pack(_TYPE_RECORD, bytes.fromhex(record.instance), record.seq, record.time_us)
    return _frame(head + record.payload)


def encode_clean_mark() -> bytes:
    """Write the frame that says: this process ended in order and lost nothing."""
    return _frame(bytes([_TYPE_CLEAN]))


def _frame(payload: bytes) -> bytes:
    length = len(payload)
    crc = zlib.crc32(payload, zlib.crc32(length.to_bytes(4, "big")))
    return _FRAME.pack(length, crc) + payload


def scan_frames(content: bytes, start: int) -> Iterator[Scanned]:
    """Yield the good frames of `content` from `start`; stop before the first bad one or at the end."""
    at = start
    total = len(content)
    while at + _FRAME.size <= total:
        length, crc = _FRAME.unpack_from(content, at)
        end = at + _FRAME.size + length
        if not 1 <= length <= MAX_PAYLOAD or end > total:
            return
        payload = content[at + _FRAME.size : end]
        if zlib.crc32(payload, zlib.crc32(length.to_bytes(4, "big"))) != crc:
            return
        scanned = _decode_payload(payload, end)
        if scanned is None:
            return
        yield scanned
        at = end


def _decode_payload(payload: bytes, end: int) -> Scanned | None:
    if payload[0] == _TYPE_CLEAN and len(payload) == 1:
        return Scanned(end, None)
    if payload[0] != _TYPE_RECORD or len(payload) < _RECORD.size:
        return None
    _, instance, seq, time_us = _RECORD.unpack_from(payload)
    return Scanned(end, Record(instance.hex(), seq, time_us, payload[_RECORD.size :]))

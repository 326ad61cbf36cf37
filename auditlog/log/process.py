"""A process beside the service that checks batches: the program it runs. `processes` starts it and asks.

Checking holds the interpreter lock for nearly all it does, so that threads would only take turns with the
sequencer. This program answers one question after the other on its standard input, a socket: a batch in its
framing, and what the log knows of its producer. It runs the very `check_batch` that a log without processes
runs. A question (integers big-endian):

    uint32 length of the terms || uint32 length of the batch || terms, MessagePack || batch

The answer: uint32 length || MessagePack of `Finding`, or length 0 where the batch was refused. What was wrong
with it the asker finds by checking it again: refusals are rare, and errors need no second form.
Must never: hold a key that signs, or open a store.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Sequence
from functools import lru_cache
from struct import Struct

import msgspec

from auditlog.core.batch import decode_batch
from auditlog.core.note import Ed25519Verifier
from auditlog.errors import AuditLogError
from auditlog.log.admission import Batch, CheckedBatch, check_batch, claimed_head

LENGTHS = Struct(">II")
LENGTH = Struct(">I")
HASH_BYTES = 32


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What a batch is checked against: the log's origin, and the producer's keys in their order."""

    origin: str
    vkeys: tuple[str, ...]


class Finding(msgspec.Struct, frozen=True, gc=False):
    """What `CheckedBatch` says beyond the batch and its head; leaf hashes one after the other."""

    leaf_hashes: bytes
    prev: str
    decides: bool
    next_vkey: str | None
    retires: bool


def put_question(terms: Terms, batch: bytes) -> Sequence[bytes]:
    """The parts of a question, in order: the batch is not copied."""
    about = msgspec.msgpack.encode(terms)
    return LENGTHS.pack(len(about), len(batch)) + about, batch


def answer(terms: Terms, framed: bytes) -> bytes:
    """The answer to one question; `framed` is attacker-controlled."""
    try:
        checked = _checked(terms, framed)
    except AuditLogError:
        return LENGTH.pack(0)
    finding = msgspec.msgpack.encode(
        Finding(
            leaf_hashes=b"".join(checked.leaf_hashes),
            prev=checked.prev,
            decides=checked.decides,
            next_vkey=checked.next_vkey,
            retires=checked.retires,
        )
    )
    return LENGTH.pack(len(finding)) + finding


def _checked(terms: Terms, framed: bytes) -> CheckedBatch:
    batch = Batch(*decode_batch(framed))
    return check_batch(batch, claimed_head(batch), terms.origin, [_verifier(each) for each in terms.vkeys])


@lru_cache(maxsize=1024)
def _verifier(vkey: str) -> Ed25519Verifier:
    return Ed25519Verifier.from_vkey(vkey)


def read_answer(answer: bytes | bytearray) -> Finding:
    """What was found. Raises msgspec.MsgspecError: nothing that this program writes."""
    return msgspec.msgpack.decode(answer, type=Finding)


def take(source: socket.socket, count: int) -> bytearray:
    """So many bytes; raises EOFError where the other side has ended, OSError where nothing comes in time."""
    found = bytearray(count)
    view, at = memoryview(found), 0
    while at < count:
        got = source.recv_into(view[at:])
        if not got:
            raise EOFError
        at += got
    return found


def main() -> None:
    """Answer until the asker is gone, however it went: then there is nothing more to read."""
    # A Ctrl-C is for the service, which closes the socket when it has stopped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asker = socket.socket(fileno=sys.stdin.fileno())
    try:
        while True:
            about, size = LENGTHS.unpack(take(asker, LENGTHS.size))
            terms = msgspec.msgpack.decode(take(asker, about), type=Terms)
            asker.sendall(answer(terms, bytes(take(asker, size))))
    except (EOFError, ConnectionError):
        return


if __name__ == "__main__":
    main()

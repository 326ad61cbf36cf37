"""What a process beside the service is asked, what it answers, and how both go over a socket.

Integers are big-endian; a question, and the answer to it:

    uint32 length of the question || uint32 length of the payload || question, MessagePack || payload
    uint32 length || answer, or length 0 where it refused or failed

Both sides are of one release, started together: this is no format for ever. Pure but for `take`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from struct import Struct

import msgspec

from auditlog.log.config import Layout
from auditlog.storage.files import FileStore

LENGTHS = Struct(">II")
LENGTH = Struct(">I")
HASH_BYTES = 32


class _Question(msgspec.Struct, frozen=True, tag=True):
    """What is asked."""


class Nothing(_Question, frozen=True):
    """Whether somebody is there: refused, which is an answer."""


class CheckBatch(_Question, frozen=True):
    """Check the batch in the payload, in its framing: origin of the log, keys of the producer in order."""

    origin: str
    vkeys: tuple[str, ...]


class Folder(msgspec.Struct, frozen=True):
    """Where a `FileStore` is, and whether all may read what it creates."""

    root: str
    temp: str
    for_all_to_read: bool


class Folders(msgspec.Struct, frozen=True):
    """The stores of a log, and who may read what in them."""

    public: Folder
    private: Folder
    staging: Folder
    visibility: str


class CheckStaged(_Question, frozen=True):
    """Read a staged commit and hash all of it again: the hash of the hashes of its entries."""

    folders: Folders
    name: str
    size: int
    root: bytes


class ApplyStaged(_Question, frozen=True):
    """Put a staged commit into the tree, durably: `done`."""

    folders: Folders
    name: str
    size: int
    root: bytes


Question = Nothing | CheckBatch | CheckStaged | ApplyStaged


class Finding(msgspec.Struct, frozen=True):
    """What `CheckedBatch` says beyond the batch and its head; leaf hashes one after the other."""

    leaf_hashes: bytes
    prev: str
    decides: bool
    next_vkey: str | None
    retires: bool


def folders_of(layout: Layout) -> Folders | None:
    """What another process needs to open the stores; None if they are not all folders."""
    stores = layout.stores
    found = [_folder(store) for store in (stores.public, stores.private, stores.staging)]
    public, private, staging = found
    if public is None or private is None or staging is None:
        return None
    return Folders(public, private, staging, str(layout.visibility))


def _folder(store: object) -> Folder | None:
    return Folder(*store.place) if isinstance(store, FileStore) else None


def done(objects: int) -> bytes:
    """The answer of a process after which so many objects are in the tree."""
    return LENGTH.pack(objects)


def put_question(question: Question, payload: bytes) -> Sequence[bytes]:
    """The parts of a question, in order: the payload is not copied."""
    about = msgspec.msgpack.encode(question)
    return (
        (LENGTHS.pack(len(about), len(payload)) + about, payload)
        if payload
        else (LENGTHS.pack(len(about), 0) + about,)
    )


def take(source: socket.socket, count: int) -> bytes:
    """So many bytes; raises EOFError where the other side has ended, OSError where nothing comes in time."""
    found = bytearray(count)
    view, at = memoryview(found), 0
    while at < count:
        got = source.recv_into(view[at:])
        if not got:
            raise EOFError
        at += got
    return bytes(found)

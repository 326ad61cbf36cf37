"""The reader: a second process that reads a tree ahead of the one that judges, for one pass.

Spec: auditlog/spec/monitor.md, "Speed". `python -m auditlog.verify.monitor.reader` takes a `Job` on standard
input and writes pieces, each with its length in four bytes before it, to standard output: full tiles in
order, checked against the signed root, with their entries checked against them and the plain ones read. It
ends, without a word, at the first thing that is not as it should be: the judge reads on from there itself and
says what it is. Must never: decide anything; outlive its judge by more than one object.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import Any, BinaryIO, Final

import msgspec

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.entry import Entry
from auditlog.core.proofs import HASH_BYTES
from auditlog.core.tiles import TILE_WIDTH, TilePath
from auditlog.errors import AuditLogError
from auditlog.verify.monitor.lean import LeanSource
from auditlog.verify.monitor.prefetch import Ahead
from auditlog.verify.plain_entries import plain_members
from auditlog.verify.second_process import read_job, write_frame
from auditlog.verify.sources import FolderSource, LogSource
from auditlog.verify.tlogclient import VerifiedTree

_CACHED_TILES: Final = 64


class Job(msgspec.Struct):
    """What to read: full tiles of leaves from `first` up to `end`, and their entries."""

    target: str
    token: str | None
    origin: str
    size: int
    root: bytes
    first: int
    end: int


class Piece(msgspec.Struct, array_like=True):
    """One full tile: its hashes one after the other, its entries as read by the pattern, or else as they are.

    The judge trusts it as it trusts itself: the same code has checked it, in a process that it started.
    """

    number: int
    hashes: bytes
    entries: list[Entry | bytes]

    def leaf_hashes(self) -> list[bytes]:
        """The hashes, one by one."""
        return [self.hashes[at : at + HASH_BYTES] for at in range(0, len(self.hashes), HASH_BYTES)]


def read_ahead(job: Job, out: BinaryIO) -> None:
    """Read all of a job; raises `AuditLogError` where it cannot go on, OSError where nobody listens."""
    source: LogSource
    if job.target.lower().startswith(("http://", "https://")):
        source = Ahead(LeanSource(job.target, job.token))
        source.plan(
            str(TilePath(level, number)) for number in range(job.first, job.end) for level in (0, None)
        )
    else:
        source = FolderSource(job.target)
    tree = VerifiedTree(source, Checkpoint(job.origin, job.size, job.root), cached=_CACHED_TILES)
    encoder = msgspec.msgpack.Encoder()
    for number in range(job.first, job.end):
        write_frame(encoder.encode(read_piece(tree, number)), out)


def read_piece(tree: VerifiedTree, number: int) -> list[Any]:
    """One full tile as `Piece` is written; raises `SourceError` or `EvidenceError`."""
    origin = tree.checkpoint.origin
    hashes, entries = tree.tile(0, number), tree.bundle(number)
    if len(hashes) != TILE_WIDTH:
        raise ValueError(f"expected a full tile, found one of {len(hashes)}")
    return [number, b"".join(hashes), [plain_members(data, origin) or data for data in entries]]


def main() -> None:
    """One job."""
    # Pieces are many small objects without cycles: looking for some costs a tenth of the time.
    gc.set_threshold(100_000)
    job = msgspec.msgpack.decode(read_job(), type=Job)
    with contextlib.suppress(AuditLogError, OSError):
        read_ahead(job, sys.stdout.buffer)
    # Threads that still fetch are not waited for, and neither is a pipe that nobody reads.
    os._exit(0)


if __name__ == "__main__":
    main()

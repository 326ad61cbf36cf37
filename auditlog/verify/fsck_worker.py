"""One of the processes that read a log for fsck: `python -m auditlog.verify.fsck_worker`.

Spec: `auditlog/spec/log.md`, "fsck". Takes a `Job` on standard input and writes its sections, in their order,
as frames to standard output; an empty frame where something of a section could not be read, for only the
judge says why. Must never: decide anything; outlive its judge by more than one section.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import BinaryIO

import msgspec

from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import AuditLogError
from auditlog.verify.fsck_hands import Job
from auditlog.verify.fsck_sections import SECTION_TILES, Scanner, paths_of
from auditlog.verify.monitor.lean import LeanSource
from auditlog.verify.monitor.prefetch import Ahead
from auditlog.verify.second_process import read_job, write_frame
from auditlog.verify.sources import FolderSource, LogSource, open_source


def work(job: Job, out: BinaryIO, source: LogSource) -> None:
    """All sections of a job, from `source`; raises OSError where nobody listens."""
    numbers = range(job.first, -(-job.size // (SECTION_TILES * TILE_WIDTH)), job.step)
    if isinstance(source, Ahead):
        source.plan(
            path
            for number in numbers
            for path in paths_of(number, job.size, with_bundles=job.with_bundles, minimum=job.minimum)
        )
    scanner = Scanner(source, job.origin, job.size, with_bundles=job.with_bundles, minimum=job.minimum)
    encode = msgspec.msgpack.Encoder().encode
    for number in numbers:
        section = scanner.scan(number)
        write_frame(b"" if any(fault.reason for fault in section.faults) else encode(section), out)


def _source(job: Job) -> LogSource:
    if job.target.lower().startswith(("http://", "https://")):
        return Ahead(LeanSource(job.target, job.token))
    source = open_source(job.target, job.token)
    return source if isinstance(source, FolderSource) else Ahead(source)


def main() -> None:
    """One job."""
    # Sections are large and without cycles: looking for some costs a tenth of the time.
    gc.set_threshold(100_000)
    job = msgspec.msgpack.decode(read_job(), type=Job)
    with contextlib.suppress(AuditLogError, OSError):
        work(job, sys.stdout.buffer, _source(job))
    # Threads that still fetch are not waited for, and neither is a pipe that nobody reads.
    os._exit(0)


if __name__ == "__main__":
    main()

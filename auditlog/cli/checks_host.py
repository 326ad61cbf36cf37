"""`auditlog doctor`, the host: clock, free space, and whether a disk keeps what it says it has kept."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from auditlog.cli.findings import Finding, ok, problem, warning

_RELEASED_S: Final = 1_760_000_000
"""Some instant before the first release: a clock before it is wrong."""
_MIN_FREE_BYTES: Final = 1 << 30
_SLOW_SYNC_S: Final = 0.05
_VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
_REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs"})


def check_clock(folders: Iterable[Path]) -> Finding:
    """The clock is after the release and not behind the newest file of ours."""
    now = time.time()
    if now < _RELEASED_S:
        return problem("clock", f"expected a time after {_iso(_RELEASED_S)}, found {_iso(now)}")
    newest = max((_newest(folder) for folder in folders), default=0.0)
    if newest > now + 2:
        return problem("clock", f"expected a clock after our newest file ({_iso(newest)}), found {_iso(now)}")
    return ok("clock", f"{_iso(now)}; nobody else vouches for it, so receipts call it a claim")


def _newest(folder: Path) -> float:
    try:
        return max((entry.stat().st_mtime for entry in os.scandir(folder)), default=0.0)
    except OSError:
        return 0.0


def _iso(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def check_space(folder: Path) -> Finding:
    """There is room, on a disk that outlives a restart."""
    place = _existing(folder)
    free = shutil.disk_usage(place).free
    kind = filesystem_of(place)
    text = f"{free / (1 << 30):.1f} GiB free at {folder} ({kind})"
    if free < _MIN_FREE_BYTES:
        return problem("disk", f"expected 1 GiB or more, found {text}")
    if kind in _VOLATILE:
        return problem("disk", f"expected a disk that outlives a restart, found {text}")
    if kind in _REMOTE:
        return warning("disk", f"expected a local disk, whose fsync and locks can be relied on, found {text}")
    return ok("disk", text)


def check_fsync(folder: Path) -> Finding:
    """Writing and syncing a small file works, and how long it takes."""
    path = _existing(folder) / f".auditlog-doctor-{os.getpid()}"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            taken = [_timed_sync(handle) for _ in range(5)]
        finally:
            os.close(handle)
            path.unlink(missing_ok=True)
    except OSError as error:
        return problem("fsync", f"expected to write and sync in {path.parent}, found: {error.strerror}")
    middle = sorted(taken)[len(taken) // 2]
    text = f"4 KiB synced in {middle * 1000:.2f} ms at {folder}"
    if middle > _SLOW_SYNC_S:
        return warning("fsync", f"{text}: every acknowledgement waits for one")
    return ok("fsync", text)


def _timed_sync(handle: int) -> float:
    begin = time.perf_counter()
    os.write(handle, bytes(4096))
    os.fsync(handle)
    return time.perf_counter() - begin


def filesystem_of(path: Path) -> str:
    """The kind of file system a path is on, as the kernel names it; "unknown" where it does not say."""
    best, kind = "", "unknown"
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return kind
    resolved = str(path.resolve())
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount = fields[1].replace("\\040", " ")
        inside = resolved == mount or resolved.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    for place in (folder, *folder.absolute().parents):
        if place.is_dir():
            return place
    return Path("/")

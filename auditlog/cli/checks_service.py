"""`auditlog doctor`, the service: for each configured
log its key, its published folder and its rollback guard.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from auditlog.cli.findings import Finding, ok, problem, warning
from auditlog.cli.reading import read_text_line
from auditlog.errors import AuditLogError

if TYPE_CHECKING:
    from auditlog.core.keys import Ed25519Signer
    from auditlog.service.settings import LogPaths, LogSettings, Settings


def check_logs(settings: Settings) -> Iterator[Finding]:
    """Check every configured log."""
    for log in settings.logs:
        paths = settings.paths(log)
        yield from _check_key(log, paths, settings)
        yield _check_guard(log, paths, settings)


def check_buckets(settings: Settings) -> Iterator[Finding]:
    """Write a scratch object to every bucket of the configuration, under each condition the log relies on."""
    from auditlog.service.stores import open_bucket

    for url in dict.fromkeys(url for log in settings.logs for url in settings.stores(log).all):
        try:
            open_bucket(settings, url).prove_conditions()
        except AuditLogError as error:
            yield problem("bucket", str(error))
        else:
            yield ok("bucket", f"{url}: writes under a condition are kept")


def _check_key(log: LogSettings, paths: LogPaths, settings: Settings) -> Iterator[Finding]:
    if not paths.key_file.exists():
        yield problem(
            "key", f"log {log.name}: expected a key at {paths.key_file}, found none (auditlog log create)"
        )
        return
    mode = stat.S_IMODE(paths.key_file.stat().st_mode)
    if mode & 0o077:
        yield problem("key", f"log {log.name}: expected a key only its owner can read, found mode {mode:o}")
    try:
        yield from _check_checkpoint(log, settings, _load(paths.key_file))
    except (AuditLogError, OSError) as error:
        yield problem("log", f"log {log.name}: {error}")


def _load(path: Path) -> Ed25519Signer:
    from auditlog.core.keys import Ed25519Signer

    return Ed25519Signer.from_private_key(read_text_line(path, "the key of the log"))


def _check_checkpoint(log: LogSettings, settings: Settings, signer: Ed25519Signer) -> Iterator[Finding]:
    from auditlog.core.checkpoint import open_checkpoint
    from auditlog.service.stores import public_place, published_note

    if signer.name != log.origin:
        yield problem(
            "key", f"log {log.name}: expected a key named {log.origin}, found one named {signer.name}"
        )
        return
    yield ok("key", f"log {log.name}: {signer.vkey}")
    note = published_note(settings, log)
    if note is None:
        yield problem(
            "log", f"log {log.name}: expected a published checkpoint, found none (auditlog log create)"
        )
        return
    checkpoint, _ = open_checkpoint(note, [signer.verifier], log.origin)
    _, place = public_place(settings, log)
    yield ok("log", f"log {log.name}: {checkpoint.tree_size} entries published in {place}")


def _check_guard(log: LogSettings, paths: LogPaths, settings: Settings) -> Finding:
    guard = paths.high_water_file
    if guard is None and settings.anchoring.mode == "rpc":
        return ok("guard", f"log {log.name}: the slot on the chain, from the first anchor on")
    if guard is None and log.witness_guard != "off" and (log.witnesses or log.witness_policy):
        return ok("guard", f"log {log.name}: its witnesses, asked at each start")
    if guard is None:
        return warning("guard", f"log {log.name}: no high-water file: a restored backup would not be noticed")
    data_dir = settings.service.data_dir
    try:
        same_disk = guard.parent.stat().st_dev == data_dir.stat().st_dev
    except OSError as error:
        return problem("guard", f"log {log.name}: expected to reach {guard.parent}, found: {error.strerror}")
    if same_disk:
        return warning("guard", f"log {log.name}: {guard} is on the same disk as the data it guards")
    return ok("guard", f"log {log.name}: {guard}, on another disk than the data")

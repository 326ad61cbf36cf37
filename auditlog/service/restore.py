"""Putting a backup of a log where none is. The log then starts only if those outside agree.

Spec: auditlog/spec/log.md, "Backups". Objects first, each checked against the signed commit as it is copied,
then the rows in one transaction: dying on the way leaves a place without a log, and a mark: the same restore,
run again, goes on. Nothing is published here: the first start asks the rollback guards, writes the `restored`
notice, and shows its checkpoint. Must never: put anything where something is, or sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.retention import RETENTION_PATH
from auditlog.core.tiles import parse_path
from auditlog.errors import ConfigurationError, DamagedStoreError, EvidenceError, SourceError, StorageError
from auditlog.log.config import Layout, Stores, Visibility
from auditlog.log.keeping import KEPT_PREFIX
from auditlog.log.recover import open_own
from auditlog.log.staging import open_staged
from auditlog.service.backup import (
    EXTRA_NAMES,
    EXTRAS,
    KEYS,
    STAGING,
    TREE,
    CommitSource,
    Manifest,
    extras_of,
    key_files,
    read_manifest,
    stores_of,
)
from auditlog.service.secretfiles import read_log_key
from auditlog.service.settings import LogSettings, Settings
from auditlog.storage.alone import alone
from auditlog.storage.files import write_durably
from auditlog.storage.owned import FolderLock, make_dir
from auditlog.storage.ports import ObjectStore
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.export import load, log_row
from auditlog.verify.mirror import mirror
from auditlog.verify.sources import CHECKPOINT_PATH, FolderSource

RESTORING = "restoring"
Object = tuple[str, bytes]


def restore(
    settings: Settings,
    log: LogSettings,
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Put the backup in `folder` where the configuration says that the log is.

    Raises:
        ConfigurationError: the place is not empty, the backup is of another log, or a key is missing.
        DamagedStoreError, EvidenceError: the backup is not what was signed.
        StorageError: a store failed; or a backup is being taken in the folder, or another restore reads it.
    """
    read_manifest(folder)  # nothing is made in a folder that is no backup, not even a lock
    with alone(folder / TREE, "restore", only_reads=True):
        return _restore_from(settings, log, folder, progress)


def _restore_from(
    settings: Settings, log: LogSettings, folder: Path, progress: Callable[[int, int], None] | None
) -> Manifest:
    """From a backup that nobody changes meanwhile."""
    manifest = read_manifest(folder)
    if (manifest.origin, manifest.visibility) != (log.origin, log.visibility):
        raise ConfigurationError(
            f"expected a backup of {log.origin}, {log.visibility}; found one of {manifest.origin}, "
            f"{manifest.visibility}"
        )
    _check_state(folder, manifest)
    make_dir(settings.service.data_dir)
    url = settings.database_url
    held = FolderLock(settings.service.data_dir) if url.startswith("sqlite") else None
    try:
        database = Database.open(url)
        try:
            _restore(settings, log, folder, manifest, database, progress)
        finally:
            database.close()
    finally:
        if held is not None:
            held.release()
    return manifest


def _restore(  # noqa: PLR0917  what `restore` has, and the database
    settings: Settings,
    log: LogSettings,
    folder: Path,
    manifest: Manifest,
    database: Database,
    progress: Callable[[int, int], None] | None,
) -> None:
    make_dir(settings.service.data_dir / "logs" / log.name)
    stores = stores_of(settings, log, database)
    mark = settings.service.data_dir / "logs" / log.name / RESTORING
    _check_empty(log, stores, goes_on=_goes_on(mark, manifest))
    write_durably(mark, manifest.state_sha256.encode("ascii"))
    _restore_keys(settings, log, folder)
    verifier = read_log_key(settings.paths(log).key_file, log.origin).verifier
    checkpoint = open_own(manifest.note, verifier)
    if (checkpoint.tree_size, checkpoint.root_hash.hex()) != (manifest.size, manifest.root):
        raise DamagedStoreError("backup: expected the size and root of its checkpoint, found others")
    layout = Layout(stores, Visibility(log.visibility))
    staged = _read(folder / STAGING / manifest.staged)
    source = _commit_of(folder, manifest, checkpoint, staged)
    done = mirror(source, _Places(layout), verifier.vkey, progress=progress)
    if (done.size, done.root_hash.hex()) != (manifest.size, manifest.root) or not done.has_entries:
        raise DamagedStoreError("backup: expected the whole tree of its checkpoint, found another")
    stores.staging.put_new(manifest.staged, staged)
    for name, path in _extras(folder, manifest):
        stores.private.replace(name, _read(path))
    # The rows last, all or none: before them there is no log here.
    load(database, log.origin, _state_lines(folder, manifest))
    mark.unlink(missing_ok=True)


def _goes_on(mark: Path, manifest: Manifest) -> bool:
    """Whether a restore of this very backup stopped here."""
    return mark.exists() and _read(mark) == manifest.state_sha256.encode("ascii")


def _commit_of(folder: Path, manifest: Manifest, checkpoint: Checkpoint, staged: bytes) -> CommitSource:
    """The tree as the backup says it is; a later run that stopped may have brought the folder further."""
    row = log_row(next(_state_lines(folder, manifest), b""), manifest.origin)
    tree = FolderSource(folder / TREE)

    def rest(path: str) -> bytes | None:
        try:
            return tree.fetch(path)
        except SourceError as error:
            if error.reason == "missing":
                return None
            raise

    opened = open_staged(manifest.staged, staged, checkpoint.tree_size, checkpoint.root_hash)
    return CommitSource(manifest.note, row["retention"], opened, rest)


def _extras(folder: Path, manifest: Manifest) -> Iterator[tuple[str, Path]]:
    """What else belongs to the log, by name."""
    for path in sorted((folder / EXTRAS / KEPT_PREFIX).rglob("*")):
        if path.is_file():
            yield path.relative_to(folder / EXTRAS).as_posix(), path
    for name in EXTRA_NAMES:
        path = extras_of(folder, manifest.state) / name
        if path.exists():
            yield name, path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"expected to read {path}, found {error.strerror}") from error


def _state_lines(folder: Path, manifest: Manifest) -> Iterator[bytes]:
    """The rows of the backup, the log's own first. Raises StorageError: the file is missing or unreadable."""
    try:
        with (folder / manifest.state).open("rb") as lines:
            yield from lines
    except OSError as error:
        raise StorageError(
            f"backup: expected {manifest.state}, which backup.json names, in {folder}, found: "
            f"{error.strerror}. No log was restored. If this is a copy of a backup, copy it all again; else "
            "restore another backup"
        ) from error


def _check_state(folder: Path, manifest: Manifest) -> None:
    digest = hashlib.sha256()
    for line in _state_lines(folder, manifest):
        digest.update(line)
    if digest.hexdigest() != manifest.state_sha256:
        raise DamagedStoreError(f"backup: expected {manifest.state} as it was written, found other bytes")


def _check_empty(log: LogSettings, stores: Stores, *, goes_on: bool) -> None:
    if stores.state.read() is not None:
        raise ConfigurationError(f"expected no log of origin {log.origin} in the database, found one")
    if not goes_on and (stores.public.list() or stores.private.list() or stores.staging.list()):
        raise ConfigurationError(
            f"expected empty stores for the log {log.name}, found something in them: another log's, or what "
            "the restore of another backup left when it stopped. Name other places, or remove what is there"
        )


def _restore_keys(settings: Settings, log: LogSettings, folder: Path) -> None:
    """Take keys from the backup where none lie; what lies there stays."""
    for each in key_files(settings.paths(log)):
        kept = folder / KEYS / each.name
        if not each.path.exists() and kept.exists():
            write_durably(each.path, _read(kept))
    for path in (settings.paths(log).key_file, settings.paths(log).receipt_secret_file):
        if not path.exists():
            raise ConfigurationError(f"expected the secret of the log at {path} or in the backup, found none")


class _Places:
    """Each object of a tree in the store that the visibility gives it; nothing is published."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def get(self, path: str) -> bytes | None:
        """No checkpoint is here, so that all is copied; what else there is does not matter."""
        return None if path == CHECKPOINT_PATH else self._layout.store_of(parse_path(path)).get(path)

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Create objects, durable on return."""
        for store, group in self._by_store(objects):
            store.put_new_all(group)

    def _by_store(self, objects: Iterable[tuple[str, bytes]]) -> Iterator[tuple[ObjectStore, list[Object]]]:
        groups: dict[int, tuple[ObjectStore, list[Object]]] = {}
        for path, data in objects:
            store = self._layout.store_of(parse_path(path))
            groups.setdefault(id(store), (store, []))[1].append((path, data))
        yield from groups.values()

    def replace_unless(self, path: str, data: bytes, keeps: Callable[[bytes], bool]) -> bool:  # noqa: ARG002
        """The checkpoint waits for the first start, which asks the guards; so does the retention document."""
        if path not in {CHECKPOINT_PATH, RETENTION_PATH} or not data:
            raise EvidenceError("expected nothing but the checkpoint to be replaced, found another object")
        return True

    def delete(self, path: str) -> None:
        """Nothing is superseded in an empty place."""

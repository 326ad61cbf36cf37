"""A backup of one log while it runs: its state at one commit, and every object of that commit's tree.

Spec: auditlog/spec/log.md, "Backups". A snapshot of the database names a commit; the staged object of that
very commit is read while the snapshot is open, and what else the tree needs was applied before it, so that
the copy is whole at that size however busy the log is. `backup.json` is written last and names the rest,
under names that no other run uses; the edge of the tree is read from the staged object (`CommitSource`). So a
run that stops leaves the backup before it in force. One run at a time has the folder (`storage.alone`). Every
byte of the tree is checked against the signed commit. Must never: hold a key unless told to, or put a backup
in the place of a larger one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from auditlog.core.retention import RETENTION_PATH
from auditlog.core.tiles import parse_path
from auditlog.errors import ConfigurationError, InconsistentLogError, SourceError, StorageError
from auditlog.log.config import Layout, Stores, Visibility
from auditlog.log.cosigners import COSIGNERS, QUORUM_CHECKPOINT
from auditlog.log.keeping import KEPT_PREFIX
from auditlog.log.recover import open_own, staged_of
from auditlog.log.staging import Staged
from auditlog.service.secretfiles import read_log_key
from auditlog.service.settings import LogSettings, Settings
from auditlog.service.stores import StoreOpener
from auditlog.storage.alone import alone
from auditlog.storage.files import FileStore, write_durably
from auditlog.storage.owned import OWNER_FILE, open_new
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.export import snapshot
from auditlog.storage.sql.state import SqlState
from auditlog.verify.mirror import mirror
from auditlog.verify.sources import CHECKPOINT_PATH

if TYPE_CHECKING:
    from auditlog.core.note import NoteVerifier
    from auditlog.service.settings import LogPaths
    from auditlog.storage.ports import ObjectStore

MANIFEST = "backup.json"
FORMAT = "auditlog/backup@v1"
TREE, STAGING, EXTRAS, KEYS = "tree", "staging", "extras", "keys"
EXTRA_NAMES = (COSIGNERS, QUORUM_CHECKPOINT)
_ATTEMPTS = 200


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup says of itself. Sizes in entries."""

    v: str
    origin: str
    visibility: str
    size: int
    root: str
    note: str
    staged: str
    state: str
    state_sha256: str
    rows: int
    keys: bool


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A secret of a log: its name in a backup, and where it lies."""

    name: str
    path: Path


def key_files(paths: LogPaths) -> list[KeyFile]:
    """Every secret of a log that a backup may hold."""
    return [
        KeyFile("log.key", paths.key_file),
        KeyFile("receipt.secret", paths.receipt_secret_file),
        KeyFile("outcomes.key", paths.outcomes_key_file),
        KeyFile("facts.key", paths.facts_key_file),
    ]


def stores_of(settings: Settings, log: LogSettings, database: Database) -> Stores:
    """The stores of a log, without an engine over them. Raises StorageError, ConfigurationError."""
    objects = StoreOpener(settings)
    return Stores(
        public=objects.public(log),
        private=objects.private(log),
        staging=objects.staging(log),
        state=SqlState(database, log.origin),
    )


def back_up(
    settings: Settings,
    log: LogSettings,
    target: Path,
    *,
    with_keys: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Back a log up into a folder: a new one, or one with an older backup of it, which is brought up to date.

    Raises:
        ConfigurationError: no such log, or the folder holds something else.
        InconsistentLogError: the folder holds a larger or another tree of this log: it was rolled back.
        StorageError: a store failed, or does not hold what was signed; or another run has the folder.
    """
    is_new = not (target / MANIFEST).exists() and not (target / TREE).is_dir()
    if is_new and target.exists() and any(target.iterdir()):
        raise ConfigurationError(f"expected a new folder or a backup at {target}, found something else")
    verifier = read_log_key(settings.paths(log).key_file, log.origin).verifier
    # The tree first: by it a run that meets the folder now sees that it is to be a backup.
    tree = FileStore(target / TREE)
    with alone(tree.root, "backup"):
        return _back_up(settings, log, target, verifier, tree, with_keys, progress)


def _back_up(  # noqa: PLR0917  what `back_up` has, the key, and the copy
    settings: Settings,
    log: LogSettings,
    target: Path,
    verifier: NoteVerifier,
    tree: FileStore,
    with_keys: bool,
    progress: Callable[[int, int], None] | None,
) -> Manifest:
    """A run that has the folder to itself."""
    held = _held(target)
    if held is not None and held.origin != log.origin:
        raise ConfigurationError(f"expected a backup of {log.origin}, found one of {held.origin}")
    database = Database.open(settings.database_url)
    try:
        stores = stores_of(settings, log, database)
        layout = Layout(stores, Visibility(log.visibility))
        taken = _take_state(database, layout, verifier, log.origin, target)
    finally:
        database.close()
    source = CommitSource(
        taken.note, taken.retention, taken.staged, lambda path: layout.store_of(parse_path(path)).get(path)
    )
    mirror(source, tree, verifier.vkey, progress=progress)
    _keep(target / STAGING / taken.staged_name, taken.staged_bytes)
    for name in stores.private.list(KEPT_PREFIX):
        _keep_found(stores.private, name, target / EXTRAS)
    for name in EXTRA_NAMES:
        _keep_found(stores.private, name, extras_of(target, taken.state.name))
    if with_keys:
        for each in key_files(settings.paths(log)):
            if each.path.exists():
                _keep(target / KEYS / each.name, each.path.read_bytes())
    manifest = Manifest(
        v=FORMAT,
        origin=log.origin,
        visibility=log.visibility,
        size=taken.staged.tree.size,
        root=taken.staged.tree.root_hash.hex(),
        note=taken.note,
        staged=taken.staged_name,
        state=taken.state.name,
        state_sha256=taken.state_sha256,
        rows=taken.rows,
        keys=with_keys or (held is not None and held.keys),
    )
    _check_goes_forward(target, held, manifest)
    write_durably(target / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    _drop_older(target, manifest)
    return manifest


def _held(target: Path) -> Manifest | None:
    """The backup that is there."""
    return read_manifest(target) if (target / MANIFEST).exists() else None


def _check_goes_forward(target: Path, held: Manifest | None, manifest: Manifest) -> None:
    """No backup is put in the place of a larger one, nor of one that this run has not seen: where a file
    system does not keep the lock (some network ones), a run that began earlier stops here.
    """
    found = _held(target)
    if found != held:
        raise StorageError(
            f"expected the backup at {target} as it was when this run began, found another one: another run "
            "has written it. It was left as it is; run one backup at a time"
        )
    if held is not None and held.size > manifest.size:
        raise InconsistentLogError(
            f"expected at least the {held.size} entries of the backup at {target}, found {manifest.size}",
            smaller=manifest.note,
            larger=held.note,
        )


def read_manifest(folder: Path) -> Manifest:
    """What a backup says of itself. Raises ConfigurationError: it is none."""
    try:
        found = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"expected a backup at {folder}, found: {type(error).__name__}") from error
    if found.v != FORMAT or any("/" in name for name in (found.state, found.staged)):
        raise ConfigurationError(f"expected a backup of version {FORMAT} at {folder}, found another")
    return found


@dataclass(frozen=True, slots=True)
class _Taken:
    """One commit: its note, what it staged, and the file with the rows of that moment."""

    note: str
    retention: str | None
    staged_name: str
    staged_bytes: bytes
    staged: Staged
    state: Path
    state_sha256: str
    rows: int


def _take_state(
    database: Database, layout: Layout, verifier: NoteVerifier, origin: str, target: Path
) -> _Taken:
    """Read the state of one commit together with its staged object."""
    stores = layout.stores
    for _ in range(_ATTEMPTS):
        with snapshot(database, origin) as (committed, lines):
            checkpoint = open_own(committed.note, verifier)
            try:
                name, data, staged = staged_of(committed, checkpoint, stores.staging)
            except StorageError:
                # Superseded between the two reads: the next attempt sees a newer commit.
                newest = stores.state.read()
                if newest is None or newest.note == committed.note:
                    raise
                continue
            path, sha256, rows = _write_lines(target, lines)
            return _Taken(committed.note, committed.retention, name, data, staged, path, sha256, rows)
    raise StorageError("expected to read a commit and what it staged, found it superseded each time")


def _write_lines(folder: Path, lines: Iterator[bytes]) -> tuple[Path, str, int]:
    """Write rows as they come: there may be more than fit in memory. Durable on return, under a name that
    says what is in it: what an older backup names is never written over.
    """
    digest, rows = hashlib.sha256(), 0
    temporary = folder / "state.tmp"
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(open_new(temporary, OWNER_FILE), "wb") as file:
            for line in lines:
                digest.update(line)
                file.write(line)
                rows += 1
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"state-{digest.hexdigest()[:32]}.jsonl"
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"expected to write {temporary}, found {error.strerror}") from error
    return path, digest.hexdigest(), rows


class CommitSource:
    """The tree of one commit as a log to read: what its staged object holds first, then the rest."""

    def __init__(
        self, note: str, retention: str | None, staged: Staged, rest: Callable[[str], bytes | None]
    ) -> None:
        """`retention` is the document of that moment; `rest` finds what was applied before the commit."""
        self._rest = rest
        self._objects = {str(path): data for path, data in (*staged.full, *staged.tree.partials())}
        self._objects[CHECKPOINT_PATH] = note.encode("utf-8")
        if retention is not None:
            self._objects[RETENTION_PATH] = retention.encode("utf-8")

    def fetch(self, path: str) -> bytes:
        """One object. Raises SourceError."""
        found = self._objects.get(path)
        if found is None and path not in {CHECKPOINT_PATH, RETENTION_PATH}:
            found = self._rest(path)
        if found is None:
            raise SourceError(f"expected {path} in the stores, found nothing", reason="missing")
        return found


def extras_of(folder: Path, state: str) -> Path:
    """Where a backup keeps what is of the moment of its state file of this name."""
    return folder / EXTRAS / Path(state).stem


def _keep_found(store: ObjectStore, name: str, folder: Path) -> None:
    found = store.get(name)
    if found is not None:
        _keep(folder / name, found)


def _keep(path: Path, data: bytes) -> None:
    write_durably(path, data)


def _drop_older(target: Path, manifest: Manifest) -> None:
    """Files that only the backup before this one named."""
    for path in (*target.glob("state-*.jsonl"), *(target / STAGING).iterdir()):
        if path.name not in {manifest.state, manifest.staged}:
            path.unlink(missing_ok=True)
    for path in (target / EXTRAS).glob("state-*"):
        if path.name != Path(manifest.state).stem:
            shutil.rmtree(path)


def shown(manifest: Manifest) -> dict[str, Any]:
    """What the commands print."""
    return {
        "origin": manifest.origin,
        "size": manifest.size,
        "root": manifest.root,
        "rows": manifest.rows,
        "keys": manifest.keys,
    }

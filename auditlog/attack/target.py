"""The copy of a log that attacks are tried on: found, read once, refused if it looks live. Never written.

Spec: auditlog/attack/README.md, "The target". A folder holds a copy if `checkpoint` is in it or in exactly
one folder below it; entry bundles may lie under a second root, as those of a log that is not public do.
Keys are taken from `*.key` files in it. What is in a copy is attacker-controlled: it ends in
`UnfitTargetError`. Must never: write, lock, or follow the target's own configuration anywhere.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from auditlog.attack.errors import LiveTargetError, UnfitTargetError
from auditlog.attack.forging import CHECKPOINT
from auditlog.core.checkpoint import parse_checkpoint
from auditlog.core.keys import Ed25519Signer
from auditlog.core.note import split_note
from auditlog.core.tiles import TILE_WIDTH, bundle_path, decode_bundle
from auditlog.errors import AuditLogError, EvidenceError

MAX_ENTRIES: Final = 100_000
"""Every attack writes the log anew in memory."""
DEPTH: Final = 4
"""How far below the target a checkpoint or a key is looked for."""
_MAX_KEY_BYTES: Final = 4096
_LOCKS: Final = ("service.lock", "lock")
_CONFIGURATION: Final = "auditlog.toml"
LIVE_LOOK_S: Final = 1.2
"""Longer than the interval at which a log in use publishes."""


@dataclass(frozen=True, slots=True)
class Target:
    """A copy, read."""

    folder: Path
    note: str
    """Its newest checkpoint, as it lies there."""
    origin: str
    entries: list[bytes]
    keys: dict[str, Ed25519Signer]
    """By vkey: the secret keys that lie in the folder."""


def read_target(folder: Path, *, look_s: float = LIVE_LOOK_S) -> Target:
    """Read the copy in `folder`, after looking for `look_s` seconds whether it changes.

    Raises:
        LiveTargetError: it looks live.
        UnfitTargetError: it holds no whole log, or one too large.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise UnfitTargetError(f"expected a folder with a copy of a log, found something else at {folder}")
    root = folder.resolve()
    public = _public_folder(root)
    refuse_live(root, public, look_s)
    try:
        note = (public / CHECKPOINT).read_text(encoding="utf-8")
        tree = parse_checkpoint(split_note(note)[0])
    except (OSError, UnicodeDecodeError, EvidenceError) as error:
        raise UnfitTargetError(f"expected a checkpoint in {public}, found: {error}") from error
    if tree.tree_size > MAX_ENTRIES:
        raise UnfitTargetError(f"expected at most {MAX_ENTRIES} entries in a copy, found {tree.tree_size}")
    entries = _entries(_bundle_root(root, public), tree.tree_size)
    return Target(folder, note, tree.origin, entries, _keys(root))


def _public_folder(root: Path) -> Path:
    found = [path.parent for path in _below(root) if path.name == CHECKPOINT and path.is_file()]
    if len(found) != 1:
        raise UnfitTargetError(
            f"expected one folder with a checkpoint in {root}, found {len(found) or 'none'}: "
            "name a copy of the folder that a log publishes, or of its operator's"
        )
    return found[0]


def _bundle_root(root: Path, public: Path) -> Path:
    """Where the entry bundles are: in the public folder, or under a second root beside it."""
    if (public / "tile" / "entries").is_dir():
        return public
    found = [path.parent.parent for path in _below(root) if path.name == "entries" and path.is_dir()]
    if len(found) != 1:
        raise UnfitTargetError(
            f"expected entry bundles in the copy, found {len(found) or 'none'}: of a log that is not public, "
            "copy the folder of its private bundles as well"
        )
    return found[0]


def _below(root: Path) -> Iterator[Path]:
    """Everything in a folder down to `DEPTH`, without following links or going into tiles."""
    for place, folders, names in os.walk(root):
        here = Path(place)
        depth = len(here.relative_to(root).parts)
        yield from (here / name for name in (*names, *folders))
        folders[:] = [name for name in folders if name not in ("entries", ".git") and depth < DEPTH]
        if here.name == "tile":
            folders.clear()


def _entries(bundles: Path, size: int) -> list[bytes]:
    found: list[bytes] = []
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        try:
            found += decode_bundle((bundles / bundle_path(number, width)).read_bytes())
        except (OSError, AuditLogError) as error:
            raise UnfitTargetError(f"expected entry bundle {number} in the copy, found: {error}") from error
    if len(found) != size:
        raise UnfitTargetError(f"expected {size} entries in the copy, found {len(found)}")
    return found


def _keys(root: Path) -> dict[str, Ed25519Signer]:
    found: dict[str, Ed25519Signer] = {}
    for path in _below(root):
        if path.suffix != ".key" or path.is_symlink() or not path.is_file():
            continue
        try:
            if path.stat().st_size <= _MAX_KEY_BYTES:
                signer = Ed25519Signer.from_private_key(path.read_text(encoding="utf-8").strip())
                found[signer.vkey] = signer
        except (OSError, UnicodeDecodeError, EvidenceError):
            continue  # a key of another kind, or none
    return found


def refuse_live(root: Path, public: Path, look_s: float) -> None:
    """Refuse a folder that a process uses, that its own configuration names, or that changes.

    Raises:
        LiveTargetError: it looks live.
    """
    for path in _below(root):
        if path.name in _LOCKS and path.is_file() and _is_locked(path):
            raise LiveTargetError(f"expected a copy, found {path} locked by a running process")
    for config in _configurations(root):
        named = _named_in(config)
        if any(_same(path, inner) for path in named for inner in (root, public)):
            raise LiveTargetError(f"expected a copy, found the very folder that {config} is set up with")
    if (user := _user_of(root)) is not None:
        raise LiveTargetError(f"expected a copy, found files open in process {user}")
    before = _state(public)
    time.sleep(look_s)
    if _state(public) != before:
        raise LiveTargetError(f"expected a copy, found a checkpoint in {public} that changes")


def _is_locked(path: Path) -> bool:
    # Opened for reading: asking for a shared lock changes nothing in the file or about it.
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _configurations(root: Path) -> Iterable[Path]:
    """In the copy, and where the operator's folder stands beside what it publishes."""
    inside = [path for path in _below(root) if path.name == _CONFIGURATION]
    beside = [*root.parent.glob(_CONFIGURATION), *root.parent.glob(f"*/{_CONFIGURATION}")]
    return dict.fromkeys([*inside, *beside])


def _named_in(config: Path) -> list[Path]:
    import tomllib

    try:
        value = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError):
        return []
    texts: list[str] = []
    tables = [value, *(each for each in value.values() if isinstance(each, dict))]
    tables += [each for each in value.get("logs", []) if isinstance(each, dict)]
    for table in tables:
        texts += [text for name, text in table.items() if name.endswith("_dir") and isinstance(text, str)]
    # A relative path goes along with a copy; an absolute one names the folder that is in use.
    return [Path(text) for text in texts if Path(text).is_absolute()]


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def _user_of(root: Path) -> str | None:
    """The number of a process that has a file below `root` open; where the system does not tell, None."""
    own = str(os.getpid())
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == own:
            continue
        try:
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(link.startswith(f"{root}{os.sep}") for link in links):
            return process.name
    return None


def _state(public: Path) -> tuple[bytes, int]:
    try:
        return (public / CHECKPOINT).read_bytes(), len(list((public / "tile").rglob("*")))
    except OSError:
        return b"", 0

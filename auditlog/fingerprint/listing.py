"""Which files a model consists of, and under which names (spec/fingerprint.md, "Which files count").

Every regular file below the folder counts: weights, tokenizer, templates, configuration, code. Nothing is
chosen by its ending, because a loader may read anything. Only the names in `IGNORED_NAMES` are left out: what
version control, hub clients and file browsers leave beside a model and no loader reads.

A symbolic link counts as what it points to, under the link's own name: the hub's cache keeps
`snapshots/<commit>/name` as links into `blobs/`, and both a cache and a plain copy must have one fingerprint.

Must never: follow a link in a circle, skip what it cannot
read, or guess at a name that is not text. It refuses.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from auditlog.errors import ConfigurationError
from auditlog.fingerprint.manifest import MAX_FILES

IGNORED_NAMES = frozenset(
    {
        ".git",
        ".gitattributes",
        ".gitignore",
        ".cache",
        ".huggingface",
        ".DS_Store",
        ".ipynb_checkpoints",
        "__pycache__",
    }
)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells one content of a file from another without
    reading it. `ctime_ns` cannot be set back by `touch`.
    """

    dev: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileIdentity:
        """Take the identity from a stat of the file itself, never of a link to it."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that counts: its path inside the model, where it is now, and its identity when listed."""

    path: str
    location: Path
    identity: FileIdentity


def list_files(model: Path) -> list[ListedFile]:
    """List the files of a model, which is a folder or a single file, sorted by the bytes of their paths.

    Raises:
        ConfigurationError: the path does not exist, holds no file, or holds something that cannot be
        fingerprinted
            (a dangling link, a circle of links, a device, a name that is not UTF-8, too many files).
        OSError: the file system refused to be read.
    """
    try:
        found = model.stat()
    except FileNotFoundError:
        raise ConfigurationError(f"model: expected a file or folder, found nothing at {model}") from None
    if stat.S_ISREG(found.st_mode):
        return [ListedFile(_text(model.name), model, FileIdentity.of(found))]
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(f"model: expected a file or folder, found another thing at {model}")
    files: list[ListedFile] = []
    for file in _walk(model, "", ((found.st_dev, found.st_ino),)):
        files.append(file)
        if len(files) > MAX_FILES:
            raise ConfigurationError(f"model: expected at most {MAX_FILES} files, found more below {model}")
    if not files:
        raise ConfigurationError(f"model: expected at least one file, found none below {model}")
    return sorted(files, key=lambda file: file.path.encode("utf-8"))


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[ListedFile]:
    """Yield the files below `folder`. `above` are the
    folders on the way here, by (device, inode): circles end.
    """
    with os.scandir(folder) as found:
        entries = [entry for entry in found if entry.name not in IGNORED_NAMES]
    for entry in entries:
        path, location = prefix + _text(entry.name), Path(entry.path)
        try:
            status = location.stat()
        except FileNotFoundError:
            raise ConfigurationError(
                f"model: expected a file, found a link to nothing at {location}"
            ) from None
        if stat.S_ISREG(status.st_mode):
            yield ListedFile(path, location, FileIdentity.of(status))
        elif stat.S_ISDIR(status.st_mode):
            here = (status.st_dev, status.st_ino)
            if here in above:
                raise ConfigurationError(
                    f"model: expected folders, found a link back to its own folder at {location}"
                )
            yield from _walk(location, path + "/", (*above, here))
        else:
            raise ConfigurationError(f"model: expected files and folders, found another thing at {location}")


def _text(name: str) -> str:
    """The name as Unicode text; the system hands over bytes it cannot decode as lone surrogates."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigurationError(f"model: expected names in UTF-8, found {name!r}") from None
    return name

"""Measure a model: list its files, hash what is not known,
write the manifest (spec/fingerprint.md, "Measuring").

Several workers of one host start together and ask for the same model: one hashes, under an exclusive lock on
`<cache>/lock`, the others wait and then find every digest in the cache. The lock is the kernel's, so it falls
with its process. Files are listed again after hashing; a model that changes meanwhile is measured again,
three times at most, so a manifest is always of files that stood side by side.

Promises: the same files give the same root, on any host, through a hub cache or a plain copy.
Must never: write into the model's folder, or give a fingerprint of something it could not read in full.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from auditlog.errors import ConfigurationError, StorageError
from auditlog.fingerprint.digests import DigestCache, write_whole
from auditlog.fingerprint.listing import ListedFile, list_files
from auditlog.fingerprint.manifest import FileDigest, Manifest, build_manifest, format_manifest

_ATTEMPTS = 3
_HUB_PARTS = 3


@dataclass(frozen=True, slots=True)
class ModelFingerprint:
    """A model and the adapters put on it, each with its
    manifest; `source` is where the files came from, as stated.
    """

    name: str
    manifest: Manifest
    adapters: tuple[tuple[str, Manifest], ...] = ()
    source: str | None = None


def fingerprint_model(
    name: str,
    path: Path,
    cache_dir: Path,
    *,
    adapters: Mapping[str, Path] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> ModelFingerprint:
    """Measure a model and its adapter folders (PEFT or any
    other: an adapter is files too). Blocks; see `background`.

    Raises:
        ConfigurationError: a path that cannot be a model.
        StorageError: files that keep changing, or that cannot be read.
    """
    measured = {
        key: fingerprint_path(place, cache_dir, now_ns=now_ns)
        for key, place in sorted((adapters or {}).items())
    }
    manifest = fingerprint_path(path, cache_dir, now_ns=now_ns)
    return ModelFingerprint(name, manifest, tuple(measured.items()), hub_source(path))


def fingerprint_path(path: Path, cache_dir: Path, *, now_ns: Callable[[], int] = time.time_ns) -> Manifest:
    """Measure a folder or single file and write its manifest below `cache_dir/manifests/<root>.json`.

    Raises:
        ConfigurationError: a path that cannot be a model, or a cache inside it.
        StorageError: files that keep changing, or that cannot be read.
    """
    try:
        folder = _prepare(path, cache_dir)
        with _host_lock(folder / "lock"):
            cache = DigestCache(folder / "digests", now_ns=now_ns)
            manifest = _measure(path, cache)
            cache.prune()
            _keep_manifest(folder / "manifests", manifest)
    except OSError as error:
        raise StorageError(f"model: expected readable files and a writable cache, found {error}") from error
    return manifest


def hub_source(path: Path) -> str | None:
    """`owner/name@commit` when the path lies in a hub cache
    (`models--owner--name/snapshots/<commit>`), else None.
    """
    parts = Path(os.path.abspath(path)).parts  # noqa: PTH100  resolve() would follow the snapshot's links
    for at in range(len(parts) - _HUB_PARTS + 1):
        if parts[at].startswith("models--") and parts[at + 1] == "snapshots":
            return f"{parts[at].removeprefix('models--').replace('--', '/')}@{parts[at + 2]}"
    return None


def _prepare(path: Path, cache_dir: Path) -> Path:
    folder = cache_dir.resolve()
    if folder.is_relative_to(path.resolve()):
        raise ConfigurationError(
            "fingerprint: expected a cache outside the model, found it inside: its files would count"
        )
    for name in ("digests", "manifests"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def _host_lock(path: Path) -> Iterator[None]:
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield  # Closing the file gives the lock back.


def _measure(path: Path, cache: DigestCache) -> Manifest:
    last: StorageError | None = None
    for _ in range(_ATTEMPTS):
        try:
            files = list_files(path)
            digests = _digest_all(files, cache)
            if list_files(path) == files:
                return build_manifest(
                    FileDigest(file.path, file.identity.size, digest)
                    for file, digest in zip(files, digests, strict=True)
                )
        except StorageError as error:
            last = error
    raise last or StorageError("model: expected files that stay as they are while read, found them changing")


def _digest_all(files: list[ListedFile], cache: DigestCache) -> list[str]:
    # Hashing lets go of the interpreter, so two threads read a disk and use SHA instructions without slowing
    # the server much; more would compete with the loading of the very same files.
    with ThreadPoolExecutor(
        max_workers=min(2, len(files)), thread_name_prefix="auditlog-fingerprint"
    ) as pool:
        return list(pool.map(cache.digest, files))


def _keep_manifest(folder: Path, manifest: Manifest) -> None:
    path = folder / f"{manifest.root.hex()}.json"
    content = format_manifest(manifest)
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, content, durable=True)

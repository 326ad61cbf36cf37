"""What a model version is: the digests of its files, and one root over them (spec/fingerprint.md).

    leaf i = canonical JSON {"path": text, "sha256": 64 hex digits, "size": bytes}, files sorted by the bytes
    of path root   = RFC 6962 tree hash over the leaves, SHA-256

The `model` entry of the log names method, root and number of files; the manifest itself stays with the
operator, who can later show any file to be part of the model with an inclusion proof, and the others without
showing them. Pure: no files, clock or randomness. Total on bytes: `parse_manifest` returns a manifest or
raises `MalformedError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from auditlog.core import canonical
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.scalars import check_hash_hex
from auditlog.errors import MalformedError

METHOD = "files-sha256@v1"
VERSION = "auditlog/manifest@v1"
MAX_FILES = 100_000
"""More files than any model has; a path that was set to a whole disk by mistake is refused, not hashed for
hours.
"""

MAX_MANIFEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileDigest:
    """One file of a model: its path inside the model (`/`
    between folders), size in bytes, SHA-256 in lower-case hex.
    """

    path: str
    size: int
    sha256: str

    def leaf(self) -> bytes:
        """The leaf of the manifest tree. Raises MalformedError if the path is not Unicode text."""
        return canonical.encode({"path": self.path, "sha256": self.sha256, "size": self.size})


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one model version, sorted by the bytes of their paths, and their root (32 bytes)."""

    root: bytes
    files: tuple[FileDigest, ...]
    method: str = METHOD

    def fingerprint(self) -> dict[str, str | int]:
        """The `fingerprint` member of a `model` entry: method, root in hex, number of files."""
        return {"method": self.method, "root": self.root.hex(), "files": len(self.files)}


def build_manifest(files: Iterable[FileDigest]) -> Manifest:
    """Sort the files and compute the root.

    Raises:
        MalformedError: no file, more than `MAX_FILES`, or two with one path.
    """
    ordered = tuple(sorted(files, key=lambda file: file.path.encode("utf-8", "surrogatepass")))
    if not 1 <= len(ordered) <= MAX_FILES:
        raise MalformedError(f"manifest: expected 1 to {MAX_FILES} files, found {len(ordered)}")
    if len({file.path for file in ordered}) != len(ordered):
        raise MalformedError("manifest: expected each path once, found one twice")
    return Manifest(root_hash([hash_leaf(file.leaf()) for file in ordered]), ordered)


def format_manifest(manifest: Manifest) -> bytes:
    """Write the manifest file: canonical JSON and a newline."""
    files = [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in manifest.files]
    body = {"v": VERSION, "method": manifest.method, "root": manifest.root.hex(), "files": files}
    return canonical.encode(body) + b"\n"


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest file strictly and recompute its root. The bytes are attacker-controlled.

    Raises:
        MalformedError: another shape, another order, or a root that is not the root of these files.
    """
    if not data.endswith(b"\n"):
        raise MalformedError("manifest: expected a final newline, found another ending")
    body = canonical.parse(data[:-1], max_bytes=MAX_MANIFEST_BYTES)
    if type(body) is not dict or set(body) != {"v", "method", "root", "files"}:
        raise MalformedError("manifest: expected the members v, method, root, files, found others")
    if body["v"] != VERSION or body["method"] != METHOD or type(body["files"]) is not list:
        raise MalformedError(f"manifest: expected {VERSION} with method {METHOD}, found another")
    files = tuple(_parse_file(item) for item in body["files"])
    manifest = build_manifest(files)
    if manifest.files != files:
        raise MalformedError("manifest: expected files sorted by path, found another order")
    if body["root"] != manifest.root.hex():
        raise MalformedError("manifest: expected the root of its files, found another root")
    return manifest


def _parse_file(item: Any) -> FileDigest:
    if type(item) is not dict or set(item) != {"path", "sha256", "size"}:
        raise MalformedError("manifest: expected files of path, sha256, size, found other members")
    path, size = item["path"], item["size"]
    if type(path) is not str or not path or type(size) is not int or size < 0:
        raise MalformedError("manifest: expected a path and a size of 0 or more, found something else")
    if type(item["sha256"]) is not str:
        raise MalformedError("manifest: expected a SHA-256 in hex, found something else")
    return FileDigest(path, size, check_hash_hex(item["sha256"], "manifest file"))

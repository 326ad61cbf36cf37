"""Manifests: the root is RFC 6962 over canonical JSON, and a manifest file has one spelling."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import auditlog
from auditlog.errors import MalformedError
from auditlog.fingerprint import FileDigest, build_manifest, format_manifest, parse_manifest
from auditlog.fingerprint.listing import IGNORED_NAMES

A = FileDigest("config.json", 2, hashlib.sha256(b"{}").hexdigest())
B = FileDigest("model.safetensors", 0, hashlib.sha256(b"").hexdigest())
C = FileDigest("sub/tokenizer.json", 5, hashlib.sha256(b"hello").hexdigest())


def leaf(file: FileDigest) -> bytes:
    """The leaf hash as the spec page writes it, without our code."""
    text = f'{{"path":"{file.path}","sha256":"{file.sha256}","size":{file.size}}}'
    return hashlib.sha256(b"\0" + text.encode()).digest()


def node(left: bytes, right: bytes) -> bytes:
    """An inner node of RFC 6962."""
    return hashlib.sha256(b"\1" + left + right).digest()


def test_root_is_the_tree_of_the_spec() -> None:
    """Three files give node(node(a, b), c) over the canonical leaves."""
    assert build_manifest([C, A, B]).root == node(node(leaf(A), leaf(B)), leaf(C))


def test_order_of_the_files_does_not_matter() -> None:
    """The manifest sorts by the bytes of the path, so any listing order gives the same root."""
    assert build_manifest([A, B, C]) == build_manifest([C, B, A])
    names = ["b", "a/b", "a.b", "é", "Z", "𐀀", "\uffff"]
    files = [FileDigest(name, 1, A.sha256) for name in names]
    assert [file.path for file in build_manifest(files).files] == sorted(names, key=lambda n: n.encode())


def test_any_difference_changes_the_root() -> None:
    """Another path, size, digest or number of files is another model."""
    root = build_manifest([A, B]).root
    others = [[A], [A, B, C], [A, FileDigest("model.bin", 0, B.sha256)], [A, FileDigest(B.path, 1, B.sha256)]]
    others.append([A, FileDigest(B.path, 0, C.sha256)])
    assert root not in {build_manifest(files).root for files in others}


def test_manifest_file_reads_back() -> None:
    """Format and parse are inverse."""
    manifest = build_manifest([A, B, C])
    assert parse_manifest(format_manifest(manifest)) == manifest
    assert manifest.fingerprint() == {"method": "files-sha256@v1", "root": manifest.root.hex(), "files": 3}


def changed(**members: object) -> bytes:
    """A manifest file of A and B with members replaced."""
    body = json.loads(format_manifest(build_manifest([A, B])))
    body.update(members)
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode() + b"\n"


FILE_A = {"path": A.path, "size": A.size, "sha256": A.sha256}
FILE_B = {"path": B.path, "size": B.size, "sha256": B.sha256}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}\n",
        b"[]\n",
        format_manifest(build_manifest([A, B]))[:-1],
        format_manifest(build_manifest([A, B])).replace(b'":', b'": '),
        changed(v="auditlog/manifest@v2"),
        changed(method="other"),
        changed(extra=1),
        changed(root="00" * 32),
        changed(root=7),
        changed(files=[FILE_A]),
        changed(files=[]),
        changed(files={}),
        changed(files=[FILE_B, FILE_A]),
        changed(files=[FILE_A, FILE_A]),
        changed(files=[{**FILE_A, "size": -1}]),
        changed(files=[{**FILE_A, "size": "2"}]),
        changed(files=[{**FILE_A, "path": ""}]),
        changed(files=[{**FILE_A, "sha256": "AB" * 32}]),
        changed(files=[{**FILE_A, "sha256": None}]),
        changed(files=[{**FILE_A, "mode": 1}]),
        changed(files=["config.json"]),
    ],
)
def test_malformed_manifests_are_refused(data: bytes) -> None:
    """Every other shape, order, spelling or root raises MalformedError."""
    with pytest.raises(MalformedError):
        parse_manifest(data)


@given(st.binary(max_size=300))
def test_parser_is_total(data: bytes) -> None:
    """Any bytes give a manifest or MalformedError, nothing else."""
    with contextlib.suppress(MalformedError):
        parse_manifest(data)


@pytest.mark.parametrize("files", [[], [A, A], [FileDigest("\ud800", 1, A.sha256)]])
def test_no_manifest_of_nothing_twice_or_no_text(files: list[FileDigest]) -> None:
    """An empty model, a path that occurs twice and a path that is not text have no fingerprint."""
    with pytest.raises(MalformedError):
        build_manifest(files)


def test_the_example_of_the_spec_page_is_true() -> None:
    """The leaves and the root printed in spec/fingerprint.md are those of the code."""
    page = Path(auditlog.__file__).with_name("spec").joinpath("fingerprint.md").read_text("utf-8")
    manifest = build_manifest([A, B])
    assert f"    root {manifest.root.hex()}\n" in page
    assert all(f"    {file.leaf().decode()}\n" in page for file in manifest.files)
    assert all(f"`{name}`" in page for name in IGNORED_NAMES)

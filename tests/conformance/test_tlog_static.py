"""A log written by core, behind a static file server, is what a stranger's tlog-tiles client expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditlog.core.tiles import decode_bundle, encode_bundle
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import HttpSource
from tests.conformance.outside_client import (
    OutsideClient,
    OutsideError,
    expected_files,
    files_below,
    merkle_root,
    static_server,
    tile_name,
)
from tests.support.tlog_writer import ORIGIN, log_signer, numbered_entries, write_log

VKEY = log_signer().vkey


@pytest.mark.parametrize("size", [1, 255, 256, 257, 65_536, 70_000])
def test_a_stranger_reads_the_whole_log_to_the_byte(size: int, tmp_path: Path) -> None:
    """Signature, every bundle, every tile, the root, and exactly the files there should be."""
    entries = numbered_entries(size)
    write_log(tmp_path, entries)
    assert files_below(tmp_path) == expected_files(size)
    with static_server(tmp_path) as port, OutsideClient("127.0.0.1", port, VKEY) as client:
        seen = client.read()
    assert (seen.origin, seen.size, seen.entries) == (ORIGIN, size, entries)


def test_fsck_reads_the_same_log_over_http(tmp_path: Path) -> None:
    """Our own fsck and the stranger agree behind the same server."""
    write_log(tmp_path, numbered_entries(600))
    with static_server(tmp_path) as port, HttpSource(f"http://127.0.0.1:{port}") as source:
        report = fsck(source, VKEY)
    assert (report.exit_code, report.tree_size) == (0, 600)


@pytest.mark.parametrize("path", ["tile/0/001", "tile/1/000.p/2", "tile/entries/001", "checkpoint"])
def test_the_stranger_is_not_convinced_by_changed_bytes(path: str, tmp_path: Path) -> None:
    """The outside client is a judge, not a formality: a changed file anywhere is an error."""
    write_log(tmp_path, numbered_entries(600))
    content = (tmp_path / path).read_bytes()
    if path.startswith("tile/entries"):
        content = encode_bundle([b"changed", *decode_bundle(content)[1:]])
    elif path == "checkpoint":
        content = content.replace(b"\n600\n", b"\n599\n")
    else:
        content = b"\x00" + content[1:]
    (tmp_path / path).write_bytes(content)
    with (
        static_server(tmp_path) as port,
        OutsideClient("127.0.0.1", port, VKEY) as client,
        pytest.raises(OutsideError),
    ):
        client.read()


def test_the_strangers_own_arithmetic() -> None:
    """The worked examples of the standard: tile names, and the files of 70,000."""
    assert tile_name(1_234_067, 256) == "x001/x234/067"
    assert tile_name(5, 7) == "005.p/7"
    assert tile_name(1000, 256) == "x001/000"
    assert len(expected_files(70_000)) == 1 + 274 + 274 + 2 + 1
    assert merkle_root([]).hex().startswith("e3b0c442")

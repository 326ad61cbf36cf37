"""Tiles: paths, widths and bundle framing at their edges."""

from __future__ import annotations

import pytest

from auditlog.core.tiles import (
    MAX_ENTRY_BYTES,
    TilePath,
    bundle_path,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
    parse_path,
    partial_width,
    paths_for_size,
    tile_path,
)
from auditlog.errors import MalformedError, TooLargeError


@pytest.mark.parametrize(
    ("path", "level", "index", "width"),
    [
        ("tile/0/000", 0, 0, 256),
        ("tile/0/005", 0, 5, 256),
        ("tile/0/x001/x234/067", 0, 1_234_067, 256),
        ("tile/0/x001/x234/067.p/5", 0, 1_234_067, 5),
        ("tile/63/000.p/1", 63, 0, 1),
        ("tile/2/x001/000.p/255", 2, 1000, 255),
        ("tile/entries/x273/000", None, 273_000, 256),
        ("tile/entries/273.p/112", None, 273, 112),
    ],
)
def test_paths_are_those_of_the_standard(path: str, level: int | None, index: int, width: int) -> None:
    """Coordinates and paths translate into each other, the standard's example among them."""
    assert parse_path(path) == TilePath(level, index, width)
    written = bundle_path(index, width) if level is None else tile_path(level, index, width)
    assert written == path == str(TilePath(level, index, width))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile",
        "tile/0",
        "tile/0/1",
        "tile/0/0001",
        "tile/00/001",
        "tile/-1/001",
        "tile/64/001",
        "tile/x/001",
        "tile/Entries/001",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/x001/x002",
        "tile/0/X001/002",
        "tile/0/001.p",
        "tile/0/001.p/",
        "tile/0/001.p/0",
        "tile/0/001.p/01",
        "tile/0/001.p/256",
        "tile/0/001.p/1.p/1",
        "tile/0/001.p/+1",
        "tile/0/001/",
        "tile/0/001\n",
        " tile/0/001",
        "/tile/0/001",
        "tile//001",
        "tile/0/../001",
        "tile/0/001%00",
        "tile/\u0661/001",
        "tile/0/\u0660\u0660\u0661",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/" + "x001/" * 7 + "001",
        "tile/0/" + "0" * 100,
    ],
)
def test_any_other_spelling_is_refused(path: str) -> None:
    """Leading zeros, empty groups, other digits, dots and widths out of range are not paths."""
    with pytest.raises(MalformedError):
        parse_path(path)


def test_coordinates_no_tile_has_are_a_callers_mistake() -> None:
    """Writing a path of an impossible tile is a ValueError."""
    for level, index, width in (
        (64, 0, 256),
        (-1, 0, 256),
        (0, -1, 256),
        (0, 2**63, 256),
        (0, 0, 0),
        (0, 0, 257),
    ):
        with pytest.raises(ValueError, match="expected a tile"):
            tile_path(level, index, width)


def test_the_standards_example_of_seventy_thousand() -> None:
    """70,000 leaves: 273 full tiles and one of 112; one full and one of 17; one of 1."""
    assert [partial_width(level, 70_000) for level in range(4)] == [112, 17, 1, 0]
    paths = list(paths_for_size(70_000, entries=False))
    assert len(paths) == 273 + 1 + 1 + 1 + 1
    assert paths[273:] == ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert len(list(paths_for_size(70_000))) == len(paths) + 274


def test_paths_at_the_sizes_where_tiles_fill() -> None:
    """Sizes 0, 1, 255, 256 and 257 have exactly the files of the standard."""
    assert list(paths_for_size(0)) == []
    assert list(paths_for_size(1)) == ["tile/0/000.p/1", "tile/entries/000.p/1"]
    assert list(paths_for_size(255)) == ["tile/0/000.p/255", "tile/entries/000.p/255"]
    assert list(paths_for_size(256)) == ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"]
    assert list(paths_for_size(257)) == [
        "tile/0/000",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/1",
    ]


def test_bundles_frame_entries_of_every_size() -> None:
    """Empty and largest entries survive framing; the bytes are two length bytes and the entry."""
    entries = [b"", b"a", b"x" * MAX_ENTRY_BYTES]
    assert decode_bundle(encode_bundle(entries)) == entries
    assert encode_bundle([b"", b"a"]) == b"\x00\x00\x00\x01a"
    assert decode_bundle(b"") == []


def test_an_entry_over_the_limit_cannot_be_framed() -> None:
    """65,536 bytes do not fit two length bytes."""
    with pytest.raises(TooLargeError):
        encode_bundle([b"x" * (MAX_ENTRY_BYTES + 1)])


@pytest.mark.parametrize(
    "data", [b"\x00", b"\x00\x01", b"\x00\x00\x00", b"\x00\x02a", b"\xff\xff" + b"x" * 65_534]
)
def test_a_bundle_cut_short_is_refused(data: bytes) -> None:
    """Half a length and half an entry are not entries."""
    with pytest.raises(MalformedError):
        decode_bundle(data)


def test_tiles_are_whole_hashes() -> None:
    """A tile has exactly as many hashes as its width says."""
    hashes = [bytes([number]) * 32 for number in range(3)]
    assert decode_tile(encode_tile(hashes), 3) == hashes
    for data, width in ((encode_tile(hashes), 2), (encode_tile(hashes)[:-1], 3), (b"", 1)):
        with pytest.raises(MalformedError):
            decode_tile(data, width)

"""Tile paths and bundles: total, canonical, and complete for every size."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.tiles import (
    TilePath,
    bundles_for_size,
    decode_bundle,
    encode_bundle,
    parse_path,
    partial_width,
    tiles_for_size,
)
from auditlog.errors import MalformedError

_paths = st.builds(
    TilePath,
    st.one_of(st.none(), st.integers(0, 63)),
    st.one_of(st.integers(0, 3000), st.integers(0, 2**54)),
    st.integers(1, 256),
)


@settings(max_examples=300, deadline=None)
@given(_paths)
def test_every_coordinate_has_one_path(path: TilePath) -> None:
    """Writing and reading a path are inverses."""
    assert parse_path(str(path)) == path


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.from_regex(r"tile/[0-9a-z]{1,7}/[x0-9/]{1,12}(\.p/[0-9]{1,3})?")))
def test_every_text_is_refused_or_canonical(text: str) -> None:
    """A path that is read is written back alike."""
    with contextlib.suppress(MalformedError):
        assert str(parse_path(text)) == text


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=40), st.lists(st.binary(max_size=9), max_size=5).map(encode_bundle)))
def test_every_bundle_is_refused_or_canonical(data: bytes) -> None:
    """A bundle that is read is written back alike."""
    with contextlib.suppress(MalformedError):
        assert encode_bundle(decode_bundle(data)) == data


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 200_000))
def test_the_tiles_of_a_size_hold_each_node_once(size: int) -> None:
    """At each level the widths add up to the complete nodes, all full but the last."""
    by_level: dict[int | None, list[TilePath]] = {}
    for path in (*tiles_for_size(size), *bundles_for_size(size)):
        by_level.setdefault(path.level, []).append(path)
    for level, paths in by_level.items():
        nodes = size if level is None else size >> (8 * level)
        assert [path.index for path in paths] == list(range(len(paths)))
        assert sum(path.width for path in paths) == nodes
        assert not any(path.is_partial for path in paths[:-1])
        assert paths[-1].width % 256 == (nodes % 256 if level is None else partial_width(level, size))

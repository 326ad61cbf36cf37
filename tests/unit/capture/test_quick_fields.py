"""The quick cutter gives the leaves of the core's scanner, or no answer."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture.quick_fields import quick_leaves
from auditlog.core.jsonfields import scan_fields

ANSWER = (
    b'{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"yes, \\n\\"so\\" it is"},'
    b'"logprobs":null}],"usage":{"total":410},"numbers":[1,2.5,-3e2],"empty":[],"none":{},"a/b~c":[[1],["x"]]}'
)
PIECES = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b" ", b"0", b"-", b".", b"e", b"\\", b"\x00", b"\x1f", b"\x7f",
    b"\xff", b"\xc3\xa9", b"true", b"nul", b'"id":1,', b"01", b"1e999", b"9" * 400, b"\\u0041", b"\\ud800",
    b'{"a":1,"a":2}', b"[ ]", b"{ }", b"-0", b"\xef\xbb\xbf",
]  # fmt: skip

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def test_an_ordinary_answer_is_cut_quickly() -> None:
    """Compact JSON of a chat server takes the quick way, with the leaves of the core."""
    leaves = quick_leaves(ANSWER)
    assert leaves is not None
    assert leaves == scan_fields(ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[1]",
        b"1",
        b'{"a": [1, 2]}',
        b'{"a": 1, "a": 2}',
        b'{"a":1,"a":2}',
        b'{"\\n":1}',
        b'{"a":"\\u0041"}',
        b'{"a":[ ]}',
        b"{}",
    ],
)
def test_what_is_not_certain_is_left_to_the_core(text: bytes) -> None:
    """Spaces, repeated keys, escapes in keys, other roots: no quick answer."""
    assert quick_leaves(text) is None


@given(
    st.dictionaries(st.text(max_size=5), values, max_size=5),
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", "\n:\t")]),
    st.sampled_from([None, 1]),
)
def test_any_json_object_gives_the_leaves_of_the_core(
    value: dict[str, object], is_escaped: bool, between: tuple[str, str], indent: int | None
) -> None:
    """Whatever a JSON writer makes of a value."""
    written = json.dumps(value, separators=between, ensure_ascii=is_escaped, indent=indent)
    text = written.encode("utf-8", "replace")
    leaves = quick_leaves(text)
    assert leaves is None or leaves == scan_fields(text)


@pytest.mark.parametrize("between", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("rows", [300, 340, 341, 342, 1023, 1024, 3000])
def test_many_leaves_are_summed_up_as_the_core_does(rows: int, between: tuple[str, str]) -> None:
    """Up to 1,024 leaves each is one, beyond that each member of the root."""
    value = {"m": "x", "rows": [{"a": 1, "b": [1, 2.0], "c": "x"} for _ in range(rows)], "e": {}}
    text = json.dumps(value, separators=between).encode()
    leaves = quick_leaves(text)
    assert leaves is None or leaves == scan_fields(text)
    assert leaves is not None or rows < 1023


@pytest.mark.parametrize("depth", [14, 15, 16, 17, 31, 33])
def test_deep_objects_give_the_leaves_of_the_core(depth: int) -> None:
    """Few or many leaves below a long way down."""
    for inner in ("1", "[" + ",".join(['"x"'] * 1100) + "]"):
        text = ('{"a":' * depth + inner + "}" * depth).encode()
        leaves = quick_leaves(text)
        assert leaves is None or leaves == scan_fields(text)


def test_a_long_pointer_is_left_to_the_core() -> None:
    """Beyond 65,535 bytes the format has no pointer."""
    for size in (65_533, 65_534, 65_535, 70_000):
        text = b'{"%b":{"a":"b"}}' % (b"k" * size)
        leaves = quick_leaves(text)
        assert leaves is None or leaves == scan_fields(text)


def test_mangled_json_never_gives_other_leaves() -> None:
    """Bytes put in, taken out and overwritten at random: the core's leaves, or no answer."""
    choose, answers = random.Random(3), 0
    spaced = json.dumps(json.loads(ANSWER)).encode()
    for number in range(20_000):
        text = bytearray(spaced if number & 1 else ANSWER)
        for _ in range(choose.randint(1, 3)):
            at, piece = choose.randrange(len(text) + 1), choose.choice(PIECES)
            kind = choose.randrange(3)
            text[at : at + (0 if kind == 0 else len(piece))] = b"" if kind == 1 else piece
        leaves = quick_leaves(bytes(text))
        if leaves is not None:
            answers += 1
            assert leaves == scan_fields(bytes(text))
    assert answers > 1000

"""What goes over the wire between a log and a witness is read strictly and written back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.witnessing import (
    AddCheckpoint,
    format_add_checkpoint,
    format_tree_size,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_tree_size,
)
from auditlog.errors import MalformedError

HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)


@given(st.integers(0, 2**53), HASHES, st.text(max_size=50))
def test_a_request_is_read_as_it_was_written(old: int, proof: tuple[bytes, ...], note: str) -> None:
    """For any size, proof and note text, line breaks in it included."""
    request = AddCheckpoint(old, proof, note.encode("utf-8", "replace").decode())
    assert parse_add_checkpoint(format_add_checkpoint(request)) == request


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_malformed(body: bytes) -> None:
    """Nothing else is raised, and what is read is written back the same."""
    for parse in (parse_tree_size, parse_cosignatures):
        try:
            parse(body)
        except MalformedError:
            continue
    try:
        request = parse_add_checkpoint(body)
    except MalformedError:
        return
    assert format_add_checkpoint(request) == body


def test_sizes_have_one_spelling() -> None:
    """Of a 409: a decimal and a newline."""
    assert parse_tree_size(format_tree_size(12)) == 12
    for body in (b"", b"12", b"012\n", b"-1\n", b"12\n\n", b"1" * 40 + b"\n", b"\xff\n"):
        with pytest.raises(MalformedError):
            parse_tree_size(body)


def test_a_request_that_no_witness_could_read_is_not_written() -> None:
    """Too many hashes, hashes of another length."""
    for proof in ((b"short",), (bytes(32),) * 64):
        with pytest.raises(MalformedError):
            format_add_checkpoint(AddCheckpoint(0, proof, "n"))
    with pytest.raises(MalformedError):
        format_add_checkpoint(AddCheckpoint(-1, (), "n"))


def test_the_key_of_a_witness_has_a_text_form() -> None:
    """Written and read back, it signs the same; nothing of it shows in an error."""
    signer = CosignatureSigner.from_seed("witness.example.org/1", b"s" * 32)
    again = CosignatureSigner.from_private_key(signer.private_key)
    assert (again.vkey, again.sign("t\n", 5)) == (signer.vkey, signer.sign("t\n", 5))
    name, key_id, encoded = signer.private_key.removeprefix("PRIVATE+KEY+").split("+", 2)
    for text in (
        "",
        encoded,
        f"PRIVATE+KEY+{name}+00000000+{encoded}",
        f"PRIVATE+KEY+{name}+{key_id}+{encoded[:-4]}",
        f"PRIVATE+KEY+{name}+{key_id}x+{encoded}",
        f"PRIVATE+KEY+other+{key_id}+{encoded}",
    ):
        with pytest.raises(MalformedError) as caught:
            CosignatureSigner.from_private_key(text)
        assert encoded[:10] not in str(caught.value)

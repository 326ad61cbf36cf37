"""Cosignatures: the message, the time, and keys of the other type."""

from __future__ import annotations

import pytest

from auditlog.core.cosignature import (
    CosignatureSigner,
    CosignatureVerifier,
    cosignature_timestamp,
    parse_vkey,
)
from auditlog.core.keys import format_vkey
from auditlog.core.note import Ed25519Signer, Ed25519Verifier, Signature, open_note, parse_signature
from auditlog.errors import MalformedError, SignatureError

WITNESS = CosignatureSigner.from_seed("witness.example/w", b"\x05" * 32)
TEXT = "log.example/one\n7\nAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n"
TIME = 1_679_315_147


def test_the_message_is_that_of_the_standard() -> None:
    """The signature is over the header line, the time line and the whole checkpoint text."""
    line = parse_signature(WITNESS.sign(TEXT, TIME).rstrip("\n"))
    assert line.blob[:8] == TIME.to_bytes(8, "big")
    plain = Ed25519Signer.from_seed(WITNESS.name, b"\x05" * 32)
    message = f"cosignature/v1\ntime {TIME}\n{TEXT}"
    assert parse_signature(plain.sign(message).rstrip("\n")).blob == line.blob[8:]


def test_the_time_is_read_from_a_verified_cosignature_only() -> None:
    """An unverified line, or a plain signature, tells no time."""
    note = TEXT + "\n" + WITNESS.sign(TEXT, TIME)
    opened = open_note(note, [WITNESS.verifier])
    assert cosignature_timestamp(opened.verified[0]) == TIME
    log = Ed25519Signer.from_seed("log.example/one", b"\x01" * 32)
    plain = open_note(TEXT + "\n" + log.sign(TEXT), [log.verifier]).verified[0]
    for line in (parse_signature(WITNESS.sign(TEXT, TIME).rstrip("\n")), plain):
        with pytest.raises(MalformedError):
            cosignature_timestamp(line)


def test_a_changed_time_or_text_is_refused() -> None:
    """The time is under the signature, and so is every line of the text."""
    line = parse_signature(WITNESS.sign(TEXT, TIME).rstrip("\n"))
    later = (TIME + 1).to_bytes(8, "big") + line.blob[8:]
    assert not WITNESS.verifier.verify(TEXT.encode(), later)
    assert not WITNESS.verifier.verify((TEXT + "extension\n").encode(), line.blob)
    with pytest.raises(SignatureError):
        open_note(TEXT.replace("\n7\n", "\n8\n") + "\n" + WITNESS.sign(TEXT, TIME), [WITNESS.verifier])


@pytest.mark.parametrize("blob", [b"", b"\x00" * 64, b"\x00" * 71, b"\x00" * 73, b"\xff" * 72])
def test_blobs_of_another_shape_are_wrong_signatures(blob: bytes) -> None:
    """Other lengths and times above 2**63-1 are not cosignatures."""
    assert not WITNESS.verifier.verify(TEXT.encode(), blob)


def test_no_cosignature_without_a_time() -> None:
    """The signer refuses 0 and times no verifier would read."""
    for time in (0, -1, 2**63):
        with pytest.raises(ValueError, match="POSIX"):
            WITNESS.sign(TEXT, time)


def test_one_key_is_two_keys_by_type() -> None:
    """The same public key as log key and as witness key has two vkeys and two IDs."""
    plain = Ed25519Signer.from_seed(WITNESS.name, b"\x05" * 32)
    assert plain.key_id != WITNESS.key_id
    assert isinstance(parse_vkey(plain.vkey), Ed25519Verifier)
    assert isinstance(parse_vkey(WITNESS.vkey), CosignatureVerifier)
    with pytest.raises(MalformedError):
        CosignatureVerifier.from_vkey(plain.vkey)
    with pytest.raises(MalformedError):
        Ed25519Verifier.from_vkey(WITNESS.vkey)


def test_keys_of_types_not_read_are_refused() -> None:
    """A key of the post-quantum type, or of an unknown one, is not silently ignored in a trust file."""
    for algorithm in (0x02, 0x06, 0xFF):
        with pytest.raises(MalformedError):
            parse_vkey(format_vkey("witness.example/w", algorithm, b"\x01" * 32))


def test_names_and_seeds_are_checked() -> None:
    """A witness key needs a key name and 32 bytes."""
    assert repr(WITNESS) == "CosignatureSigner('witness.example/w')"
    assert repr(WITNESS.verifier) == f"CosignatureVerifier('{WITNESS.vkey}')"
    with pytest.raises(MalformedError):
        CosignatureSigner.from_seed("two words", b"\x05" * 32)
    with pytest.raises(MalformedError):
        CosignatureSigner.from_seed("name", b"\x05")
    unverified = Signature("n", b"abcd", b"x")
    assert unverified.vkey == ""

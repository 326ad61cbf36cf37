"""Signed notes and keys: the standard's example, strictness, and whose signature counts."""

from __future__ import annotations

import base64

import pytest

from auditlog.core.keys import key_id_of, split_vkey
from auditlog.core.note import (
    MAX_SIGNATURES,
    Ed25519Signer,
    Ed25519Verifier,
    Signature,
    format_signature,
    open_note,
    parse_signature,
    sign_note,
    split_note,
)
from auditlog.errors import MalformedError, SignatureError

EXAMPLE_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
TEXT = "first\n\nthird\n"


def signer(name: str = "example.com/a", byte: int = 1) -> Ed25519Signer:
    """A fixed key."""
    return Ed25519Signer.from_seed(name, bytes([byte]) * 32)


def test_the_key_of_the_standards_example_is_read() -> None:
    """The example vkey parses, its key ID is the hash of the key, and it is written back alike."""
    verifier = Ed25519Verifier.from_vkey(EXAMPLE_VKEY)
    assert (verifier.name, verifier.key_id.hex(), verifier.vkey) == (
        "example.com/foo",
        "530d903a",
        EXAMPLE_VKEY,
    )


def test_an_empty_line_in_the_text_belongs_to_the_text() -> None:
    """Text and signatures are divided by the last empty line."""
    opened = open_note(sign_note(TEXT, [signer()]), [signer().verifier])
    assert opened.text == TEXT
    assert [(line.name, line.key_id) for line in opened.verified] == [("example.com/a", signer().key_id)]
    assert opened.verified[0].vkey == signer().vkey


def test_bytes_and_text_are_opened_alike() -> None:
    """A note may come as UTF-8."""
    note = sign_note("ärger\n", [signer()])
    assert open_note(note.encode("utf-8"), [signer().verifier]) == open_note(note, [signer().verifier])


def test_signatures_of_unknown_keys_are_ignored() -> None:
    """Sixteen and more unknown lines, sharing name or ID with a known key, change nothing."""
    known = signer()
    unknown = [signer(f"example.com/{number}", number) for number in range(2, 20)]
    same_name = Signature(known.name, b"\x00\x00\x00\x00", b"\x00" * 64)
    same_id = Signature("example.com/other", known.key_id, b"\x00" * 5000)
    note = sign_note(TEXT, [*unknown, known]) + format_signature(same_name) + format_signature(same_id)
    opened = open_note(note, [known.verifier])
    assert len(opened.verified) == 1
    assert len(opened.unknown) == len(unknown) + 2


def test_a_wrong_signature_of_a_known_key_refuses_the_whole_note() -> None:
    """Even beside a good signature by another known key, or by the same one."""
    first, second = signer(), signer("example.com/b", 2)
    bad = format_signature(Signature(second.name, second.key_id, b"\x00" * 64))
    again = format_signature(Signature(first.name, first.key_id, b"\x00" * 64))
    for note in (sign_note(TEXT, [first]) + bad, sign_note(TEXT, [first]) + again):
        with pytest.raises(SignatureError):
            open_note(note, [first.verifier, second.verifier])


def test_a_note_no_known_key_signed_is_refused() -> None:
    """Without a known key, or without keys at all, there is nothing to believe."""
    note = sign_note(TEXT, [signer()])
    for verifiers in ([signer("example.com/b", 2).verifier], []):
        with pytest.raises(SignatureError):
            open_note(note, verifiers)


def test_a_signature_holds_for_its_text_only() -> None:
    """One character more and the note is refused."""
    note = sign_note(TEXT, [signer()])
    with pytest.raises(SignatureError):
        open_note(note.replace("first", "First"), [signer().verifier])


def test_a_repeated_signature_counts_once() -> None:
    """The same line twice is one signature."""
    line = signer().sign(TEXT)
    opened = open_note(f"{TEXT}\n{line}{line}", [signer().verifier])
    assert len(opened.verified) == 1


def test_two_keys_under_one_name_and_id_are_refused() -> None:
    """A key made to collide with a known one in its 32-bit ID may not stand beside it."""

    class Collides:
        """Another key that claims the identity of the test key."""

        name = signer().name
        key_id = signer().key_id
        vkey = "other"
        algorithm = 1

        def verify(self, text: bytes, blob: bytes) -> bool:
            """Believe everything."""
            return True

    with pytest.raises(SignatureError):
        open_note(sign_note(TEXT, [signer()]), [signer().verifier, Collides()])


GOOD = sign_note("text\n", [signer()])
LINE = GOOD.split("\n")[2]


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n" + LINE + "\n",
        GOOD[:-1],
        GOOD + "\n",
        GOOD + "trailing",
        GOOD.replace("\u2014", "-"),
        GOOD.replace("\u2014 ", "\u2014"),
        GOOD.replace("\u2014 example.com/a ", "\u2014 example.com/a  "),
        GOOD.replace("example.com/a", ""),
        GOOD.replace("example.com/a", "example.com+a"),
        GOOD.replace("example.com/a", "example.com\u00a0a"),
        GOOD.replace("example.com/a", "example.com\u2003a"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("text", "te\txt"),
        GOOD.replace("text", "te\x00xt"),
        GOOD.replace("text", "te\ud800xt"),
        GOOD.replace("=", ""),
        GOOD.replace(LINE[-8:], LINE[-8:-2] + "_="),
        "text\n\n" + (LINE + "\n") * (MAX_SIGNATURES + 1),
        "x" * 1_000_001,
        b"\xff\xfe",
        b"text\n\n\xe2\x80 x AAAA\n",
    ],
)
def test_anything_but_a_note_is_malformed(note: str | bytes) -> None:
    """Missing parts, other dashes, spaces, control characters, other base64 and sizes over the limit."""
    with pytest.raises(MalformedError):
        split_note(note)


def test_base64_with_stray_bits_is_another_spelling_and_refused() -> None:
    """Bits after the last byte must be zero: one signature has one text."""
    signature = format_signature(Signature("n", b"abcd", b"x"))
    assert signature == "\u2014 n YWJjZHg=\n"
    with pytest.raises(MalformedError):
        parse_signature("\u2014 n YWJjZHh=")


def test_a_signature_of_the_key_id_alone_is_refused() -> None:
    """After the four bytes of key ID there must be something."""
    with pytest.raises(MalformedError):
        parse_signature("\u2014 n " + base64.b64encode(b"abcd").decode())


def test_only_texts_that_can_be_read_again_are_signed() -> None:
    """No final newline, a control character or a lone surrogate: nothing is signed."""
    for text in ("", "no newline", "a\tb\n", "a\ud800\n"):
        with pytest.raises(MalformedError):
            sign_note(text, [signer()])
    with pytest.raises(ValueError, match="signer"):
        sign_note(TEXT, [])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        EXAMPLE_VKEY.replace("530d903a", "530D903A"),
        EXAMPLE_VKEY.replace("530d903a", "530d903b"),
        EXAMPLE_VKEY.replace("example.com/foo", "example.com/fop"),
        EXAMPLE_VKEY.replace("example.com/foo", ""),
        EXAMPLE_VKEY.replace("example.com/foo", "example.com foo"),
        EXAMPLE_VKEY + "\n",
        EXAMPLE_VKEY + "=",
        EXAMPLE_VKEY[:-4],
        "\ud800" + EXAMPLE_VKEY,
    ],
)
def test_a_vkey_has_one_spelling(vkey: str) -> None:
    """Upper case, a wrong ID, other names and trailing characters are refused."""
    with pytest.raises(MalformedError):
        Ed25519Verifier.from_vkey(vkey)


SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_keys_under_which_a_signature_fits_many_texts_are_refused(key: str) -> None:
    """Points of small order and non-canonical encodings are not keys."""
    with pytest.raises(MalformedError):
        Ed25519Verifier("example.com/a", bytes.fromhex(key))


def test_the_private_key_text_is_read_back_and_checked() -> None:
    """The text form round-trips; any change of it is refused without being quoted."""
    text = signer().private_key
    assert text.startswith("PRIVATE+KEY+example.com/a+")
    assert Ed25519Signer.from_private_key(text).vkey == signer().vkey
    seed = text.rsplit("+", 1)[1]
    for bad in ("", text[12:], text.replace("example.com/a", "example.com/b"), text + "=", text[:-4]):
        with pytest.raises(MalformedError) as caught:
            Ed25519Signer.from_private_key(bad)
        assert seed not in str(caught.value)


def test_secrets_do_not_show() -> None:
    """The representation of a signer names it and nothing else; a seed of another length is refused."""
    assert repr(signer()) == "Ed25519Signer('example.com/a')"
    with pytest.raises(MalformedError):
        Ed25519Signer.from_seed("example.com/a", b"short")


def test_key_ids_follow_the_standard() -> None:
    """First four bytes of SHA-256 over name, newline, type and key."""
    name, algorithm, public_key = split_vkey(EXAMPLE_VKEY)
    assert (name, algorithm, len(public_key)) == ("example.com/foo", 1, 32)
    assert key_id_of(name, algorithm, public_key).hex() == "530d903a"

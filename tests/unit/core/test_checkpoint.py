"""Checkpoints: strict text, and whose signature makes one."""

from __future__ import annotations

import pytest

from auditlog.core.checkpoint import (
    Checkpoint,
    format_checkpoint,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.merkle import EMPTY_ROOT
from auditlog.core.note import Ed25519Signer, sign_note
from auditlog.errors import MalformedError, SignatureError

ORIGIN = "log.example/one"
CHECKPOINT = Checkpoint(ORIGIN, 7, b"\x02" * 32)
LOG = Ed25519Signer.from_seed(ORIGIN, b"\x01" * 32)
OTHER_LOG = Ed25519Signer.from_seed("log.example/two", b"\x02" * 32)
WITNESS = CosignatureSigner.from_seed("witness.example", b"\x03" * 32)
TEXT = format_checkpoint(CHECKPOINT)
ROOT = TEXT.split("\n")[2]


def test_the_text_is_three_lines() -> None:
    """Origin, size and root, each ended by a newline, and back."""
    assert f"{ORIGIN}\n7\nAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n" == TEXT
    assert parse_checkpoint(TEXT) == CHECKPOINT


def test_extension_lines_of_others_are_read() -> None:
    """Extension lines are kept as they are; our own logs never sign one."""
    text = TEXT + "extension one\nextension two\n"
    parsed = parse_checkpoint(text)
    assert parsed.extensions == ("extension one", "extension two")
    assert format_checkpoint(parsed) == text
    with pytest.raises(MalformedError):
        sign_checkpoint(parsed, LOG)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{ORIGIN}\n7\n",
        TEXT[:-1],
        TEXT + "\n",
        TEXT + "extension\n\n",
        TEXT.replace(ORIGIN, ""),
        TEXT.replace("\n7\n", "\n07\n"),
        TEXT.replace("\n7\n", "\n+7\n"),
        TEXT.replace("\n7\n", "\n-7\n"),
        TEXT.replace("\n7\n", "\n7 \n"),
        TEXT.replace("\n7\n", "\n7.0\n"),
        TEXT.replace("\n7\n", "\n\u0667\n"),
        TEXT.replace("\n7\n", f"\n{2**63}\n"),
        TEXT.replace("\n7\n", "\n" + "9" * 5000 + "\n"),
        TEXT.replace("\n7\n", "\n0\n"),
        TEXT.replace(ROOT, ROOT[:-1]),
        TEXT.replace(ROOT, ROOT[:-2] + "J="),
        TEXT.replace(ROOT, "AAAA"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace(ORIGIN, "a\tb"),
        TEXT.replace(ORIGIN, "a\ud800"),
        TEXT + "x" * 70_000 + "\n",
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    """Other spellings of numbers and base64, lines missing or empty, control characters, too large."""
    with pytest.raises(MalformedError):
        parse_checkpoint(text)


def test_the_empty_tree_has_one_root() -> None:
    """Size 0 goes with SHA-256 of nothing only."""
    empty = Checkpoint(ORIGIN, 0, EMPTY_ROOT)
    assert parse_checkpoint(format_checkpoint(empty)) == empty


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("", 7, b"\x02" * 32),
        Checkpoint("a\nb", 7, b"\x02" * 32),
        Checkpoint(ORIGIN, -1, b"\x02" * 32),
        Checkpoint(ORIGIN, 7, b"\x02" * 31),
        Checkpoint(ORIGIN, 0, b"\x02" * 32),
        Checkpoint(ORIGIN, 7, b"\x02" * 32, ("",)),
    ],
)
def test_what_cannot_be_read_is_not_written(checkpoint: Checkpoint) -> None:
    """Formatting refuses every member that parsing would."""
    with pytest.raises(MalformedError):
        format_checkpoint(checkpoint)


def test_a_log_signs_under_its_origin() -> None:
    """The key name is the origin; another log's key cannot sign."""
    note = sign_checkpoint(CHECKPOINT, LOG)
    assert open_checkpoint(note, [LOG.verifier], ORIGIN)[0] == CHECKPOINT
    with pytest.raises(MalformedError):
        sign_checkpoint(CHECKPOINT, OTHER_LOG)


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    """However well signed."""
    with pytest.raises(SignatureError):
        open_checkpoint(sign_checkpoint(CHECKPOINT, LOG), [LOG.verifier], "log.example/two")


def test_another_trusted_log_cannot_sign_for_this_one() -> None:
    """With two logs in the trust file, each key counts for its own origin only."""
    forged = sign_note(TEXT, [OTHER_LOG])
    for origin in (None, ORIGIN):
        with pytest.raises(SignatureError):
            open_checkpoint(forged, [LOG.verifier, OTHER_LOG.verifier], origin)


def test_a_cosignature_alone_is_not_enough() -> None:
    """A witness vouches for consistency, not for the log having signed; even one named like the log."""
    impostor = CosignatureSigner.from_seed(ORIGIN, b"\x04" * 32)
    for witness in (WITNESS, impostor):
        note = TEXT + "\n" + witness.sign(TEXT, 1_700_000_000)
        with pytest.raises(SignatureError):
            open_checkpoint(note, [LOG.verifier, witness.verifier])


def test_a_log_with_a_key_of_another_name_needs_to_be_named() -> None:
    """Logs of others may sign under a name that is not their origin; the reader says which."""
    note = sign_note(TEXT, [OTHER_LOG])
    checkpoint, _ = open_checkpoint(note, [OTHER_LOG.verifier], key_name=OTHER_LOG.name)
    assert checkpoint == CHECKPOINT

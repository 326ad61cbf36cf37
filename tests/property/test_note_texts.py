"""Parsers of the log layer are total and canonical: any text is refused or written back alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from auditlog.core.batch import decode_batch, encode_batch
from auditlog.core.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureSigner, parse_vkey
from auditlog.core.note import Ed25519Signer, format_signature, open_note, sign_note, split_note
from auditlog.core.policy import parse_policy
from auditlog.core.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof
from auditlog.errors import EvidenceError, MalformedError

LOG = Ed25519Signer.from_seed("log.example/p", b"\x01" * 32)
WITNESS = CosignatureSigner.from_seed("witness.example/p", b"\x02" * 32)
NOTE = sign_checkpoint(Checkpoint(LOG.name, 9, b"\x03" * 32), LOG)
TEXT = format_checkpoint(Checkpoint(LOG.name, 9, b"\x03" * 32))
COSIGNED = NOTE + WITNESS.sign(TEXT, 1_700_000_000)
POLICY = f"log {LOG.vkey}\nwitness w {WITNESS.vkey}\ngroup g 1 w\nquorum g\n"
PROOF = format_tlog_proof(TlogProof(3, (b"\x04" * 32, b"\x05" * 32), COSIGNED, b"extra"))
BATCH = encode_batch("head\n", [b"one", b""])

_alphabet = "\u2014 +=/\n\t\r\0#019azAZ.\u00a0\u0663\ud800é"


@st.composite
def mutated(draw: st.DrawFn, seed: str) -> str:
    """A known text with a few characters replaced, inserted, removed or repeated."""
    text = seed
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(text) - 1, 0)))
        end = min(len(text), start + draw(st.integers(0, 3)))
        text = text[:start] + draw(st.text(alphabet=_alphabet, max_size=3)) + text[end:]
    return text


def near(seed: str) -> st.SearchStrategy[str]:
    """Texts near a good one, and noise."""
    return st.one_of(mutated(seed), st.text(max_size=60), st.text(alphabet=_alphabet, max_size=60))


def canonical(read: Callable[[str], str], text: str) -> None:
    """Refused with MalformedError, or written back as the same characters."""
    with contextlib.suppress(MalformedError):
        assert read(text) == text


@settings(max_examples=300, deadline=None)
@given(near(COSIGNED))
def test_notes(text: str) -> None:
    """split_note of anything is refused or is its text and its signature lines again."""

    def read(note: str) -> str:
        body, signatures = split_note(note)
        return body + "\n" + "".join(map(format_signature, signatures))

    canonical(read, text)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=80), near(COSIGNED)))
def test_a_changed_note_is_never_opened_with_another_text(note: str | bytes) -> None:
    """Whatever is done to a note, what opens has the text that was signed."""
    with contextlib.suppress(EvidenceError):
        assert open_note(note, [LOG.verifier, WITNESS.verifier]).text == TEXT


@settings(max_examples=200, deadline=None)
@given(near(TEXT))
def test_checkpoints(text: str) -> None:
    """parse_checkpoint is the inverse of format_checkpoint."""
    canonical(lambda given_text: format_checkpoint(parse_checkpoint(given_text)), text)


@settings(max_examples=200, deadline=None)
@given(near(PROOF))
def test_tlog_proofs(text: str) -> None:
    """parse_tlog_proof is the inverse of format_tlog_proof."""
    canonical(lambda given_text: format_tlog_proof(parse_tlog_proof(given_text)), text)


@settings(max_examples=200, deadline=None)
@given(near(WITNESS.vkey))
def test_vkeys(text: str) -> None:
    """A vkey that is read is written back alike."""
    canonical(lambda given_text: parse_vkey(given_text).vkey, text)


@settings(max_examples=200, deadline=None)
@given(near(LOG.private_key))
@example(LOG.private_key.replace("KEY+", "KEY+\ud800"))
def test_private_keys(text: str) -> None:
    """A private key that is read is written back alike."""
    canonical(lambda given_text: Ed25519Signer.from_private_key(given_text).private_key, text)


@settings(max_examples=200, deadline=None)
@given(near(POLICY))
def test_policies(text: str) -> None:
    """Any text is a policy or refused; a policy keeps its text."""
    canonical(lambda given_text: parse_policy(given_text).text, text)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.integers(0, len(BATCH)).map(lambda end: BATCH[:end])))
def test_batches(data: bytes) -> None:
    """Any bytes are a batch or refused; a batch is written back alike."""
    with contextlib.suppress(MalformedError):
        assert encode_batch(*decode_batch(data)) == data


_lines = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=100, deadline=None)
@given(_lines, st.integers(1, 2**63 - 1), st.binary(min_size=32, max_size=32), st.lists(_lines, max_size=3))
def test_checkpoints_round_trip(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    """Every checkpoint can be written, signed, opened and read."""
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    text = format_checkpoint(checkpoint)
    assert parse_checkpoint(text) == checkpoint
    assert open_note(sign_note(text, [LOG]), [LOG.verifier]).text == text

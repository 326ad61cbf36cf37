"""Signed notes: C2SP signed-note.

Spec: `auditlog/spec/log.md`, "Signed notes".

    note           = text, ending in a newline || newline || signature line+
    signature line = U+2014 space, key name, space, base64(4-byte key ID || signature), newline

Parsing is strict and total: for any input the result is a note or a `MalformedError`, and `format` of the
parts is the input again. `open_note` ignores signatures of unknown keys and refuses the whole note if a
known key's signature is wrong. Keys live in `auditlog.core.keys`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from auditlog.core.keys import (
    ED25519,
    KEY_ID_BYTES,
    Ed25519Signer,
    Ed25519Verifier,
    check_key_name,
    key_id_of,
    split_vkey,
)
from auditlog.core.scalars import encode_base64, parse_base64
from auditlog.errors import MalformedError, SignatureError

__all__ = [
    "ED25519",
    "KEY_ID_BYTES",
    "MAX_NOTE_BYTES",
    "MAX_SIGNATURES",
    "Ed25519Signer",
    "Ed25519Verifier",
    "NoteSigner",
    "NoteVerifier",
    "OpenedNote",
    "Signature",
    "check_key_name",
    "format_signature",
    "key_id_of",
    "open_note",
    "open_split",
    "parse_signature",
    "sign_note",
    "split_note",
    "split_vkey",
]

MAX_NOTE_BYTES = 1_000_000
"""Above this a note is refused unread; a hundred post-quantum signatures take 350 kB."""

MAX_SIGNATURES = 100
"""Signature lines accepted; the standard demands at least 16."""

_DASH = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line. `vkey` is set once verified, naming the key in full: a key ID has only 32 bits."""

    name: str
    key_id: bytes
    blob: bytes
    vkey: str = ""


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note at least one known key signed. Only `verified` carries trust; `unknown` lines mean nothing."""

    text: str
    verified: tuple[Signature, ...]
    unknown: tuple[Signature, ...]


class NoteVerifier(Protocol):
    """A public key that can check one kind of signature over note texts."""

    @property
    def name(self) -> str:
        """Key name."""

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of the key's hash."""

    @property
    def vkey(self) -> str:
        """The key's text form."""

    @property
    def algorithm(self) -> int:
        """Type byte of signed-note: 1 for a plain Ed25519 signature, 4 for a timestamped cosignature."""

    def verify(self, text: bytes, blob: bytes) -> bool:
        """Whether `blob` is this key's signature of the note text. Never raises on any bytes."""


class NoteSigner(Protocol):
    """A private key that signs note texts."""

    @property
    def name(self) -> str:
        """Key name."""

    def sign(self, text: str) -> str:
        """The signature line, newline included."""


def split_note(note: str | bytes) -> tuple[str, tuple[Signature, ...]]:
    """Take a note apart without believing any of it; `note` is attacker-controlled.

    Raises:
        MalformedError: not a signed note.
    """
    text_form = _decode(note)
    # The text may hold empty lines itself: the last one separates it from the signatures.
    at = text_form.rfind("\n\n")
    if at < 0:
        raise MalformedError("expected an empty line between text and signatures, found none")
    text, lines = text_form[: at + 1], text_form[at + 2 :].split("\n")
    if lines.pop() or not lines:
        raise MalformedError("expected signature lines that end in newlines, found none or a cut one")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError(f"expected at most {MAX_SIGNATURES} signatures, found {len(lines)}")
    return text, tuple(parse_signature(line) for line in lines)


def _decode(note: str | bytes) -> str:
    try:
        # A text that can be encoded is what decoding it would give.
        raw = note.encode("utf-8") if isinstance(note, str) else note
        text = note if isinstance(note, str) else raw.decode("utf-8")
    except UnicodeError:
        raise MalformedError("expected a note in UTF-8, found other bytes") from None
    if len(raw) > MAX_NOTE_BYTES:
        raise MalformedError(f"expected a note of at most {MAX_NOTE_BYTES} bytes, found {len(raw)}")
    if _CONTROL.search(text):
        raise MalformedError("expected a note without control characters, found one")
    return text


def parse_signature(line: str) -> Signature:
    """Read one signature line, without its newline; `line` is attacker-controlled.

    Raises:
        MalformedError: not a signature line.
    """
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise MalformedError("expected a signature line of dash, name and base64, found another shape")
    check_key_name(name)
    decoded = parse_base64(encoded, "signature")
    if len(decoded) <= KEY_ID_BYTES:
        raise MalformedError(f"expected a signature of over {KEY_ID_BYTES} bytes, found {len(decoded)}")
    return Signature(name, decoded[:KEY_ID_BYTES], decoded[KEY_ID_BYTES:])


def format_signature(signature: Signature) -> str:
    """The signature line, newline included."""
    return f"{_DASH}{signature.name} {encode_base64(signature.key_id + signature.blob)}\n"


def open_note(note: str | bytes, verifiers: Iterable[NoteVerifier]) -> OpenedNote:
    """Check a note against known keys; `note` is attacker-controlled, `verifiers` are the reader's own.

    Raises:
        MalformedError: not a signed note.
        SignatureError: no known key signed it, or the signature of a known key is wrong.
    """
    return open_split(*split_note(note), verifiers)


def open_split(text: str, signatures: Sequence[Signature], verifiers: Iterable[NoteVerifier]) -> OpenedNote:
    """The same for a note that `split_note` has taken apart.

    Raises:
        SignatureError: no known key signed it, or the signature of a known key is wrong.
    """
    known = _by_identity(verifiers)
    message = text.encode("utf-8")
    verified: list[Signature] = []
    unknown: list[Signature] = []
    for signature in signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            unknown.append(signature)
        elif not verifier.verify(message, signature.blob):
            raise SignatureError(
                f"expected a valid signature by the known key {signature.name}, found a wrong one"
            )
        else:
            verified.append(Signature(signature.name, signature.key_id, signature.blob, verifier.vkey))
    if not verified:
        raise SignatureError(f"expected a signature by a known key, found {len(unknown)} by unknown keys")
    return OpenedNote(text, tuple(dict.fromkeys(verified)), tuple(unknown))


def _by_identity(verifiers: Iterable[NoteVerifier]) -> dict[tuple[str, bytes], NoteVerifier]:
    known: dict[tuple[str, bytes], NoteVerifier] = {}
    for verifier in verifiers:
        identity = (verifier.name, verifier.key_id)
        # Two keys under one name and 32-bit ID would let the holder of one be taken for the other.
        if known.setdefault(identity, verifier).vkey != verifier.vkey:
            raise SignatureError(f"expected one key named {verifier.name} with this key ID, found two")
    return known


def sign_note(text: str, signers: Sequence[NoteSigner]) -> str:
    """Sign a text with each signer in turn.

    Raises:
        MalformedError: the text cannot be the text of a note.
        ValueError: no signers.
    """
    if not signers:
        raise ValueError("expected at least one signer, found none")
    if not text.endswith("\n"):
        raise MalformedError("expected a note text that ends in a newline, found another")
    _decode(text)
    return text + "\n" + "".join(signer.sign(text) for signer in signers)

"""Notes with exactly one signature: everything of ours that one key signs (spec/entry.md, "Statements").

A checkpoint may carry the lines of witnesses the reader does not know. A
head, a promise or a devnet anchor may not: a line nobody checks would be a
place to write in, inside evidence whose every byte is meant to be bound.
"""

from __future__ import annotations

from auditlog.core.note import NoteSigner, NoteVerifier, Signature, open_split, sign_note, split_note
from auditlog.errors import MalformedError


def sign_one(text: str, signer: NoteSigner) -> str:
    """Return the note of `text` signed by one key."""
    return sign_note(text, [signer])


def open_one(note: str | bytes, verifier: NoteVerifier) -> str:
    """Return the text of a note that `verifier`'s key, and no other, signed: attacker-controlled.

    Raises:
        MalformedError: not a note, or one with several signature lines.
        SignatureError: not signed by that key.
    """
    return open_split(*split_one(note), [verifier]).text


def check_one(note: str | bytes) -> str:
    """Return the text of a note with one signature line, unverified.

    Raises:
        MalformedError: not a note, or one with several signature lines.
    """
    return split_one(note)[0]


def split_one(note: str | bytes) -> tuple[str, tuple[Signature, ...]]:
    """Take such a note apart, unverified.

    Raises:
        MalformedError: not a note, or one with several signature lines.
    """
    text, signatures = split_note(note)
    if len(signatures) != 1:
        raise MalformedError(f"note: expected one signature line, found {len(signatures)}")
    return text, signatures

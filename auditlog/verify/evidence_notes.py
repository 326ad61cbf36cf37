"""Checkpoint notes as evidence: the lines that hold count, the others do not.

Spec: auditlog/spec/evidence.md, "Checking", rule 2. Below its own valid signature a log can write any line
it likes, also a wrong one in the name of a witness or of its own key. A reader of receipts refuses such a
note; a reader of evidence does not, or a log could unsay what it has signed. Promises: what comes out holds
nothing but verified lines of keys of the trust file, so that every reader with these keys opens it. Must
never: count a line that was not verified.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.core.note import Signature, format_signature, split_note
from auditlog.errors import SignatureError
from auditlog.verify.steps import LogTrust, Opened


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A checkpoint that its log has signed. `opened.note` is the note with the verified lines alone; `wrong`
    are the lines in the name and key ID of a key of the trust file that this key did not make.
    """

    opened: Opened
    wrong: tuple[Signature, ...]


def clean_note(note: str, log: LogTrust) -> Cleaned:
    """Open a checkpoint by the lines that hold; `note` is attacker-controlled.

    Raises:
        EvidenceError: no note, or the log has not signed it, or it goes beyond the end of a retired log.
    """
    text, signatures = split_note(note)
    message = text.encode("utf-8")
    known = {(key.name, key.key_id): key for key in log.verifiers}
    held: list[Signature] = []
    wrong: list[Signature] = []
    for line in dict.fromkeys(signatures):
        key = known.get((line.name, line.key_id))
        if key is not None:
            (held if key.verify(message, line.blob) else wrong).append(line)
    own = {(key.name, key.key_id) for key in log.keys}
    if not any((line.name, line.key_id) in own for line in held):
        # It cannot be opened by any lines: the strict reader says what is wrong with it.
        log.open(note)
        raise SignatureError(f"expected a signature by the log {log.origin}, found none")
    return Cleaned(log.open(f"{text}\n" + "".join(map(format_signature, held))), tuple(wrong))


def open_signed(note: str, log: LogTrust) -> Opened:
    """The same, where nobody asks for the wrong lines."""
    return clean_note(note, log).opened

"""log.md: "Keys", "Signed notes", "Checkpoints", "Cosignatures", "tlog-proof"."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .canonical import Malformed, decimal, need, refuse, unbase64, unbase64_hash
from .merkle import MAX_SIZE, sha256

ED25519, COSIGNATURE = 0x01, 0x04
_P = 2**255 - 19
_SMALL = {
    0,
    1,
    _P - 1,
    int.from_bytes(
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
    ),
    int.from_bytes(
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
    ),
}


class Key(NamedTuple):
    """A verifier key."""

    name: str
    key_id: bytes
    kind: int
    public: bytes

    @property
    def pair(self) -> tuple[str, bytes]:
        """What a signature line names."""
        return self.name, self.key_id

    @property
    def vkey(self) -> str:
        """The text form."""
        data = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{data}"


def is_key_name(name: str) -> bool:
    """Not empty, no Unicode white space, no plus sign."""
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)


def parse_vkey(text: object) -> Key:
    """A vkey of type 0x01 or 0x04."""
    if not isinstance(text, str):
        refuse("a vkey is a string")
    parts = text.split("+", 2)
    need(len(parts) == 3 and is_key_name(parts[0]), "not a vkey")
    name, hex_id, data = parts[0], parts[1], unbase64(parts[2])
    need(not any(ord(c) < 0x20 for c in name), "control character in a key name")
    need(len(data) == 33 and data[0] in {ED25519, COSIGNATURE}, "not an Ed25519 key")
    key_id = sha256(name.encode("utf-8", "surrogatepass") + b"\n" + data)[:4]
    need(hex_id == key_id.hex(), "the key ID is not that of the key")
    y = int.from_bytes(data[1:], "little") & (2**255 - 1)
    need(y < _P and y not in _SMALL, "not a canonical point, or of small order")
    return Key(name, key_id, data[0], data[1:])


class SignatureLine(NamedTuple):
    """One line below the text."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass
class Note:
    """A signed note; after `open_note`, with the signatures that verified."""

    text: str
    lines: list[SignatureLine]
    signed_by: list[Key] = field(default_factory=list)
    cosigned: dict[Key, int] = field(default_factory=dict)
    times: list[tuple[Key, int]] = field(default_factory=list)
    unknown: int = 0


def parse_note(note: object) -> Note:
    """Divide a note into text and signature lines; verifies nothing."""
    if not isinstance(note, str):
        refuse("a note is a string")
    try:
        data = note.encode("utf-8")
    except UnicodeEncodeError:
        refuse("not Unicode text")
    need(len(data) <= 1_000_000, "a note over 1,000,000 bytes")
    need(not any(c < 0x20 and c != 0x0A for c in data), "control character in a note")
    at = note.rfind("\n\n")
    need(at >= 0 and note.endswith("\n"), "no empty line before the signatures")
    text, below = note[: at + 1], note[at + 2 :]
    need(below, "no signature line")
    lines = below[:-1].split("\n")
    need(len(lines) <= 100, "more than 100 signature lines")
    parsed = []
    for line in lines:
        need(line.startswith("\u2014 "), "not a signature line")
        name, _, encoded = line[2:].partition(" ")
        need(is_key_name(name), "not a key name")
        raw = unbase64(encoded)
        need(len(raw) >= 5, "a signature line without signature")
        parsed.append(SignatureLine(name, raw[:4], raw[4:]))
    return Note(text, parsed)


def _verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def known_keys(keys: list[Key]) -> dict[tuple[str, bytes], Key]:
    """Keys by pair; two different keys with one pair are refused."""
    known: dict[tuple[str, bytes], Key] = {}
    for key in keys:
        need(known.setdefault(key.pair, key) == key, "two known keys with the same name and key ID")
    return known


def open_by_what_holds(note: object, keys: list[Key]) -> Note:
    """The same, with every line that does not hold by itself left out (evidence.md, rule 2)."""
    parsed = parse_note(note)
    known = known_keys(keys)
    held = []
    for line in parsed.lines:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        try:
            _open(Note(parsed.text, [line]), known)
        except Malformed:
            continue
        held.append(line)
    return _open(Note(parsed.text, held), known)


def open_note(note: object, keys: list[Key]) -> Note:
    """Verify every line by a known key; refuse a wrong one, and a note without any."""
    return _open(parse_note(note), known_keys(keys))


def _open(opened: Note, known: dict[tuple[str, bytes], Key]) -> Note:
    message = opened.text.encode("utf-8")
    for line in dict.fromkeys(opened.lines):
        key = known.get((line.name, line.key_id))
        if key is None:
            opened.unknown += 1
        elif key.kind == ED25519:
            need(_verifies(key.public, line.signature, message), f"wrong signature by {key.name}")
            if key not in opened.signed_by:
                opened.signed_by.append(key)
        else:
            need(len(line.signature) == 72, f"wrong cosignature by {key.name}")
            seconds = int.from_bytes(line.signature[:8], "big")
            need(seconds <= MAX_SIZE, "cosignature time too large")
            signed = b"cosignature/v1\ntime %d\n" % seconds + message
            need(_verifies(key.public, line.signature[8:], signed), f"wrong cosignature by {key.name}")
            opened.times.append((key, seconds))
            before = opened.cosigned.get(key)
            opened.cosigned[key] = seconds if before is None else min(before, seconds)
    need(opened.signed_by or opened.cosigned, "no signature by a known key")
    return opened


def open_one(note: object, key: Key) -> Note:
    """A note of ours with exactly one signature line, by this key."""
    need(len(parse_note(note).lines) == 1, "not exactly one signature line")
    need(key.kind == ED25519, "not a plain Ed25519 key")
    return open_note(note, [key])


class Checkpoint(NamedTuple):
    """What a checkpoint says."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def parse_checkpoint(text: str) -> Checkpoint:
    """The text of a checkpoint."""
    need(len(text) <= 65_536 and text.endswith("\n"), "a checkpoint over 65,536 characters")
    lines = text[:-1].split("\n")
    need(len(lines) >= 3 and all(lines), "a checkpoint has three lines that are not empty")
    size, root = decimal(lines[1], MAX_SIZE), unbase64_hash(lines[2])
    need(size or root == sha256(b""), "size 0 has the empty root")
    return Checkpoint(lines[0], size, root, tuple(lines[3:]))


def open_checkpoint(note: object, origin: str, keys: list[Key]) -> tuple[Checkpoint, Note]:
    """A checkpoint of this log, signed by a plain key named like its origin."""
    return as_checkpoint(open_note(note, keys), origin)


def as_checkpoint(opened: Note, origin: str) -> tuple[Checkpoint, Note]:
    """What an opened note says, if it is a checkpoint of this log and by it."""
    checkpoint = parse_checkpoint(opened.text)
    need(checkpoint.origin == origin, "a checkpoint of another log")
    need(any(key.name == origin for key in opened.signed_by), "not signed by the log")
    return checkpoint, opened


class TlogProof(NamedTuple):
    """A c2sp.org/tlog-proof@v1."""

    extra: bytes | None
    index: int
    path: list[bytes]
    checkpoint: str


def parse_tlog_proof(text: object) -> TlogProof:
    """The layout of a tlog-proof; the note in it is not read."""
    if not isinstance(text, str):
        refuse("a tlog-proof is a string")
    top, divider, note = text.partition("\n\n")
    need(divider and note, "no empty line, or no checkpoint, in the tlog-proof")
    lines = top.split("\n")
    need(lines.pop(0) == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = unbase64(lines.pop(0)[6:])
        need(0 < len(extra) <= 65_536, "extra is empty or too long")
    need(lines and lines[0].startswith("index "), "no index")
    index = decimal(lines.pop(0)[6:], MAX_SIZE)
    need(len(lines) <= 63, "more than 63 hashes")
    return TlogProof(extra, index, [unbase64_hash(line) for line in lines], note)

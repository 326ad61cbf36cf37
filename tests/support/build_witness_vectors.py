"""Builds tests/vectors/witness/: request and answer pairs of C2SP tlog-witness, one JSON file each.

    python -m tests.support.build_witness_vectors

A file has `what`, the keys (`logs`: origin and vkeys; `witness`: vkey and private key), and `exchanges` in
order: the clock in POSIX seconds, `request_b64` (body of POST add-checkpoint), and the answer: `status`,
`media_type`, and `body` where the standard fixes it. Afterwards `newest` is what the monitoring path shows of
the first log, or null. Vectors are append-only. All keys are derived from names: never use them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from auditlog.core.checkpoint import Checkpoint, format_checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.cosignature_mldsa import COSIGNATURE_MLDSA44, PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from auditlog.core.keys import Ed25519Signer, key_id_of
from auditlog.core.merkle import prove_consistency, root_hash
from auditlog.core.note import Signature, format_signature, sign_note
from auditlog.core.proofs import EMPTY_ROOT
from auditlog.core.scalars import encode_base64

FOLDER = Path(__file__).parent.parent / "vectors" / "witness"
NOW = 1_800_000_000
TEXT, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"
Exchange = dict[str, Any]


def seed(name: str) -> bytes:
    """The seed of a key of the vectors."""
    return sha256(b"auditlog format vectors " + name.encode()).digest()


LOG = Ed25519Signer.from_seed("log.example/loans", seed("witness log"))
OTHER = Ed25519Signer.from_seed("log.example/loans", seed("another key of that name"))
STRANGER = Ed25519Signer.from_seed("stranger.example", seed("stranger"))
SUMDB = Ed25519Signer.from_seed("sum.example", seed("sumdb"))
WITNESS = CosignatureSigner.from_seed("witness.example/w1", seed("witness w1"))
FELLOW = CosignatureSigner.from_seed("witness.example/w2", seed("witness w2"))
LEAVES = [sha256(b"leaf %d" % n).digest() for n in range(70)]
FORKED = [*LEAVES[:3], *(sha256(b"other %d" % n).digest() for n in range(67))]


def text_of(size: int, leaves: list[bytes] = LEAVES, origin: str = LOG.name) -> str:
    """The text of a checkpoint."""
    return format_checkpoint(Checkpoint(origin, size, root_hash(leaves[:size])))


def note_of(size: int, leaves: list[bytes] = LEAVES, *signers: Any) -> str:
    """A checkpoint note, by the log unless told otherwise."""
    return sign_note(text_of(size, leaves), signers or [LOG])


def body(old: int, note: str, proof: list[bytes] | None = None) -> bytes:
    """A request."""
    hashes = "".join(f"{encode_base64(each)}\n" for each in proof or [])
    return f"old {old}\n{hashes}\n{note}".encode()


def grow(old: int, size: int, leaves: list[bytes] = LEAVES, note: str = "") -> bytes:
    """A request with the right proof."""
    proof = prove_consistency(leaves[:size], old) if 0 < old < size else []
    return body(old, note or note_of(size, leaves), proof)


def mldsa_line(name: str) -> str:
    """A line that looks like an ML-DSA-44 cosignature; of a key nobody here knows."""
    key_id = key_id_of(name, COSIGNATURE_MLDSA44, bytes(PUBLIC_KEY_BYTES))
    blob = NOW.to_bytes(8, "big") + sha256(name.encode()).digest() * 76
    return format_signature(Signature(name, key_id, blob[: 8 + SIGNATURE_BYTES]))


def given(request: bytes, note_text: str, at: int = NOW, signed_at: int | None = None) -> Exchange:
    """An exchange that is answered with a cosignature over this text."""
    line = WITNESS.sign(note_text, signed_at or at)
    return exchange(request, 200, line, at=at)


def exchange(request: bytes, status: int, text: str | None = None, *, at: int = NOW) -> Exchange:
    """An exchange; without `text` the body of the answer is the witness's own words."""
    answer: dict[str, Any] = {"status": status, "media_type": SIZE if status == 409 else TEXT}
    if text is not None:
        answer["body"] = text
    return {"unix_s": at, "request_b64": base64.b64encode(request).decode(), "answer": answer}


def first(size: int = 8, at: int = NOW) -> Exchange:
    """The witness learns of the log."""
    return given(grow(0, size), text_of(size), at)


def conflict(request: bytes, known: int, at: int = NOW) -> Exchange:
    """Another size is known."""
    return exchange(request, 409, f"{known}\n", at=at)


def good() -> Iterator[tuple[str, str, list[Exchange]]]:
    """What is cosigned."""
    yield "good-first", "A checkpoint of a log never seen, from size 0.", [first()]
    yield (
        "good-growth",
        "Growth, with the proof from what was cosigned last; the last size is no power of two.",
        [first(), given(grow(8, 20), text_of(20), NOW + 1), given(grow(20, 70), text_of(70), NOW + 2)],
    )
    yield (
        "good-equal-sizes",
        "The same checkpoint again: cosigned again, at a later time.",
        [first(), given(grow(8, 8), text_of(8), NOW + 60)],
    )
    yield (
        "good-size-0",
        "The empty tree, with the empty root, and growth from it.",
        [
            given(body(0, note_of(0)), text_of(0)),
            given(body(0, note_of(0)), text_of(0), NOW + 1),
            given(grow(0, 8), text_of(8), NOW + 2),
            conflict(grow(0, 20), 8, NOW + 3),
        ],
    )
    several = note_of(8, LEAVES, STRANGER, LOG, SUMDB) + FELLOW.sign(text_of(8), NOW)
    yield (
        "good-several-signatures",
        "Signatures of unknown keys, a fellow witness's among them, are ignored.",
        [given(grow(0, 8, note=several), text_of(8))],
    )
    unknown = note_of(8, LEAVES, OTHER, LOG)
    yield (
        "good-unknown-key-of-its-name",
        "Another key under the log's own name is an unknown key.",
        [given(grow(0, 8, note=unknown), text_of(8))],
    )
    grease = note_of(8) + format_signature(Signature("grease.example", b"\1\2\3\4", b"\xff" * 40))
    yield "good-grease", "A line of no known kind is ignored.", [given(grow(0, 8, note=grease), text_of(8))]
    quantum = note_of(8) + "".join(mldsa_line(f"witness.example/pq{n}") for n in range(16))
    yield (
        "good-16-post-quantum-lines",
        "Sixteen ML-DSA-44 cosignature lines of unknown keys are read and ignored.",
        [given(grow(0, 8, note=quantum), text_of(8))],
    )
    yield (
        "good-clock-back-by-a-little",
        "The clock is three seconds behind: the time of the cosignature does not go back.",
        [first(), given(grow(8, 20), text_of(20), NOW - 3, NOW)],
    )


def sizes() -> Iterator[tuple[str, str, list[Exchange]]]:
    """409 and 400."""
    yield "bad-409-old-behind", "The asker knows an older size.", [first(), conflict(grow(3, 20), 8)]
    yield (
        "bad-409-old-ahead",
        "The asker believes in a size never cosigned.",
        [first(), conflict(grow(9, 20), 8)],
    )
    yield "bad-409-old-0", "Asking with 0 tells the size.", [first(), conflict(grow(0, 20), 8)]
    yield "bad-409-unknown-log", "Nothing was cosigned: the size is 0.", [conflict(grow(3, 8), 0)]
    yield "bad-409-smaller-tree", "A smaller tree, from 0.", [first(), conflict(grow(0, 3), 8)]
    yield "bad-409-smaller-equal", "A smaller tree, from itself.", [first(), conflict(grow(3, 3), 8)]
    yield (
        "bad-400-old-above-size",
        "An old size above the new one, before what is known is compared.",
        [first(), exchange(body(9, note_of(8)), 400), exchange(body(8, note_of(3)), 400)],
    )


def malformed() -> Iterator[tuple[str, str, list[Exchange]]]:
    """400: not a request."""
    note = note_of(3)
    hash_line = encode_base64(bytes(32))
    cases = {
        "empty": (b"", "Nothing."),
        "no-empty-line": (b"old 0\n" + note.encode().split(b"\n\n")[0], "No empty line."),
        "no-old": (b"\n" + note.encode(), "No old line."),
        "old-leading-zero": (body(0, note).replace(b"old 0", b"old 00"), "A size with a leading zero."),
        "old-negative": (body(0, note).replace(b"old 0", b"old -1"), "A negative size."),
        "old-plus": (body(0, note).replace(b"old 0", b"old +0"), "A size with a sign."),
        "old-two-spaces": (body(0, note).replace(b"old 0", b"old  0"), "Two spaces."),
        "old-huge": (body(0, note).replace(b"old 0", b"old 9223372036854775808"), "A size of 2^63."),
        "old-upper-case": (body(0, note).replace(b"old 0", b"Old 0"), "Another word."),
        "crlf": (body(0, note).replace(b"\n", b"\r\n"), "Carriage returns."),
        "hash-short": (f"old 1\n{encode_base64(bytes(31))}\n\n{note}".encode(), "A hash of 31 bytes."),
        "hash-long": (f"old 1\n{encode_base64(bytes(33))}\n\n{note}".encode(), "A hash of 33 bytes."),
        "hash-not-base64": (f"old 1\n{'?' * 44}\n\n{note}".encode(), "A hash that is no base64."),
        "hash-unpadded": (f"old 1\n{hash_line[:-1]}\n\n{note}".encode(), "A hash without padding."),
        "64-hashes": (body(1, note, [bytes(32)] * 64), "One hash more than any proof has."),
        "not-utf8": (body(0, note) + b"\xff", "Other bytes than UTF-8."),
        "note-without-signature": (body(0, text_of(3) + "\n"), "A note without a signature line."),
        "note-cut": (body(0, note[:-1]), "A signature line without its newline."),
        "note-more-behind": (body(0, note + "more"), "Something behind the signatures."),
        "size-leading-zero": (
            body(0, sign_note(text_of(3).replace("\n3\n", "\n03\n"), [LOG])),
            "A signed tree size with a leading zero.",
        ),
        "root-short": (
            body(0, sign_note(f"{LOG.name}\n3\n{encode_base64(bytes(31))}\n", [LOG])),
            "A signed root of 31 bytes.",
        ),
        "extension-line": (
            body(0, sign_note(text_of(3) + "extension\n", [LOG])),
            "A signed extension line: no monitor could audit it.",
        ),
        "too-large": (b"old 0\n\n" + b"x" * (129 << 10), "More bytes than a request has."),
    }
    for name, (request, what) in cases.items():
        yield f"bad-400-{name}", what, [exchange(request, 400)]


def refused() -> Iterator[tuple[str, str, list[Exchange]]]:
    """403 and 404."""
    note = note_of(8)
    wrong = note.replace(text_of(8), text_of(8, FORKED))
    cases = {
        "bad-403-other-key": (403, note_of(8, LEAVES, OTHER), "Signed by another key of that name only."),
        "bad-403-stranger": (403, note_of(8, LEAVES, STRANGER), "Signed by a stranger only."),
        "bad-403-wrong-signature": (403, wrong, "The log's line over another text."),
        "bad-403-one-of-two-wrong": (
            403,
            note + LOG.sign(text_of(8, FORKED)),
            "A right line and a wrong one.",
        ),
        "bad-403-cosignature-only": (
            403,
            text_of(8) + "\n" + CosignatureSigner.from_seed(LOG.name, seed("x")).sign(text_of(8), NOW),
            "A cosignature under the log's name is no signature by the log.",
        ),
        "bad-404-unknown-origin": (
            404,
            sign_checkpoint(Checkpoint(STRANGER.name, 8, root_hash(LEAVES[:8])), STRANGER),
            "A log that is not followed.",
        ),
        "bad-404-key-of-another-origin": (
            404,
            sign_note(text_of(8, LEAVES, "elsewhere.example"), [LOG]),
            "A followed log's key under an origin that is not followed.",
        ),
        "bad-403-origin-of-another-log": (
            403,
            sign_note(text_of(8, LEAVES, "go.sum database tree"), [LOG]),
            "A followed origin signed by another followed log's key.",
        ),
    }
    for name, (status, shown, what) in cases.items():
        yield name, what, [exchange(grow(0, 8, note=shown), status)]


def inconsistent() -> Iterator[tuple[str, str, list[Exchange]]]:
    """422, and that nothing of it is remembered."""
    wrong_root = f"{LOG.name}\n0\n{encode_base64(bytes(32))}\n"
    right = prove_consistency(LEAVES[:20], 8)
    after = given(grow(8, 20), text_of(20), NOW + 9)
    cases = {
        "same-size-other-root": (grow(8, 8, FORKED), "Two roots of one size: a fork."),
        "fork-by-growth": (grow(8, 20, FORKED), "A larger tree that does not extend the one before."),
        "proof-too-short": (body(8, note_of(20), right[:-1]), "A hash too few."),
        "proof-too-long": (body(8, note_of(20), [*right, bytes(32)]), "A hash too many."),
        "proof-empty": (body(8, note_of(20)), "No proof, from a size that is not 0."),
        "proof-wrong": (body(8, note_of(20), [bytes(32), *right[1:]]), "A wrong hash."),
        "63-hashes": (body(8, note_of(20), [bytes(32)] * 63), "As many hashes as a request may have."),
        "equal-sizes-with-proof": (body(8, note_of(8), right), "A proof between equal sizes."),
    }
    for name, (request, what) in cases.items():
        yield f"bad-422-{name}", what, [first(), exchange(request, 422, at=NOW + 5), after]
    yield (
        "bad-422-proof-from-0",
        "A proof from size 0.",
        [exchange(body(0, note_of(8), [bytes(32)]), 422), first()],
    )
    yield (
        "bad-422-size-0-other-root",
        "The empty tree with another root.",
        [exchange(body(0, sign_note(wrong_root, [LOG])), 422), first()],
    )
    yield (
        "bad-503-clock-set-back",
        "The clock went back by an hour: nothing is signed until it has caught up.",
        [first(), exchange(grow(8, 20), 503, at=NOW - 3600), after],
    )


def sumdb() -> tuple[str, str, list[Exchange]]:
    """A log whose key is not named like its origin."""
    text = text_of(8, LEAVES, "go.sum database tree")
    return (
        "good-key-of-another-name",
        "A log whose key is not named like its origin, as configured.",
        [given(grow(0, 8, note=sign_note(text, [SUMDB])), text)],
    )


def build() -> dict[str, dict[str, Any]]:
    """Every vector by file name, without its ending."""
    found: dict[str, dict[str, Any]] = {}
    parts = [*good(), sumdb(), *sizes(), *malformed(), *refused(), *inconsistent()]
    for name, what, exchanges in parts:
        if name in found:
            raise ValueError(f"expected new names, found {name} twice")
        found[name] = {
            "what": what,
            "logs": [
                {"origin": LOG.name, "vkeys": [LOG.vkey]},
                {"origin": "go.sum database tree", "vkeys": [SUMDB.vkey]},
            ],
            "witness": {"vkey": WITNESS.vkey, "private_key": WITNESS.private_key},
            "exchanges": exchanges,
            "newest": _newest(exchanges),
        }
    return found


def _newest(exchanges: list[Exchange]) -> str | None:
    """The first log's newest cosigned checkpoint: its text, its line, the witness's line."""
    newest = None
    for each in exchanges:
        note = base64.b64decode(each["request_b64"]).decode("utf-8", "replace").partition("\n\n")[2]
        text = note.partition("\n\n")[0] + "\n"
        if each["answer"]["status"] == 200 and text.startswith(f"{LOG.name}\n"):
            newest = text + "\n" + LOG.sign(text) + each["answer"]["body"]
    return newest


def file_text(vector: dict[str, Any]) -> str:
    """The file content of a vector."""
    return json.dumps(vector, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def main() -> None:
    """Write the vectors that are not there yet."""
    assert root_hash([]) == EMPTY_ROOT
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, vector in build().items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_text(file_text(vector), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Vectors of what is signed or framed: notes, keys, checkpoints, quorums, tlog-proofs, batches."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from auditlog.core.batch import encode_batch
from auditlog.core.checkpoint import Checkpoint, format_checkpoint, sign_checkpoint
from auditlog.core.cosignature import COSIGNATURE_ED25519
from auditlog.core.keys import format_vkey, split_vkey
from auditlog.core.merkle import prove_inclusion, root_hash
from auditlog.core.note import Ed25519Signer, Signature, format_signature, sign_note
from auditlog.core.tlogproof import TlogProof, format_tlog_proof
from tests.support.log_vectors_common import (
    LEAVES,
    LOG,
    OTHER_LOG,
    TIME,
    WITNESS,
    WITNESS_TWO,
    Vector,
    accepted,
    base64_of,
    hex_of,
    refused,
)


def notes() -> Iterator[tuple[str, Vector]]:
    """Signed notes and vkeys."""
    operation, text = "open_note", "a text\n\nwith an empty line\n"
    note = sign_note(text, [LOG])
    line = note.splitlines()[-1]
    stranger = Signature("stranger.example", b"abcd", b"\x00" * 64)
    many = "".join(
        format_signature(Signature(f"stranger.example/{n}", b"abcd", b"\x01" * 64)) for n in range(15)
    )
    keys = [LOG.vkey]
    for name, what, given in (
        ("signed-once", "One signature by the known key.", note),
        (
            "unknown-signature-ignored",
            "A signature of an unknown key beside it.",
            note + format_signature(stranger),
        ),
        ("sixteen-signatures", "Fifteen unknown signatures before the known one.", f"{text}\n{many}{line}\n"),
    ):
        yield f"note-{name}", accepted(what, operation, text, note=given, vkeys=keys)
    wrong = format_signature(Signature(LOG.name, LOG.key_id, b"\x00" * 64))
    bad = {
        "text-changed": ("One letter of the text differs.", note.replace("a text", "A text")),
        "only-unknown-key": ("No known key signed.", sign_note(text, [OTHER_LOG])),
        "known-key-wrong-beside-good": (
            "A wrong signature of a known key refuses the whole note.",
            note + wrong,
        ),
        "no-signature": ("A text without signatures.", text + "\n"),
        "no-final-newline": ("The last line is cut.", note[:-1]),
        "hyphen-for-dash": ("A hyphen in the place of the em dash.", note.replace("\u2014", "-")),
        "base64-unpadded": ("Base64 without its padding.", note.replace("=", "")),
        "base64-stray-bits": ("Base64 with a bit set after the last byte.", _stray_bits(text, line)),
        "control-character": ("A tab in the text.", note.replace("a text", "a\ttext")),
        "carriage-returns": ("Lines that end in CR LF.", note.replace("\n", "\r\n")),
        "name-with-plus": (
            "A plus sign in the key name.",
            note.replace("log.example/vectors", "log.example+vectors"),
        ),
        "name-with-space": ("A no-break space in the key name.", note.replace("/vectors", "\u00a0vectors")),
    }
    for name, (what, given) in bad.items():
        yield f"note-bad-{name}", refused(what, operation, note=given, vkeys=keys)
    yield (
        "vkey-standard-example",
        accepted(
            "The vkey of the signed-note page.",
            "parse_vkey",
            {"name": "example.com/foo", "algorithm": 1, "key_id": "530d903a"},
            vkey="example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ),
    )
    yield (
        "vkey-bad-key-id",
        refused("A key ID that is not the key's.", "parse_vkey", vkey=LOG.vkey.replace("+", "+0", 1)[:-1]),
    )
    zero = Ed25519Signer.from_seed("zero.example", bytes(32)).vkey
    yield (
        "vkey-bad-name-changed",
        refused("Another name before the same ID.", "parse_vkey", vkey=zero.replace("zero", "nero")),
    )
    yield (
        "vkey-bad-small-order",
        refused("A point of order one is no key.", "parse_vkey", vkey=_vkey_of_small_order()),
    )


def _stray_bits(text: str, line: str) -> str:
    """The same signature with its last base64 character before the padding moved by one."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(line.rstrip("=")) - 1
    moved = alphabet[alphabet.index(line[at]) + 1]
    return f"{text}\n{line[:at]}{moved}{line[at + 1 :]}\n"


def _vkey_of_small_order() -> str:
    return format_vkey("weak.example", 1, b"\x01" + bytes(31))


def checkpoints() -> Iterator[tuple[str, Vector]]:
    """Checkpoint texts, and notes that are checkpoints."""
    checkpoint = Checkpoint(LOG.name, 300, root_hash(LEAVES))
    text = format_checkpoint(checkpoint)
    root = text.splitlines()[2]
    value = {"origin": LOG.name, "tree_size": 300, "root_hash": checkpoint.root_hash.hex(), "extensions": []}
    yield "checkpoint-text", accepted("Three lines.", "parse_checkpoint", value, text=text)
    extended = value | {"extensions": ["an extension"]}
    yield (
        "checkpoint-extension",
        accepted("An extension line is kept.", "parse_checkpoint", extended, text=text + "an extension\n"),
    )
    bad = {
        "size-leading-zero": text.replace("\n300\n", "\n0300\n"),
        "size-signed": text.replace("\n300\n", "\n+300\n"),
        "size-too-large": text.replace("\n300\n", f"\n{2**63}\n"),
        "size-zero-with-root": text.replace("\n300\n", "\n0\n"),
        "root-short": text.replace(root, "AAAA"),
        "root-unpadded": text.replace(root, root.rstrip("=")),
        "origin-empty": text.replace(LOG.name, ""),
        "extension-empty": text + "\n",
        "no-final-newline": text[:-1],
    }
    for name, given in bad.items():
        yield f"checkpoint-bad-{name}", refused("Not a checkpoint text.", "parse_checkpoint", text=given)
    yield from _signed_checkpoints(text)


def _signed_checkpoints(text: str) -> Iterator[tuple[str, Vector]]:
    operation = "open_checkpoint"
    note = sign_note(text, [LOG])
    keys = [LOG.vkey, OTHER_LOG.vkey, WITNESS.vkey]
    cosigned = note + WITNESS.sign(text, TIME)
    yield (
        "checkpoint-cosigned",
        accepted(
            "Signed by the log, cosigned by a witness.",
            operation,
            {"cosigners": [[WITNESS.name, TIME]]},
            note=cosigned,
            vkeys=keys,
            origin=LOG.name,
        ),
    )
    later = (TIME + 1).to_bytes(8, "big")
    signature = base64.b64decode(WITNESS.sign(text, TIME).split()[-1])
    moved = format_signature(Signature(WITNESS.name, WITNESS.key_id, later + signature[12:]))
    bad = {
        "cosignature-only": ("The log itself did not sign.", f"{text}\n{WITNESS.sign(text, TIME)}", LOG.name),
        "cosignature-time-moved": ("The time of a cosignature was changed.", note + moved, LOG.name),
        "signed-by-other-log": (
            "Signed by the key of another trusted log.",
            sign_note(text, [OTHER_LOG]),
            LOG.name,
        ),
        "other-origin": ("A good checkpoint of another origin.", note, OTHER_LOG.name),
    }
    for name, (what, given, origin) in bad.items():
        yield f"checkpoint-bad-{name}", refused(what, operation, note=given, vkeys=keys, origin=origin)


def policies() -> Iterator[tuple[str, Vector]]:
    """Quorums, and policies that break a rule."""
    operation = "check_quorum"
    text = format_checkpoint(Checkpoint(LOG.name, 300, root_hash(LEAVES)))
    base = f"log {LOG.vkey}\nwitness one {WITNESS.vkey}\nwitness two {WITNESS_TWO.vkey}\n"
    both = f"{base}group both all one two\nquorum both\n"
    note = sign_note(text, [LOG]) + WITNESS.sign(text, TIME)
    full = note + WITNESS_TWO.sign(text, TIME + 1)
    for name, what, policy, given, value in (
        ("all-met", "Both witnesses of two.", both, full, (True, False, [["one", TIME], ["two", TIME + 1]])),
        ("all-not-met", "One witness of two.", both, note, (False, False, [["one", TIME]])),
        (
            "any-met",
            "One of two is enough for any.",
            both.replace("all", "any"),
            note,
            (True, False, [["one", TIME]]),
        ),
        (
            "none",
            "`quorum none` is reported as such and never met.",
            f"{base}quorum none\n",
            full,
            (False, True, [["one", TIME], ["two", TIME + 1]]),
        ),
        (
            "two-keys-of-one-origin",
            "Two log lines may share an origin: either key speaks for the log.",
            f"log {Ed25519Signer.from_seed(LOG.name, bytes(32)).vkey}\n{base}quorum one\n",
            note,
            (True, False, [["one", TIME]]),
        ),
    ):
        result = dict(zip(("satisfied", "is_none", "cosigners"), value, strict=True))
        yield f"quorum-{name}", accepted(what, operation, result, policy=policy, note=given)
    bad = {
        "no-quorum-line": base,
        "two-quorum-lines": f"{base}quorum one\nquorum none\n",
        "quorum-unknown": f"{base}quorum three\n",
        "member-unknown": f"{base}group g any three\nquorum g\n",
        "member-twice": f"{base}group g any one\ngroup h any one\nquorum g\n",
        "threshold-above-members": f"{base}group g 3 one two\nquorum g\n",
        "threshold-zero": f"{base}group g 0 one two\nquorum g\n",
        "witness-key-twice": f"{base}witness three {WITNESS.vkey}\nquorum one\n",
        "log-key-as-witness": f"log {LOG.vkey}\nwitness w {OTHER_LOG.vkey}\nquorum w\n",
        "log-is-its-own-witness": f"log {LOG.vkey}\nwitness w {_as_witness(LOG)}\nquorum w\n",
        "witness-is-a-log-of-a-later-line": f"witness w {_as_witness(LOG)}\nlog {LOG.vkey}\nquorum w\n",
        "carriage-returns": f"{base}quorum one\n".replace("\n", "\r\n"),
    }
    for name, policy in bad.items():
        yield f"policy-bad-{name}", refused("A policy that breaks a rule.", "parse_policy", policy=policy)


def _as_witness(signer: Ed25519Signer) -> str:
    """The vkey of the same public key in the other role, under another name."""
    name, public_key = "witness.example/same", split_vkey(signer.vkey)[2]
    return format_vkey(name, COSIGNATURE_ED25519, public_key)


def proof_files() -> Iterator[tuple[str, Vector]]:
    """tlog-proof texts."""
    note = sign_checkpoint(Checkpoint(LOG.name, 300, root_hash(LEAVES)), LOG)
    proof = TlogProof(41, tuple(prove_inclusion(LEAVES, 41)), note)
    text = format_tlog_proof(proof)
    value = {"index": 41, "hashes": hex_of(list(proof.hashes)), "checkpoint": note, "extra": None}
    yield (
        "tlog-proof-41-of-300",
        accepted("A proof with its checkpoint.", "parse_tlog_proof", value, text=text),
    )
    with_extra = format_tlog_proof(TlogProof(41, proof.hashes, note, b"hello"))
    yield (
        "tlog-proof-extra",
        accepted(
            "Extra data, which nothing authenticates.",
            "parse_tlog_proof",
            value | {"extra": base64_of(b"hello")},
            text=with_extra,
        ),
    )
    first = text.splitlines()[2]
    bad = {
        "version-other": text.replace("@v1", "@v2"),
        "index-leading-zero": text.replace("index 41", "index 041"),
        "index-missing": text.replace("index 41\n", ""),
        "extra-after-index": text.replace("index 41\n", "index 41\nextra aGVsbG8=\n"),
        "hash-short": text.replace(first, "AAAA"),
        "hash-unpadded": text.replace(first, first.rstrip("=")),
        "no-empty-line": text.replace("\n\n", "\n", 1),
        "no-checkpoint": text[: text.index("\n\n") + 2],
    }
    for name, given in bad.items():
        yield f"tlog-proof-bad-{name}", refused("Not a tlog-proof.", "parse_tlog_proof", text=given)


def batches() -> Iterator[tuple[str, Vector]]:
    """Posted batches."""
    data = encode_batch("a head\n", [b"one", b"two"])
    value = {"head": "a head\n", "entries": [base64_of(b"one"), base64_of(b"two")]}
    yield "batch-of-two", accepted("A head and two entries.", "decode_batch", value, batch=base64_of(data))
    bad = {
        "cut-in-entry": data[:-1],
        "cut-in-head": data[:6],
        "no-entries": encode_batch("h", [b""])[:5],
        "head-not-utf8": b"\x00\x00\x00\x01\xff\x00\x00",
        "head-length-over-end": b"\x00\x00\xff\xffh",
    }
    for name, given in bad.items():
        yield f"batch-bad-{name}", refused("Not a batch.", "decode_batch", batch=base64_of(given))

"""COSE receipts: an inclusion proof the log's key signed for readers of RFC 9942 (RFC9162_SHA256, vds 1).

Spec: auditlog/spec/cose.md.

    18([ protected    << {1: -8, 4: kid, 15: {1: origin, 2: origin, "tree-size": n}, 16: typ, 395: 1} >>,
         unprotected  {396: {-1: [ << [n, index, [+ hash]] >> ]}, "c2sp.org/tlog-checkpoint@v1": note},
         payload      null, which is the root of the tree,
         signature    Ed25519 over ["Signature1", protected, h'', root] ])

RFC 9942 signs the root alone: its tree size and index are where anybody can change them. Here the size is in
the protected header too, and our reader takes size and root from the checkpoint note, as everywhere.
A Sig_structure begins with the byte 0x84, which begins no UTF-8: it is never the text of a note. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from auditlog.core import cbor
from auditlog.core.checkpoint import Checkpoint, parse_checkpoint
from auditlog.core.keys import Ed25519Signer, Ed25519Verifier, split_vkey
from auditlog.core.note import MAX_NOTE_BYTES, split_note
from auditlog.core.proofs import HASH_BYTES, MAX_TREE_SIZE
from auditlog.core.tlogproof import MAX_INCLUSION_HASHES, TlogProof
from auditlog.errors import InclusionError, MalformedError, SignatureError

MEDIA_TYPE: Final = "application/scitt-receipt+cose"
TYPE: Final = "application/vnd.auditlog.receipt.v1+cose"
"""`typ` of the protected header: which profile of RFC 9942 this is."""

CHECKPOINT_LABEL: Final = "c2sp.org/tlog-checkpoint@v1"
TREE_SIZE_CLAIM: Final = "tree-size"
MAX_COSE_BYTES: Final = MAX_NOTE_BYTES + 8192

_SIGN1 = 18
_ALG, _KID, _CLAIMS, _TYP, _VDS, _VDP = 1, 4, 15, 16, 395, 396
_ISSUER, _SUBJECT = 1, 2
_EDDSA = -8
_RFC9162_SHA256 = 1
_INCLUSION = -1
_KTY, _KEY_ALG, _CRV, _X = 1, 3, -1, -2
_OKP, _ED25519 = 1, 6
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class CoseReceipt:
    """A COSE receipt, parsed and not believed. `proof.checkpoint` is the note from the unprotected header."""

    proof: TlogProof
    origin: str
    tree_size: int
    """As the protected header says."""
    kid: bytes
    protected: bytes
    signature: bytes


def is_cose(data: bytes) -> bool:
    """Whether bytes begin as a tagged COSE_Sign1 in its shortest form; no text does."""
    return data[:1] == b"\xd2"


def kid_of(key: Ed25519Verifier) -> bytes:
    """The COSE Key Thumbprint of a key (RFC 9679): SHA-256 of its required members, 32 bytes."""
    return sha256(cbor.encode({_KTY: _OKP, _CRV: _ED25519, _X: _public_key(key)})).digest()


def cose_key(key: Ed25519Verifier) -> bytes:
    """A vkey's public key as a COSE_Key, for whoever checks with another COSE library."""
    members = {_KTY: _OKP, 2: kid_of(key), _KEY_ALG: _EDDSA, _CRV: _ED25519, _X: _public_key(key)}
    return cbor.encode(members)


def _public_key(key: Ed25519Verifier) -> bytes:
    return split_vkey(key.vkey)[2]


def sign_cose_receipt(proof: TlogProof, checkpoint: Checkpoint, signer: Ed25519Signer) -> bytes:
    """Write the COSE receipt of a proof whose checkpoint the same key has signed, and the caller has checked.

    The signature says what the checkpoint says, per tree and not per entry: origin, size and root.

    Raises:
        MalformedError: the tree has one leaf (RFC 9942 has no form for an empty path), or `signer` is not
            the key of this log.
    """
    if not proof.hashes:
        raise MalformedError("COSE receipt: expected a tree of two entries or more, found one of one entry")
    if signer.name != checkpoint.origin:
        raise MalformedError("COSE receipt: expected the key of the checkpoint's log, found another")
    origin, size = checkpoint.origin, checkpoint.tree_size
    protected = cbor.encode(
        {
            _ALG: _EDDSA,
            _KID: kid_of(signer.verifier),
            _CLAIMS: {_ISSUER: origin, _SUBJECT: origin, TREE_SIZE_CLAIM: size},
            _TYP: TYPE,
            _VDS: _RFC9162_SHA256,
        }
    )
    inclusion = cbor.encode([size, proof.index, list(proof.hashes)])
    unprotected = {_VDP: {_INCLUSION: [inclusion]}, CHECKPOINT_LABEL: proof.checkpoint}
    signature = signer.sign_binary(_to_be_signed(protected, checkpoint.root_hash))
    return cbor.encode(cbor.Tag(_SIGN1, [protected, unprotected, None, signature]))


def parse_cose_receipt(data: bytes) -> CoseReceipt:
    """Read a COSE receipt of the profile above, strictly; `data` is attacker-controlled.

    Raises:
        MalformedError: anything `sign_cose_receipt` would not write for some proof.
    """
    if len(data) > MAX_COSE_BYTES:
        raise MalformedError(f"COSE receipt: expected at most {MAX_COSE_BYTES} bytes, found {len(data)}")
    message = cbor.decode(data)
    if not isinstance(message, cbor.Tag) or message.number != _SIGN1:
        raise _wrong("a tagged COSE_Sign1")
    protected, unprotected, payload, signature = _array(message.value, 4, "COSE_Sign1")
    if type(protected) is not bytes or payload is not None:
        raise _wrong("a protected header in bytes and a detached payload")
    if type(signature) is not bytes or len(signature) != _SIGNATURE_BYTES:
        raise _wrong(f"a signature of {_SIGNATURE_BYTES} bytes")
    kid, origin, tree_size = _read_protected(cbor.decode(protected))
    proof = _read_unprotected(unprotected, tree_size)
    return CoseReceipt(proof, origin, tree_size, kid, protected, signature)


def verify_cose_receipt(receipt: CoseReceipt, checkpoint: Checkpoint, key: Ed25519Verifier) -> None:
    """Check that the log's key signed this receipt over the root of a checkpoint the caller has opened.

    Inclusion is not checked here: the proof must lead to that same root.

    Raises:
        InclusionError: another origin or size than the checkpoint's.
        SignatureError: not signed by `key`.
    """
    found, expected = (receipt.origin, receipt.tree_size), (checkpoint.origin, checkpoint.tree_size)
    if found != expected:
        raise InclusionError(
            f"COSE receipt: expected {expected[0]} at size {expected[1]}, as in its checkpoint, found another"
        )
    if not key.verify(_to_be_signed(receipt.protected, checkpoint.root_hash), receipt.signature):
        raise SignatureError(f"COSE receipt: expected a signature by {key.name}, found a wrong one")


def _to_be_signed(protected: bytes, root: bytes) -> bytes:
    """The Sig_structure of RFC 9052 section 4.4, with the root as detached payload."""
    return cbor.encode(["Signature1", protected, b"", root])


def _read_protected(value: Any) -> tuple[bytes, str, int]:
    _members(value, {_ALG, _KID, _CLAIMS, _TYP, _VDS}, "protected header")
    # -8 with this kid is Ed25519; an algorithm is what the key is for, never what the message says it is.
    if (value[_ALG], value[_VDS], value[_TYP]) != (_EDDSA, _RFC9162_SHA256, TYPE):
        raise _wrong("alg -8 (EdDSA), vds 1 (RFC9162_SHA256) and the typ of this profile")
    kid, claims = value[_KID], value[_CLAIMS]
    _members(claims, {_ISSUER, _SUBJECT, TREE_SIZE_CLAIM}, "claims")
    origin, size = claims[_ISSUER], claims[TREE_SIZE_CLAIM]
    if type(kid) is not bytes or len(kid) != HASH_BYTES:
        raise _wrong("a kid of 32 bytes")
    if type(origin) is not str or claims[_SUBJECT] != origin:
        raise _wrong("the log's origin as issuer and as subject")
    if type(size) is not int or not 0 < size <= MAX_TREE_SIZE:
        raise _wrong("a tree size")
    return kid, origin, size


def _read_unprotected(value: Any, tree_size: int) -> TlogProof:
    _members(value, {_VDP, CHECKPOINT_LABEL}, "unprotected header")
    _members(value[_VDP], {_INCLUSION}, "proofs")
    (encoded,) = _array(value[_VDP][_INCLUSION], 1, "inclusion proofs")
    if type(encoded) is not bytes:
        raise _wrong("an inclusion proof in bytes")
    size, index, path = _array(cbor.decode(encoded), 3, "inclusion proof")
    if type(size) is not int or type(index) is not int or not 0 <= index < size:
        raise _wrong("an index below a tree size")
    if size != tree_size:
        raise _wrong("the tree size of the protected header in the proof")
    if type(path) is not list or not 0 < len(path) <= MAX_INCLUSION_HASHES:
        raise _wrong(f"a path of 1 to {MAX_INCLUSION_HASHES} hashes")
    if any(type(item) is not bytes or len(item) != HASH_BYTES for item in path):
        raise _wrong(f"hashes of {HASH_BYTES} bytes")
    note = value[CHECKPOINT_LABEL]
    if type(note) is not str:
        raise _wrong("a checkpoint note in text")
    parse_checkpoint(split_note(note)[0])
    return TlogProof(index, tuple(path), note)


def _members(value: Any, expected: set[Any], what: str) -> None:
    if type(value) is not dict or value.keys() != expected:
        raise _wrong(f"exactly the members of this profile in the {what}")


def _array(value: Any, length: int, what: str) -> list[Any]:
    if type(value) is not list or len(value) != length:
        raise _wrong(f"an array of {length} as {what}")
    return value


def _wrong(expected: str) -> MalformedError:
    return MalformedError(f"COSE receipt: expected {expected}, found something else")

"""The promise: a producer's word, given with the answer,
that this entry will be in the log (spec/promise.md).

    auditlog/promise@v1
    <origin>
    <producer, 64 hex digits>
    <instance, 32 hex digits>
    <seq>
    <leaf hash of the entry, base64>
    <model, as in the entry: 64 hex digits, pending or unregistered>
    <request commitment, base64>
    <response commitment, base64>
    <time>
    <merge by>

The entry is sealed byte for byte and durable before its promise is signed. With the exchange key the caller
checks at once that the promise is about the bytes in hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.core.bodies import MODEL_WORDS
from auditlog.core.commitment import as_committed, commit_body
from auditlog.core.note import NoteSigner, NoteVerifier
from auditlog.core.scalars import (
    check_hash,
    check_hash_hex,
    check_instance_hex,
    check_origin,
    encode_base64,
    is_hash_hex,
    parse_decimal,
    parse_hash_base64,
    parse_time,
    text_lines,
)
from auditlog.core.signed import open_one, sign_one
from auditlog.errors import DisclosureError, MalformedError

PROMISE_HEADER = "auditlog/promise@v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a promise says. `producer`, `instance` and `model` in hex or words; hashes are 32 bytes."""

    origin: str
    producer: str
    instance: str
    seq: int
    leaf_hash: bytes
    model: str
    request: bytes
    response: bytes
    time: str
    merge_by: str


def format_promise_text(promise: Promise) -> str:
    """Return the text to sign.

    Raises:
        MalformedError: a member out of form, or a merge-by before the time.
    """
    lines = (
        PROMISE_HEADER,
        promise.origin,
        promise.producer,
        promise.instance,
        str(promise.seq),
        encode_base64(check_hash(promise.leaf_hash, "promise leaf hash")),
        promise.model,
        encode_base64(check_hash(promise.request, "promise request")),
        encode_base64(check_hash(promise.response, "promise response")),
        promise.time,
        promise.merge_by,
    )
    text = "".join(f"{line}\n" for line in lines)
    parse_promise_text(text)
    return text


def parse_promise_text(text: str) -> Promise:
    """Read the text of a promise: attacker-controlled.

    Raises:
        MalformedError: not exactly what `format_promise_text` writes.
    """
    origin, producer, instance, seq, leaf_hash, model, request, response, time, merge_by = text_lines(
        text, PROMISE_HEADER, 10
    )
    if not is_hash_hex(model) and model not in MODEL_WORDS:
        raise MalformedError(
            f"promise model: expected 64 hex digits or one of {MODEL_WORDS}, found something else"
        )
    if parse_time(time) > parse_time(merge_by):
        raise MalformedError("promise: expected merge-by not before the time, found it before")
    return Promise(
        origin=check_origin(origin),
        producer=check_hash_hex(producer, "promise producer"),
        instance=check_instance_hex(instance),
        seq=parse_decimal(seq, "promise seq"),
        leaf_hash=parse_hash_base64(leaf_hash, "promise leaf hash"),
        model=model,
        request=parse_hash_base64(request, "promise request"),
        response=parse_hash_base64(response, "promise response"),
        time=time,
        merge_by=merge_by,
    )


def sign_promise(promise: Promise, signer: NoteSigner) -> str:
    """Return the promise as a note signed by the producer."""
    return sign_one(format_promise_text(promise), signer)


def open_promise(note: str | bytes, verifier: NoteVerifier) -> Promise:
    """Verify a promise's signature and read it.

    Raises:
        MalformedError: not a note, or not a promise.
        SignatureError: not signed by `verifier`'s key.
    """
    return parse_promise_text(open_one(note, verifier))


def check_promise_bytes(promise: Promise, *, exchange_key: bytes, request: bytes, response: bytes) -> None:
    """Check that a promise is about the bytes the caller sent and got; a promise that came within the answer
    may still be in it.

    Raises:
        DisclosureError: it is about other bytes, or the key is not this exchange's.
    """
    if commit_body(exchange_key, "request", request) != promise.request:
        raise DisclosureError(
            "promise: expected the request that was sent, found a commitment to other bytes"
        )
    response = as_committed(promise.response.hex(), exchange_key, "response", response)
    if commit_body(exchange_key, "response", response) != promise.response:
        raise DisclosureError("promise: expected the response that came, found a commitment to other bytes")

"""Vectors of what is committed to: bodies and their fields, folds of streams, disclosures.

Each function yields (folder, file name, vector), as in vectors_values.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from auditlog.core.commitment import commit_body, field_leaves, field_root
from auditlog.core.content import field_text
from auditlog.core.disclosure import disclose_field, disclose_whole
from auditlog.core.fold import fold
from auditlog.core.scalars import encode_base64
from tests.support import format_world as fixed
from tests.support.format_world import World
from tests.support.vectors_values import Vector

# Compressed bytes as constants: another compressor would write other bytes for the same text.
GZIP_REQUEST = base64.b64decode(
    "H4sIAAAAAAACAxXKWwqAIBBA0a2I3xH2JNqMSI0UzCNSPyLae+P9PNzXnrwJgV3N2DvXTq4xNpAUzkrd4jSVDDd5Es5HUh7m"
    "agkweqAL5YFdNQZMoM6SoV5cEL8f6FWc7GAAAAA="
)
DEFLATE_REQUEST = base64.b64decode(
    "eJwVylsKgCAQQNGtiN8R9iTajEiNFMwjUj8i2nvj/Tzc1568CYFdzdg7106uMTaQFM5K3eI0lQw3eRLOR1Ie5moJMHqgC+WB"
    "XTUGTKDOkqFeXBC/H0vwHXA="
)
RAW_DEFLATE_REQUEST = base64.b64decode(
    "FcpbCoAgEEDRrYjfEfYk2oxIjRTMI1I/Itp74/083NeevAmBXc3YO9dOrjE2kBTOSt3iNJUMN3kSzkdSHuZqCTB6oAvlgV01"
    "BkygzpKhXlwQvx8="
)
GZIP_STREAM = base64.b64decode(
    "H4sIAAAAAAACA9WSv07DMBDG9zxFdLOpSFAb6hHB2j5AiSpjH42p44viswSq8u5cJAgLM6jrd9+f33C6HNG4j6Jwho0uL+Ad"
    "aLCdYdsP4aYCBfTyhpa/1JUl0ZE9xZXtcjyLwUoFo+SqZtPU9XpT3SroyWGQUOopzJ6OvMUE+iAT0eE7aDGJhQ3oC4wUUMwm"
    "JZ/YRJ4TFBnjvAuTglcffeqOspQogo45hKmd/hv7h/EhZCyvAfQ5u/s7dyWkdrv9hRQS0wB/y9oqyMmccEYcRmnjI9MZo9zW"
    "869+1y9qrYCJTViEZlp4D4/73VNbFJ9iT0/LfQMAAA=="
)
GZIP_LIST = base64.b64decode("H4sIAAAAAAACA4s2jAUAuDIvTAMAAAA=")


def commitment_bodies() -> dict[str, bytes]:
    """Bodies and the rules of the field tree they show."""
    deep = b'{"a":' * 40 + b"1" + b"}" * 40
    return {
        "request": fixed.LOAN_REQUEST,
        "response": fixed.LOAN_RESPONSE,
        "scalar": b' "alone" ',
        "empty-object": b"{ }",
        "empty-array-at-root": b"[]",
        "numbers-at-root": b"[1, 2.50, -3E+2]",
        "array-mixed": b'[1,"a",[2,3],[[4]],[],{"b":[true]}]',
        "pointer-escapes": b'{"a/b":1,"m~n":2,"":3,"\\u00e9":4,"\\u007e":5}',
        "source-bytes-of-numbers": b'{"a":1.0,"b":1e400,"c":-0,"d":123456789012345678901234567890}',
        "escapes-kept": b'{"a":"\\u0041\\/","b":"\\ud83d\\ude00"}',
        "deep-container-whole": deep,
        "leaves-1024": json.dumps([str(n) for n in range(1024)]).encode(),
        "leaves-1025-by-member": json.dumps({"a": [str(n) for n in range(1025)], "b": [1, "x"]}).encode(),
        "members-1025-at-root": json.dumps([str(n) for n in range(1025)]).encode(),
        "gzip": GZIP_REQUEST,
        "deflate": DEFLATE_REQUEST,
        "none-empty": b"",
        "none-not-json": b"hello",
        "none-html": b"<p>hello</p>",
        "none-not-utf8": b'"\xff"',
        "none-byte-order-mark": b"\xef\xbb\xbf{}",
        "none-repeated-key": b'{"a":{"b":1,"b":1}}',
        "none-repeated-key-by-escape": b'{"a":1,"\\u0061":2}',
        "none-repeated-key-in-whole": b'{"a":' * 40 + b'{"x":1,"x":1}' + b"}" * 40,
        "none-lone-surrogate": b'{"a":"\\ud83d"}',
        "none-lone-low-surrogate": b'{"a":"\\ude00"}',
        "none-surrogates-swapped": b'{"a":"\\ude00\\ud83d"}',
        "none-trailing-text": b"{} x",
        "none-trailing-comma": b'{"a":1,}',
        "none-leading-zero": b"[01]",
        "none-raw-newline-in-string": b'"a\nb"',
        "none-pointer-65536": b'{"' + b"k" * 65_535 + b'":1}',
        "pointer-65535": b'{"' + b"k" * 65_534 + b'":1}',
        "none-raw-deflate": RAW_DEFLATE_REQUEST,
        "none-gzip-cut": GZIP_REQUEST[:-1],
        "none-gzip-two-members": GZIP_LIST * 2,
    }


def commitment_vectors() -> Iterator[Vector]:
    """Commitments and field roots of many bodies; `none-` bodies have a commitment and no fields."""
    key = fixed.seed("exchange key")
    for name, data in commitment_bodies().items():
        yield commitment_vector(f"good-{name}", key, "request", data, "json")
    yield commitment_vector("good-facts", fixed.seed("facts key"), "facts", fixed.LOAN_FACTS, "json")
    chat = fixed.seed("chat exchange key")
    yield commitment_vector("good-stream", chat, "response", fixed.CHAT_RESPONSE, "fold:openai.chat@v1")
    yield commitment_vector("good-stream-gzip", chat, "response", GZIP_STREAM, "fold:openai.chat@v1")
    yield commitment_vector("good-none-stream-as-json", chat, "response", fixed.CHAT_RESPONSE, "json")


def commitment_vector(name: str, key: bytes, body: str, data: bytes, form: str) -> Vector:
    """The vector of a commitment to a body and its fields."""
    text = field_text(data, form)
    fields = field_root(key, body, text, form) if text is not None else None
    leaves = field_leaves(text) if text is not None else []
    shown = leaves if len(leaves) <= 64 and len(data) < 10_000 else leaves[:2]
    expect = {
        "commitment": commit_body(key, body, data).hex(),
        "fields": None if fields is None else fields.member(),
        "first_leaves": [{"pointer": pointer, "value_b64": encode_base64(value)} for pointer, value in shown],
    }
    given = {"key_b64": encode_base64(key), "body": body, "data_b64": encode_base64(data), "form": form}
    return "commitment", name, {**given, "ok": True, "expect": expect}


def fold_vectors() -> Iterator[Vector]:
    """Event streams and what they fold to; null where they do not."""
    chunk = b'data: {"object":"text_completion","id":"c","created":1.50,"model":"m","choices":[%b]}\n\n'
    delta = b'data: {"object":"chat.completion.chunk",%b}\n\n'
    streams: dict[str, tuple[str, bytes]] = {
        "chat": ("openai.chat", fixed.CHAT_RESPONSE),
        "completions": (
            "openai.completions",
            chunk % b'{"index":1,"text":"b"}' + chunk % b'{"index":0,"text":"a","finish_reason":"length"}',
        ),
        "carriage-returns": ("openai.completions", (chunk % b'{"index":0,"text":"a"}').replace(b"\n", b"\r")),
        "data-over-two-lines": (
            "openai.completions",
            b'data:{"object":"text_completion",\ndata: "choices":[{"index":0,"text":"a"}]}\n\n',
        ),
        "other-events-skipped": (
            "openai.completions",
            b'event: ping\ndata: {}\n\n: note\n\ndata: nonsense\n\ndata: {"error":{}}\n\n'
            + chunk % b'{"index":0,"text":"a"}',
        ),
        "cut-in-an-event": ("openai.completions", chunk % b'{"index":0,"text":"a"}' + b'data: {"obj\xe2\x82'),
        "finish-reason-last": (
            "openai.completions",
            chunk % b'{"index":0,"text":"a","finish_reason":"x"}'
            + chunk % b'{"index":0,"text":"","finish_reason":null}'
            + chunk % b'{"index":0,"text":"","finish_reason":"stop"}',
        ),
        "choice-without-index-skipped": ("openai.completions", chunk % b'{"text":"a"}'),
        "no-choices": ("openai.completions", chunk % b""),
        "reasoning": (
            "openai.chat",
            delta % b'"choices":[{"index":0,"delta":{"reasoning_content":"hm"}}]'
            + delta % b'"choices":[{"index":0,"delta":{"content":"ok"}}]',
        ),
        "usage-last": (
            "openai.chat",
            delta % b'"choices":[],"usage":{"total_tokens":1}'
            + delta % b'"choices":[],"usage":null'
            + delta % b'"choices":[],"usage":{"total_tokens":2,"x":{"y":1e2}}',
        ),
        "none-empty": ("openai.chat", b""),
        "none-no-known-event": ("openai.completions", fixed.CHAT_RESPONSE),
        "none-json-answer": ("openai.chat", b'{"object":"chat.completion"}'),
        "none-lone-surrogate": ("openai.completions", chunk % b'{"index":0,"text":"\\ud83d"}'),
        "none-repeated-key": ("openai.completions", chunk % b'{"index":0,"text":"a","text":"b"}'),
        "none-not-utf8": ("openai.completions", b"data: \xff\n\n" + chunk % b'{"index":0,"text":"a"}'),
        "none-usage-key-beyond-ascii": (
            "openai.chat",
            'data: {"object":"chat.completion.chunk","usage":{"é":1}}\n\n'.encode(),
        ),
        "too-deep-event-skipped": (
            "openai.completions",
            b'data: {"object":"text_completion","x":'
            + b"[" * 64
            + b"]" * 64
            + b"}\n\n"
            + chunk % b'{"index":0,"text":"a"}',
        ),
        "none-repeated-key-in-other-event": (
            "openai.completions",
            b'data: {"a":1,"a":2}\n\n' + chunk % b'{"index":0,"text":"a"}',
        ),
    }
    for name, (dialect, stream) in streams.items():
        text = fold(dialect, stream)
        if (text is None) != name.startswith("none-"):
            raise AssertionError(name)
        expect = {"text": None if text is None else text.decode()}
        given = {"dialect": dialect, "stream_b64": encode_base64(stream)}
        yield "fold", f"good-{name}", {**given, "ok": True, "expect": expect}


def disclosure_vectors(world: World) -> Iterator[Vector]:
    """Disclosures that open a commitment, and that do not."""
    key = world.exchange_key
    member = fixed.committed(key, "request", fixed.LOAN_REQUEST)
    stream = fixed.committed(key, "response", fixed.CHAT_RESPONSE, "fold:openai.chat@v1")
    text = field_text(fixed.CHAT_RESPONSE, "fold:openai.chat@v1") or b""
    field = disclose_field(key, "request", fixed.LOAN_REQUEST, "/income").to_json()
    whole = disclose_whole(key, "request", fixed.LOAN_REQUEST).to_json()
    folded = disclose_whole(key, "response", fixed.CHAT_RESPONSE, "fold:openai.chat@v1").to_json()
    bare = {"commitment": member["commitment"]}
    good: dict[str, tuple[Any, Any, str | None]] = {
        "field": (member, field, None),
        "field-of-stream": (
            stream,
            disclose_field(key, "response", text, "/choices/0/message/content").to_json(),
            None,
        ),
        "whole": (member, whole, "matched"),
        "whole-of-stream": (stream, folded, "matched"),
        "whole-without-fields": (
            bare,
            disclose_whole(key, "request", fixed.LOAN_REQUEST, None).to_json(),
            "no_fields",
        ),
        "whole-unknown-form": (
            {**member, "fields": {**member["fields"], "form": "fold:opera@v9"}},
            whole,
            "unknown_form",
        ),
    }
    for name, (said, shown, result) in good.items():
        expect = {} if result is None else {"fields": result}
        yield (
            "disclosure",
            f"good-{name}",
            {"member": said, "disclosure": shown, "ok": True, "expect": expect},
        )
    for name, (said, shown) in _bad_disclosures(member, bare, field, whole).items():
        yield "disclosure", name, {"member": said, "disclosure": shown, "ok": False}


def _bad_disclosures(
    member: dict[str, Any], bare: dict[str, Any], field: dict[str, Any], whole: dict[str, Any]
) -> dict[str, tuple[Any, Any]]:
    fields = member["fields"]
    salts = whole["salts"]
    return {
        "bad-field-other-value": (member, {**field, "value": encode_base64(b"9999.00")}),
        "bad-field-other-pointer": (member, {**field, "pointer": "/amount"}),
        "bad-field-other-salt": (member, {**field, "salt": encode_base64(bytes(32))}),
        "bad-field-other-index": (member, {**field, "index": 1}),
        "bad-field-index-beyond-size": (member, {**field, "index": 5}),
        "bad-field-path-short": (member, {**field, "path": field["path"][:-1]}),
        "bad-field-path-long": (member, {**field, "path": [*field["path"], encode_base64(bytes(32))]}),
        "bad-field-path-hash-31-bytes": (
            member,
            {**field, "path": [encode_base64(bytes(31)), *field["path"][1:]]},
        ),
        "bad-field-same-number-respelt": (member, {**field, "value": encode_base64(b"4200.5")}),
        "bad-field-without-root": (bare, field),
        "bad-field-unknown-member": (member, {**field, "note": "x"}),
        "bad-field-value-not-json": (member, {**field, "value": encode_base64(b"4200.50 ")}),
        "bad-field-body-unknown": (member, {**field, "body": "answer"}),
        "bad-field-salt-31-bytes": (member, {**field, "salt": encode_base64(bytes(31))}),
        "bad-field-pointer-not-a-pointer": (member, {**field, "pointer": "income"}),
        "bad-whole-other-bytes": (member, {**whole, "bytes": encode_base64(b"{}")}),
        "bad-whole-other-salt": (member, {**whole, "salts": encode_base64(bytes(32 * 6))}),
        "bad-whole-salts-missing": (member, {**whole, "salts": encode_base64(bytes(32))}),
        "bad-whole-salts-too-many": (bare, whole),
        "bad-whole-other-root": ({**member, "fields": {**fields, "root": "0" * 64}}, whole),
        "bad-whole-other-size": ({**member, "fields": {**fields, "size": 4}}, whole),
        "bad-whole-other-body": (member, {**whole, "body": "response"}),
        "bad-whole-base64-respelt": (member, {**whole, "salts": salts.rstrip("=") + "\n" + "="}),
        "bad-kind-unknown": (member, {**whole, "kind": "half"}),
    }

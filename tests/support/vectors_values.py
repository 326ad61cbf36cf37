"""Vectors of the small formats: canonical JSON, entries, capabilities.

Each function yields (folder, file name, vector). A vector's `ok` says whether a reader accepts it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from auditlog.core import canonical
from auditlog.core.bodies import check_body
from auditlog.core.capability import receipt_capability
from auditlog.core.entry import parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.scalars import encode_base64
from tests.support import format_world as fixed
from tests.support.format_world import World

Vector = tuple[str, str, dict[str, Any]]


def canonical_vectors() -> Iterator[Vector]:
    """JSON texts that are, and are not, canonical."""
    good = {
        "good-scalars": b'{"a":null,"b":true,"c":false,"d":0,"e":-7,"f":"x"}',
        "good-largest-integers": b"[9007199254740991,-9007199254740991]",
        "good-escapes": b'"\\u0000\\b\\t\\n\\f\\r\\u001f\\"\\\\/\x7f"',
        "good-text-beyond-ascii": '"é€😀\u2028"'.encode(),
        "good-keys-sorted": b'{"":1,"A":2,"B":3,"a":4,"aa":5}',
        "good-depth-16": b"[" * 16 + b"]" * 16,
        "good-empty-containers": b'{"a":[],"b":{}}',
    }
    bad = {
        "bad-empty": b"",
        "bad-white-space": b"[1, 2]",
        "bad-white-space-after": b"[1]\n",
        "bad-key-order": b'{"b":1,"a":2}',
        "bad-repeated-key": b'{"a":1,"a":1}',
        "bad-key-beyond-ascii": '{"é":1}'.encode(),
        "bad-integer-2-to-the-53": b"9007199254740992",
        "bad-negative-2-to-the-53": b"-9007199254740992",
        "bad-huge-integer": b"1" + b"0" * 5000,
        "bad-minus-zero": b"-0",
        "bad-leading-zero": b"01",
        "bad-real-number": b"1.5",
        "bad-exponent": b"1e3",
        "bad-not-a-number": b"NaN",
        "bad-infinity": b"-Infinity",
        "bad-escaped-slash": b'"\\/"',
        "bad-escaped-letter": b'"\\u0061"',
        "bad-upper-case-escape": b'"\\u001F"',
        "bad-escaped-beyond-ascii": b'"\\u00e9"',
        "bad-control-character": b'"\x01"',
        "bad-lone-surrogate": b'"\\ud800"',
        "bad-surrogate-in-utf8": b'"\xed\xa0\x80"',
        "bad-not-utf8": b'"\xff"',
        "bad-overlong-utf8": b'"\xc0\xaf"',
        "bad-byte-order-mark": b"\xef\xbb\xbf[]",
        "bad-utf16": "[]".encode("utf-16"),
        "bad-depth-17": b"[" * 17 + b"]" * 17,
        "bad-depth-100000": b"[" * 100_000,
        "bad-trailing-comma": b"[1,]",
        "bad-two-values": b"[][]",
        "bad-comment": b"[]//",
        "bad-single-quotes": b"'a'",
    }
    for name, data in good.items():
        yield "canonical", name, {"data_b64": encode_base64(data), "ok": True}
    for name, data in bad.items():
        yield "canonical", name, {"data_b64": encode_base64(data), "ok": False}


def entry_vectors(world: World) -> Iterator[Vector]:
    """Every kind of entry of the example log, then faults of envelope and body."""
    for name, index in world.at.items():
        yield good_entry(f"good-{name.replace('_', '-')}", world.entries[index])
    decision = json.loads(world.entries[world.at["decision"]])
    genesis = json.loads(world.entries[world.at["genesis"]])
    for name, changes in _understood_changes().items():
        yield good_entry(f"good-{name}", canonical.encode(changed(decision, changes)))
    for name, changes in _bad_envelopes().items():
        yield bad_entry(name, changed(decision, changes), "envelope")
    for name, changes in _bad_bodies().items():
        yield bad_entry(name, changed(decision, changes), "body")
    yield bad_entry("bad-genesis-prev", changed(genesis, {"prev": "1" * 64}), "envelope")
    yield bad_entry("bad-genesis-seq", changed(genesis, {"seq": 1}), "envelope")
    yield bad_entry("bad-log-writes-decision", changed(genesis, {"kind": "decision", "seq": 1}), "envelope")
    filler = {"body/route": "x" * 70_000}
    yield bad_entry("bad-65536-bytes", changed(decision, filler), "envelope")
    text = world.entries[world.at["decision"]]
    yield (
        "entry",
        "bad-white-space",
        {"data_b64": encode_base64(text + b" "), "ok": False, "fails": "envelope"},
    )
    yield "entry", "bad-empty", {"data_b64": "", "ok": False, "fails": "envelope"}
    yield "entry", "bad-array", {"data_b64": encode_base64(b"[]"), "ok": False, "fails": "envelope"}


def _understood_changes() -> dict[str, dict[str, Any]]:
    return {
        "unknown-kind": {"kind": "dream"},
        "reserved-kind": {"kind": "erasure"},
        "unknown-version": {"v": 2},
        "unknown-body-member": {"body/mood": "fine"},
        "unknown-member-inside": {"body/request/colour": "blue"},
        "unknown-registry-word": {"body/capture": "satellite"},
        "unregistered-model": {"body/model": "unregistered"},
        "optional-members": {
            "body/adapters": ["a"],
            "body/defaults": {"top_p": "1"},
            "body/sampling": {"temperature": "0.7"},
            "body/parent": "x",
            "body/retry_of": "y",
            "body/replayed_from": "z",
            "body/content_encoding": "gzip",
        },
    }


def _bad_envelopes() -> dict[str, dict[str, Any]]:
    return {
        "bad-unknown-envelope-member": {"extra": 1},
        "bad-missing-time": {"time": None, "-time": True},
        "bad-version-zero": {"v": 0},
        "bad-version-text": {"v": "1"},
        "bad-kind-upper-case": {"kind": "Decision"},
        "bad-kind-empty": {"kind": ""},
        "bad-origin-empty": {"origin": ""},
        "bad-origin-space": {"origin": "log example"},
        "bad-origin-plus": {"origin": "log+example"},
        "bad-origin-decimal": {"origin": "14"},
        "bad-origin-newline": {"origin": "log\nexample"},
        "bad-origin-256-characters": {"origin": "x" * 256},
        "bad-origin-beyond-ascii": {"origin": "lög.example"},
        "bad-producer-upper-case": {"producer": "A" * 64},
        "bad-producer-short": {"producer": "a" * 63},
        "bad-instance-short": {"instance": "a" * 31},
        "bad-producer-log-instance-not": {"producer": "log"},
        "bad-instance-log-producer-not": {"instance": "log"},
        "bad-seq-negative": {"seq": -1},
        "bad-seq-text": {"seq": "2"},
        "bad-seq-boolean": {"seq": True},
        "bad-prev-base64": {"prev": "A" * 43 + "="},
        "bad-time-without-fraction": {"time": "2026-01-01T00:00:00Z"},
        "bad-time-offset": {"time": "2026-01-01T00:00:00.000000+00:00"},
        "bad-time-february-30": {"time": "2026-02-30T00:00:00.000000Z"},
        "bad-time-second-60": {"time": "2026-01-01T00:00:60.000000Z"},
        "bad-time-hour-24": {"time": "2026-01-01T24:00:00.000000Z"},
        "bad-time-before-1970": {"time": "1969-12-31T23:59:59.999999Z"},
        "bad-time-other-digits": {"time": "２026-01-01T00:00:00.000000Z"},
        "bad-body-array": {"body": []},
        "bad-producer-writes-genesis": {"kind": "genesis"},
        "bad-producer-writes-anchor": {"kind": "anchor"},
        "bad-producer-writes-successor": {"kind": "successor"},
    }


def _bad_bodies() -> dict[str, dict[str, Any]]:
    return {
        "bad-body-without-model": {"body/model": None, "-body/model": True},
        "bad-body-id-not-uuid7": {"body/id": "01912345-0000-4000-8000-000000000000"},
        "bad-body-status-text": {"body/status": "200"},
        "bad-body-start-not-a-time": {"body/start": "yesterday"},
        "bad-body-commitment-short": {"body/request/commitment": "ab"},
        "bad-body-commitment-missing": {"body/request": {}},
        "bad-body-fields-size-0": {"body/request/fields/size": 0},
        "bad-body-fields-size-1025": {"body/request/fields/size": 1025},
        "bad-body-model-number": {"body/model": 7},
        "bad-body-sampling-number": {"body/sampling": {"temperature": 1}},
        "bad-body-ended-capital": {"body/ended": "OK"},
    }


def good_entry(name: str, data: bytes) -> Vector:
    """The vector of a well-formed entry."""
    entry = parse_entry(data)
    expect = {
        "leaf_hash": hash_leaf(data).hex(),
        "kind": entry.kind,
        "understood": entry.understood,
        "not_understood": sorted(check_body(entry.kind, entry.body) if entry.understood else entry.body),
    }
    return "entry", name, {"data_b64": encode_base64(data), "ok": True, "expect": expect}


def bad_entry(name: str, value: Any, fails: str) -> Vector:
    """The vector of an entry whose `fails` (envelope or body) is malformed."""
    data = canonical.encode(value)
    return "entry", name, {"data_b64": encode_base64(data), "ok": False, "fails": fails}


def changed(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy with members replaced by path; a path after "-" is removed."""
    copy: dict[str, Any] = json.loads(json.dumps(value))
    for path, new in changes.items():
        *parents, last = path.removeprefix("-").split("/")
        at = copy
        for parent in parents:
            at = at[parent]
        if path.startswith("-"):
            del at[last]
        else:
            at[last] = new
    return copy


def capability_vectors() -> Iterator[Vector]:
    """Capabilities of receipts."""
    for number in (1, 2):
        key, id_ = fixed.seed(f"receipt key {number}"), fixed.decision_id(number)
        expect = {"capability": receipt_capability(key, id_)}
        yield (
            "capability",
            f"good-{number}",
            {"key_b64": encode_base64(key), "id": id_, "ok": True, "expect": expect},
        )

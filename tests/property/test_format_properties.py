"""Properties of the formats: strict, canonical, total; fields against a naive reader."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from auditlog.core import canonical
from auditlog.core.anchor import open_devnet_anchor
from auditlog.core.bodies import check_body
from auditlog.core.commitment import BodyCommitment, commit_body, commit_with_salt, field_root, salts
from auditlog.core.content import decode_content
from auditlog.core.disclosure import disclose_field, disclose_whole, parse_disclosures, read_disclosure
from auditlog.core.entry import KINDS, encode_entry, parse_entry
from auditlog.core.fold import DIALECTS, fold
from auditlog.core.head import open_head, parse_head_text
from auditlog.core.jsonfields import scan_fields
from auditlog.core.opening import verify_field, verify_whole
from auditlog.core.promise import open_promise
from auditlog.core.receipt import format_receipt, parse_receipt
from auditlog.core.scalars import format_time, parse_base64, parse_decimal, parse_time
from auditlog.core.statements import parse_instance_text, parse_producer_text
from auditlog.core.trust import format_trust, parse_trust
from auditlog.errors import EvidenceError, MalformedError
from tests.support import format_world as fixed
from tests.support.naive_fields import naive_leaves

QUICK = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8)
ascii_keys = st.text(st.characters(max_codepoint=127), max_size=6)
canonical_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ascii_keys, inner, max_size=4),
    max_leaves=20,
)
any_values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False) | st.lists(st.integers(), max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)

WORLD = fixed.World()
RECEIPT = format_receipt(WORLD.receipt(WORLD.at["decision"]))
HEAD_NOTE = json.loads(RECEIPT)["head"]["note"]


@QUICK
@given(canonical_values)
def test_canonical_json_round_trip(value: Any) -> None:
    """What `encode` writes, `parse` reads back, and any JSON library reads the same."""
    data = canonical.encode(value)
    assert canonical.parse(data) == value
    assert json.loads(data) == value


@QUICK
@given(any_values, st.booleans())
def test_canonical_json_has_one_spelling(value: Any, is_ascii: bool) -> None:
    """Another writer's text is accepted only if it is the same bytes."""
    text = json.dumps(value, ensure_ascii=is_ascii, sort_keys=True, separators=(",", ":")).encode()
    try:
        assert canonical.encode(canonical.parse(text)) == text
    except MalformedError:
        try:
            assert canonical.encode(value) != text
        except MalformedError:
            return


PARSERS: dict[str, Callable[[bytes], object]] = {
    "canonical": canonical.parse,
    "entry": parse_entry,
    "receipt": parse_receipt,
    "disclosures": parse_disclosures,
    "trust": parse_trust,
    "head": lambda data: open_head(data, WORLD.producer_key.verifier),
    "promise": lambda data: open_promise(data, WORLD.producer_key.verifier),
    "devnet": lambda data: open_devnet_anchor(data, WORLD.devnet_key.verifier),
}

SEEDS: dict[str, bytes] = {
    "canonical": b'{"a":[1,-2,null],"b":"\\u0000\xc3\xa9"}',
    "entry": WORLD.entries[4],
    "receipt": RECEIPT,
    "disclosures": b'{"disclosures":[],"id":"x","v":"auditlog/disclosures@v1"}\n',
    "trust": json.dumps(
        {"v": "auditlog/trust@v1", "issuer": {"name": "n", "role": "self"}, "policy": ""}
    ).encode(),
    "head": HEAD_NOTE.encode(),
    "promise": HEAD_NOTE.encode(),
    "devnet": HEAD_NOTE.encode(),
}


@pytest.mark.parametrize("name", PARSERS)
@QUICK
@given(data=st.binary(max_size=200))
@example(data=b"")
@example(data=b"[" * 200_000)
@example(data=b"1" * 10_000)
@example(data=b'{"a":' * 50_000)
@example(data=b'"\\ud800"')
def test_parsers_are_total_on_any_bytes(name: str, data: bytes) -> None:
    """Whatever the bytes, a parser returns or raises an evidence error."""
    try:
        PARSERS[name](data)
    except EvidenceError:
        return


@pytest.mark.parametrize("name", PARSERS)
@QUICK
@given(data=st.data())
def test_parsers_are_total_on_mutations(name: str, data: st.DataObject) -> None:
    """A good input with a few bytes changed, cut or repeated is read or refused, never a crash."""
    mutated = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        with_ = data.draw(
            st.sampled_from([b"", b"\x00", b'"', b"{", b"]", b"\\", b"\xff", b"9", b"A", b"\n"])
        )
        mutated[at : at + data.draw(st.integers(0, 2))] = with_
    try:
        PARSERS[name](bytes(mutated))
    except EvidenceError:
        return


@QUICK
@given(st.data())
def test_a_receipt_has_one_spelling(data: st.DataObject) -> None:
    """Two different byte strings never parse as the same receipt."""
    at = data.draw(st.integers(0, len(RECEIPT) - 1))
    mutated = RECEIPT[:at] + bytes([data.draw(st.integers(0, 255))]) + RECEIPT[at + 1 :]
    try:
        parsed = parse_receipt(mutated)
    except EvidenceError:
        return
    assert format_receipt(parsed) == mutated


@QUICK
@given(st.sampled_from(sorted(KINDS)), canonical_values)
def test_bodies_of_any_shape_get_an_answer(kind: str, value: Any) -> None:
    """Whatever is in a body, `check_body` names what it does not understand or says malformed."""
    try:
        assert all(type(name) is str for name in check_body(kind, value))
    except MalformedError:
        return


@QUICK
@given(st.dictionaries(ascii_keys, canonical_values, max_size=4))
def test_entries_round_trip_whatever_the_body(body: dict[str, Any]) -> None:
    """An entry of an unknown kind keeps its body byte for byte."""
    base = parse_entry(WORLD.entries[4])
    entry = type(base)(
        **{**{name: getattr(base, name) for name in base.__slots__}, "kind": "dream", "body": body}
    )
    assert parse_entry(encode_entry(entry)) == entry


json_texts = st.one_of(
    st.builds(
        lambda value, is_ascii, indent: json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode(
            "utf-8", "surrogatepass"
        ),
        any_values,
        st.booleans(),
        st.sampled_from([None, 1]),
    ),
    st.text(st.sampled_from('{}[]",:\\u0041d83e- \n1.tfn'), max_size=30).map(str.encode),
    st.binary(max_size=20),
)


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(json_texts)
@example(b"[[[[1,2],3]],[]]")
@example(b'{"a":{"~/":[true,{}]}}')
@example(b'[1,2,3,"x"]')
@example(b"[-]")
@example(b'{"\\ud83d\\ude00":1,"\xf0\x9f\x98\x80":2}')
@example(b'"\\\\ud800"')
@example(b'{"a":1]')
@example(b"[1}")
@example(b"[" * 40 + b"1" + b"]" * 40)
@example(b"[" * 31 + b'["x",[]]' + b"]" * 31)
@example(b"[" * 32 + b'{"x":1,"x":2}' + b"]" * 32)
def test_fields_equal_a_naive_readers(text: bytes) -> None:
    """The fast scanner finds exactly the leaves a recursive reader finds by following the page."""
    assert scan_fields(text) == naive_leaves(text)


@pytest.mark.parametrize("count", [1023, 1024, 1025, 1026])
@pytest.mark.parametrize("shape", ["flat array", "flat object", "nested", "many members"])
def test_fields_at_the_leaf_limit(count: int, shape: str) -> None:
    """At 1,024 leaves the tree changes shape, at the same number for every kind of text."""
    items = [str(number) for number in range(count)]
    value: Any = {
        "flat array": items,
        "flat object": dict.fromkeys(items, 1),
        "nested": {"a": items[:500], "b": {"c": items[500:]}},
        "many members": [[name] for name in items] + [["x", "y"]],
    }[shape]
    text = json.dumps(value).encode()
    assert scan_fields(text) == naive_leaves(text)


@QUICK
@given(any_values, st.data())
def test_every_field_opens_and_no_other_value_does(value: Any, data: st.DataObject) -> None:
    """Each leaf of a body opens the entry's root; with another value it does not."""
    text = json.dumps(value).encode("utf-8", "surrogatepass")
    root = field_root(bytes(32), "request", text)
    if root is None:
        return
    member = {"commitment": commit_body(bytes(32), "request", text).hex(), "fields": root.member()}
    leaves = scan_fields(text) or []
    pointer, source = data.draw(st.sampled_from(leaves))
    shown = disclose_field(bytes(32), "request", text, pointer.decode())
    verify_field(shown, member)
    whole = disclose_whole(bytes(32), "request", text)
    assert verify_whole(whole, member) == "matched"
    forged = {**shown.to_json(), "value": base64.b64encode(source[:-1] + b"7").decode()}
    if source[-1:] != b"7":
        with pytest.raises(EvidenceError):
            verify_field(read_disclosure(forged), member)


@QUICK
@given(st.lists(st.binary(max_size=50), max_size=6), st.sampled_from([1, 3000]), st.integers(0, 6))
def test_streamed_commitment_equals_the_whole(chunks: list[bytes], times: int, hashed_from: int) -> None:
    """How a body was cut into chunks, and when it was hashed, leaves no trace in its commitment."""
    commitment = BodyCommitment(bytes(32), "response")
    chunks = [chunk * times for chunk in chunks]
    for at, chunk in enumerate(chunks):
        if at == hashed_from:
            commitment.let_go()
            assert commitment.held_bytes == 0
        commitment.update(bytearray(chunk))
    body = b"".join(chunks)
    assert commitment.digest() == commit_body(bytes(32), "response", body)
    assert commitment.digest() == commit_with_salt(salts(bytes(32), "response", 0), "response", body)
    assert commitment.length == len(body)


@QUICK
@given(st.integers(0, 50), st.integers(0, 50))
def test_salts_are_a_prefix_of_longer_salts(few: int, many: int) -> None:
    """The salt of a leaf does not depend on how many leaves there are."""
    shorter, longer = sorted((few, many))
    assert salts(bytes(32), "facts", longer).startswith(salts(bytes(32), "facts", shorter))


@QUICK
@given(st.sampled_from(DIALECTS), st.binary(max_size=120))
def test_folds_are_total(dialect: str, noise: bytes) -> None:
    """Noise around or inside a stream gives a fold or none, never a crash; a fold is JSON with fields."""
    for stream in (noise, noise + fixed.CHAT_RESPONSE, fixed.CHAT_RESPONSE.replace(b"Blue", noise)):
        text = fold(dialect, stream)
        assert text is None or scan_fields(text) is not None


@QUICK
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_a_fold_does_not_depend_on_chunks(sizes: list[int]) -> None:
    """The fold of a stream is the fold of its bytes, however they came."""
    stream, chunks, at = fixed.CHAT_RESPONSE, [], 0
    for size in [*sizes, len(fixed.CHAT_RESPONSE)]:
        chunks.append(stream[at : at + size])
        at += size
    assert fold("openai.chat", chunks) == fold("openai.chat", stream)


@QUICK
@given(st.binary(max_size=60))
def test_decoding_content_is_total(data: bytes) -> None:
    """Bytes that begin like a compressed body are decoded or have no text."""
    for prefix in (b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", b"\x78\x9c", b"\x78\x01"):
        text = decode_content(prefix + data)
        assert text is None or len(text) <= 1024 * 1024


@QUICK
@given(st.integers(0, 253_402_300_799_999_999))
def test_times_round_trip(unix_us: int) -> None:
    """Every instant has one spelling, and text order is time order."""
    text = format_time(unix_us)
    assert parse_time(text) == unix_us
    assert unix_us == 0 or format_time(unix_us - 1) < text


@QUICK
@given(st.text(max_size=40))
def test_scalar_parsers_are_total(text: str) -> None:
    """Any text is the one spelling of its value, or malformed."""
    spellings: tuple[Callable[[str], str], ...] = (
        lambda found: format_time(parse_time(found)),
        lambda found: str(parse_decimal(found, "number")),
        lambda found: base64.b64encode(parse_base64(found, "bytes")).decode(),
    )
    for respell in spellings:
        try:
            assert respell(text) == text
        except MalformedError:
            continue


@QUICK
@given(st.text(max_size=80))
def test_statement_parsers_are_total(text: str) -> None:
    """Any text is a statement or malformed."""
    for header, parse in (
        ("auditlog/producer@v1\n", parse_producer_text),
        ("auditlog/instance@v1\n", parse_instance_text),
        ("auditlog/head@v1\n", parse_head_text),
    ):
        for candidate in (text, header + text):
            try:
                parse(candidate)
            except MalformedError:
                continue


def test_trust_files_round_trip() -> None:
    """A trust file written for people reads back as the same trust."""
    data = json.dumps(
        {
            "v": "auditlog/trust@v1",
            "issuer": {"name": "é", "role": "other"},
            "policy": f"log {WORLD.log_key.vkey}\nquorum none\n",
            "devnet": WORLD.devnet_key.vkey,
            "retired": [{"origin": "old.example", "size": 3, "root": "0" * 64}],
        }
    ).encode()
    text = format_trust(parse_trust(data))
    assert format_trust(parse_trust(text)) == text

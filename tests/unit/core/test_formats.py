"""What callers of the format modules rely on beyond the vectors: limits, refusals, key separation."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from auditlog.core import canonical
from auditlog.core.anchor import format_devnet_text, log_id
from auditlog.core.bodies import check_body
from auditlog.core.capability import is_receipt_capability, receipt_capability
from auditlog.core.commitment import commit_body, field_leaves, field_root, salts
from auditlog.core.content import decode_content, field_text, fold_form, is_known_form
from auditlog.core.disclosure import (
    Disclosures,
    disclose_field,
    disclose_whole,
    format_disclosures,
    parse_disclosures,
)
from auditlog.core.entry import (
    KINDS,
    LOG_KINDS,
    MAX_ENTRY_BYTES,
    PRODUCER_KINDS,
    RESERVED_KINDS,
    SHARED_KINDS,
    encode_entry,
    may_write,
    parse_entry,
)
from auditlog.core.fold import fold
from auditlog.core.head import format_head_text
from auditlog.core.jsonfields import MAX_BODY_BYTES, scan_fields
from auditlog.core.promise import format_promise_text, parse_promise_text
from auditlog.core.receipt import MAX_RECEIPT_BYTES, format_receipt, parse_receipt
from auditlog.core.scalars import check_origin, format_time, parse_time
from auditlog.core.signed import open_one, sign_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from auditlog.core.trust import MAX_TRUST_BYTES, parse_trust
from auditlog.errors import AnchorError, DisclosureError, MalformedError, SignatureError, TooLargeError
from tests.support import format_world as fixed

WORLD = fixed.World()
DECISION = parse_entry(WORLD.entries[WORLD.at["decision"]])


@pytest.mark.parametrize("value", [1.0, (1,), {1: 2}, {"é": 1}, b"x", {"a": {1, 2}}, 2**53, "\ud800"])
def test_canonical_json_refuses_values_without_a_form(value: Any) -> None:
    """Writing is as strict as reading."""
    with pytest.raises(MalformedError):
        canonical.encode(value)


def test_canonical_json_refuses_a_circular_value() -> None:
    """A value that contains itself ends at the depth limit, not in the interpreter's."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(MalformedError):
        canonical.encode(loop)


def test_canonical_json_names_no_payload_in_errors() -> None:
    """A refused text is not quoted: it may hold what nobody should read."""
    with pytest.raises(MalformedError) as caught:
        canonical.parse(b'{"secret":"hunter2", "a":1}')
    assert "hunter2" not in str(caught.value)


def test_canonical_json_honours_the_byte_limit() -> None:
    """One byte over the caller's limit is refused before anything is read."""
    assert canonical.parse(b"[1]", max_bytes=3) == [1]
    with pytest.raises(MalformedError):
        canonical.parse(b"[1]", max_bytes=2)


def test_entry_of_exactly_65535_bytes_is_the_largest() -> None:
    """The limit of the entry bundle is the limit of the entry, and is met before a number is used."""
    room = MAX_ENTRY_BYTES - len(encode_entry(replace(DECISION, body={"pad": ""}, kind="dream")))
    fits = replace(DECISION, body={"pad": "x" * room}, kind="dream")
    assert len(encode_entry(fits)) == MAX_ENTRY_BYTES
    with pytest.raises(TooLargeError):
        encode_entry(replace(fits, body={"pad": "x" * (room + 1)}))


def test_entry_writer_refuses_what_the_reader_would() -> None:
    """A bad envelope is not written either."""
    with pytest.raises(MalformedError):
        encode_entry(replace(DECISION, origin="no space"))
    with pytest.raises(MalformedError):
        encode_entry(replace(DECISION, kind="genesis"))


def test_kinds_are_written_by_whom_the_page_says() -> None:
    """Log, producer or either; unknown and reserved kinds are a producer's to write."""
    assert all(may_write(kind, log=True) for kind in LOG_KINDS | SHARED_KINDS)
    assert all(
        may_write(kind, log=False) for kind in PRODUCER_KINDS | SHARED_KINDS | RESERVED_KINDS | {"new"}
    )
    assert not any(may_write(kind, log=True) for kind in PRODUCER_KINDS | RESERVED_KINDS)
    assert not any(may_write(kind, log=False) for kind in LOG_KINDS)
    assert KINDS.isdisjoint(RESERVED_KINDS)


def test_unknown_kinds_have_no_understood_members() -> None:
    """Every member of a body nobody knows is named."""
    assert check_body("dream", {"b": 1, "a": 2}) == ["a", "b"]


def test_not_understood_members_are_named_by_their_place() -> None:
    """A reader can say which member it only repeats."""
    body = {**DECISION.body, "adapters": ["x"], "request": {**DECISION.body["request"], "why": 1}, "mood": {}}
    assert sorted(check_body("decision", body)) == ["mood", "request/why"]


@pytest.mark.parametrize("origin", ["", " ", "a b", "a+b", "123", "a\n", "é", "x" * 256])
def test_origins_are_refused(origin: str) -> None:
    """No space, no plus, not decimal only, printable ASCII, at most 255 characters."""
    with pytest.raises(MalformedError):
        check_origin(origin)


def test_names_of_keys_follow_origin_and_name() -> None:
    """The producer's key name says which log it belongs to."""
    assert producer_key_name("log.example", "gpu-0") == "log.example/producer/gpu-0"
    with pytest.raises(MalformedError):
        producer_key_name("log.example", "gpu/0")
    with pytest.raises(MalformedError):
        producer_text("log.example", "")
    with pytest.raises(MalformedError):
        instance_text("log.example", "0" * 64, "0" * 31, "0" * 64)


@pytest.mark.parametrize("unix_us", [-1, 253_402_300_800_000_000])
def test_times_outside_the_format_are_refused(unix_us: int) -> None:
    """Years 1970 to 9999, nothing else."""
    with pytest.raises(MalformedError):
        format_time(unix_us)


def test_times_are_exact_to_the_microsecond() -> None:
    """No floating point on the way."""
    assert format_time(1_767_225_599_999_999) == "2025-12-31T23:59:59.999999Z"
    assert parse_time("2024-02-29T00:00:00.000001Z") == 1_709_164_800_000_001


def test_capability_is_bound_to_key_and_id() -> None:
    """Another key or id gives another capability, and odd text is just wrong."""
    right = receipt_capability(bytes(32), "id")
    assert len(right) == 22
    assert is_receipt_capability(bytes(32), "id", right)
    assert not is_receipt_capability(bytes(32), "other", right)
    assert not is_receipt_capability(b"1" * 32, "id", right)
    assert not is_receipt_capability(bytes(32), "id", "\ud800é")


def test_keys_and_names_separate_commitments() -> None:
    """The same bytes under another key or name look unrelated."""
    seen = {
        commit_body(key, name, b"x") for key in (bytes(32), b"1" * 32) for name in ("request", "response")
    }
    assert len(seen) == 4


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_a_mistake(key: bytes) -> None:
    """A short key is refused, not padded."""
    with pytest.raises(ValueError, match="32 bytes"):
        salts(key, "request", 0)


def test_a_body_of_one_mebibyte_has_fields_and_one_byte_more_has_none() -> None:
    """The limit counts the bytes of the text."""
    text = b'"' + b"x" * (MAX_BODY_BYTES - 2) + b'"'
    assert field_root(bytes(32), "request", text) is not None
    assert field_root(bytes(32), "request", text + b" ") is None
    assert field_leaves(text + b" ") == []
    assert decode_content(text + b" ") is None


def test_deep_texts_take_linear_time_and_no_recursion() -> None:
    """Half a million brackets are one leaf, found without the interpreter's stack."""
    text = b"[" * 500_000 + b"]" * 500_000
    assert scan_fields(text) == [(b"/0" * 32, text[32:-32])]
    assert scan_fields(text[:-1]) is None


def test_forms_are_known_or_not() -> None:
    """A form is asked about before it is used."""
    assert is_known_form("json")
    assert is_known_form(fold_form("openai.chat"))
    assert not is_known_form("fold:openai.chat@v3")
    assert not is_known_form("fold:opera@v1")
    with pytest.raises(ValueError, match="form"):
        field_text(b"{}", "fold:opera@v1")
    with pytest.raises(ValueError, match="dialect"):
        fold("opera", b"")


def test_disclosing_a_field_that_is_not_there() -> None:
    """A pointer into nothing is said so, for a body with fields and for one without."""
    with pytest.raises(DisclosureError):
        disclose_field(bytes(32), "request", b'{"a":1}', "/b")
    with pytest.raises(DisclosureError):
        disclose_field(bytes(32), "request", b"no json", "/b")


def test_disclosures_never_hold_the_key() -> None:
    """What is shown opens one body; the key would open the other one too."""
    key = fixed.seed("exchange key")
    for shown in (disclose_whole(key, "request", b"{}"), disclose_field(key, "request", b'{"a":1}', "/a")):
        file = format_disclosures(Disclosures("x", (shown,)))
        assert key.hex() not in file.hex()
        assert key not in json.dumps(shown.to_json()).encode()
        assert parse_disclosures(file).items == (shown,)


def test_a_note_of_ours_has_one_signature() -> None:
    """A second line would be a place to write in."""
    note = sign_one("x\n", WORLD.producer_key)
    assert open_one(note, WORLD.producer_key.verifier) == "x\n"
    with pytest.raises(MalformedError):
        open_one(note + WORLD.devnet_key.sign("x\n"), WORLD.producer_key.verifier)
    with pytest.raises(SignatureError):
        open_one(note, WORLD.devnet_key.verifier)


def test_texts_out_of_form_are_not_signed() -> None:
    """Signing checks what reading would refuse."""
    with pytest.raises(MalformedError):
        format_head_text(replace(WORLD.head(2, 6), first_seq=9))
    with pytest.raises(MalformedError):
        format_devnet_text(replace(WORLD.anchor(8), size=0))
    with pytest.raises(MalformedError):
        format_devnet_text(WORLD.anchor(8, contract=b"short"))


def test_log_ids_differ_by_origin() -> None:
    """The name on a chain follows from the origin alone."""
    assert log_id("a.example") != log_id("b.example")
    with pytest.raises(MalformedError):
        log_id("7")


def test_devnet_text_of_another_logs_id_contradicts_itself() -> None:
    """Origin and log id are one thing said twice; a lie is an anchor error, not a format error."""
    text = format_devnet_text(WORLD.anchor(8)).replace(log_id(fixed.ORIGIN).hex(), log_id("x.example").hex())
    with pytest.raises(AnchorError):
        open_one_text(text)


def open_one_text(text: str) -> object:
    """Sign and open a devnet text."""
    from auditlog.core.anchor import open_devnet_anchor

    return open_devnet_anchor(sign_one(text, WORLD.devnet_key), WORLD.devnet_key.verifier)


def test_promise_text_round_trips() -> None:
    """Reading what was written gives the same promise."""
    text = json.loads(fixed_vector("promise/good-promise.json"))["note"].split("\n\n")[0] + "\n"
    assert format_promise_text(parse_promise_text(text)) == text


def fixed_vector(path: str) -> str:
    """A vector as text."""
    from tests.support.build_format_vectors import VECTORS

    return (VECTORS / path).read_text("utf-8")


def test_files_over_their_limits_are_refused_unread() -> None:
    """A huge receipt or trust file costs nothing."""
    with pytest.raises(MalformedError):
        parse_receipt(b"[" * (MAX_RECEIPT_BYTES + 1))
    with pytest.raises(MalformedError):
        parse_trust(b" " * (MAX_TRUST_BYTES + 1))


def test_receipts_of_every_entry_round_trip() -> None:
    """Formatting and parsing are inverse for each kind of receipt."""
    for name in ("decision", "chat", "outcome", "instance", "pending", "gap"):
        receipt = WORLD.receipt(WORLD.at[name])
        assert parse_receipt(format_receipt(receipt)) == receipt

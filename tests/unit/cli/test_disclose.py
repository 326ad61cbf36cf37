"""`auditlog disclose`: from the operator's store to a file the verifier opens, and never a key."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from pathlib import Path

import msgspec
import pytest

from auditlog.capture.disclosures import KeptBody, KeptRecord
from auditlog.capture.sqlite_store import SqliteDisclosureStore
from auditlog.cli.main import run
from auditlog.core.disclosure import parse_disclosures
from auditlog.core.entry import encode_entry, parse_entry
from auditlog.core.receipt import format_receipt
from auditlog.core.sse import promise_comment
from tests.support import format_world
from tests.support.receipts_factory import FACTS, REQUEST, RESPONSE, Factory, decision_id, exchange_key, seed
from tests.support.vectors_signed import trust_value

FACTORY = Factory(decisions=2)
WORLD = format_world.World()
CHAT_ID, CHAT_KEY = format_world.decision_id(2), format_world.seed("chat exchange key")
NUMBER = 1
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a capture layer that kept one decision and one outcome of it."""
    monkeypatch.setenv("AUDITLOG_STATE", str(tmp_path))
    slot = tmp_path / "slots" / "gpu-0"
    slot.mkdir(parents=True)
    key = bytes(range(32))
    (slot / "store.key").write_bytes(key)
    store = SqliteDisclosureStore(
        slot / "disclosures.sqlite3", key, os.urandom, keep_s=1000, max_bytes=1 << 20
    )
    decision = KeptRecord(
        id=decision_id(NUMBER),
        kind="decision",
        exchange_key=exchange_key(NUMBER),
        facts_key=seed("facts key", NUMBER),
        request=KeptBody(REQUEST),
        response=KeptBody(RESPONSE),
        facts=FACTS,
    )
    outcome = KeptRecord(
        id=decision_id(NUMBER), kind="outcome", facts_key=seed("o"), facts=b'{"by":"x"}', item="a/1"
    )
    chat = KeptRecord(
        id=CHAT_ID,
        kind="decision",
        exchange_key=CHAT_KEY,
        request=KeptBody(format_world.CHAT_REQUEST),
        response=KeptBody(format_world.CHAT_RESPONSE, "openai.chat"),
    )
    store.keep([decision, outcome, chat], 1)
    store.close()
    return tmp_path


def disclosed(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Exit code and output of one call about the decision."""
    code = run(["disclose", decision_id(NUMBER), *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_what_is_disclosed_verifies(state: Path, tmp_path: Path, capsys: Capture) -> None:
    """Fields by short name and by pointer, and a whole body, open the commitments of the receipt."""
    file, receipt, trust = tmp_path / "shown.json", tmp_path / "receipt.json", tmp_path / "trust.json"
    receipt.write_bytes(FACTORY.receipt_bytes(FACTORY.decisions[NUMBER]))
    trust.write_bytes(FACTORY.trust_bytes())
    fields = "amount, /applicant/income, facts:label"
    assert disclosed(capsys, "--fields", fields, "--whole", "response", "--out", file)[0] == 0
    assert file.stat().st_mode & 0o077 == 0
    code = run(["verify", str(receipt), "--trust", str(trust), "--disclosures", str(file), "--json"])
    report = json.loads(capsys.readouterr().out)["receipts"][0]
    assert code == 0, report["headline"]
    shown = {fact["value"] for fact in report["facts"] if fact["name"] == "field"}
    assert shown == {
        "request /amount = 180000",
        "request /applicant/income = 4200",
        'facts /label = "approved"',
    }


def test_no_key_leaves_the_store(state: Path, capsys: Capture) -> None:
    """Salts of what is opened go out; the keys they come from do not."""
    _, out, _ = disclosed(capsys, "--fields", "amount", "--whole", "request,response,facts")
    assert parse_disclosures(out.encode()).id == decision_id(NUMBER)
    for key in (exchange_key(NUMBER), seed("facts key", NUMBER)):
        assert base64.b64encode(key).decode() not in out
        assert key.hex() not in out


def test_naming_nothing_lists_what_could_be_opened(state: Path, capsys: Capture) -> None:
    """The names of all fields, for the operator to choose from."""
    code, out, _ = disclosed(capsys)
    assert code == 0
    assert "request:/applicant/income" in out.splitlines()


def test_an_outcome_is_opened_by_kind_and_item(state: Path, capsys: Capture) -> None:
    """Outcomes have the decision's id, so they are asked for by kind and item."""
    code, out, _ = disclosed(capsys, "--kind", "outcome", "--item", "a/1", "--fields", "by")
    assert code == 0
    assert len(parse_disclosures(out.encode()).items) == 1
    assert disclosed(capsys, "--kind", "outcome", "--item", "a/2", "--fields", "by")[0] == 2


def test_one_item_of_a_batch_is_opened_and_no_other(state: Path, capsys: Capture) -> None:
    """`--item choices/0` of a chat: its messages and that choice; a choice that is not there is exit 2."""
    assert run(["disclose", CHAT_ID, "--item", "choices/0"]) == 0
    items = parse_disclosures(capsys.readouterr().out.encode()).items
    assert {getattr(item, "pointer", "") for item in items} >= {
        "/messages/0/content",
        "/choices/0/message/content",
        "/id",
    }
    assert not any(getattr(item, "pointer", "").startswith("/usage") for item in items)
    for item in ("choices/1", "people/0", "choices"):
        assert run(["disclose", CHAT_ID, "--item", item]) == 2
        assert capsys.readouterr().out == ""


def test_a_body_kept_before_there_were_two_folds_is_read_as_it_was(state: Path) -> None:
    """Records of the first version name no version of a fold: their entries say @v1."""
    body = KeptBody(format_world.CHAT_RESPONSE, "openai.chat")
    assert body.form == "fold:openai.chat@v1"
    assert (
        msgspec.msgpack.decode(msgspec.msgpack.encode((b"x", "openai.chat")), type=KeptBody).form == body.form
    )
    assert KeptBody(b"x").form == "json"


def test_what_is_not_there_is_one_line(state: Path, capsys: Capture) -> None:
    """An unknown field, body, decision or folder is exit 2 and writes nothing."""
    for arguments in (
        ("--fields", "no-such-field"),
        ("--fields", "response:/amount"),
        ("--whole", "headers"),
        ("--fields", "amount", "--state", state / "nowhere"),
    ):
        code, out, err = disclosed(capsys, *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1), arguments
    assert run(["disclose", decision_id(9), "--fields", "amount"]) == 2
    capsys.readouterr()


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """What the caller of a streamed chat holds: receipt, trust file, key, and the bytes both ways."""
    receipt = WORLD.receipt(WORLD.at["chat"])
    (tmp_path / "receipt.json").write_bytes(format_receipt(receipt))
    (tmp_path / "trust.json").write_text(json.dumps(trust_value(WORLD)))
    (tmp_path / "key").write_text(base64.b64encode(CHAT_KEY).decode() + "\n")
    (tmp_path / "request").write_bytes(format_world.CHAT_REQUEST)
    (tmp_path / "response").write_bytes(format_world.CHAT_RESPONSE)
    return tmp_path


def from_held(held: Path, *arguments: object, **files: str) -> int:
    """Exit code of `auditlog disclose --receipt` into `shown.json`."""
    given = {"receipt": "receipt.json", "key-file": "key", **files}
    options = [text for name, file in given.items() for text in (f"--{name}", str(held / file))]
    return run(["disclose", *options, *map(str, arguments), "--out", str(held / "shown.json")])


def verified(held: Path, capsys: Capture) -> dict[str, dict[str, str]]:
    """Facts by value of the chat's receipt with what was disclosed of it."""
    capsys.readouterr()
    files = [str(held / name) for name in ("receipt.json", "trust.json", "shown.json")]
    code = run(["verify", files[0], "--trust", files[1], "--disclosures", files[2], "--json"])
    report = json.loads(capsys.readouterr().out)["receipts"][0]
    assert code == 0, report["headline"]
    return {fact["value"]: fact for fact in report["facts"]}


CONTENT = 'response /choices/0/message/content = "Blue 💙"'


def test_a_stream_is_opened_from_the_store(state: Path, held: Path, capsys: Capture) -> None:
    """The folded body of a stream, whole and by field: the field is proven beside its whole."""
    names = ["--fields", "/choices/0/message/content", "--whole", "response"]
    assert run(["disclose", CHAT_ID, *names, "--out", str(held / "shown.json")]) == 0
    assert verified(held, capsys)[CONTENT]["grade"] == "proven"


def test_a_caller_opens_what_it_holds(held: Path, capsys: Capture) -> None:
    """Receipt, key and bytes are enough: both bodies whole if nothing is named, and never the key."""
    assert from_held(held, request="request", response="response") == 0
    text = (held / "shown.json").read_text()
    assert (held / "shown.json").stat().st_mode & 0o077 == 0
    assert base64.b64encode(CHAT_KEY).decode() not in text
    proven = {fact["name"] for fact in verified(held, capsys).values() if fact["grade"] == "proven"}
    assert {"request", "response"} <= proven


def test_a_caller_opens_one_item(held: Path, capsys: Capture) -> None:
    """Of its own copy, one choice and what it was asked; the report says of whose fields each is."""
    assert from_held(held, "--item", "choices/0", request="request", response="response") == 0
    names = {
        getattr(item, "pointer", "") for item in parse_disclosures((held / "shown.json").read_bytes()).items
    }
    assert "/choices/0/message/content" in names
    assert "/messages/0/content" in names
    assert "/usage/total_tokens" not in names


def test_a_caller_opens_one_field(held: Path, capsys: Capture) -> None:
    """A field alone is stated, and nothing else is opened."""
    assert from_held(held, "--fields", "response:choices/0/message/content", response="response") == 0
    facts = verified(held, capsys)
    assert facts[CONTENT]["grade"] == "stated"
    assert [fact["name"] for fact in facts.values()].count("field") == 1


def test_other_transport_bytes_are_named_and_their_fields_can_be_shown(held: Path, capsys: Capture) -> None:
    """A proxy left a comment out: the whole fails by that name, and the fields of the text verify."""
    (held / "response").write_bytes(format_world.CHAT_RESPONSE.removeprefix(b": ready\n\n"))
    assert from_held(held, response="response") == 1
    assert "same text, other transport bytes" in capsys.readouterr().err
    assert not (held / "shown.json").exists()
    assert from_held(held, "--fields", "choices/0/message/content", response="response") == 0
    assert CONTENT in verified(held, capsys)


def test_a_stream_saved_with_our_comment_is_opened(held: Path, capsys: Capture) -> None:
    """What a caller saved holds the promise as a comment before the end: without it the rest is shown."""
    end = b"data: [DONE]\n\n"
    before, _, after = format_world.CHAT_RESPONSE.partition(end)
    comment = promise_comment(base64.b64encode(b"a promise").decode())
    (held / "response").write_bytes(before + comment + end + after)
    assert from_held(held, "--whole", "response", "--item", "choices/0", response="response") == 0
    shown = parse_disclosures((held / "shown.json").read_bytes()).items
    assert format_world.CHAT_RESPONSE in {getattr(item, "data", b"") for item in shown}
    assert verified(held, capsys)[CONTENT]["grade"] == "proven"


def test_a_body_without_fields_is_opened_whole(held: Path, capsys: Capture) -> None:
    """The entry's own number of fields decides how many salts are shown, not what the caller's bytes say."""
    entry = parse_entry(WORLD.entries[WORLD.at["chat"]])
    bare = {"commitment": entry.body["response"]["commitment"]}
    world = format_world.World()
    changed = dataclasses.replace(entry, body={**entry.body, "response": bare})
    world.entries[world.at["chat"]] = encode_entry(changed)
    (held / "receipt.json").write_bytes(
        format_receipt(dataclasses.replace(world.receipt(world.at["chat"]), anchors=()))
    )
    assert from_held(held, response="response") == 0
    assert any(fact["name"] == "response" for fact in verified(held, capsys).values())


def test_what_is_not_the_decisions_is_not_written(held: Path, capsys: Capture) -> None:
    """Other bytes, another key or another receipt: exit 1, one line, no file, no key in it."""
    (held / "other").write_bytes(b"{}")
    (held / "otherkey").write_text(base64.b64encode(bytes(32)).decode())
    for files in ({"response": "other"}, {"response": "response", "key-file": "otherkey"}):
        assert from_held(held, **files) == 1
    assert from_held(held, response="response", receipt="other") == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 3
    assert base64.b64encode(bytes(32)).decode() not in errors
    assert not (held / "shown.json").exists()


def test_a_call_that_cannot_be_meant_is_exit_2(held: Path, capsys: Capture) -> None:
    """No bytes, no key, a key of another form, an unknown field, both ways at once: usage."""
    (held / "short").write_text("AAAA")
    (held / "gap.json").write_bytes(format_receipt(WORLD.receipt(WORLD.at["gap"])))
    assert from_held(held) == 2
    assert from_held(held, response="response", **{"key-file": "short"}) == 2
    assert from_held(held, response="response", receipt="gap.json") == 2
    assert from_held(held, "--fields", "no-such", response="response") == 2
    assert from_held(held, "--whole", "request", response="response") == 2
    assert from_held(held, CHAT_ID, response="response") == 2
    receipt, answer = str(held / "receipt.json"), str(held / "response")
    assert run(["disclose", "--receipt", receipt, "--response", answer]) == 2
    assert run(["disclose", "--response", answer]) == 2
    assert run(["disclose"]) == 2
    assert capsys.readouterr().err.count("\n") == 9

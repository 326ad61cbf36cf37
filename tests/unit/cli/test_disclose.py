"""`auditlog disclose`: from the operator's store to a file the verifier opens, and never a key."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from auditlog.capture.disclosures import KeptBody, KeptRecord
from auditlog.capture.sqlite_store import SqliteDisclosureStore
from auditlog.cli.main import run
from auditlog.core.disclosure import parse_disclosures
from tests.support.receipts_factory import FACTS, REQUEST, RESPONSE, Factory, decision_id, exchange_key, seed

FACTORY = Factory(decisions=2)
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
    store.keep([decision, outcome], 1)
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
    import base64

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

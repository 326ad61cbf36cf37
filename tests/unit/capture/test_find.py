"""The operator's private index: decisions are found by their facts, and no fact stands there in clear."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.disclose import find_decisions
from auditlog.capture.disclosures import KeptRecord
from auditlog.capture.private_index import INDEXED, PrivateIndex, parse_search
from auditlog.capture.sqlite_store import SqliteDisclosureStore, search_read_only
from auditlog.cli.main import run
from auditlog.errors import ConfigurationError
from tests.support.drafts import unsent_recorder
from tests.support.observing import START, answering, body, drive, http_scope

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SUBJECT = "customer-4711"
KEY = bytes(range(32))


@pytest.fixture
def state(tmp_path: Path) -> tuple[Path, list[str]]:
    """The state of a host that recorded three requests, and an outcome of the first; with their ids."""
    recorder = unsent_recorder(tmp_path)
    app = AuditMiddleware(answering(START, body(b"{}")), recorder)
    ids = []
    for number in range(3):
        headers = [
            (b"audit-fact-subject", SUBJECT.encode() if number < 2 else b"other"),
            (b"x-request-id", b"request-%d" % number),
            (b"traceparent", PARENT.encode()),
        ]
        sent = asyncio.run(drive(app, http_scope(headers=headers), [b"{}"]))
        ids.append(dict(sent[0]["headers"])[b"audit-id"].decode())
    recorder.record_outcome(ids[0], {"label": "repaid", "subject": SUBJECT})
    recorder.close()
    return tmp_path, ids


def test_decisions_are_found_by_their_facts(state: tuple[Path, list[str]]) -> None:
    """Each indexed name, alone and together; an outcome's facts lead to its decision."""
    folder, ids = state

    def found(**wanted: str) -> list[tuple[int, str]]:
        return [(ids.index(one.id), one.kind) for one in find_decisions(folder, wanted)]

    assert sorted(found(subject=SUBJECT)) == [(0, "decision"), (0, "outcome"), (1, "decision")]
    assert found(request_id="request-2") == [(2, "decision")]
    assert sorted(found(trace_id=TRACE)) == [(0, "decision"), (1, "decision"), (2, "decision")]
    assert {number for number, _ in found(subject=SUBJECT, label="repaid")} == {0}
    assert found(subject="other", label="repaid") == []


def test_no_fact_is_in_clear_on_the_disk(state: tuple[Path, list[str]]) -> None:
    """Neither in the stores nor in the spool: only keyed digests and sealed blobs."""
    folder, _ = state
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for fact in (SUBJECT.encode(), b"repaid", TRACE.encode(), b"request-1"):
        assert fact not in content


def test_digests_are_bound_to_key_and_name() -> None:
    """Two stores share nothing, and a label does not find a subject."""
    one, other = PrivateIndex(KEY), PrivateIndex(bytes(32))
    digests = {one.digest("subject", "1"), one.digest("label", "1"), other.digest("subject", "1")}
    assert len(digests) == 3
    assert all(len(digest) == 16 for digest in digests)


@pytest.mark.parametrize("facts", [None, b"", b"{", b"[]", b'{"subject":1.5,"label":[],"traceparent":"x"}'])
def test_what_cannot_be_searched_for_is_not_indexed(facts: bytes | None) -> None:
    """Facts without the names, or no JSON at all, leave no digest and raise nothing."""
    assert PrivateIndex(KEY).digests_of(facts) == []


def test_the_index_goes_with_the_record(tmp_path: Path) -> None:
    """Erasing or expiring a record leaves no digest of it."""
    path = tmp_path / "store.sqlite3"
    store = SqliteDisclosureStore(path, KEY, lambda size: b"r" * size, keep_s=1, max_bytes=1 << 20)
    facts = json.dumps({"subject": SUBJECT}).encode()
    store.keep([KeptRecord(id, "decision", facts_key=bytes(32), facts=facts) for id in ("a", "b")], 1_000_000)  # noqa: A001
    assert [one.id for one in search_read_only(path, KEY, "subject", SUBJECT)] == ["a", "b"]
    assert store.erase("a") == 1
    assert [one.id for one in search_read_only(path, KEY, "subject", SUBJECT)] == ["b"]
    assert store.expire(10_000_000) == 1
    assert search_read_only(path, KEY, "subject", SUBJECT) == []
    rows = store._connection.execute("SELECT count(*) FROM fact").fetchone()
    store.close()
    assert rows == (0,)


def test_a_store_of_an_older_version_is_searched_without_an_error(tmp_path: Path) -> None:
    """It has no index: nothing is found in it."""
    path = tmp_path / "store.sqlite3"
    store = SqliteDisclosureStore(path, KEY, lambda size: b"r" * size, keep_s=1, max_bytes=1 << 20)
    store._connection.execute("DROP TABLE fact")
    store.close()
    assert search_read_only(path, KEY, "subject", "1") == []


def test_searches_are_checked() -> None:
    """A name that is not indexed, an empty value, another form: said before anything is read."""
    assert parse_search(["subject=a=b", f"traceparent={PARENT}"]) == {"subject": "a=b", "trace_id": TRACE}
    assert set(INDEXED) == {"subject", "label", "request_id", "trace_id"}
    for item in ("subject", "subject=", "score=1", "=1", "traceparent=x"):
        with pytest.raises(ConfigurationError):
            parse_search([item])
    with pytest.raises(ConfigurationError):
        parse_search([])


def test_the_command_prints_ids(state: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """`auditlog find` names id, kind and time; 1 where nothing is found, 2 for nothing to search."""
    folder, ids = state

    def command(*arguments: str) -> tuple[int, str]:
        code = run(["find", *arguments])
        return code, capsys.readouterr().out

    code, text = command("request_id=request-1", "--state", str(folder))
    assert (code, text.split()[:2]) == (0, [ids[1], "decision"])
    code, text = command("subject=other", "--state", str(folder), "--json")
    [one] = json.loads(text)
    assert (code, one["id"], one["kind"]) == (0, ids[2], "decision")
    assert command("subject=nobody", "--state", str(folder))[0] == 1
    assert command("subject=1", "--state", str(folder / "nowhere"))[0] == 2
    assert command("age=1", "--state", str(folder))[0] == 2


def test_subjects_given_as_numbers_are_found(tmp_path: Path) -> None:
    """Facts of an application hold numbers as well."""
    path = tmp_path / "store.sqlite3"
    store = SqliteDisclosureStore(path, KEY, lambda size: b"r" * size, keep_s=1, max_bytes=1 << 20)
    facts: Any = {"subject": 4711}
    store.keep([KeptRecord("a", "decision", facts_key=bytes(32), facts=json.dumps(facts).encode())], 1)
    store.close()
    assert [one.id for one in search_read_only(path, KEY, "subject", "4711")] == ["a"]

"""The disclosure store: encrypted, durable, bounded, erasable; and what is opened from it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture.committing import prepare_decision
from auditlog.capture.disclose import build_disclosures, disclosable_fields, find_kept, find_record
from auditlog.capture.disclosures import KeptBody, KeptRecord, StoreFullError, load_store_key
from auditlog.capture.observation import Exchange, Observation, ObservedBody
from auditlog.capture.sqlite_store import SqliteDisclosureStore
from auditlog.core.commitment import BodyCommitment
from auditlog.core.disclosure import Disclosure, FieldDisclosure, WholeDisclosure, parse_disclosures
from auditlog.core.opening import verify_field, verify_whole
from auditlog.errors import DisclosureError, NotFoundError, StorageError

ID = "01900000-0000-7000-8000-000000000001"
OTHER = "01900000-0000-7000-8000-000000000002"
DAY_US = 86_400 * 1_000_000
REQUEST = b'{"model":"m","messages":[{"role":"user","content":"a secret"}],"age":41}'
RESPONSE = b'{"label":"approved","reasons":["income","history"]}'


def record(id_: str = ID, text: bytes = REQUEST) -> KeptRecord:
    """A record with both bodies and facts."""
    return KeptRecord(
        id_, "decision", bytes(32), bytes([1]) * 32, KeptBody(text), KeptBody(RESPONSE), b'{"score":0.25}'
    )


def open_store(directory: Path, **changes: int) -> SqliteDisclosureStore:
    """The store of a slot."""
    directory.mkdir(parents=True, exist_ok=True)
    key = load_store_key(directory / "store.key", os.urandom)
    limits = {"keep_s": 400 * 86_400, "max_bytes": 1 << 30, **changes}
    return SqliteDisclosureStore(directory / "disclosures.sqlite3", key, os.urandom, **limits)


def test_kept_records_come_back_after_reopening(tmp_path: Path) -> None:
    """What was kept is there in the next process life, oldest first."""
    store = open_store(tmp_path)
    outcome = KeptRecord(ID, "outcome", facts_key=bytes(32), facts=b"{}", item="instances/3")
    store.keep([record(), record(OTHER)], 5)
    store.keep([outcome], 6)
    store.close()
    again = open_store(tmp_path)
    assert again.find(ID) == [record(), outcome]
    assert again.find(OTHER) == [record(OTHER)]
    assert again.find("unknown") == []
    again.close()


def test_nothing_is_on_disk_in_clear_and_files_are_private(tmp_path: Path) -> None:
    """Neither bodies nor keys can be read from the files; both are for the owner only."""
    store = open_store(tmp_path)
    kept = record(text=b'{"content":"a very recognisable secret"}')
    store.keep([kept], 5)
    store.close()
    content = (tmp_path / "disclosures.sqlite3").read_bytes()
    assert b"recognisable" not in content
    assert kept.facts_key is not None
    assert kept.facts_key not in content
    for name in ("disclosures.sqlite3", "store.key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_another_store_key_opens_nothing(tmp_path: Path) -> None:
    """Without the store key the file is noise, and the failure is ours to report."""
    store = open_store(tmp_path)
    store.keep([record()], 5)
    store.close()
    (tmp_path / "store.key").write_bytes(os.urandom(32))
    again = open_store(tmp_path)
    with pytest.raises(StorageError, match="under this store key"):
        again.find(ID)
    again.close()


def test_sealed_bytes_are_bound_to_their_decision(tmp_path: Path) -> None:
    """A row moved under another id does not open: the store cannot be made to speak for another decision."""
    store = open_store(tmp_path)
    store.keep([record()], 5)
    store.close()
    connection = sqlite3.connect(tmp_path / "disclosures.sqlite3")
    with connection:
        connection.execute("UPDATE record SET id = ?", (OTHER,))
    connection.close()
    again = open_store(tmp_path)
    with pytest.raises(StorageError):
        again.find(OTHER)
    again.close()


def test_erased_records_leave_no_key_behind(tmp_path: Path) -> None:
    """After erasure neither the wrapped key nor the sealed bytes are anywhere in the file."""
    store = open_store(tmp_path)
    store.keep([record(), record(OTHER)], 5)
    connection = sqlite3.connect(tmp_path / "disclosures.sqlite3")
    query = "SELECT sealed, wrapped FROM record JOIN record_key USING (number) WHERE id = ?"
    sealed, wrapped = connection.execute(query, (ID,)).fetchone()
    connection.close()
    assert store.erase(ID) == 1
    assert store.erase(ID) == 0
    assert store.find(ID) == []
    assert store.find(OTHER) == [record(OTHER)]
    store.close()
    content = (tmp_path / "disclosures.sqlite3").read_bytes()
    assert sealed[:64] not in content
    assert wrapped not in content


def test_records_expire_by_age(tmp_path: Path) -> None:
    """Older than the limit is destroyed, younger stays."""
    store = open_store(tmp_path)
    now = 1000 * DAY_US
    store.keep([record()], now - 401 * DAY_US)
    store.keep([record(OTHER)], now - 399 * DAY_US)
    assert store.expire(now) == 1
    assert store.find(ID) == []
    assert store.find(OTHER) != []
    store.close()


def test_full_store_refuses_the_new_and_keeps_the_old(tmp_path: Path) -> None:
    """At the size limit nothing already promised as kept is thrown away."""
    store = open_store(tmp_path, max_bytes=2000)
    store.keep([record()], 5)
    with pytest.raises(StoreFullError):
        store.keep([record(OTHER)] * 10, 5)
    assert store.find(ID) == [record()]
    size = store.size_bytes
    store.close()
    again = open_store(tmp_path, max_bytes=2000)
    assert again.size_bytes == size <= 2000
    again.close()


def test_group_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    """A group that does not fit leaves nothing of itself."""
    store = open_store(tmp_path, max_bytes=1500)
    with pytest.raises(StoreFullError):
        store.keep([record(), record(OTHER)] * 5, 5)
    assert store.find(ID) == []
    assert store.find(OTHER) == []
    store.close()


def test_later_version_is_refused(tmp_path: Path) -> None:
    """A file written by a later version is not touched."""
    open_store(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "disclosures.sqlite3")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StorageError, match="version 1, found 9"):
        open_store(tmp_path)


def test_reader_beside_the_writer_finds_records(tmp_path: Path) -> None:
    """The command line reads every slot of a host while a serving process writes."""
    store = open_store(tmp_path / "slots" / "p-0")
    open_store(tmp_path / "slots" / "p-1").close()
    store.keep([KeptRecord(ID, "outcome", facts_key=bytes(32), facts=b"{}"), record()], 5)
    assert find_record(tmp_path, ID) == record()
    assert len(find_kept(tmp_path, ID)) == 2
    with pytest.raises(NotFoundError):
        find_kept(tmp_path, OTHER)
    store.keep([record(OTHER)], 5)
    assert find_record(tmp_path, OTHER) == record(OTHER)
    store.close()


def check(item: Disclosure, body: dict[str, Any]) -> None:
    """Open a disclosure against the entry, as a verifier does."""
    if isinstance(item, FieldDisclosure):
        verify_field(item, body[item.body])
    else:
        assert verify_whole(item, body[item.body]) == "matched"


def observed() -> tuple[dict[str, Any], KeptRecord]:
    """A decision's body and what was kept for it, made as the writer makes them."""
    key = bytes(range(32))
    exchange = Exchange(ID, key, 1, BodyCommitment(key, "request"), BodyCommitment(key, "response"))
    exchange.request.update(REQUEST)
    exchange.response.update(RESPONSE)
    seen = Observation(
        exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok",
        request=ObservedBody(REQUEST), response=ObservedBody(RESPONSE),
        facts={"score": 0.25, "subject": {"name": "Ada"}},
    )  # fmt: skip
    prepared = prepare_decision(seen, model="pending", rng=os.urandom, max_body_bytes=1 << 20)
    assert prepared.kept is not None
    return prepared.body, prepared.kept


def test_field_disclosure_opens_the_entry_and_shows_nothing_else() -> None:
    """Named fields open their commitments; no other value and no key is in the file."""
    body, kept = observed()
    content = build_disclosures(kept, ["label", "request:/age", "score"])
    found = parse_disclosures(content)
    assert found.id == ID
    assert {(item.body, item.pointer) for item in found.items if isinstance(item, FieldDisclosure)} == {
        ("response", "/label"),
        ("request", "/age"),
        ("facts", "/score"),
    }
    for item in found.items:
        check(item, body)
    assert b"secret" not in content
    assert kept.exchange_key is not None
    assert kept.exchange_key not in content


def test_pointer_to_a_container_opens_all_below_it() -> None:
    """`facts:subject` opens each leaf under it, and only those."""
    _, kept = observed()
    found = parse_disclosures(build_disclosures(kept, ["subject"]))
    assert [item.pointer for item in found.items if isinstance(item, FieldDisclosure)] == ["/subject/name"]


def test_whole_disclosure_opens_the_entry() -> None:
    """A whole body opens its commitment."""
    body, kept = observed()
    found = parse_disclosures(build_disclosures(kept, whole=["response", "facts"]))
    assert {item.data for item in found.items if isinstance(item, WholeDisclosure)} == {RESPONSE, kept.facts}
    for item in found.items:
        check(item, body)


def test_unknown_fields_and_missing_bodies_are_refused() -> None:
    """Asking for what is not there names the field asked for and nothing of the body."""
    _, kept = observed()
    for names in (["nothing"], ["request:/label"], []):
        with pytest.raises(DisclosureError) as caught:
            build_disclosures(kept, names)
        assert "secret" not in str(caught.value)
    with pytest.raises(DisclosureError):
        build_disclosures(KeptRecord(ID, "decision", bytes(32)), whole=["request"])


def test_every_field_that_is_listed_can_be_opened() -> None:
    """The list for people and what can be opened are the same."""
    body, kept = observed()
    names = disclosable_fields(kept)
    assert "request:/messages/0/content" in names
    for item in parse_disclosures(build_disclosures(kept, names)).items:
        check(item, body)

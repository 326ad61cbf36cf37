"""Logs and producers over HTTP: what is told, what is created, what is refused."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from auditlog import errors
from tests.unit.service.fakes import (
    PRODUCER,
    RECEIPT_KEY,
    Caller,
    FakeOpener,
    expect_problem,
    running,
    settings_for,
)

ENROL = {"name": "host-0", "vkey": "v", "note": "n"}
NEW = {"name": "new", "origin": "example.org/new", "visibility": "public", "allow_unguarded_start": True}


def test_anyone_may_know_what_a_log_is(call: Caller) -> None:
    """Origin, key, visibility and published size need no token."""
    assert call("GET", "/logs/hashes").json() == {
        "name": "hashes",
        "origin": "example.org/hashes",
        "vkey": "example.org/hashes+00000000+AAAA",
        "visibility": "hashes",
        "size": 8,
        "max_merge_delay_s": 60,
        "contact": "",
        "devnet_vkey": "devnet.example.org+00000000+AAAA",
        "witnesses": [],
        "quorum": None,
        "standing": "open",
        "successor": None,
        "retention": None,
    }


def test_only_an_admin_sees_all_logs(call: Caller) -> None:
    """The list of logs asks for scope admin."""
    expect_problem(call("GET", "/logs"), 401, "authentication")
    expect_problem(call("GET", "/logs", token="read"), 403, "authentication")
    assert [log["name"] for log in call("GET", "/logs", token="admin").json()["logs"]] == [
        "public",
        "hashes",
        "private",
    ]


def test_a_producer_is_enrolled(call: Caller) -> None:
    """The answer carries id, index, entry, origin and the producer's receipt key, and may not be stored."""
    answer = call("POST", "/logs/hashes/producers", token="enrol", json=ENROL)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "producer": PRODUCER.hex(),
        "index": 1,
        "entry": base64.b64encode(b"host-0 v n").decode(),
        "origin": "example.org/hashes",
        "receipt_key": base64.b64encode(RECEIPT_KEY).decode(),
        "max_merge_delay_s": 60,
        "token_expires": None,
    }


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"{}", b'{"name":1,"vkey":"v","note":"n"}', b"\xff", b'"' * 70000]
)
def test_enrolment_is_strict(call: Caller, body: bytes) -> None:
    """A body that is not exactly the request is refused, never a 500."""
    headers = {"Content-Type": "application/json"}
    answer = call("POST", "/logs/hashes/producers", token="enrol", content=body, headers=headers)
    expect_problem(answer, *((413, "too_large") if len(body) > 65536 else (422, "request")))


def test_enrolment_asks_for_its_scope(call: Caller, opener: FakeOpener) -> None:
    """A submit token does not enrol, and the log's own refusal comes through."""
    expect_problem(call("POST", "/logs/hashes/producers", token="submit", json=ENROL), 403, "authentication")
    opener.logs["hashes"].refusal = errors.AuthenticationError("expected the key's own signature", known=True)
    expect_problem(call("POST", "/logs/hashes/producers", token="enrol", json=ENROL), 403, "authentication")


def test_the_head_of_a_chain(call: Caller, opener: FakeOpener) -> None:
    """Submit or read tokens see where a chain ends; before its first entry, its enrolment."""
    url = f"/logs/hashes/producers/{PRODUCER.hex()}/head"
    for scope in ("submit", "read"):
        assert call("GET", url, token=scope).json() == {
            "instance": "ab" * 16,
            "seq": 5,
            "leaf_hash": "01" * 32,
            "index": 7,
            "vkey": "host-0+00000000+AAAA",
        }
    expect_problem(call("GET", url, token="enrol"), 403, "authentication")
    expect_problem(call("GET", f"/logs/hashes/producers/{'0' * 64}/head", token="read"), 404, "not_found")
    expect_problem(call("GET", "/logs/hashes/producers/zz/head", token="read"), 422, "request")
    opener.logs["hashes"].headless = True
    found = call("GET", url, token="read").json()
    vkey = "host-0+00000000+AAAA"
    assert found == {"instance": None, "seq": None, "leaf_hash": PRODUCER.hex(), "index": 1, "vkey": vkey}


def test_a_log_is_created_and_opened_again(tmp_path: Path, opener: FakeOpener) -> None:
    """Creation is idempotent, survives a restart, and refuses the same name with other settings."""
    settings = settings_for(tmp_path)
    with running(settings, opener) as call:
        expect_problem(call("POST", "/logs", token="read", json=NEW), 403, "authentication")
        for _ in range(2):
            answer = call("POST", "/logs", token="admin", json=NEW)
            assert answer.status_code == 201, answer.text
            assert answer.json()["origin"] == "example.org/new"
        other = call("POST", "/logs", token="admin", json={**NEW, "visibility": "private"})
        expect_problem(other, 422, "configuration")
        taken = call(
            "POST", "/logs", token="admin", json={**NEW, "name": "other", "origin": "example.org/public"}
        )
        expect_problem(taken, 422, "configuration")
        bare = call("POST", "/logs", token="admin", json={"name": "bare", "origin": "example.org/bare"})
        assert "rollback guard" in expect_problem(bare, 422, "configuration")["detail"]
    with running(settings, FakeOpener()) as call:
        assert call("GET", "/logs/new").json()["visibility"] == "public"


@pytest.mark.parametrize(
    "change", [{"name": "../x"}, {"name": ""}, {"origin": "a b"}, {"visibility": "x"}, {"key_file": "/etc"}]
)
def test_creating_a_log_is_strict(call: Caller, change: dict[str, str]) -> None:
    """Names cannot leave the data directory, and no path is taken from the network."""
    expect_problem(call("POST", "/logs", token="admin", json={**NEW, **change}), 422, "request")


def test_a_damaged_registration_is_a_clear_error(tmp_path: Path, opener: FakeOpener) -> None:
    """A file of a created log that is not one keeps the service from starting, with its name."""
    registry = tmp_path / "data" / "logs.d"
    registry.mkdir(parents=True)
    (registry / "x.json").write_text("{")
    with pytest.raises(errors.ConfigurationError, match=r"x\.json"), running(settings_for(tmp_path), opener):
        pass


def test_one_log_that_cannot_open_leaves_the_others(tmp_path: Path) -> None:
    """Its requests are 503, readiness says so, and the others answer."""
    opener = FakeOpener({"public": errors.RollbackError("expected at least 9, found 7 in /srv/x")})
    with running(settings_for(tmp_path), opener) as call:
        answer = call("GET", "/logs/public/checkpoint")
        expect_problem(answer, 503, "halted")
        assert "/srv" not in answer.text
        ready = call("GET", "/ready")
        assert (ready.status_code, ready.json()["logs"]) == (503, {"public": "halted"})
        assert call("GET", "/logs/hashes/checkpoint").status_code == 200
        listed = call("GET", "/logs", token="admin").json()["logs"][0]
        assert (listed["ready"], listed["size"]) == (False, None)
        assert "expected at least 9" in listed["fault"]


def test_a_service_without_any_log_it_could_open_does_not_start(tmp_path: Path) -> None:
    """The start fails with the log's own error."""
    failures = {name: errors.RollbackError("x") for name in ("public", "hashes", "private")}
    with pytest.raises(errors.RollbackError), running(settings_for(tmp_path), FakeOpener(failures)):
        pass


def test_the_failure_that_no_waiting_mends_is_the_one_told(tmp_path: Path) -> None:
    """A rollback beside a node that is away: starting again would not help."""
    failures: dict[str, errors.AuditLogError] = {
        "public": errors.GuardUnreachable("a"),
        "hashes": errors.RollbackError("b"),
        "private": errors.StorageError("c"),
    }
    with pytest.raises(errors.RollbackError), running(settings_for(tmp_path), FakeOpener(failures)):
        pass


def test_a_stop_closes_every_log(tmp_path: Path, opener: FakeOpener) -> None:
    """And then what they share."""
    with running(settings_for(tmp_path), opener):
        pass
    assert all(log.closed for log in opener.logs.values())
    assert opener.closed

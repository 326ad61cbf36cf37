"""Receipts: by capability without a token, by index with one."""

from __future__ import annotations

import pytest

from auditlog.core.capability import receipt_capability
from auditlog.errors import DeclaredLost, NeverArrived, NotFoundError
from tests.unit.service.fakes import PRODUCER, RECEIPT_KEY, Caller, FakeOpener, expect_problem

SHORT = PRODUCER.hex()[:16]


def url(decision: str, *, log: str = "private", producer: str = SHORT, capability: str | None = None) -> str:
    """The address of a receipt, with the right capability unless given."""
    cap = receipt_capability(RECEIPT_KEY, decision) if capability is None else capability
    return f"/logs/{log}/receipts/{producer}/{decision}/{cap}"


@pytest.mark.parametrize("log", ["public", "hashes", "private"])
def test_whoever_holds_the_address_gets_the_receipt(call: Caller, log: str) -> None:
    """No token is needed, whatever the visibility."""
    answer = call("GET", url("decided", log=log))
    assert (answer.status_code, answer.content) == (200, b'{"receipt":3}\n')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("decision", ["unpublished", "not-yet-integrated"])
def test_a_decision_on_its_way_is_202(call: Caller, decision: str) -> None:
    """With Retry-After, and no body."""
    answer = call("GET", url(decision))
    assert (answer.status_code, answer.content) == (202, b"")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "address",
    [
        url("decided", capability="A" * 22),
        url("decided", capability=receipt_capability(RECEIPT_KEY, "other")),
        url("decided", capability=receipt_capability(b"x" * 32, "decided")),
        url("decided", capability="%C3%A9"),
        url("nowhere", capability="A" * 22),
        url("decided", producer="0" * 16),
        url("decided", producer=PRODUCER.hex()),
    ],
)
def test_a_wrong_address_learns_nothing(call: Caller, address: str) -> None:
    """The same 404 whether capability, producer or decision is wrong."""
    problem = expect_problem(call("GET", address), 404, "not_found")
    assert problem["detail"] == "expected a receipt address as a response carried it, found another"


def test_a_decision_that_will_not_come_is_410(call: Caller, opener: FakeOpener) -> None:
    """With the reason, and the gap entry that may explain it."""
    log = opener.logs["private"]
    log.refusal = DeclaredLost("may be among those", gap={"index": 6, "count": 3})
    problem = expect_problem(call("GET", url("lost")), 410, "declared_lost")
    assert problem["found"] == {"index": 6, "count": 3}
    log.refusal = NeverArrived("too old")
    expect_problem(call("GET", url("lost")), 410, "never_arrived")
    log.refusal = NotFoundError("no UUIDv7")
    expect_problem(call("GET", url("lost")), 404, "not_found")


def test_the_wait_for_what_is_on_its_way_is_the_engines(call: Caller) -> None:
    """How long depends on how old the id is."""
    answer = call("GET", url("not-yet-integrated"))
    assert (answer.status_code, answer.headers["retry-after"]) == (202, "2")


def test_decisions_that_share_an_id_are_all_reachable(call: Caller) -> None:
    """The first without a number, the next with n=1; there is no third."""
    assert call("GET", url("twice")).content == b'{"receipt":4}\n'
    assert call("GET", url("twice") + "?n=1").content == b'{"receipt":5}\n'
    for n in ("2", "-1", "x", "00000000001"):
        expect_problem(call("GET", url("twice") + f"?n={n}"), 404, "not_found")


def test_accept_asks_for_a_cose_receipt(call: Caller) -> None:
    """By capability and by index, with its media type; anything else gets the receipt."""
    cose = {"Accept": "application/json;q=0.5, application/scitt-receipt+cose"}
    answer = call("GET", url("twice"), headers=cose)
    assert (answer.content, answer.headers["content-type"]) == (b"\xd24", "application/scitt-receipt+cose")
    assert call("GET", "/logs/private/receipts/3", token="read", headers=cose).content == b"\xd23"
    assert call("GET", "/logs/private/receipts/9", token="read", headers=cose).status_code == 202
    plain = call("GET", url("twice"), headers={"Accept": "*/*"})
    assert plain.headers["content-type"] == "application/json"


def test_by_index_for_readers(call: Caller, opener: FakeOpener) -> None:
    """A published entry has a receipt, one on its way is 202."""
    assert call("GET", "/logs/private/receipts/3", token="read").content == b'{"receipt":3}\n'
    assert call("GET", "/logs/private/receipts/9", token="read").status_code == 202
    opener.logs["private"].published_size = 10
    assert call("GET", "/logs/private/receipts/9", token="read").status_code == 200

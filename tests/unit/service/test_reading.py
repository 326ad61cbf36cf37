"""The read path: who may see what, how long it may be kept, and that only published things show."""

from __future__ import annotations

import base64

import pytest

from auditlog.core.merkle import hash_leaf, root_hash, verify_consistency, verify_inclusion
from tests.unit.service.fakes import SCOPES, Caller, FakeOpener, expect_problem

CHECKPOINT, TILE, BUNDLE = "checkpoint", "tile/0/000.p/8", "tile/entries/000.p/8"
ENTRY = "entries/3"
INCLUSION, CONSISTENCY = "proofs/inclusion?index=3&size=8", "proofs/consistency?from=3&to=8"
RECEIPT = "receipts/3"

OPEN_TO_ALL = {
    "public": {CHECKPOINT, TILE, BUNDLE, ENTRY, INCLUSION, CONSISTENCY},
    "hashes": {CHECKPOINT, TILE, INCLUSION, CONSISTENCY},
    "private": {CHECKPOINT},
}


@pytest.mark.parametrize("path", [CHECKPOINT, TILE, BUNDLE, ENTRY, INCLUSION, CONSISTENCY, RECEIPT])
@pytest.mark.parametrize("log", ["public", "hashes", "private"])
def test_visibility_decides_who_reads(call: Caller, log: str, path: str) -> None:
    """Each resource of each kind of log is open to all, or to a read token and to nobody else."""
    url = f"/logs/{log}/{path}"
    if path in OPEN_TO_ALL[log]:
        assert call("GET", url).status_code == 200
    else:
        expect_problem(call("GET", url), 401, "authentication")
        for scope in SCOPES:
            if scope != "read":
                expect_problem(call("GET", url, token=scope), 403, "authentication")
    assert call("GET", url, token="read").status_code == 200


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        (CHECKPOINT, "text/plain; charset=utf-8"),
        (TILE, "application/octet-stream"),
        (BUNDLE, "application/octet-stream"),
        (ENTRY, "application/octet-stream"),
        (RECEIPT, "application/json"),
    ],
)
def test_media_types_and_headers(call: Caller, path: str, media_type: str) -> None:
    """Types are those of tlog-tiles; nothing may be sniffed; any page may read."""
    answer = call("GET", f"/logs/public/{path}", token="read")
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_what_changes_is_not_kept_and_what_never_changes_is(call: Caller) -> None:
    """Checkpoints and receipts are no-store; tiles are immutable, and private where a token was asked for."""
    for path in (CHECKPOINT, RECEIPT):
        assert call("GET", f"/logs/public/{path}", token="read").headers["cache-control"] == "no-store"
    assert call("GET", f"/logs/hashes/{TILE}").headers["cache-control"] == "public, max-age=604800, immutable"
    gated = call("GET", f"/logs/hashes/{BUNDLE}", token="read")
    assert gated.headers["cache-control"] == "private, max-age=604800, immutable"
    assert gated.headers["vary"] == "Authorization"


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/000",  # not full yet
        "tile/0/000.p/9",  # not published yet
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/08",
        "tile/0/0",
        "tile/00/000.p/8",
        "tile/64/000.p/8",
        "tile/1/000.p/1",
        "tile/0/x000/000.p/8",
        "tile/0/000.p/8/",
        "tile/entries/000.p/9",
        "tile/entries/001.p/1",
        "tile/",
        "tile/0/%30%30%30.p/9",
        "tile/0/" + "x999/" * 40 + "999",
        "entries/8",
        "proofs/inclusion?index=3&size=9",
        "proofs/inclusion?index=8&size=8",
        "proofs/consistency?from=3&to=9",
        "proofs/consistency?from=5&to=4",
    ],
)
def test_what_is_not_published_or_misspelt_is_not_found(call: Caller, path: str) -> None:
    """Nothing beyond the published checkpoint shows, and a tile has one spelling."""
    expect_problem(call("GET", f"/logs/public/{path}"), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        "entries/-1",
        "entries/03",
        "entries/1.0",
        "entries/9007199254740993",
        "entries/x",
        "proofs/inclusion?index=3",
        "proofs/inclusion?index=+3&size=8",
        "proofs/inclusion?index=1_0&size=80",
    ],
)
def test_bad_parameters_say_what_was_expected(call: Caller, path: str) -> None:
    """A parameter that is missing or out of form is 422 with its name."""
    problem = expect_problem(call("GET", f"/logs/public/{path}"), 422, "request")
    assert problem["expected"]
    assert "found" in problem


def test_the_checkpoint_is_what_the_log_published(call: Caller, opener: FakeOpener) -> None:
    """Byte for byte, and anew after each publication."""
    for size in (8, 9):
        opener.logs["public"].published_size = size
        assert call("GET", "/logs/public/checkpoint").text == opener.logs["public"].published()
        assert call("GET", "/logs/public").json()["size"] == size


def test_before_the_first_publication_nothing_shows(call: Caller, opener: FakeOpener) -> None:
    """A log without a published checkpoint answers 404, and says its size is unknown."""
    opener.logs["public"].published_size = 0
    for path in (CHECKPOINT, TILE, ENTRY, INCLUSION):
        expect_problem(call("GET", f"/logs/public/{path}"), 404, "not_found")
    assert call("GET", "/logs/public").json()["size"] is None


def test_proofs_verify(call: Caller, opener: FakeOpener) -> None:
    """The hashes are RFC 9162 proofs, base64."""
    leaves = [hash_leaf(entry) for entry in opener.logs["public"].entries]
    found = call("GET", f"/logs/public/{INCLUSION}").json()["hashes"]
    verify_inclusion(leaves[3], 3, 8, [base64.b64decode(each) for each in found], root_hash(leaves[:8]))
    found = call("GET", f"/logs/public/{CONSISTENCY}").json()["hashes"]
    proof = [base64.b64decode(each) for each in found]
    verify_consistency(3, 8, proof, root_hash(leaves[:3]), root_hash(leaves[:8]))


def test_an_unknown_log_is_not_found(call: Caller) -> None:
    """Whatever is asked of it."""
    for path in ("", "/checkpoint", "/tile/0/000.p/1", "/entries/0", "/receipts/0"):
        expect_problem(call("GET", f"/logs/nowhere{path}", token="read"), 404, "not_found")


def test_unknown_routes_and_methods_have_the_same_shape(call: Caller) -> None:
    """The framework's own refusals are problems too."""
    expect_problem(call("GET", "/nothing"), 404, "not_found")
    answer = call("PUT", "/logs/public/checkpoint")
    expect_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


def test_a_page_may_ask_before_it_reads_with_a_token(call: Caller) -> None:
    """A preflight on the read path allows GET with Authorization, elsewhere there is none."""
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "GET"}
    answer = call("OPTIONS", "/logs/hashes/entries/0", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "Authorization"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    expect_problem(call("OPTIONS", "/tokens", headers=asked), 405, "method_not_allowed")

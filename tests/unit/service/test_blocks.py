"""The newest final block: 404 without a chain, asked for once in a few seconds whoever asks."""

from __future__ import annotations

from auditlog.anchoring.ledger import BlockRef
from auditlog.errors import LedgerError
from tests.unit.service.fakes import Caller, FakeOpener, expect_problem

PATH = "/logs/public/blocks/finalized"


def test_without_a_chain_there_is_none(call: Caller, opener: FakeOpener) -> None:
    """A log that is not anchored has no block; nor has a log that is not there."""
    expect_problem(call("GET", PATH), 404, "not_found")
    expect_problem(call("GET", "/logs/other/blocks/finalized"), 404, "not_found")


def test_a_block_is_told_and_kept_for_a_while(call: Caller, opener: FakeOpener) -> None:
    """The node is asked once, however often we are."""
    opener.block = BlockRef(5, 7, bytes(32))
    for _ in range(3):
        answer = call("GET", PATH)
        assert answer.json() == {"chain_id": 5, "number": 7, "hash": "0x" + "00" * 32}
        assert answer.headers["cache-control"] == "public, max-age=5"
    assert opener.blocks_asked == 1


def test_a_node_that_is_away_is_a_problem_of_the_moment(call: Caller, opener: FakeOpener) -> None:
    """503 or 502 as for any ledger, never an empty answer; the next call asks again."""
    opener.block = LedgerError("expected an answer, found none")
    for _ in range(2):
        assert call("GET", PATH).status_code >= 500
    assert opener.blocks_asked == 2

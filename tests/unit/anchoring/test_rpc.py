"""Sending on a chain that reorganises, stalls, forgets and lies: one checkpoint, one anchor, or a clear
error.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from auditlog.anchoring.account import Account, load_account
from auditlog.anchoring.evm import ZERO_SLOT, AnchorCall, Opening, encode_anchor, keccak256
from auditlog.anchoring.fees import FeePolicy, Offer
from auditlog.anchoring.journal import Journal
from auditlog.anchoring.ledger import Anchored, AnchorTx
from auditlog.anchoring.node import Node
from auditlog.anchoring.registry import Registry
from auditlog.anchoring.rpc import RpcLedger
from auditlog.errors import ConfigurationError, LedgerError
from tests.support.fake_chain import CHAIN_ID, FakeChain, decode_tx

LOG = hashlib.sha256(b"a log").digest()
OTHER_LOG = hashlib.sha256(b"another log").digest()
ROOT = hashlib.sha256(b"root").digest()
ROOT_2 = hashlib.sha256(b"root 2").digest()
KEY = "0x" + "11" * 32
MINUTE_US = 60 * 1_000_000
FEES = FeePolicy(max_fee_cap=100 * 10**9)


@dataclass
class Rig:
    """A ledger on a fake chain, restartable, with a clock that only tests move."""

    folder: Path
    chain: FakeChain = field(default_factory=FakeChain)
    now_us: int = 1_700_000_000_000_000
    fees: FeePolicy = FEES
    ledger: RpcLedger | None = None

    @property
    def account(self) -> Account:
        """The one key."""
        path = self.folder / "key"
        path.write_text(KEY)
        return load_account(path)

    def unix_us(self) -> int:
        """Be the ledger's clock."""
        return self.now_us

    def monotonic(self) -> float:
        """Nothing measures an interval by it."""
        return 0.0

    def registry(self) -> Registry:
        """The view of our slots."""
        return Registry(
            Node(self.chain), chain_id=CHAIN_ID, contract=self.chain.contract, owner=self.account.address
        )

    def start(self) -> RpcLedger:
        """Open the ledger, closing one that is open: a restart."""
        self.stop()
        journal = Journal(self.folder / "anchors.sqlite")
        try:
            self.ledger = RpcLedger(
                self.registry(),
                account=self.account,
                journal=journal,
                fees=self.fees,
                clock=self,
            )
        except BaseException:
            journal.close()
            raise
        return self.ledger

    def stop(self) -> None:
        """Close what is open."""
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None

    def settle(self, tx: AnchorTx) -> Anchored:
        """Mine until final and confirm."""
        self.chain.mine(1 + self.chain.finality_lag)
        assert self.ledger is not None
        anchored = self.ledger.confirm(tx)
        assert anchored is not None
        self.ledger.acknowledge(tx)
        return anchored


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A rig whose ledger is closed at the end."""
    rig = Rig(tmp_path)
    yield rig
    rig.stop()


def test_an_anchor_is_reported_only_when_its_block_is_final(rig: Rig) -> None:
    """Sent, mined, final: nothing is said before the last, and then every member is the chain's."""
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    assert ledger.confirm(tx) is None, "in the pool"
    rig.chain.mine()
    assert ledger.confirm(tx) is None, "mined, not final"
    assert ledger.slot(LOG) != ZERO_SLOT
    rig.chain.mine(2)
    block = rig.chain.blocks[1]
    assert ledger.confirm(tx) == Anchored(
        chain_id=CHAIN_ID,
        contract=rig.chain.contract,
        owner=rig.account.address,
        log_id=LOG,
        size=7,
        root=ROOT,
        tx=tx.tx,
        block_number=1,
        block_hash=block.hash,
        block_time=block.timestamp,
    )


def test_a_second_checkpoint_extends_the_first(rig: Rig) -> None:
    """The slot moves along the chain of accumulators."""
    ledger = rig.start()
    rig.settle(ledger.submit(LOG, 7, ROOT))
    rig.settle(ledger.submit(LOG, 9, ROOT_2))
    assert ledger.slot(LOG) == Opening(0, bytes(32)).then(7, ROOT).then(9, ROOT_2).slot()


def test_two_logs_anchor_side_by_side_under_one_key(rig: Rig) -> None:
    """Nonces run on while both are open, and each has its own slot."""
    ledger = rig.start()
    first, second = ledger.submit(LOG, 7, ROOT), ledger.submit(OTHER_LOG, 3, ROOT_2)
    assert [decode_tx(raw).nonce for raw in rig.chain.sent()] == [0, 1]
    assert rig.settle(first).log_id == LOG
    confirmed = ledger.confirm(second)
    assert confirmed is not None
    assert confirmed.log_id == OTHER_LOG


def test_submitting_again_sends_nothing_new(rig: Rig) -> None:
    """While open and after it is final, the same checkpoint is the same transaction."""
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    assert ledger.submit(LOG, 7, ROOT) == tx
    assert ledger.submit(LOG, 9, ROOT_2) == tx, "one open for a log at a time"
    rig.settle(tx)
    assert ledger.submit(LOG, 7, ROOT).tx == tx.tx
    assert len(rig.chain.sent()) == 1


def test_a_restart_confirms_what_was_sent_before(rig: Rig) -> None:
    """The journal survives the process; the answer after finality is the same again and again."""
    tx = rig.start().submit(LOG, 7, ROOT)
    ledger = rig.start()
    assert ledger.pending(LOG) == tx
    anchored = rig.settle(tx)
    assert ledger.pending(LOG) is None
    assert rig.start().confirm(tx) == anchored


def test_a_final_anchor_stays_pending_until_it_is_acknowledged(rig: Rig) -> None:
    """Confirmed, and then a death before anybody was told: the next process finds it, marked final."""
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT, note="the checkpoint")
    rig.chain.mine(5)
    assert ledger.confirm(tx) is not None
    ledger = rig.start()
    pending = ledger.pending(LOG)
    assert pending is not None
    assert (pending.tx, pending.is_final, pending.note) == (tx.tx, True, "the checkpoint")
    assert ledger.submit(LOG, 9, ROOT_2) == pending, "nothing newer goes out before"
    ledger.acknowledge(pending)
    assert rig.start().pending(LOG) is None


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_lost_send_is_sent_again_as_the_same_bytes(rig: Rig, lost: str) -> None:
    """Death or silence between journal and answer: the same transaction goes out, never a second one."""
    ledger = rig.start()
    (rig.chain.lose_request if lost == "request" else rig.chain.lose_answer)("eth_sendRawTransaction")
    with pytest.raises(LedgerError, match="expected an answer"):
        ledger.submit(LOG, 7, ROOT)
    ledger = rig.start()
    tx = ledger.pending(LOG)
    assert tx is not None
    assert ledger.confirm(tx) is None
    assert len(set(rig.chain.sent())) == 1
    assert rig.settle(tx).size == 7


def test_a_crash_between_signing_and_journal_leaves_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was never journalled was never sent: the nonce is free again."""
    ledger = rig.start()

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "open_intent", die)
        with pytest.raises(KeyboardInterrupt):
            ledger.submit(LOG, 7, ROOT)
    assert rig.chain.sent() == []
    ledger = rig.start()
    assert ledger.pending(LOG) is None
    assert rig.settle(ledger.submit(LOG, 7, ROOT)).size == 7


def test_a_transaction_every_node_forgot_is_sent_again(rig: Rig) -> None:
    """Dropped from the pool: the next look sends the same bytes."""
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    rig.chain.forget_pool()
    assert ledger.confirm(tx) is None
    assert rig.settle(tx).tx == tx.tx
    assert len(set(rig.chain.sent())) == 1


@pytest.mark.parametrize("forget", [False, True], ids=["back in the pool", "forgotten"])
def test_a_reorganised_anchor_comes_back_with_the_same_transaction(rig: Rig, forget: bool) -> None:
    """Mined, undone, mined again: one transaction, and the block reported is the one that stayed."""
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    rig.chain.mine(2)
    undone = rig.chain.blocks[1].hash
    assert ledger.confirm(tx) is None
    rig.chain.reorganise(2, forget=forget)
    assert ledger.confirm(tx) is None
    anchored = rig.settle(tx)
    assert anchored.tx == tx.tx
    assert anchored.block_hash != undone
    assert anchored.block_hash == rig.chain.blocks[anchored.block_number].hash
    assert len(set(rig.chain.sent())) == 1


def test_stalled_finality_says_nothing_and_sends_nothing_dearer(rig: Rig) -> None:
    """Mined but never final: the anchor waits, however long."""
    rig.chain.finality_lag = 1000
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    rig.chain.mine(50)
    rig.now_us += 600 * MINUTE_US
    assert ledger.confirm(tx) is None
    rig.chain.finality_lag = 2
    assert ledger.confirm(tx) is not None
    assert len(rig.chain.sent()) == 1


def test_a_chain_that_has_no_final_block_yet_is_waited_for(rig: Rig) -> None:
    """A node that answers "finalized block not found" is young, not broken."""
    rig.chain.has_finality = False
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    rig.chain.mine(5)
    assert ledger.confirm(tx) is None
    rig.chain.has_finality = True
    assert ledger.confirm(tx) is not None


def test_a_fee_spike_is_met_by_raising_the_fee_enough_for_a_strict_node(rig: Rig) -> None:
    """Too cheap for the block: after the wait a dearer attempt under the same nonce replaces it and is
    mined.
    """
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    rig.chain.base_fee = 30 * 10**9
    rig.chain.mine(3)
    assert ledger.confirm(tx) is None
    assert len(set(rig.chain.sent())) == 1, "not yet: the wait is not over"
    rig.now_us += 4 * MINUTE_US
    assert ledger.confirm(tx) is None
    first, *_, last = [decode_tx(raw) for raw in rig.chain.sent()]
    assert (first.nonce, first.data) == (last.nonce, last.data)
    assert last.max_fee >= 2 * rig.chain.base_fee
    newest = ledger.pending(LOG)
    assert newest is not None
    assert newest.tx == last.hash
    assert rig.settle(tx).tx == last.hash, "the old handle finds the attempt that won"


def test_an_earlier_attempt_may_be_the_one_mined(rig: Rig) -> None:
    """A miner that had only the first attempt includes it after the bump: found all the same."""
    rig.chain.takes_transactions = False
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    first = dict(rig.chain.pool)
    rig.now_us += 4 * MINUTE_US
    ledger.confirm(tx)
    assert len(set(rig.chain.sent())) == 2
    rig.chain.pool = first
    rig.chain.takes_transactions = True
    assert rig.settle(tx).tx == tx.tx


def test_bumps_stop_at_the_cap_and_the_last_offer_keeps_being_sent(rig: Rig) -> None:
    """However long it waits, no attempt offers more than the operator allows."""
    rig.chain.takes_transactions = False
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    for _ in range(60):
        rig.now_us += 4 * MINUTE_US
        ledger.confirm(tx)
    offers = sorted({decode_tx(raw).max_fee for raw in rig.chain.sent()})
    assert all(new * 8 >= old * 9 for old, new in itertools.pairwise(offers))
    assert FEES.max_fee_cap * 8 // 9 < offers[-1] <= FEES.max_fee_cap


def test_a_fee_above_the_cap_waits_instead_of_failing(rig: Rig) -> None:
    """Dear days: the offer is the cap, and it is mined when blocks are cheap again."""
    rig.chain.base_fee = 900 * 10**9
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    assert decode_tx(rig.chain.sent()[0]).max_fee == FEES.max_fee_cap
    rig.chain.mine(3)
    assert ledger.confirm(tx) is None
    rig.chain.base_fee = 10**9
    assert rig.settle(tx).size == 7


def test_gas_and_fee_come_from_the_node(rig: Rig) -> None:
    """A fork that makes slots dearer is a larger estimate here, nothing else."""
    rig.chain.lies["eth_estimateGas"] = lambda _: hex(130_000)
    rig.chain.tips = []
    rig.start().submit(LOG, 7, ROOT)
    sent = decode_tx(rig.chain.sent()[0])
    assert (sent.gas, sent.max_fee, sent.tip) == (162_500, 2 * 10**9 + 1, 1)


def test_too_small_a_balance_is_said_before_anything_is_signed(rig: Rig) -> None:
    """The error names what is needed and what is there."""
    rig.chain.balance = 5
    ledger = rig.start()
    with pytest.raises(LedgerError, match=r"expected a balance of at least \d+ wei, found 5"):
        ledger.submit(LOG, 7, ROOT)
    assert ledger.pending(LOG) is None


def test_money_that_ran_out_later_leaves_the_anchor_open(rig: Rig) -> None:
    """A node that wants more funds is an error each time, and the same bytes go out once there are funds."""
    rig.chain.refuse("eth_sendRawTransaction", "insufficient funds for gas * price + value")
    ledger = rig.start()
    with pytest.raises(LedgerError, match="insufficient funds"):
        ledger.submit(LOG, 7, ROOT)
    tx = ledger.pending(LOG)
    assert tx is not None
    assert ledger.confirm(tx) is None
    assert rig.settle(tx).size == 7


@pytest.mark.parametrize(
    "message",
    ["already known", "transaction already imported", "nonce too low", "replacement transaction underpriced"],
)
def test_what_nodes_say_about_repeats_is_never_a_failure(rig: Rig, message: str) -> None:
    """Each client words it its own way; the receipt decides."""
    ledger = rig.start()
    rig.chain.refuse("eth_sendRawTransaction", message)
    tx = ledger.submit(LOG, 7, ROOT)
    assert ledger.confirm(tx) is None
    assert rig.settle(tx).size == 7


def _spend(rig: Rig, nonce: int, *, data: bytes = b"") -> None:
    """Use one nonce of our key for something else."""
    to = rig.chain.contract if data else bytes.fromhex("ee" * 20)
    signed = rig.account.sign(
        chain_id=CHAIN_ID, nonce=nonce, to=to, data=data, gas=21_000, offer=Offer(10**11, 10**11)
    )
    rig.chain.pool[rig.account.address, nonce] = decode_tx(signed.raw)


def test_a_nonce_used_by_something_else_starts_afresh_once_that_is_final(rig: Rig) -> None:
    """Somebody used the key elsewhere: named at finality, and the next submit takes another nonce."""
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    _spend(rig, 0)
    rig.chain.mine()
    assert ledger.confirm(tx) is None
    rig.chain.mine(2)
    with pytest.raises(LedgerError, match="expected nonce 0 to be ours"):
        ledger.confirm(tx)
    again = ledger.submit(LOG, 7, ROOT)
    assert decode_tx(rig.chain.sent()[-1]).nonce == 1
    assert rig.settle(again).size == 7


def test_a_second_writer_of_the_slot_is_named(rig: Rig) -> None:
    """The same key anchored another tree elsewhere: our transaction reverts, and the next submit says why."""
    ledger = rig.start()
    rig.chain.takes_transactions = False
    tx = ledger.submit(LOG, 7, ROOT)
    _spend(rig, 0, data=encode_anchor(AnchorCall(LOG, Opening(0, bytes(32)), 9, ROOT_2)))
    rig.chain.takes_transactions = True
    rig.chain.mine(3)
    with pytest.raises(LedgerError, match="expected nonce 0 to be ours"):
        ledger.confirm(tx)
    with pytest.raises(LedgerError, match="tree size 7, found 9 anchored"):
        ledger.submit(LOG, 7, ROOT)


def test_a_reverted_anchor_fails_only_once_final(rig: Rig) -> None:
    """Status 0 in a block that may still go is not the end; in a final one it is."""
    ledger = rig.start()
    _spend(rig, 0, data=encode_anchor(AnchorCall(LOG, Opening(0, bytes(32)), 5, ROOT_2)))
    pool, rig.chain.pool = dict(rig.chain.pool), {}
    rig.chain.lies["eth_getTransactionCount"] = lambda _: "0x1"
    tx = ledger.submit(LOG, 7, ROOT)
    del rig.chain.lies["eth_getTransactionCount"]
    rig.chain.pool.update(pool)
    rig.chain.mine()
    assert ledger.confirm(tx) is None
    rig.chain.mine(2)
    with pytest.raises(LedgerError, match="expected receipt status 1, found 0"):
        ledger.confirm(tx)
    assert rig.settle(ledger.submit(LOG, 7, ROOT)).size == 7, "afresh, on top of what the slot holds now"


def test_an_anchor_the_journal_lost_is_found_on_the_chain(rig: Rig) -> None:
    """A new journal, an old slot: the same checkpoint is not sent again."""
    anchored = rig.settle(rig.start().submit(LOG, 7, ROOT))
    rig.stop()
    (rig.folder / "anchors.sqlite").unlink()
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    assert tx.tx == anchored.tx
    assert rig.settle(tx) == anchored
    assert rig.settle(ledger.submit(LOG, 9, ROOT_2)).size == 9, "and the next goes on from it"
    assert len(rig.chain.sent()) == 2


@pytest.mark.parametrize("span", [10**9, 7000, 600, 10])
def test_the_search_for_an_event_bows_to_the_nodes_block_limit(rig: Rig, span: int) -> None:
    """However few blocks a node lets us ask for at once, the event that wrote the slot is found."""
    rig.settle(rig.start().submit(LOG, 7, ROOT))
    rig.chain.mine(40)
    rig.chain.max_log_span = span
    found = rig.registry().newest(LOG)
    assert found is not None
    assert (found.event.opening.size, found.event.root) == (7, ROOT)


def test_a_slot_without_its_event_is_an_error(rig: Rig) -> None:
    """A node that hides the event does not make the slot look empty."""
    rig.settle(rig.start().submit(LOG, 7, ROOT))
    rig.chain.lies["eth_getLogs"] = lambda _: []
    with pytest.raises(LedgerError, match="expected the event that wrote slot"):
        rig.registry().newest(LOG)


def test_a_final_block_that_went_away_stops_the_next_anchor(rig: Rig) -> None:
    """A reorganisation past finality is an alarm, not something to build on."""
    ledger = rig.start()
    rig.settle(ledger.submit(LOG, 7, ROOT))
    rig.chain.reorganise(3)
    with pytest.raises(LedgerError, match="expected block 1, final before"):
        ledger.submit(LOG, 9, ROOT_2)


def _other_hash(result: Any) -> Any:
    return {**result, "hash": "0x" + "99" * 32}


def _wrong_event(result: Any) -> Any:
    data = result["logs"][0]["data"]
    log = {**result["logs"][0], "data": data[:66] + "ff" * 32 + data[130:]}
    return {**result, "logs": [log]}


def test_a_block_hash_that_is_not_the_receipts_is_never_final(rig: Rig) -> None:
    """Receipt and canonical block disagree: nothing is reported."""
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    rig.chain.mine(5)
    rig.chain.lies["eth_getBlockByNumber"] = _other_hash
    assert ledger.confirm(tx) is None


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda r: {**r, "logs": []}, id="no event"),
        pytest.param(_wrong_event, id="another root in the event"),
        pytest.param(lambda r: {**r, "logs": r["logs"] * 2}, id="two events"),
        pytest.param(lambda r: {**r, "transactionHash": "0x" + "77" * 32}, id="another transaction"),
        pytest.param(lambda r: {**r, "blockNumber": "1"}, id="a number that is none"),
        pytest.param(lambda r: {**r, "blockNumber": "0x_1"}, id="a number with a separator"),
        pytest.param(lambda r: {**r, "blockHash": "0x77"}, id="a short hash"),
        pytest.param(lambda r: {**r, "status": None}, id="no status"),
        pytest.param(lambda r: {**r, "logs": {}}, id="logs that are no array"),
        pytest.param(lambda _: [], id="no object"),
        pytest.param(lambda r: {**r, "logs": [{**r["logs"][0], "address": None}]}, id="no address"),
    ],
)
def test_a_receipt_that_lies_is_refused(rig: Rig, lie: Any) -> None:
    """Whatever a node makes of the receipt, the answer is our error or nothing, never an anchor."""
    ledger = rig.start()
    tx = ledger.submit(LOG, 7, ROOT)
    rig.chain.mine(5)
    rig.chain.lies["eth_getTransactionReceipt"] = lie
    with pytest.raises(LedgerError):
        ledger.confirm(tx)


@pytest.mark.parametrize(
    "response",
    [
        [],
        None,
        "x",
        {},
        {"result": "0x"},
        {"result": 31337},
        {"result": None},
        {"error": "no"},
        {"error": {}},
    ],
)
def test_an_answer_of_another_shape_is_our_error(response: Any) -> None:
    """Any JSON at all instead of an answer is a LedgerError."""
    with pytest.raises(LedgerError):
        Node(lambda _method, _params: response).chain_id()


def test_a_node_of_another_chain_is_refused_at_start_and_later(rig: Rig) -> None:
    """A wrong URL, or one whose owner switched the chain behind it: nothing is signed for it."""
    ledger = rig.start()
    rig.chain.chain_id = 1
    with pytest.raises(ConfigurationError, match="expected chain id 31337, found 1"):
        ledger.submit(LOG, 7, ROOT)
    with pytest.raises(ConfigurationError, match="expected chain id"):
        rig.start()


def test_an_address_without_the_registry_is_refused(rig: Rig) -> None:
    """The code on the chain is compared with the committed artefact before the first anchor."""
    rig.chain.lies["eth_getCode"] = lambda _: "0x6000"
    with pytest.raises(ConfigurationError, match="expected the AnchorRegistry at 0xc0c0"):
        rig.start()


def test_a_journal_of_a_chain_that_was_started_anew_is_refused(rig: Rig) -> None:
    """Same chain id, other genesis: the nonces in the journal mean nothing there."""
    rig.start()
    rig.chain = FakeChain()
    rig.chain.blocks[0] = rig.chain.blocks[0].__class__(0, 5, 1_800_000_000, ())
    with pytest.raises(ConfigurationError, match="expected genesis"):
        rig.start()


def test_one_sender_at_a_time(rig: Rig) -> None:
    """A second ledger on the same journal is refused while the first is open, and may start after."""
    rig.start()
    with pytest.raises(ConfigurationError, match="expected to be the only sender"):
        Journal(rig.folder / "anchors.sqlite")
    rig.stop()
    rig.start()


def test_confirming_what_was_never_submitted_is_an_error(rig: Rig) -> None:
    """A handle that is not ours is not looked up anywhere."""
    with pytest.raises(LedgerError, match="found none"):
        rig.start().confirm(AnchorTx(LOG, 7, ROOT, keccak256(b""), 0))


def test_the_final_block_is_the_node_s(rig: Rig) -> None:
    """The one of its `finalized` tag; an error while there is none, or when it is another chain's."""
    ledger = rig.start()
    rig.chain.mine(5)
    final = len(rig.chain.blocks) - 1 - rig.chain.finality_lag
    found = ledger.finalized_block()
    assert (found.chain_id, found.number) == (CHAIN_ID, final)
    assert found.hash == rig.chain.blocks[final].hash
    rig.chain.has_finality = False
    with pytest.raises(LedgerError, match="finalized"):
        ledger.finalized_block()

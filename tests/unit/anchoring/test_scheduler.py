"""When an anchor is made, and that one is finished whatever dies on the way: on a devnet and on a fake
chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.anchoring import scheduler
from auditlog.anchoring.account import load_account
from auditlog.anchoring.devnet import Devnet
from auditlog.anchoring.fees import FeePolicy
from auditlog.anchoring.journal import Journal
from auditlog.anchoring.ledger import Ledger
from auditlog.anchoring.node import Node
from auditlog.anchoring.registry import Registry
from auditlog.anchoring.rollback import AnchorSlotSource
from auditlog.anchoring.rpc import RpcLedger
from auditlog.anchoring.scheduler import Anchorer, State, Turn
from auditlog.core.anchor import DEVNET_TYPE, EVM_TYPE, log_id, open_devnet_anchor
from auditlog.core.bodies import check_body
from auditlog.core.entry import Entry, parse_entry
from auditlog.core.merkle import hash_leaf, verify_inclusion
from auditlog.core.note import Ed25519Signer
from auditlog.core.receipt import parse_receipt
from auditlog.errors import (
    ConfigurationError,
    GuardUnreachable,
    InconsistentLogError,
    LedgerError,
    RollbackError,
    StorageError,
)
from auditlog.log import create_log, open_log
from auditlog.log.engine import Engine
from auditlog.log.log import Log
from tests.support.fake_chain import CHAIN_ID, FakeChain
from tests.support.testlog import ORIGIN, FakeProducer, TestBench

DEVNET_KEY = Ed25519Signer.from_seed("devnet.example.org", b"\x07" * 32)
WAIT_S = 20.0


class World:
    """A real log on memory stores, with threads; producers; restarts."""

    def __init__(self, folder: Path, *, interval_s: float = 0.0) -> None:
        self.bench = TestBench(settings={"publish_interval_s": interval_s})
        self.clock = self.bench.clock
        self.folder = folder
        self.chain = FakeChain()
        self.ledger: RpcLedger | None = None
        self.log: Log = self._make(create_log)
        self.producer: FakeProducer | None = None
        self.decisions = 0

    def _make(self, make: Any) -> Log:
        self.engine = Engine()
        bench = self.bench
        log: Log = make(
            bench.config, bench.stores, bench.signer, bench.clock, outside=[bench.outside], engine=self.engine
        )
        return log

    def restart(self) -> None:
        """End the process: log, threads and ledger; start the log again."""
        self.close()
        self.log = self._make(open_log)

    def close(self) -> None:
        """End everything."""
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None
        self.log.close()
        self.engine.close()

    def enrol(self) -> None:
        """Enrol a producer and start its first instance."""
        self.producer = FakeProducer("gpu-0", clock=self.clock)
        done = self.log.enrol("gpu-0", self.producer.signer.vkey, self.producer.note).result(WAIT_S)
        self.producer.enrolled(done.producer)
        self._send([self.producer.start()])

    def decide(self) -> int:
        """Log one decision and wait for its publication; return its index."""
        if self.producer is None:
            self.enrol()
        assert self.producer is not None
        self.decisions += 1
        index = self._send([self.producer.decide(self.decisions)])
        self.log.await_published(index, WAIT_S)
        return index

    def _send(self, entries: list[bytes]) -> int:
        assert self.producer is not None
        return int(self.log.submit(self.producer.batch(entries)).result(WAIT_S).first_index)

    def on_devnet(self, devnet: Devnet) -> Anchorer:
        """An anchorer on a devnet."""
        return Anchorer(self.log, devnet, DEVNET_KEY, self.clock)

    def registry(self) -> Registry:
        """Our slots on the fake chain."""
        key = self.folder / "key"
        key.write_text("11" * 32)
        owner = load_account(key).address
        return Registry(Node(self.chain), chain_id=CHAIN_ID, contract=self.chain.contract, owner=owner)

    def on_chain(self) -> Anchorer:
        """An anchorer on the fake chain, with a journal that outlives restarts."""
        if self.ledger is None:
            self.ledger = RpcLedger(
                self.registry(),
                account=load_account(self.folder / "key"),
                journal=Journal(self.folder / "journal" / "anchors.sqlite"),
                fees=FeePolicy(),
                clock=self.clock,
            )
        return Anchorer(self.log, self.ledger, None, self.clock)

    def anchor_entries(self) -> list[Entry]:
        """Every `anchor` entry of the log."""
        entries = [parse_entry(data) for data in self.log.reader.entries(0, self.log.tree_size)]
        return [entry for entry in entries if entry.kind == "anchor"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A created log."""
    world = World(tmp_path)
    yield world
    world.close()


def test_a_log_without_decisions_is_not_anchored(world: World) -> None:
    """Genesis and enrolments alone call for nothing."""
    anchorer = world.on_devnet(Devnet(world.clock))
    assert anchorer.run_once() == Turn(State.IDLE)
    world.enrol()
    assert anchorer.run_once() == Turn(State.IDLE)
    assert world.anchor_entries() == []


def test_a_decision_is_anchored_told_in_the_log_and_given_to_receipts(world: World) -> None:
    """One turn on a devnet: the newest published checkpoint, an `anchor` entry, evidence in the receipt."""
    devnet = Devnet(world.clock)
    index = world.decide()
    size = world.log.published_size
    turn = world.on_devnet(devnet).run_once()
    assert (turn.state, turn.size) == (State.ANCHORED, size)

    (entry,) = world.anchor_entries()
    assert entry.producer == "log"
    assert check_body("anchor", entry.body) == []
    assert (entry.body["type"], entry.body["size"]) == (DEVNET_TYPE, size)
    assert entry.body["log_id"] == log_id(ORIGIN).hex()

    (anchor,) = parse_receipt(world.log.receipts.issue(index)).anchors
    statement = open_devnet_anchor(anchor.evidence, DEVNET_KEY.verifier)
    assert (statement.origin, statement.size) == (ORIGIN, size)
    assert statement.root == world.log.reader.root_at(size)
    assert entry.body["tx"] == "0x" + statement.tx.hex()
    assert entry.body["block_time"] == statement.block_time
    leaf_hash = hash_leaf(world.log.reader.entry(index))
    verify_inclusion(leaf_hash, index, size, anchor.proof, statement.root)


def test_an_anchor_entry_does_not_call_for_another_anchor(world: World) -> None:
    """The log's own entries wait for nothing: one anchor, then quiet, until the next decision."""
    anchorer = world.on_devnet(Devnet(world.clock))
    world.decide()
    assert anchorer.run_once().state is State.ANCHORED
    for _ in range(3):
        world.log.await_published(world.log.tree_size - 1, WAIT_S)
        assert anchorer.run_once() == Turn(State.IDLE)
    world.decide()
    assert anchorer.run_once().state is State.ANCHORED
    assert [entry.body["size"] for entry in world.anchor_entries()] == [4, 6]


def test_a_new_devnet_anchors_the_newest_checkpoint_again_once(world: World) -> None:
    """After a restart the chain is empty: what was anchored is anchored again, without a new decision."""
    index = world.decide()
    world.on_devnet(Devnet(world.clock)).run_once()
    world.restart()
    world.log.await_published(world.log.tree_size - 1, WAIT_S)
    size = world.log.published_size
    anchorer = world.on_devnet(Devnet(world.clock))
    turn = anchorer.run_once()
    assert (turn.state, turn.size) == (State.ANCHORED, size)
    assert anchorer.run_once() == Turn(State.IDLE)
    assert len(world.anchor_entries()) == 2
    (anchor,) = parse_receipt(world.log.receipts.issue(index)).anchors
    assert open_devnet_anchor(anchor.evidence, DEVNET_KEY.verifier).size == size


def test_a_restart_of_a_log_never_anchored_starts_no_devnet(world: World) -> None:
    """Nothing to repeat, nothing to do: the EVM is not even loaded."""
    world.restart()
    devnet = Devnet(world.clock)
    assert world.on_devnet(devnet).run_once() == Turn(State.IDLE)
    assert devnet._started is None


def test_a_chain_is_waited_for_until_final(world: World) -> None:
    """Sent, mined, final: told only then, with the type of a real chain and no evidence to show yet."""
    index = world.decide()
    anchorer = world.on_chain()
    size = world.log.published_size
    assert anchorer.run_once() == Turn(State.WAITING, size, 0.0)
    world.clock.advance(30)
    world.chain.mine()
    assert anchorer.run_once() == Turn(State.WAITING, size, 30.0)
    assert world.anchor_entries() == []
    world.chain.mine(2)
    assert anchorer.run_once() == Turn(State.ANCHORED, size, 30.0)
    (entry,) = world.anchor_entries()
    assert entry.body["type"] == EVM_TYPE
    (record,) = world.log.anchors.all()
    assert (record.type, record.tree_size, record.evidence) == (EVM_TYPE, size, "")
    assert parse_receipt(world.log.receipts.issue(index)).anchors == (), "no proof yet, so no claim"
    assert anchorer.run_once() == Turn(State.IDLE)


def test_decisions_that_come_while_one_is_on_its_way_are_next(world: World) -> None:
    """One at a time: the second anchor holds everything that came since the first."""
    anchorer = world.on_chain()
    world.decide()
    first = anchorer.run_once()
    for _ in range(3):
        world.decide()
    assert anchorer.run_once().size == first.size
    world.chain.mine(3)
    assert anchorer.run_once().state is State.ANCHORED
    size = world.log.published_size
    second = anchorer.run_once()
    assert (second.state, second.size) == (State.WAITING, size)
    world.chain.mine(3)
    assert anchorer.run_once().state is State.ANCHORED
    assert world.log.outbox.pending() == 0


DEATHS = [
    ("after sending", "confirm", False),
    ("before the entry", "append_own", False),
    ("after the entry", "append_own", True),
    ("before the record", "record", False),
    ("after the record", "record", True),
    ("before acknowledging", "acknowledge", False),
]


@pytest.mark.parametrize(("method", "after"), [d[1:] for d in DEATHS], ids=[d[0] for d in DEATHS])
@pytest.mark.parametrize("kind", ["chain", "devnet"])
def test_a_turn_cut_short_anywhere_is_finished_once(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, method: str, after: bool
) -> None:
    """Wherever a turn dies, the next one completes it: one transaction, one entry, one record."""
    devnet = Devnet(world.clock)
    world.decide()
    ledger: Ledger = devnet
    if kind == "chain":
        anchorer = world.on_chain()
        anchorer.run_once()
        world.chain.mine(3)
        assert world.ledger is not None
        ledger = world.ledger
    else:
        anchorer = world.on_devnet(devnet)
    owner: Any = {"append_own": world.log, "record": world.log.anchors}.get(method, ledger)
    with monkeypatch.context() as patch:
        patch.setattr(owner, method, _dying(getattr(owner, method), after))
        with pytest.raises(KeyboardInterrupt):
            anchorer.run_once()
    if kind == "chain":
        world.restart()  # a devnet does not outlive its process, so only a chain can be met again by another
        anchorer = world.on_chain()
    for _ in range(3):
        last = anchorer.run_once()
    assert last == Turn(State.IDLE)
    assert len(world.anchor_entries()) == 1
    assert len(world.log.anchors.all()) == 1
    assert world.log.outbox.pending() == 0
    if kind == "chain":
        assert len(set(world.chain.sent())) == 1


def _dying(method: Any, after: bool) -> Any:
    def die(*arguments: Any, **named: Any) -> Any:
        if after:
            result = method(*arguments, **named)
            if result is not None:
                result.result(WAIT_S)
        raise KeyboardInterrupt

    return die


def test_a_store_that_fails_to_keep_the_record_is_tried_again(world: World, monkeypatch: Any) -> None:
    """The error is the caller's to count; the next turn goes on where this one stopped."""
    world.decide()
    anchorer = world.on_devnet(Devnet(world.clock))

    def fail(_: Any) -> None:
        raise StorageError("expected a disk, found none")

    with monkeypatch.context() as patch:
        patch.setattr(world.log.anchors, "record", fail)
        with pytest.raises(StorageError):
            anchorer.run_once()
    assert anchorer.run_once().state is State.ANCHORED
    assert len(world.anchor_entries()) == 1


def test_a_node_that_is_away_costs_one_turn(world: World) -> None:
    """The error goes to the caller; the next turn sends."""
    world.decide()
    anchorer = world.on_chain()
    world.chain.lose_request("eth_feeHistory")
    with pytest.raises(LedgerError):
        anchorer.run_once()
    assert anchorer.run_once().state is State.WAITING
    world.chain.mine(3)
    assert anchorer.run_once().state is State.ANCHORED


def test_an_unpublished_checkpoint_is_never_anchored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision is committed but its checkpoint did not leave: nothing is sent until it did."""
    monkeypatch.setattr(scheduler, "PUBLISHED_TIMEOUT_S", 0.01)
    world = World(tmp_path, interval_s=3600.0)
    try:
        anchorer = world.on_chain()
        world.enrol()
        assert world.producer is not None
        world._send([world.producer.decide(1)])
        size = world.log.tree_size
        assert world.log.published_size < size
        assert anchorer.run_once() == Turn(State.WAITING, size)
        assert world.chain.sent() == []
    finally:
        world.close()


def test_a_log_that_never_rests_is_anchored_all_the_same(world: World) -> None:
    """With a decision committed during every wait, the size to reach stays the one first seen."""
    anchorer = world.on_devnet(Devnet(world.clock))
    world.decide()
    wait = world.log.await_published

    def wait_while_others_write(index: int, timeout_s: float) -> str:
        assert world.producer is not None
        world.decisions += 1
        world._send([world.producer.decide(world.decisions)])
        return wait(index, timeout_s)

    world.log.await_published = wait_while_others_write  # type: ignore[method-assign]
    assert anchorer.run_once().state is State.ANCHORED


def test_what_is_on_its_way_must_be_our_own_tree(world: World, tmp_path: Path) -> None:
    """A journal that knows a larger tree than the stores hold: the log was rolled back, and says so."""
    for _ in range(3):
        world.decide()
    world.on_chain().run_once()
    assert world.ledger is not None
    other = World(tmp_path / "restored")
    try:
        with pytest.raises(InconsistentLogError, match="expected an anchor of our own tree") as caught:
            Anchorer(other.log, world.ledger, None, other.clock).run_once()
        assert ORIGIN in caught.value.smaller
    finally:
        other.close()


def test_the_slot_keeps_a_rolled_back_log_from_starting(world: World, tmp_path: Path) -> None:
    """The chain remembers a tree that restored stores do not hold: refused before the first signature."""
    world.decide()
    world.on_chain().run_once()
    world.chain.mine()
    guard = AnchorSlotSource(world.registry(), ORIGIN)
    seen = guard.newest()
    assert seen is not None
    assert (seen.tree_size, seen.root_hash) == (4, world.log.reader.root_at(4))
    bench = world.bench
    world.restart()
    open_log(bench.config, bench.stores, bench.signer, bench.clock, outside=[guard]).close()
    backup = TestBench()
    backup.create()
    config, stores, signer, clock = backup.config, backup.stores, backup.signer, backup.clock
    with pytest.raises(RollbackError, match=r"anchor slot in 0xc0c0.* expected a tree of at least"):
        open_log(config, stores, signer, clock, outside=[guard])
    empty = TestBench().stores
    with pytest.raises(RollbackError, match=r"anchor slot in 0xc0c0.* expected no earlier log"):
        create_log(config, empty, signer, clock, outside=[guard])


def test_a_guard_whose_node_is_away_keeps_the_log_from_starting(world: World) -> None:
    """Not reachable is not the same as nothing seen."""
    guard = AnchorSlotSource(world.registry(), ORIGIN)
    assert guard.newest() is None
    world.chain.lose_request("eth_call")
    restored = TestBench()
    with pytest.raises(GuardUnreachable, match="expected an answer before signing"):
        create_log(restored.config, restored.stores, restored.signer, restored.clock, outside=[guard])


def test_a_devnet_needs_its_key(world: World) -> None:
    """Without the key there is no evidence, so it is refused at start."""
    with pytest.raises(ConfigurationError, match="expected a devnet key"):
        Anchorer(world.log, Devnet(world.clock), None, world.clock)


def test_a_log_that_has_ended_is_anchored_once_more_without_an_entry(world: World) -> None:
    """Its last checkpoint is anchored, receipts carry that, nothing enters the log; a quiesced one waits."""
    world.decide()
    anchorer = world.on_devnet(Devnet(world.clock))
    world.log.set_standing("quiesced")
    assert anchorer.run_once().state is State.IDLE
    world.log.end(Ed25519Signer.from_seed("next.example.org", b"\x08" * 32).vkey)
    size = world.log.tree_size
    turn = anchorer.run_once()
    assert (turn.state, turn.size) == (State.ANCHORED, size)
    assert world.log.tree_size == size
    assert world.anchor_entries() == []
    newest = world.log.anchors.newest()
    assert newest is not None
    assert newest.tree_size == size
    assert anchorer.run_once().state is State.IDLE

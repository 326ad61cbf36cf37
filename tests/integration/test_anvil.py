"""The ledger on a real node: deploy, anchor, reorganise, lose, spike, restart. Skipped where npm is
missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.anchoring.account import load_account
from auditlog.anchoring.connect import (
    RpcSettings,
    deploy_registry,
    open_ledger,
    open_registry,
    registry_address,
)
from auditlog.anchoring.evm import NEVER_ANCHORED, ZERO_SLOT, format_address
from auditlog.anchoring.fees import FeePolicy
from auditlog.anchoring.jsonrpc import over_http
from auditlog.anchoring.ledger import Anchored, AnchorTx
from auditlog.anchoring.node import Node
from auditlog.anchoring.rollback import AnchorSlotSource
from auditlog.anchoring.rpc import RpcLedger
from auditlog.cli.main import run
from auditlog.core.anchor import log_id
from auditlog.errors import ConfigurationError, LedgerError
from tests.support.anvil import ANVIL, CHAIN_ID, KEY, MISSING, Anvil, mining, running_anvil

pytestmark = pytest.mark.skipif(not ANVIL.exists(), reason=MISSING)

ORIGIN = "log.example/decisions"
LOG = log_id(ORIGIN)
ROOT = hashlib.sha256(b"root").digest()
ROOT_2 = hashlib.sha256(b"root 2").digest()


class Setup:
    """A ledger on a node, with a clock that only tests move."""

    def __init__(self, node: Anvil, folder: Path) -> None:
        self.node = node
        self.now_us = 1_800_000_000_000_000
        self.key_file = folder / "anchor.key"
        self.key_file.write_text(KEY + "\n")
        self.settings = RpcSettings(
            url=node.url, key_file=self.key_file, chain_id=CHAIN_ID, journal=folder / "anchors.sqlite"
        )

    def unix_us(self) -> int:
        """Be the clock."""
        return self.now_us

    def monotonic(self) -> float:
        """Nothing measures an interval by it."""
        return 0.0

    def deploy(self) -> bytes:
        """Deploy the registry, a block at every look."""
        return deploy_registry(
            Node(over_http(self.node.url)),
            load_account(self.key_file),
            chain_id=CHAIN_ID,
            wait=self.node.mine,
            fees=FeePolicy(),
            turns=5,
        )

    def open(self) -> RpcLedger:
        """Open the ledger on the deployed registry."""
        return open_ledger(self.settings, clock=self)

    def source(self) -> AnchorSlotSource:
        """Return the rollback guard that reads our slot."""
        return AnchorSlotSource(open_registry(self.settings)[0], ORIGIN)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """A fresh node with the registry on it. Blocks come only when told; final is two blocks below the
    newest.
    """
    with running_anvil() as node:
        setup = Setup(node, tmp_path)
        setup.deploy()
        yield setup


@pytest.fixture
def ledger(setup: Setup) -> Iterator[RpcLedger]:
    """An open ledger."""
    ledger = setup.open()
    yield ledger
    ledger.close()


def finish(node: Anvil, ledger: RpcLedger, tx: AnchorTx) -> Anchored:
    """Mine well past finality and confirm."""
    node.mine(8)
    anchored = ledger.confirm(tx)
    assert anchored is not None
    ledger.acknowledge(tx)
    return anchored


def test_deploying_is_idempotent_and_lands_where_the_bytes_say(setup: Setup) -> None:
    """CREATE2: one address for these bytes on every chain, and a second deployment sends nothing."""
    height = setup.node.rpc("eth_blockNumber")
    assert setup.deploy() == registry_address()
    assert setup.node.rpc("eth_blockNumber") == height


def test_the_command_deploys_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`auditlog anchor deploy` on an empty chain, then again; another chain than the one named is refused."""
    (tmp_path / "key").write_text(KEY)
    with running_anvil() as node, mining(node):
        (tmp_path / "url").write_text(node.url)
        files = ["--rpc-url-file", str(tmp_path / "url"), "--key-file", str(tmp_path / "key")]
        for _ in range(2):
            assert run(["anchor", "deploy", *files, "--chain-id", str(CHAIN_ID)]) == 0
        assert run(["anchor", "deploy", *files, "--chain-id", "1"]) == 2
    printed = capsys.readouterr()
    assert printed.out.split() == [format_address(registry_address())] * 2
    assert "expected chain id 1, found 31337" in printed.err
    assert run(["anchor", "address"]) == 0
    assert capsys.readouterr().out.startswith(format_address(registry_address()))


def test_an_anchor_is_final_on_the_node_and_matches_its_block(setup: Setup, ledger: RpcLedger) -> None:
    """From submit to finality on a real EVM: slot, event and block as the node itself tells them."""
    assert ledger.slot(LOG) == ZERO_SLOT
    tx = ledger.submit(LOG, 7, ROOT, note="the checkpoint")
    assert tx.note == "the checkpoint"
    assert ledger.confirm(tx) is None, "in the pool"
    setup.node.mine()
    assert ledger.confirm(tx) is None, "mined, not final"
    anchored = finish(setup.node, ledger, tx)
    block = setup.node.rpc("eth_getBlockByNumber", hex(anchored.block_number), False)
    assert (block["hash"], int(block["timestamp"], 16)) == (
        "0x" + anchored.block_hash.hex(),
        anchored.block_time,
    )
    assert block["transactions"] == ["0x" + anchored.tx.hex()]
    assert ledger.slot(LOG) == NEVER_ANCHORED.then(7, ROOT).slot()
    where = (format_address(ledger.contract), _storage_key(anchored.owner), "latest")
    slot = setup.node.rpc("eth_getStorageAt", *where)
    assert bytes.fromhex(slot[2:]) == ledger.slot(LOG), "where the layout of the artefact says"


def _storage_key(owner: bytes) -> str:
    """Vyper: keccak(slot || key), nested once more for the inner map."""
    from auditlog.anchoring.evm import keccak256

    outer = keccak256(bytes(32) + bytes(12) + owner)
    return "0x" + keccak256(outer + LOG).hex()


def test_each_checkpoint_extends_the_last_across_restarts(setup: Setup) -> None:
    """Three anchors, each by a new process on the same journal."""
    for size, root in ((7, ROOT), (9, ROOT_2), (12, ROOT)):
        ledger = setup.open()
        assert finish(setup.node, ledger, ledger.submit(LOG, size, root)).size == size
        ledger.close()
    seen = setup.source().newest()
    assert seen is not None
    assert (seen.tree_size, seen.root_hash) == (12, ROOT)


@pytest.mark.parametrize("depth", [1, 3])
def test_a_reorganisation_brings_the_same_transaction_back(
    setup: Setup, ledger: RpcLedger, depth: int
) -> None:
    """The node undoes the block; the same bytes go out again and are mined again."""
    tx = ledger.submit(LOG, 7, ROOT)
    setup.node.mine(depth)
    setup.node.rpc("anvil_reorg", depth, [])
    setup.node.rpc("anvil_dropAllTransactions")
    assert ledger.slot(LOG) == ZERO_SLOT
    assert ledger.confirm(tx) is None
    assert finish(setup.node, ledger, tx).tx == tx.tx


def test_a_dropped_transaction_is_sent_again(setup: Setup, ledger: RpcLedger) -> None:
    """The pool forgot it: the next look sends it again."""
    tx = ledger.submit(LOG, 7, ROOT)
    setup.node.rpc("anvil_dropTransaction", "0x" + tx.tx.hex())
    assert ledger.confirm(tx) is None
    assert finish(setup.node, ledger, tx).tx == tx.tx


def test_sending_what_the_node_has_already_is_not_a_failure(setup: Setup, ledger: RpcLedger) -> None:
    """Each look sends the same bytes; "already imported" is fine, and so is a nonce that is mined."""
    tx = ledger.submit(LOG, 7, ROOT)
    assert ledger.confirm(tx) is None
    assert ledger.confirm(tx) is None
    assert finish(setup.node, ledger, tx).size == 7


def test_a_base_fee_spike_is_met_by_a_dearer_attempt(setup: Setup, ledger: RpcLedger) -> None:
    """The node drops what offers less than the base fee; after the wait a dearer attempt is mined."""
    tx = ledger.submit(LOG, 7, ROOT)
    setup.node.rpc("anvil_setNextBlockBaseFeePerGas", hex(20 * 10**9))
    setup.node.mine()
    assert ledger.slot(LOG) == ZERO_SLOT
    setup.now_us += 200 * 1_000_000
    assert ledger.confirm(tx) is None
    anchored = finish(setup.node, ledger, tx)
    assert anchored.tx != tx.tx


def test_a_restart_between_sending_and_finality_confirms_the_same_anchor(setup: Setup) -> None:
    """The process dies after the broadcast: the next one knows the transaction and its checkpoint note."""
    ledger = setup.open()
    tx = ledger.submit(LOG, 7, ROOT, note="the checkpoint")
    ledger.close()
    setup.node.mine(8)
    ledger = setup.open()
    pending = ledger.pending(LOG)
    assert pending == tx
    confirmed = ledger.confirm(pending)
    ledger.close()
    assert confirmed is not None
    assert confirmed.tx == tx.tx


def test_a_lost_journal_finds_its_anchor_on_the_chain(setup: Setup) -> None:
    """The same checkpoint is not paid for twice."""
    ledger = setup.open()
    tx = ledger.submit(LOG, 7, ROOT)
    finish(setup.node, ledger, tx)
    ledger.close()
    setup.settings.journal.unlink()
    ledger = setup.open()
    again = ledger.submit(LOG, 7, ROOT)
    confirmed = ledger.confirm(again)
    ledger.close()
    assert again.tx == tx.tx
    assert confirmed is not None


def test_an_older_tree_than_the_slots_is_refused(setup: Setup, ledger: RpcLedger) -> None:
    """A log restored from a backup cannot anchor its shorter history."""
    finish(setup.node, ledger, ledger.submit(LOG, 7, ROOT))
    with pytest.raises(LedgerError, match="tree size 5, found 7 anchored"):
        ledger.submit(LOG, 5, ROOT_2)


def test_a_reorganisation_below_finality_stops_the_next_anchor(setup: Setup, ledger: RpcLedger) -> None:
    """What was final is gone: named with both hashes, nothing sent."""
    anchored = finish(setup.node, ledger, ledger.submit(LOG, 7, ROOT))
    setup.node.rpc("anvil_reorg", 8, [])
    with pytest.raises(LedgerError, match=f"expected block {anchored.block_number}, final before"):
        ledger.submit(LOG, 9, ROOT_2)


def test_the_slot_guards_against_rollback(setup: Setup, ledger: RpcLedger) -> None:
    """Empty it has seen nothing; anchored it knows size and root, final or not; unreachable it is an
    error.
    """
    source = setup.source()
    assert source.newest() is None
    ledger.submit(LOG, 7, ROOT)
    setup.node.mine()
    seen = source.newest()
    assert seen is not None
    assert (seen.tree_size, seen.root_hash) == (7, ROOT)
    assert format_address(registry_address()) in source.name


def test_a_guard_that_cannot_be_asked_is_an_error_without_the_url(tmp_path: Path) -> None:
    """A node that is gone has not "seen nothing", and the message keeps the URL's access key to itself."""
    with running_anvil() as node:
        setup = Setup(node, tmp_path)
        setup.deploy()
        source = setup.source()
    with pytest.raises(LedgerError) as caught:
        source.newest()
    assert "127.0.0.1" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_chain_without_the_registry_is_refused(tmp_path: Path) -> None:
    """The ledger does not open on an address without code, and lets the journal go."""
    with running_anvil() as node:
        setup = Setup(node, tmp_path)
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="expected the AnchorRegistry"):
                setup.open()

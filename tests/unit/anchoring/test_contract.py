"""The committed AnchorRegistry: its bytes, its rule in the EVM, and our arithmetic of slots beside it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from auditlog.anchoring import artefact as committed
from auditlog.anchoring.evm import (
    ANCHOR_SELECTOR,
    ANCHORED_TOPIC,
    NEVER_ANCHORED,
    SLOTS_SELECTOR,
    ZERO_SLOT,
    AnchorCall,
    AnchoredEvent,
    Opening,
    create2_address,
    decode_anchor,
    decode_event,
    decode_slot,
    encode_anchor,
    encode_event,
    encode_slots,
    format_address,
    keccak256,
    parse_address,
)
from auditlog.anchoring.libraries import chain_libraries
from auditlog.errors import ConfigurationError, LedgerError

LOG = hashlib.sha256(b"a log").digest()
ROOT = hashlib.sha256(b"a root").digest()
OTHER = hashlib.sha256(b"another root").digest()


def test_recompiling_the_source_gives_the_committed_artefact_byte_for_byte() -> None:
    """The JSON beside the source is what the named compiler makes of it, to the last byte."""
    assert committed.format_artefact(committed.compile_registry()) == committed.ARTEFACT.read_text("utf-8")


def test_the_artefact_names_compiler_commit_settings_and_digests() -> None:
    """Who wants to compile it elsewhere finds everything that decides the bytes."""
    fields = json.loads(committed.ARTEFACT.read_text("utf-8"))
    assert fields["compiler"] == {"name": "vyper", "version": "0.4.3", "commit": "bff19ea2"}
    assert fields["settings"] == {"evm_version": "cancun", "optimize": "gas"}
    assert fields["source_sha256"] == hashlib.sha256(committed.SOURCE.read_bytes()).hexdigest()
    for code in ("bytecode", "runtime"):
        assert fields[f"{code}_sha256"] == hashlib.sha256(bytes.fromhex(fields[code][2:])).hexdigest()
    assert fields["storage"]["slots"]["slot"] == 0


def test_an_artefact_of_another_source_is_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source edited without recompiling is noticed at load, not at the first anchor."""
    source = tmp_path / "AnchorRegistry.vy"
    source.write_bytes(committed.SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(committed, "SOURCE", source)
    with pytest.raises(ConfigurationError, match="expected the contract source"):
        committed.load_artefact.__wrapped__()


def test_selectors_and_topic_are_those_of_the_abi() -> None:
    """The constants in evm.py are the compiler's: `anchor`, `slots` and `Anchored` as the ABI spells them."""
    by_name = {item["name"]: item for item in json.loads(committed.ARTEFACT.read_text("utf-8"))["abi"]}

    def hashed(name: str) -> bytes:
        types = ",".join(argument["type"] for argument in by_name[name]["inputs"])
        return keccak256(f"{name}({types})".encode())

    assert hashed("anchor")[:4] == ANCHOR_SELECTOR
    assert hashed("slots")[:4] == SLOTS_SELECTOR
    assert hashed("Anchored") == ANCHORED_TOPIC
    assert set(by_name) == {"anchor", "slots", "Anchored"}, "no owner, no upgrade, nothing else to call"


def test_keccak_is_the_original_and_not_sha3() -> None:
    """The hash of nothing is Ethereum's well-known one."""
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


class Registry:
    """The contract deployed in a bare EVM, called as anyone could."""

    def __init__(self) -> None:
        with chain_libraries():
            from eth_tester import EthereumTester, PyEVMBackend

        self.tester: Any = EthereumTester(PyEVMBackend())
        self.owner, self.stranger = self.tester.get_accounts()[:2]
        code = "0x" + committed.load_artefact().init_code.hex()
        sent = self.tester.send_transaction({"from": self.owner, "data": code, "gas": 1_000_000})
        self.address = self.tester.get_transaction_receipt(sent)["contract_address"]

    def anchor(
        self, previous: Opening, size: int, root: bytes, *, sender: str | None = None
    ) -> dict[str, Any]:
        """Send one call, mined even if it fails; return the receipt."""
        data = "0x" + encode_anchor(AnchorCall(LOG, previous, size, root)).hex()
        call = {"from": sender or self.owner, "to": self.address, "data": data, "gas": 200_000}
        receipt: dict[str, Any] = self.tester.get_transaction_receipt(self.tester.send_transaction(call))
        return receipt

    def slot(self, owner: str) -> bytes:
        """Read the slot through the contract's own getter."""
        data = "0x" + encode_slots(parse_address(owner), LOG).hex()
        return decode_slot(
            bytes.fromhex(self.tester.call({"from": owner, "to": self.address, "data": data})[2:])
        )


@pytest.fixture
def registry() -> Registry:
    """A fresh registry on a fresh chain."""
    return Registry()


def test_each_anchor_moves_the_slot_as_our_arithmetic_says(registry: Registry) -> None:
    """Three anchors in a row: slot, event and accumulator equal those computed without the EVM."""
    opening = NEVER_ANCHORED
    assert registry.slot(registry.owner) == ZERO_SLOT == opening.slot()
    for size, root in ((5, ROOT), (9, OTHER), (10, ROOT)):
        receipt = registry.anchor(opening, size, root)
        assert receipt["status"] == 1
        opening = opening.then(size, root)
        assert registry.slot(registry.owner) == opening.slot()
        (log,) = receipt["logs"]
        event = decode_event([bytes.fromhex(t[2:]) for t in log["topics"]], bytes.fromhex(log["data"][2:]))
        assert event == AnchoredEvent(parse_address(registry.owner), LOG, opening, root)


@pytest.mark.parametrize(
    ("previous", "size"),
    [
        pytest.param(Opening(5, OTHER), 9, id="wrong accumulator"),
        pytest.param(Opening(4, NEVER_ANCHORED.then(5, ROOT).acc), 9, id="wrong size"),
        pytest.param(NEVER_ANCHORED, 9, id="as if never anchored"),
        pytest.param(NEVER_ANCHORED.then(5, ROOT), 5, id="same size"),
        pytest.param(NEVER_ANCHORED.then(5, ROOT), 4, id="smaller size"),
    ],
)
def test_a_stale_or_shrinking_anchor_reverts(registry: Registry, previous: Opening, size: int) -> None:
    """Compare-and-set: whoever does not open the present slot, or does not grow it, changes nothing."""
    assert registry.anchor(NEVER_ANCHORED, 5, ROOT)["status"] == 1
    before = registry.slot(registry.owner)
    receipt = registry.anchor(previous, size, OTHER)
    assert (receipt["status"], receipt["logs"], registry.slot(registry.owner)) == (0, [], before)


@pytest.mark.parametrize("previous", [Opening(1, bytes(32)), Opening(0, ROOT)], ids=["size", "accumulator"])
def test_an_empty_slot_opens_only_with_zeros(registry: Registry, previous: Opening) -> None:
    """The first anchor cannot claim a past that never was on the chain."""
    assert registry.anchor(previous, 5, ROOT)["status"] == 0


def test_another_sender_has_another_slot(registry: Registry) -> None:
    """Nobody can write, block or squat the slot of a log's owner."""
    assert registry.anchor(NEVER_ANCHORED, 7, OTHER, sender=registry.stranger)["status"] == 1
    assert registry.slot(registry.owner) == ZERO_SLOT
    assert registry.anchor(NEVER_ANCHORED, 5, ROOT)["status"] == 1


def test_a_repeat_anchor_costs_about_what_one_storage_write_costs(registry: Registry) -> None:
    """One slot per log: a repeat stays under 35,000 gas, so history is not stored on chain."""
    registry.anchor(NEVER_ANCHORED, 5, ROOT)
    assert registry.anchor(NEVER_ANCHORED.then(5, ROOT), 6, OTHER)["gas_used"] < 35_000


def test_calldata_and_events_come_back_as_they_went() -> None:
    """Decoding what was encoded gives the same values."""
    call = AnchorCall(LOG, Opening(3, OTHER), 2**53, ROOT)
    assert decode_anchor(encode_anchor(call)) == call
    event = AnchoredEvent(bytes(range(20)), LOG, Opening(8, OTHER), ROOT)
    assert decode_event(*encode_event(event)) == event


def _wrong_events() -> list[Any]:
    topics, data = encode_event(AnchoredEvent(bytes(range(20)), LOG, Opening(8, OTHER), ROOT))
    return [
        pytest.param([OTHER, *topics[1:]], data, id="another event"),
        pytest.param(topics[:2], data, id="a topic missing"),
        pytest.param([topics[0], b"\x01" * 32, LOG], data, id="owner is no address"),
        pytest.param([topics[0], topics[1][12:], LOG], data, id="owner of 20 bytes"),
        pytest.param(topics, data[:-1], id="data short"),
        pytest.param(topics, data + bytes(32), id="data long"),
        pytest.param(topics, b"\xff" * 32 + data[32:], id="size over uint64"),
    ]


@pytest.mark.parametrize(("topics", "data"), _wrong_events())
def test_an_event_of_another_shape_is_refused(topics: list[bytes], data: bytes) -> None:
    """A node's answer is parsed strictly: nothing that merely resembles Anchored passes."""
    with pytest.raises(LedgerError):
        decode_event(topics, data)


@pytest.mark.parametrize("answer", [b"", bytes(31), bytes(64)])
def test_a_slot_is_one_word(answer: bytes) -> None:
    """An address without a contract answers nothing; that is not an empty slot."""
    with pytest.raises(LedgerError, match="expected 32 bytes"):
        decode_slot(answer)


@pytest.mark.parametrize("text", ["", "0x", "00" * 20, "0x" + "00" * 19, "0x" + "zz" * 20, "0x" + " 0" * 20])
def test_addresses_are_parsed_strictly(text: str) -> None:
    """0x and 40 hex digits, nothing else."""
    with pytest.raises(LedgerError, match="expected an address"):
        parse_address(text)


def test_addresses_come_back_in_lower_case() -> None:
    """A checksummed spelling is read, the plain one is written."""
    assert format_address(parse_address("0x" + "Ab" * 20)) == "0x" + "ab" * 20


def test_create2_matches_the_example_of_the_standard() -> None:
    """EIP-1014, third example."""
    salt = bytes.fromhex("000000000000000000000000feed000000000000000000000000000000000000")
    deployer = bytes.fromhex("deadbeef00000000000000000000000000000000")
    assert create2_address(deployer, salt, b"\x00").hex() == "d04116cdd17bebe565eb2422f2497e06cc1c9833"

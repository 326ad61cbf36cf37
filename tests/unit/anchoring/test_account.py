"""Keys from files: raw, keystore, and everything that is neither, without a word of what was in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditlog.anchoring.account import load_account
from auditlog.anchoring.fees import Offer
from auditlog.anchoring.libraries import chain_libraries
from auditlog.errors import ConfigurationError
from tests.support.fake_chain import decode_tx

SECRET = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "2c7536e3605d9c16a7a3d7b1898e529396a65c23"


@pytest.mark.parametrize("text", [SECRET, "0x" + SECRET, SECRET.upper(), f"  0x{SECRET}\n\n"])
def test_a_raw_key_is_read(tmp_path: Path, text: str) -> None:
    """64 hex digits, with or without 0x and white space around."""
    path = tmp_path / "key"
    path.write_text(text)
    assert load_account(path).address.hex() == ADDRESS


def test_a_keystore_is_read_with_its_password(tmp_path: Path) -> None:
    """Version 3 JSON; the password is a file too."""
    with chain_libraries():
        from eth_account import Account

    (tmp_path / "key").write_text(json.dumps(Account.encrypt(SECRET, "good", kdf="pbkdf2", iterations=2)))
    (tmp_path / "good").write_text("good\n")
    (tmp_path / "bad").write_text("bad\n")
    assert load_account(tmp_path / "key", tmp_path / "good").address.hex() == ADDRESS
    with pytest.raises(ConfigurationError, match="expected key to open with its password"):
        load_account(tmp_path / "key", tmp_path / "bad")
    with pytest.raises(ConfigurationError, match="expected a password file"):
        load_account(tmp_path / "key")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        SECRET[:-2],
        SECRET + "00",
        "00" * 32,
        "ff" * 32,
        "zz" * 32,
        "{}",
        '{"crypto": 3}',
        '{"version": 3, "crypto": 3}',
        '{"a":' * 5000,
    ],
)
def test_anything_else_is_refused_without_repeating_it(tmp_path: Path, text: str) -> None:
    """Wrong length, zero, over the curve's order, no hex, a keystore that is none."""
    path = tmp_path / "key"
    path.write_text(text)
    (tmp_path / "password").write_text("password")
    with pytest.raises(ConfigurationError) as caught:
        load_account(path, tmp_path / "password")
    assert len(text) < 8 or text[:8] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_file_is_named_without_its_folder(tmp_path: Path) -> None:
    """The message says which setting to look at, not where secrets lie."""
    with pytest.raises(ConfigurationError, match="expected a readable secret file absent, found none"):
        load_account(tmp_path / "absent")


def test_what_is_signed_is_what_was_asked_for(tmp_path: Path) -> None:
    """Every member comes back from the raw transaction, the sender too; signing is deterministic."""
    path = tmp_path / "key"
    path.write_text(SECRET)
    account = load_account(path)

    def sign() -> tuple[bytes, bytes]:
        signed = account.sign(
            chain_id=5, nonce=3, to=bytes(range(20)), data=b"\x01\x02", gas=50_000, offer=Offer(30, 2)
        )
        return signed.tx, signed.raw

    tx, raw = sign()
    assert sign() == (tx, raw)
    found = decode_tx(raw)
    assert (found.hash, found.sender.hex()) == (tx, ADDRESS)
    assert (found.nonce, found.to, found.data) == (3, bytes(range(20)), b"\x01\x02")
    assert (found.gas, found.max_fee, found.tip) == (50_000, 30, 2)

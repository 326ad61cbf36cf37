"""The key that owns the slots: a file with a raw key, or a keystore file with its password in another.

Promises: an error never holds the key, the password or the content of a
file; a key is read once, at start. Must never: make a key up. A lost key
is a lost slot, and a new one is a new owner for every trust file to pin.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog.anchoring.fees import Offer
from auditlog.anchoring.libraries import chain_libraries
from auditlog.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Signed:
    """One signed transaction."""

    tx: bytes
    """Its hash, 32 bytes."""
    raw: bytes


class Account:
    """A secp256k1 key in memory.

    Args:
        key: an eth_account LocalAccount.
    """

    def __init__(self, key: Any) -> None:
        self._key = key
        self.address = bytes.fromhex(key.address[2:])
        """20 bytes: the owner of every slot this key writes."""

    def sign(
        self, *, chain_id: int, nonce: int, to: bytes, data: bytes, gas: int, offer: Offer, value: int = 0
    ) -> Signed:
        """Sign one EIP-1559 transaction. The same arguments give the same bytes (RFC 6979)."""
        signed = self._key.sign_transaction(
            {
                "type": 2,
                "chainId": chain_id,
                "nonce": nonce,
                "to": to,
                "value": value,
                "data": data,
                "gas": gas,
                "maxFeePerGas": offer.max_fee,
                "maxPriorityFeePerGas": offer.tip,
            }
        )
        return Signed(bytes(signed.hash), bytes(signed.raw_transaction))


def load_account(key_file: Path, password_file: Path | None = None) -> Account:
    """Read a key: 64 hex digits with or without 0x, or a keystore (JSON, version 3) and its password file.

    Raises:
        ConfigurationError: a file is missing, or is neither.
    """
    with chain_libraries():
        from eth_account import Account as EthAccount

    text = _read(key_file)
    if not text.startswith("{"):
        return Account(_from_hex(text, key_file))
    if password_file is None:
        raise ConfigurationError(f"expected a password file for the keystore {key_file.name}, found none")
    try:
        return Account(EthAccount.from_key(EthAccount.decrypt(json.loads(text), _read(password_file))))
    except (ValueError, KeyError, TypeError, AttributeError, NotImplementedError, RecursionError):
        # `from None`: the library's message may repeat what it was given.
        raise ConfigurationError(f"expected {key_file.name} to open with its password, it does not") from None


def _from_hex(text: str, key_file: Path) -> Any:
    with chain_libraries():
        from eth_account import Account as EthAccount
        from eth_utils.exceptions import ValidationError

    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
        if len(raw) != 32:
            raise ValueError
        return EthAccount.from_key(raw)
    except (ValueError, ValidationError):
        raise ConfigurationError(
            f"expected a private key of 64 hex digits or a keystore in {key_file.name}, found something else"
        ) from None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"expected a readable secret file {path.name}, found none") from None

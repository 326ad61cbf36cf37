"""The chain of one configuration: none, a devnet in this process, or a node; what anchors, and what guards.

Spec: auditlog/spec/api.md, "Configuration"; design section 5, "Anchor". Promises: nothing of web3 or an
EVM is loaded before the first anchor, or the first guard of a real chain, is asked for. Must never: take
a devnet for a guard, since it forgets with us.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from auditlog.errors import ConfigurationError
from auditlog.log.clock import Clock
from auditlog.log.rollback import RollbackSource
from auditlog.service.secretfiles import read_devnet_key
from auditlog.service.settings import Settings, read_secret

if TYPE_CHECKING:
    from auditlog.anchoring.connect import RpcSettings
    from auditlog.anchoring.devnet import Devnet
    from auditlog.anchoring.ledger import BlockRef
    from auditlog.anchoring.rpc import RpcLedger
    from auditlog.anchoring.scheduler import Anchorer
    from auditlog.core.keys import Ed25519Signer
    from auditlog.log.log import Log

WEI_PER_GWEI = 10**9


class Chain:
    """One ledger for all logs, opened when first needed. One thread at a time, `devnet_vkey` aside."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._ledger: Devnet | RpcLedger | None = None
        self._rpc: RpcLedger | None = None
        self._anchorers: dict[str, Anchorer] = {}
        self._devnet_vkey: str | None = None

    def anchorer(self, log: Log) -> Anchorer | None:
        """What anchors the log, the same object each time; None when anchoring is off.

        Raises:
            LedgerError: the node does not answer. ConfigurationError: a key or the contract is not one.
        """
        if self._settings.anchoring.mode == "off":
            return None
        if log.origin not in self._anchorers:
            from auditlog.anchoring.scheduler import Anchorer

            signer = self._devnet_key() if self._settings.anchoring.mode == "devnet" else None
            self._anchorers[log.origin] = Anchorer(log, self._open(), signer, self._clock)
        return self._anchorers[log.origin]

    def guards(self, origin: str) -> list[RollbackSource]:
        """The slot of a real chain as a rollback guard; nothing for a devnet. Raises LedgerError."""
        if self._settings.anchoring.mode != "rpc":
            return []
        from auditlog.anchoring.connect import open_registry
        from auditlog.anchoring.rollback import AnchorSlotSource

        registry, _ = open_registry(rpc_settings(self._settings))
        return [AnchorSlotSource(registry, origin)]

    def finalized_block(self) -> BlockRef | None:
        """The newest block that is final; None when anchoring is off. Raises LedgerError."""
        return None if self._settings.anchoring.mode == "off" else self._open().finalized_block()

    def devnet_vkey(self) -> str | None:
        """What checks the evidence of our devnet; None without one, or while its key cannot be read.

        From any thread: it may be asked on every request, and is read once. A key that cannot be read is
        reported by each turn of the anchoring worker.
        """
        if self._devnet_vkey is None and self._settings.anchoring.mode == "devnet":
            with suppress(ConfigurationError):
                self._devnet_vkey = self._devnet_key().vkey
        return self._devnet_vkey

    def close(self) -> None:
        """Let go of the sending journal, so that another process may take over."""
        if self._rpc is not None:
            self._rpc.close()

    def _open(self) -> Devnet | RpcLedger:
        """The ledger, opened once."""
        if self._ledger is None and self._settings.anchoring.mode == "devnet":
            from auditlog.anchoring.devnet import Devnet

            self._ledger = Devnet(self._clock)
        elif self._ledger is None:
            from auditlog.anchoring.connect import open_ledger

            self._ledger = self._rpc = open_ledger(rpc_settings(self._settings), clock=self._clock)
        return self._ledger

    def _devnet_key(self) -> Ed25519Signer:
        path = self._settings.anchoring.devnet_key_file
        if path is None:
            raise ConfigurationError("expected anchoring.devnet_key_file for a devnet, found none")
        return read_devnet_key(path)


def rpc_settings(settings: Settings) -> RpcSettings:
    """What connects to the node of mode rpc. Raises ConfigurationError: a secret file is unreadable."""
    from auditlog.anchoring.connect import RpcSettings
    from auditlog.anchoring.fees import FeePolicy

    anchoring = settings.anchoring
    url = read_secret(anchoring.rpc_url_file) if anchoring.rpc_url_file else anchoring.rpc_url
    if url is None or anchoring.key_file is None:
        raise ConfigurationError("expected anchoring.rpc_url and key_file, found neither")
    return RpcSettings(
        url=url,
        key_file=anchoring.key_file,
        password_file=anchoring.password_file,
        contract=anchoring.contract,
        chain_id=anchoring.chain_id,
        journal=settings.service.data_dir / "anchoring" / "journal.sqlite",
        first_block=anchoring.first_block,
        fees=FeePolicy(max_fee_cap=anchoring.max_fee_gwei * WEI_PER_GWEI),
    )

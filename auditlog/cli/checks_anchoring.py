"""`auditlog doctor`, the chain: what the service would anchor on, asked for as the service would ask.

Promises: only reads; the same settings, made the same way, as
those of the service. Must never: print the node's URL or a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from auditlog.cli.findings import Finding, ok, problem, warning
from auditlog.errors import AuditLogError

if TYPE_CHECKING:
    from auditlog.service.settings import Settings

_ANCHOR_GAS: Final = 100_000
"""More than one anchor takes: only to say for how many the balance is enough at the fee cap."""


def check_anchoring(settings: Settings) -> Finding:
    """Check the chain of a configuration, or the key of its devnet."""
    mode = settings.anchoring.mode
    if mode == "off":
        return Finding("skipped", "anchoring", "mode off: nothing outside vouches for this history")
    try:
        return _check_chain(settings) if mode == "rpc" else _check_devnet(settings)
    except AuditLogError as error:
        return problem("anchoring", str(error))


def _check_devnet(settings: Settings) -> Finding:
    from auditlog.service.secretfiles import read_devnet_key

    path = settings.anchoring.devnet_key_file
    if path is None:
        return problem("anchoring", "expected anchoring.devnet_key_file for a devnet, found none")
    return ok("anchoring", f"devnet {read_devnet_key(path).vkey} (proves nothing to an outsider)")


def _check_chain(settings: Settings) -> Finding:
    """Chain, contract, owner and how far the owner's money goes."""
    from auditlog.anchoring.connect import open_registry
    from auditlog.anchoring.evm import format_address
    from auditlog.service.ledgers import rpc_settings

    wanted = rpc_settings(settings)
    registry, account = open_registry(wanted)
    registry.check_chain()
    registry.check_code()
    said = (
        f"chain {registry.chain_id}, contract {format_address(registry.contract)}, "
        f"owner {format_address(account.address)}, cap {settings.anchoring.max_fee_gwei} gwei"
    )
    anchors = registry.node.balance(account.address) // (_ANCHOR_GAS * wanted.fees.max_fee_cap)
    if not anchors:
        return warning("anchoring", f"{said}: expected money for an anchor at the cap, found too little")
    return ok("anchoring", f"{said}, money for {anchors} anchors at the cap")

"""From settings to a ledger on a JSON-RPC chain, and the registry put there if it is missing.

Decision 0003. The registry is deployed with CREATE2 through the deployer contract that most chains have
at one address, so its own address follows from its bytes and is the same everywhere. Deploying it twice
is impossible, and anybody may do it: it has no owner. Must never: pick a chain by itself; an id given is
demanded of the node.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from auditlog.anchoring.account import Account, load_account
from auditlog.anchoring.artefact import load_artefact
from auditlog.anchoring.evm import create2_address, format_address, parse_address
from auditlog.anchoring.fees import FeePolicy, first_offer, with_margin
from auditlog.anchoring.journal import Journal
from auditlog.anchoring.jsonrpc import over_http
from auditlog.anchoring.node import Node
from auditlog.anchoring.registry import Registry
from auditlog.anchoring.rpc import RpcLedger
from auditlog.errors import ConfigurationError, LedgerError
from auditlog.log.clock import Clock

DEPLOYER = parse_address("0x4e59b44847b379578588920ca78fbf26c0b4956c")
"""The "deterministic deployment proxy": calldata = salt(32) || init code, creates with CREATE2."""
_SALT = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcSettings:
    """What an operator configures. The URL often holds an access key: it is kept out of every message."""

    url: str = field(repr=False)
    key_file: Path
    password_file: Path | None = None
    """For a keystore."""
    contract: str | None = None
    """Address of the registry; None for where `deploy_registry` puts it."""
    chain_id: int | None = None
    """What the node must answer; None takes the node's word at first start, and the journal's after that."""
    journal: Path
    """The sending journal, on a disk that outlives the process."""
    first_block: int = 0
    fees: FeePolicy = field(default_factory=FeePolicy)
    timeout_s: float = 20.0


def registry_address() -> bytes:
    """Return where the committed registry lies on every chain that has the deployer."""
    return create2_address(DEPLOYER, _SALT, load_artefact().init_code)


def open_registry(settings: RpcSettings) -> tuple[Registry, Account]:
    """Connect: the view of our slots (for the ledger and the rollback guard), and the key.

    Raises:
        ConfigurationError: a secret file or an address is not one.
        LedgerError: the node does not answer.
    """
    account = load_account(settings.key_file, settings.password_file)
    node = Node(over_http(settings.url, timeout_s=settings.timeout_s))
    registry = Registry(
        node,
        chain_id=node.chain_id() if settings.chain_id is None else settings.chain_id,
        contract=_contract(settings.contract),
        owner=account.address,
        first_block=settings.first_block,
    )
    return registry, account


def open_ledger(settings: RpcSettings, *, clock: Clock) -> RpcLedger:
    """Open the ledger; `close` it to let another process send.

    Raises:
        ConfigurationError: as `open_registry`, or the journal is held, or belongs elsewhere.
        LedgerError: the node does not answer.
    """
    registry, account = open_registry(settings)
    journal = Journal(settings.journal)
    try:
        return RpcLedger(registry, account=account, journal=journal, fees=settings.fees, clock=clock)
    except BaseException:
        journal.close()
        raise


def deploy_registry(
    node: Node,
    account: Account,
    *,
    chain_id: int,
    wait: Callable[[], None],
    fees: FeePolicy,
    turns: int = 300,
) -> bytes:
    """Put the registry on the chain unless it is there; return its address.

    Not journalled: dying half-way and doing it again at worst pays for a transaction that changes nothing.
    Must not run beside a ledger that sends with the same key. `wait` is called between looks at the chain,
    at most `turns` times.

    Raises:
        ConfigurationError: the node follows another chain.
        LedgerError: the node failed, the chain has no deployer, or the code did not appear in time.
    """
    address, runtime = registry_address(), load_artefact().runtime
    found = node.chain_id()
    if found != chain_id:
        raise ConfigurationError(f"expected chain id {chain_id}, found {found}")
    if node.code(address) == runtime:
        return address
    if not node.code(DEPLOYER):
        raise LedgerError(f"expected the CREATE2 deployer at {format_address(DEPLOYER)}, found no code there")
    calldata = _SALT + load_artefact().init_code
    signed = account.sign(
        chain_id=chain_id,
        nonce=node.nonce(account.address),
        to=DEPLOYER,
        data=calldata,
        gas=with_margin(node.estimate_gas(account.address, DEPLOYER, calldata)),
        offer=first_offer(node.fees(), fees),
    )
    node.send(signed.raw)
    for _ in range(turns):
        if node.code(address) == runtime:
            return address
        wait()
    raise LedgerError(f"expected the registry at {format_address(address)} after {turns} looks, found none")


def _contract(text: str | None) -> bytes:
    if text is None:
        return registry_address()
    try:
        return parse_address(text)
    except LedgerError as error:
        raise ConfigurationError(f"anchoring contract: {error}") from error

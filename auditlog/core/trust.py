"""The trust file: whom a verifier believes, chosen by the verifier (spec/trust.md).

    {"v":"auditlog/trust@v1","policy":TEXT,"issuer":{"name":N,"role":R},"require":[..]?,"devnet":VKEY?,
     "retired":[{"origin","size","root"}..]?,"anchors":[{"chain_id","contract","code_hash","owner"}..]?,
     "blocks":[{"chain_id","number","hash"}..]?}

JSON that people edit: white space and order are free, repeated and unknown members are not, since a misspelt
demand would silently not be made. Must never come from a receipt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from auditlog.core.anchor import format_hex, parse_address, parse_chain_hash
from auditlog.core.jsonfields import scan_fields
from auditlog.core.keys import Ed25519Verifier, split_vkey
from auditlog.core.members import Members
from auditlog.core.policy import Policy, parse_policy
from auditlog.core.scalars import MAX_SEQ, check_hash_hex, check_origin
from auditlog.errors import MalformedError

TRUST_VERSION = "auditlog/trust@v1"
MAX_TRUST_BYTES = 1024 * 1024
MAX_PINS = 4096

QUORUM, ANCHOR, DEVNET = "quorum", "anchor", "devnet"
REQUIREMENTS = (QUORUM, ANCHOR, DEVNET)
DEFAULT_REQUIRE = (QUORUM, ANCHOR)
ROLES = ("operator", "self", "regulator", "other")


@dataclass(frozen=True, slots=True)
class RetiredLog:
    """A log that has ended: no larger tree of it is believed, and at this size only this root."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class AnchorPin:
    """The only contract, code and owner whose anchors on that chain count."""

    chain_id: int
    contract: bytes
    """20 bytes."""
    code_hash: bytes
    """Keccak-256 of the contract's runtime code, 32 bytes."""
    owner: bytes
    """20 bytes."""


@dataclass(frozen=True, slots=True)
class AcceptedBlock:
    """A block the verifier believes is final on its chain."""

    chain_id: int
    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who wrote the trust file, as its reader was told. `role`: operator, self, regulator or other."""

    name: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A trust file, parsed."""

    policy: Policy
    issuer: Issuer
    require: tuple[str, ...] = DEFAULT_REQUIRE
    """What must have been checked for exit code 0: of quorum, anchor, devnet."""
    devnet: Ed25519Verifier | None = None
    retired: tuple[RetiredLog, ...] = ()
    anchors: tuple[AnchorPin, ...] = ()
    blocks: tuple[AcceptedBlock, ...] = ()


def parse_trust(data: bytes) -> Trust:
    """Read a trust file.

    Raises:
        MalformedError: over 1 MiB, not JSON, a repeated, missing or unknown member, or one of a wrong form.
    """
    members = Members(
        _parse_json(data),
        "trust file",
        required=("v", "policy", "issuer"),
        optional=("require", "devnet", "retired", "anchors", "blocks"),
    )
    if members.value("v") != TRUST_VERSION:
        raise members.error("v", TRUST_VERSION)
    policy = _read_policy(members.text("policy"))
    return Trust(
        policy=policy,
        issuer=_read_issuer(members.value("issuer")),
        require=_read_require(members) if "require" in members else DEFAULT_REQUIRE,
        devnet=_read_devnet(members, policy) if "devnet" in members else None,
        retired=_read_retired_logs(_optional_array(members, "retired")),
        anchors=tuple(map(_read_pin, _optional_array(members, "anchors"))),
        blocks=tuple(map(_read_block, _optional_array(members, "blocks"))),
    )


def format_trust(trust: Trust) -> bytes:
    """Write a trust file for people: indented, every default spelt out."""
    value: dict[str, Any] = {
        "v": TRUST_VERSION,
        "issuer": {"name": trust.issuer.name, "role": trust.issuer.role},
        "policy": trust.policy.text,
        "require": list(trust.require),
    }
    if trust.devnet is not None:
        value["devnet"] = trust.devnet.vkey
    if trust.retired:
        value["retired"] = [
            {"origin": log.origin, "size": log.size, "root": log.root.hex()} for log in trust.retired
        ]
    if trust.anchors:
        value["anchors"] = [
            {
                "chain_id": pin.chain_id,
                "contract": format_hex(pin.contract),
                "code_hash": format_hex(pin.code_hash),
                "owner": format_hex(pin.owner),
            }
            for pin in trust.anchors
        ]
    if trust.blocks:
        value["blocks"] = [
            {"chain_id": block.chain_id, "number": block.number, "hash": format_hex(block.hash)}
            for block in trust.blocks
        ]
    return json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8") + b"\n"


def _parse_json(data: bytes) -> Any:
    if len(data) > MAX_TRUST_BYTES:
        raise MalformedError(f"trust file: expected at most {MAX_TRUST_BYTES} bytes, found {len(data)}")
    # The field scanner refuses what a JSON library lets through: repeated keys and lone surrogates.
    if scan_fields(data) is None:
        raise MalformedError("trust file: expected JSON without repeated members, found something else")
    try:
        return json.loads(data.decode("utf-8"), parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise MalformedError("trust file: expected JSON with integers only, found something else") from None


def _refuse(_: str) -> None:
    raise ValueError


def _read_policy(text: str) -> Policy:
    policy = parse_policy(text)
    if not policy.logs:
        raise MalformedError("trust file policy: expected at least one log line, found none")
    return policy


def _read_devnet(members: Members, policy: Policy) -> Ed25519Verifier:
    devnet = Ed25519Verifier.from_vkey(members.text("devnet"))
    public_key = split_vkey(devnet.vkey)[2]
    for key in policy.verifiers():
        # Whoever runs the devnet must not be the log or a witness under another name.
        if split_vkey(key.vkey)[2] == public_key:
            raise members.error("devnet", "a public key that is no log's and no witness's of the policy")
        # The 32 bits of a key ID can be made to collide, and then a line of one would pass for the other's.
        if (key.name, key.key_id) == (devnet.name, devnet.key_id):
            raise members.error("devnet", "a key with another name or key ID than those of the policy")
    return devnet


def _read_issuer(value: Any) -> Issuer:
    members = Members(value, "issuer", required=("name", "role"))
    issuer = Issuer(members.text("name"), members.text("role"))
    if not 1 <= len(issuer.name) <= 255:
        raise members.error("name", "1 to 255 characters")
    if issuer.role not in ROLES:
        raise members.error("role", f"one of {ROLES}")
    return issuer


def _read_require(members: Members) -> tuple[str, ...]:
    words = members.array("require", most=len(REQUIREMENTS))
    known = all(type(word) is str and word in REQUIREMENTS for word in words)
    if not known or len(set(words)) != len(words):
        raise members.error("require", f"different words of {REQUIREMENTS}")
    return tuple(words)


def _optional_array(members: Members, name: str) -> list[Any]:
    return members.array(name, most=MAX_PINS) if name in members else []


def _read_retired_logs(values: list[Any]) -> tuple[RetiredLog, ...]:
    retired = tuple(map(_read_retired, values))
    if len({log.origin for log in retired}) != len(retired):
        raise MalformedError("trust file retired: expected each origin once, found one twice")
    return retired


def _read_retired(value: Any) -> RetiredLog:
    members = Members(value, "retired log", required=("origin", "size", "root"))
    root = check_hash_hex(members.text("root"), "retired log root")
    return RetiredLog(check_origin(members.text("origin")), _natural(members, "size"), bytes.fromhex(root))


def _read_pin(value: Any) -> AnchorPin:
    members = Members(value, "anchor pin", required=("chain_id", "contract", "code_hash", "owner"))
    return AnchorPin(
        chain_id=_natural(members, "chain_id"),
        contract=parse_address(members.text("contract")),
        code_hash=parse_chain_hash(members.text("code_hash"), "anchor pin code_hash"),
        owner=parse_address(members.text("owner")),
    )


def _read_block(value: Any) -> AcceptedBlock:
    members = Members(value, "accepted block", required=("chain_id", "number", "hash"))
    return AcceptedBlock(
        chain_id=_natural(members, "chain_id"),
        number=_natural(members, "number"),
        hash=parse_chain_hash(members.text("hash"), "accepted block hash"),
    )


def _natural(members: Members, name: str) -> int:
    value = members.natural(name)
    if value > MAX_SEQ:
        raise members.error(name, "an integer of at most 2^53-1")
    return value

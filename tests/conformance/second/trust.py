"""trust.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import canonical as c
from .canonical import need
from .note import ED25519, Key, known_keys, parse_vkey
from .policy import Policy, parse_policy

WORDS = ("quorum", "anchor", "devnet")


@dataclass
class Trust:
    """Whom a verifier believes, and what it demands."""

    issuer: dict[str, str]
    policy: Policy
    require: list[str]
    devnet: Key | None
    retired: list[dict[str, Any]]
    anchors: list[dict[str, Any]]
    blocks: list[dict[str, Any]]

    @property
    def note_keys(self) -> list[Key]:
        """Every key whose wrong signature refuses a note."""
        return [*self.policy.keys, *([] if self.devnet is None else [self.devnet])]


def parse_trust(data: bytes) -> Trust:
    """A trust file; Malformed if any of it is not as the page says."""
    need(len(data) <= 1_048_576, "over 1 MiB")
    value = c.members(c.strict_json(data), "v issuer policy", "require devnet retired anchors blocks")
    need(value["v"] == "auditlog/trust@v1", "not auditlog/trust@v1")
    issuer = c.members(value["issuer"], "name role")
    need(c.is_text(issuer["name"], 1, 255), "issuer.name")
    need(issuer["role"] in ("operator", "self", "regulator", "other"), "issuer.role")
    need(isinstance(value["policy"], str), "policy")
    policy = parse_policy(value["policy"].encode("utf-8"))
    need(policy.logs, "no log line")
    require = c.array(value.get("require", ["quorum", "anchor"]), 3)
    need(all(word in WORDS for word in require) and len({*map(str, require)}) == len(require), "require")
    devnet = None
    if "devnet" in value:
        devnet = parse_vkey(value["devnet"])
        need(devnet.kind == ED25519, "devnet: a key of the wrong type")
        need(devnet.public not in {key.public for key in policy.keys}, "devnet: a log's or a witness's key")
    trust = Trust(issuer, policy, require, devnet, [], [], [])
    known_keys(trust.note_keys)
    for item in c.array(value.get("retired", []), 4096):
        c.members(item, "origin size root")
        need(c.is_origin(item["origin"]) and c.is_int(item["size"]) and c.is_hex(item["root"]), "retired")
        need(item["origin"] not in {other["origin"] for other in trust.retired}, "retired twice")
        trust.retired.append(item)
    for item in c.array(value.get("anchors", []), 4096):
        c.members(item, "chain_id contract code_hash owner")
        need(c.is_int(item["chain_id"]) and c.is_0x(item["contract"], 40), "anchors")
        need(c.is_0x(item["code_hash"]) and c.is_0x(item["owner"], 40), "anchors")
        trust.anchors.append(item)
    for item in c.array(value.get("blocks", []), 4096):
        c.members(item, "chain_id number hash")
        need(c.is_int(item["chain_id"]) and c.is_int(item["number"]) and c.is_0x(item["hash"]), "blocks")
        trust.blocks.append(item)
    return trust

"""Writes `tests/compat/<version>/` once, at a release: receipts every later version must verify, for ever.

    python -m tests.support.build_compat 0.1

Refuses to touch a version that exists: what was released is never made again. Trust comes from a quorum of
two witnesses, since a devnet is outside the promise.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auditlog.core.disclosure import Disclosures, disclose_whole, format_disclosures
from auditlog.core.receipt import format_receipt
from auditlog.verify import Verifier
from tests.support import format_world
from tests.support.receipts_factory import (
    FACTS,
    Chain,
    Factory,
    committed,
    decision_id,
    seed,
    shown_field,
    shown_whole,
)

ROOT = Path(__file__).parents[1] / "compat"


def receipts(factory: Factory) -> Iterator[tuple[str, bytes]]:
    """One receipt of each shape the version can make."""
    first, second = factory.chains
    yield "genesis", factory.receipt_bytes(0)
    yield "producer", factory.receipt_bytes(first.home)
    yield "instance", factory.receipt_bytes(first.start)
    yield "model", factory.receipt_bytes(factory.models[-1 - first.home])
    yield "decision", factory.receipt_bytes(factory.decisions[0])
    shown = [shown_field(2), shown_whole(2, "response")]
    yield "decision-disclosed", factory.receipt_bytes(factory.decisions[2], disclosures=shown)
    yield "decision-early-checkpoint", factory.receipt_bytes(factory.decisions[3], factory.decisions[3] + 1)
    unregistered = factory.decision_body(50, "unregistered") | {"sampling": {"temperature": "0.7"}}
    yield "decision-unregistered", factory.receipt_bytes(sealed(factory, second, "decision", unregistered))
    pending = sealed(factory, second, "decision", factory.decision_body(51, "pending"))
    fingerprint = {"method": "files-sha256@v1", "root": "ab" * 32, "files": 1}
    adapters = [{"name": "lora", "fingerprint": fingerprint}]
    model = {"name": "late", "fingerprint": fingerprint, "adapters": adapters, "source": "a folder"}
    factory.models[pending] = sealed(factory, second, "model", model)
    yield "decision-pending", factory.receipt_bytes(pending)
    facts = committed(seed("outcome"), "facts", FACTS)
    outcome = {"decision": decision_id(0), "facts": facts, "item": "instances/1"}
    yield "outcome", factory.receipt_bytes(sealed(factory, first, "outcome", outcome))
    yield "notice", factory.receipt_bytes(sealed(factory, first, "notice", {"what": "stopped"}))


def sealed(factory: Factory, chain: Chain, kind: str, body: dict[str, Any]) -> int:
    """Add an entry as a batch of its own."""
    index = factory.add(chain, kind, body)
    factory.close_batch(chain)
    return index


def streamed() -> tuple[bytes, bytes, bytes]:
    """Receipt, disclosures and trust file of a streamed chat, whose fields are cut from the folded text."""
    world = format_world.World()
    key = format_world.seed("chat exchange key")
    whole = disclose_whole(key, "response", format_world.CHAT_RESPONSE, "fold:openai.chat@v1")
    about = Disclosures(format_world.decision_id(2), (whole,))
    policy = f"log {world.log_key.vkey}\nwitness w1 {world.witnesses[0].vkey}\nquorum w1\n"
    issuer = {"name": "compat", "role": "self"}
    trust = {"v": "auditlog/trust@v1", "policy": policy, "require": ["quorum"], "issuer": issuer}
    receipt = format_receipt(world.receipt(world.at["chat"]))
    return receipt, format_disclosures(about), json.dumps(trust, indent=1).encode() + b"\n"


def expected(folder: Path, name: str, trust: str, disclosures: str | None) -> dict[str, Any]:
    """What this version says of a receipt: a later one may say more, never less."""
    from auditlog.core.trust import parse_trust

    shown = None if disclosures is None else (folder / disclosures).read_bytes()
    verifier = Verifier(parse_trust((folder / trust).read_bytes()))
    report = verifier.verify((folder / name).read_bytes(), disclosures=shown)
    facts = [[fact.name, fact.value, fact.grade.value] for fact in report.facts if fact.by]
    return {
        "receipt": name,
        "trust": trust,
        "disclosures": disclosures,
        "exit_code": report.exit_code,
        "facts": facts,
    }


def main(version: str) -> None:
    """Write the folder of a version."""
    folder = ROOT / version
    folder.mkdir(parents=True)
    factory = Factory(decisions=12, producers=2, batch=3)
    cases: list[tuple[str, str, str | None]] = []
    for name, data in receipts(factory):
        (folder / f"{name}.json").write_bytes(data)
        cases.append((f"{name}.json", "trust.json", None))
    (folder / "trust.json").write_bytes(
        factory.trust_bytes(quorum=2, require=["quorum"], devnet=False) + b"\n"
    )
    shown = format_disclosures(
        Disclosures(decision_id(0), (shown_field(0, "/applicant/income"), shown_whole(0)))
    )
    (folder / "decision.disclosures").write_bytes(shown)
    cases.append(("decision.json", "trust.json", "decision.disclosures"))
    receipt, disclosures, trust = streamed()
    (folder / "chat.json").write_bytes(receipt)
    (folder / "chat.disclosures").write_bytes(disclosures)
    (folder / "chat.trust.json").write_bytes(trust)
    cases.append(("chat.json", "chat.trust.json", "chat.disclosures"))
    told = [expected(folder, *case) for case in cases]
    (folder / "expected.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

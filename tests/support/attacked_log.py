"""A small log with a working host, as a folder, to be copied and attacked; and other tools' exports."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from auditlog.attack.tools import TOOLS, run_tool
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf
from auditlog.core.statements import producer_key_name
from tests.support.monitor_world import HostWorld, honest
from tests.support.tlog_writer import ORIGIN, log_signer, write_log


def small_log(folder: Path, *, with_keys: bool = False, is_stopped: bool = False) -> HostWorld:
    """Write a log of two hosts, a rotation, an anchor and 30 entries or so; its keys beside it if asked."""
    world = honest(steps=3)
    world.rotate()
    world.answer(2)
    world.beat()
    world.anchor(10)
    world.stop()
    world.again()
    world.answer(3)
    world.beat()
    if is_stopped:
        world.stop()
    write_log(folder / "log", world.entries)
    if with_keys:
        keys = {"log": log_signer(), "host": world.key, "old": _first_key(world)}
        for name, key in keys.items():
            (folder / f"{name}.key").write_text(key.private_key + "\n", encoding="utf-8")
    return world


def _first_key(world: HostWorld) -> Ed25519Signer:
    return Ed25519Signer.from_seed(
        producer_key_name(ORIGIN, world.name), hash_leaf(f"{world.name} 0".encode())
    )


def ai_audit_package(path: Path, records: int = 6) -> None:
    """An evidence package of ai-audit-trail, made by its own code."""
    import nacl.signing
    from ai_audit.export import export_evidence_package
    from ai_audit.models import DecisionReceipt

    signer, previous, receipts = nacl.signing.SigningKey(b"\7" * 32), "", []
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(records):
        receipt = DecisionReceipt(
            timestamp=start + timedelta(seconds=number),
            input_c14n=f"{number:064x}",
            output_hash=f"{number + 100:064x}",
            prev_receipt_hash=previous,
        )
        receipt.seal(signer)
        previous = receipt.receipt_hash
        receipts.append(receipt)
    export_evidence_package(receipts, signer.verify_key.encode().hex(), signer, path)


def attestroot_bundle(path: Path, records: int = 6) -> None:
    """An evidence bundle of attestroot, made by its own code; ATTESTROOT_HOME names a folder to work in."""
    from attestroot import ledger, seal, signing

    signing.generate_keypair(overwrite=True)
    for number in range(records):
        event = {"event": "tool_use", "tool_use_id": f"t{number}", "adapter": "otel_genai"}
        ledger.append_event("session", event, json.dumps({"decision": number}).encode())
    result = seal.seal_session("session", path, adapter_name="otel_genai")
    assert result.ok


def tools_summary(folder: Path) -> str:
    """The tables of all tools, over exports that their own code makes in `folder`."""
    ai_audit_package(folder / "package.zip")
    attestroot_bundle(folder / "session.arbundle")
    tables = ["\n".join(run_tool(name, folder).summary()) for name in TOOLS]
    return "\n\n".join(tables) + "\n"

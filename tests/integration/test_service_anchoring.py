"""The whole service anchoring on a real node over JSON-RPC: from a decision to a final anchor, the slot as a
rollback guard, a node that goes away, finality that stalls. Skipped where npm is missing.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from auditlog.anchoring.account import load_account
from auditlog.anchoring.connect import deploy_registry, open_registry
from auditlog.anchoring.fees import FeePolicy
from auditlog.anchoring.jsonrpc import over_http
from auditlog.anchoring.node import Node
from auditlog.cli.main import run
from auditlog.core.anchor import log_id
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.errors import RollbackError
from auditlog.service.ledgers import rpc_settings
from auditlog.service.settings import Settings
from tests.support.anvil import ANVIL, CHAIN_ID, KEY, MISSING, Anvil, Gateway, gateway, mining, running_anvil
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.recording import receipt_at, record, recording, with_host_token

pytestmark = pytest.mark.skipif(not ANVIL.exists(), reason=MISSING)

LOG, ORIGIN = "hashes", "log.example.org/hashes"
WAIT_S = 60.0


def await_true(what: str, check: Callable[[], bool]) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Anvil]:
    """A node with the registry on it. Blocks come only when told; final is two blocks below the newest."""
    (tmp_path / "anchor.key").write_text(KEY + "\n")
    with running_anvil() as node:
        deploy_registry(
            Node(over_http(node.url)),
            load_account(tmp_path / "anchor.key"),
            chain_id=CHAIN_ID,
            wait=node.mine,
            fees=FeePolicy(),
            turns=5,
        )
        yield node


def configure(folder: Path, node: Anvil | Gateway, **more: object) -> Path:
    """An `auditlog.toml` that anchors on the node; the contract is where it always is."""
    (folder / "rpc_url").write_text(node.url + "\n")
    config = write_config(folder, anchoring="rpc")
    chain = {"chain_id": CHAIN_ID, "rpc_url_file": "rpc_url", "key_file": "anchor.key", **more}
    with config.open("a") as file:
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in chain.items())
    return config


def load(config: Path) -> Settings:
    """The settings, and the token of a serving host."""
    return with_host_token(Settings.load(config, environ={}))


def decide(service: LiveService, folder: Path, number: int) -> str:
    """Record one decision with a real recorder and see its receipt; return the receipt's address."""
    with recording(service, folder / "host") as recorder:
        _, url = record(recorder, number)
    assert receipt_at(url)
    return url


def anchors_in(service: LiveService) -> list[dict[str, object]]:
    """Bodies of the published `anchor` entries."""
    size = service.get(f"/logs/{LOG}").json["size"]
    entries = [service.get(f"/logs/{LOG}/entries/{index}", token="read").json for index in range(size)]
    return [entry["body"] for entry in entries if entry["kind"] == "anchor"]


def metric(service: LiveService, name: str) -> float | None:
    """One sample of /metrics."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", service.get("/metrics").body.decode(), re.MULTILINE)
    return None if found is None else float(found[1])


def anchor(service: LiveService, node: Anvil, known: int) -> None:
    """Mine until one more anchor than `known` is in the log."""
    with mining(node):
        await_true("anchored in time", lambda: len(anchors_in(service)) == known + 1)


def test_a_decision_is_anchored_and_told(
    tmp_path: Path, node: Anvil, capsys: pytest.CaptureFixture[str]
) -> None:
    """The published checkpoint is in our slot; entry, block and tree agree; the doctor sees the chain."""
    config = configure(tmp_path, node)
    settings = load(config)
    create_logs(settings)
    with structlog.testing.capture_logs() as lines, live_service(settings) as service:
        assert service.get(f"/logs/{LOG}").json["devnet_vkey"] is None
        decide(service, tmp_path, 1)
        anchor(service, node, 0)
        (body,) = anchors_in(service)
        size = int(str(body["size"]))
        entries = [service.get(f"/logs/{LOG}/entries/{i}", token="read").body for i in range(size)]
        assert body["root"] == root_hash([hash_leaf(entry) for entry in entries]).hex()
        assert any(json.loads(entry)["kind"] == "decision" for entry in entries)
    block = node.rpc("eth_getBlockByNumber", hex(int(str(body["block_number"]))), False)
    assert (block["hash"], block["transactions"]) == (body["block_hash"], [body["tx"]])
    found = open_registry(rpc_settings(settings))[0].newest(log_id(ORIGIN))
    assert found is not None
    assert (found.event.opening.size, found.event.root.hex()) == (size, body["root"])
    assert [line["size"] for line in lines if line["event"] == "anchored"] == [size]
    assert not [line for line in lines if "anchor_failed" in line["event"] or node.url in str(line)]
    capsys.readouterr()
    run(["doctor", "--config", str(config), "--json"])
    (check,) = [
        each for each in json.loads(capsys.readouterr().out)["checks"] if each["check"] == "anchoring"
    ]
    assert check["level"] == "ok"
    assert f"chain {CHAIN_ID}, contract {body['contract']}, owner 0x" in check["text"]


def test_an_anchor_on_its_way_survives_a_restart(tmp_path: Path, node: Anvil) -> None:
    """Stopped between sending and finality: the next life finishes the same transaction, once."""
    settings = load(configure(tmp_path, node))
    create_logs(settings)
    with live_service(settings) as service:
        decide(service, tmp_path, 1)
        await_true("sent in time", lambda: bool(node.rpc("txpool_content")["pending"]))
    (sent,) = [tx["hash"] for by in node.rpc("txpool_content")["pending"].values() for tx in by.values()]
    with live_service(settings) as service:
        anchor(service, node, 0)
        assert [body["tx"] for body in anchors_in(service)] == [sent]


def copy(source: Path, target: Path) -> None:
    """Put data directory and high-water files of one folder in the place of another's; no service runs."""
    for name in ("data", "guard"):
        shutil.rmtree(target / name, ignore_errors=True)
        if (source / name).exists():
            shutil.copytree(source / name, target / name)


def test_the_slot_refuses_an_older_copy_whose_high_water_file_went_along(tmp_path: Path, node: Anvil) -> None:
    """A backup of the whole machine restores the guard file too: only the chain knows of what came after."""
    settings = load(configure(tmp_path, node))
    create_logs(settings)
    with live_service(settings) as service:
        decide(service, tmp_path, 1)
        anchor(service, node, 0)
    copy(tmp_path, tmp_path / "backup")
    with live_service(settings) as service:
        decide(service, tmp_path, 2)
        anchor(service, node, 1)
    copy(tmp_path, tmp_path / "newest")
    copy(tmp_path / "backup", tmp_path)
    with pytest.raises(RollbackError, match=r"anchor slot in 0x.*older than what was signed"):
        run_briefly(settings)
    copy(tmp_path / "newest", tmp_path)
    run_briefly(settings)


def test_a_chain_alone_guards_from_the_first_anchor_on(tmp_path: Path, node: Anvil) -> None:
    """An empty slot vouches for nothing: a start before it is set needs the flag, afterwards it does not."""
    config = configure(tmp_path, node)
    config.write_text(re.sub(r"^high_water_file.*\n", "", config.read_text(), flags=re.MULTILINE))
    guarded = load(config)
    flagged = [log.model_copy(update={"allow_unguarded_start": True}) for log in guarded.logs]
    create_logs(guarded)
    with pytest.raises(RollbackError, match="the explicit flag starts all the same"):
        run_briefly(guarded)
    run_briefly(guarded.model_copy(update={"logs": flagged}))
    copy(tmp_path, tmp_path / "backup")
    with live_service(guarded.model_copy(update={"logs": flagged})) as service:
        decide(service, tmp_path, 1)
        anchor(service, node, 0)
    run_briefly(guarded)
    copy(tmp_path / "backup", tmp_path)
    for settings in (guarded, guarded.model_copy(update={"logs": flagged})):
        with pytest.raises(RollbackError, match="older than what was signed"):
            run_briefly(settings)


def test_another_chain_behind_the_url_guards_nothing_and_is_refused(tmp_path: Path, node: Anvil) -> None:
    """Its slot would be empty: the id in the settings is demanded before anything is signed."""
    settings = load(configure(tmp_path, node))
    create_logs(settings)
    with running_anvil("--chain-id", "5") as other:
        (tmp_path / "rpc_url").write_text(other.url)
        with pytest.raises(RollbackError, match=f"expected chain id {CHAIN_ID}, found 5"):
            run_briefly(settings)


def run_briefly(settings: Settings) -> None:
    """Start and stop."""
    with live_service(settings) as service:
        assert service.get("/ready").status == 200


def test_a_node_that_goes_away_delays_anchors_and_nothing_else(tmp_path: Path, node: Anvil) -> None:
    """Decisions are taken and proven meanwhile, failures counted, and the anchor comes when it is back."""
    with gateway(node) as way, structlog.testing.capture_logs() as lines:
        settings = load(configure(tmp_path, way))
        create_logs(settings)
        with live_service(settings) as service:
            decide(service, tmp_path, 1)
            anchor(service, node, 0)
            way.is_open = False
            failed = f'auditlog_anchor_runs_total{{log="{LOG}",outcome="ledger"}}'
            waited = f'auditlog_anchor_waiting_seconds{{log="{LOG}"}}'
            for number in range(2, 5):
                decide(service, tmp_path, number)
            await_true("failures are counted", lambda: (metric(service, failed) or 0) >= 3)
            assert (metric(service, waited) or 0) > 0
            assert service.get("/ready").status == 200
            way.is_open = True
            anchor(service, node, 1)
            await_true("the wait is over", lambda: metric(service, waited) == 0)
    assert any(line["event"] == "anchor_failed" for line in lines)
    assert way.url not in str(lines)


def test_finality_that_stalls_is_visible(tmp_path: Path, node: Anvil) -> None:
    """Mined, and no block after it: the metric grows, one warning is logged; then it is final after all."""
    settings = load(configure(tmp_path, node, stalled_after_s=0.5))
    create_logs(settings)
    waited = f'auditlog_anchor_waiting_seconds{{log="{LOG}"}}'
    with structlog.testing.capture_logs() as lines, live_service(settings) as service:
        decide(service, tmp_path, 1)
        await_true("sent in time", lambda: bool(node.rpc("txpool_content")["pending"]))
        node.mine()
        await_true("the wait is measured", lambda: (metric(service, waited) or 0) > 0.6)
        assert anchors_in(service) == []
        assert [line["log_level"] for line in lines if line["event"] == "anchor_stalled"] == ["warning"]
        anchor(service, node, 0)
        await_true("the wait is over", lambda: metric(service, waited) == 0)

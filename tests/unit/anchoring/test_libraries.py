"""What the chain libraries may not do to the process that loads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, sys
from pathlib import Path
from auditlog.anchoring.account import load_account
from auditlog.anchoring.devnet import Devnet
from auditlog.anchoring.fees import Offer
from auditlog.anchoring.jsonrpc import over_http
from auditlog.errors import LedgerError
from tests.support.clock import ManualClock

heavy = {"web3", "eth_account", "eth_tester", "eth", "py_ecc", "requests"}
import auditlog.anchoring.scheduler, auditlog.anchoring.connect
assert not heavy & set(sys.modules), heavy & set(sys.modules)

limit = sys.getrecursionlimit()
devnet = Devnet(ManualClock())
assert devnet.confirm(devnet.submit(bytes(32), 1, bytes(32))) is not None
account = load_account(Path(sys.argv[1]))
account.sign(chain_id=1, nonce=0, to=bytes(20), data=b"", gas=21_000, offer=Offer(2, 1))
try:
    over_http("http://127.0.0.1:9", timeout_s=1)("eth_chainId", [])
except LedgerError:
    pass
assert sys.getrecursionlimit() == limit, sys.getrecursionlimit()
try:
    json.loads("[" * 1_000_000)
except RecursionError:
    print("survived")
"""


def test_a_process_that_anchors_survives_deeply_nested_json(tmp_path: Path) -> None:
    """The limit that py-evm and py_ecc raise at import stays ours, and neither is loaded before its use."""
    key = tmp_path / "key"
    key.write_text("11" * 32)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(key)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr

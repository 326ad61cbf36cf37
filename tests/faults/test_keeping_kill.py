"""A process killed while it keeps and moves: no key of an entry that says kept is lost, none is doubled."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from auditlog.capture.disclose import find_kept

CHILD = """
import sys, os
from pathlib import Path
from auditlog.capture import keeping
from auditlog.capture.disclosures import KeptBody, KeptRecord, load_store_key
from auditlog.capture.forking import ForkGate
from auditlog.capture.sqlite_store import SqliteDisclosureStore
keeping.FILE_RECORDS, keeping.QUIET_S = 16, 0.01
slot, life = Path(sys.argv[1]), sys.argv[2]
key = load_store_key(slot / "store.key", os.urandom)
limits = {"keep_s": 1 << 30, "max_bytes": 1 << 40}
store = SqliteDisclosureStore(slot / "disclosures.sqlite3", key, os.urandom, **limits)
quick = keeping.QuickKeeping(slot / "keeping", store, key, os.urandom, max_bytes=1 << 40, gate=ForkGate())
for number in range(10_000):
    names = [f"{life}-{number}-{n}" for n in range(3)]
    bodies = [KeptBody(name.encode()) for name in names]
    quick.keep([KeptRecord(n, "decision", bytes(32), request=b) for n, b in zip(names, bodies)], 1)
    print(*names, flush=True)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_every_key_is_there_once(tmp_path: Path, seed: int) -> None:
    """Several lives of one slot, each killed somewhere between keeping, moving and destroying."""
    choose, said = random.Random(seed), list[str]()
    slot = tmp_path / "slots" / "p-0"
    slot.mkdir(parents=True)
    for life in range(3):
        command = [sys.executable, "-c", CHILD, str(slot), str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(choose.randrange(1, 90)):
                said += child.stdout.readline().split()
            time.sleep(choose.random() * 0.03)
            child.kill()
            rest = child.stdout.read()
            said += rest[: rest.rfind("\n") + 1].split()
    assert len(said) > 15
    for name in said:
        (found,) = find_kept(tmp_path, name)
        assert found.request is not None
        assert found.request.data == name.encode()
    assert max(Counter(said).values()) == 1

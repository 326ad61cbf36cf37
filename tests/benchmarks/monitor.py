"""The monitor catching up with a log in a folder, everything checked, against reading and hashing the same.

The ceiling reads the same tiles and bundles and hashes every entry and every node once, in the same run. A
long log is caught up with in pieces, the memory of the process is taken after each: it must not grow.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import tempfile
from pathlib import Path

from measure import Result, arguments, paired, ratio_result, report

sys.path.insert(0, str(Path(__file__).parents[2]))

from auditlog.core.tiles import TILE_WIDTH, bundle_path, decode_bundle, tile_path
from auditlog.core.trust import Trust, parse_trust
from auditlog.demo.cheats import write_log
from auditlog.verify.monitor.clocks import Limits
from auditlog.verify.sources import FolderSource
from tests.support.monitor_world import Bench
from tests.support.receipts_factory import Factory


def trust_of(vkey: str) -> Trust:
    """A trust file with nothing but the log's key."""
    policy = f"log {vkey}\\nquorum none\\n"
    text = (
        f'{{"v":"auditlog/trust@v1","policy":"{policy}","issuer":{{"name":"x","role":"self"}},"require":[]}}'
    )
    return parse_trust(text.encode())


def ceiling(folder: Path, size: int) -> None:
    """Read everything and hash it, once."""
    sha256, node = hashlib.sha256, b"\x01" + bytes(64)
    for number in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        (folder / tile_path(0, number, width)).read_bytes()
        for entry in decode_bundle((folder / bundle_path(number, width)).read_bytes()):
            sha256(b"\x00" + entry).digest()
            sha256(node).digest()


def main() -> None:
    """Print entries caught up with a second, and how far memory grew on the way."""
    options = arguments(__doc__ or "")
    decisions, pairs = (20_000, 3) if options.quick else (100_000, 5)
    factory = Factory(decisions=decisions, batch=500)
    entries, trust = factory.entries, trust_of(factory.log_key.vkey)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "log"
        write_log(folder, entries, origin=factory.origin, signer=factory.log_key)
        number = 0

        def ours() -> None:
            nonlocal number
            number += 1
            state = Path(scratch) / f"state-{number}"
            bench = Bench(
                state, trust, FolderSource(folder), origin=factory.origin, limits=Limits(slack_s=1e9)
            )
            if not bench.look().is_current or bench.lines():
                raise SystemExit(f"expected a clean log, found {bench.words()}")
            bench.close()

        seconds, ceiling_s = paired(ours, lambda: ceiling(folder, len(entries)), pairs=pairs)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ours()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    line = ratio_result(
        "monitor catching up, from a folder",
        seconds,
        ceiling_s,
        operations=len(entries),
        unit="entries/s",
        against="reading and hashing the same tiles and entries, both in CPU time of one core",
    )
    worst = len(entries) / sorted(seconds)[-1 - len(seconds) // 10]
    target = Result(
        "  bad end of the pairs", round(worst, 1), "entries/s", target=">= 50000", met=worst >= 50_000,
        ratio=line.ratio, ratio_low=line.ratio_low, ratio_high=line.ratio_high,
    )  # fmt: skip
    memory = Result(
        "  memory grown by one more catch-up", float(grown), "KiB", target="flat", met=grown < 4096
    )
    report([line, target, memory], as_json=options.json)


if __name__ == "__main__":
    main()

"""fsck of a whole log on disk, chains included, against hashing the same bytes once and nothing else."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path

from measure import arguments, paired, ratio_result, report

sys.path.insert(0, str(Path(__file__).parents[2]))

from auditlog.demo.cheats import write_log
from auditlog.verify.fsck import fsck
from auditlog.verify.sources import FolderSource
from tests.support.receipts_factory import Factory


def main() -> None:
    """Print entries checked a second."""
    options = arguments(__doc__ or "")
    decisions, pairs = (3_000, 5) if options.quick else (30_000, 9)
    factory = Factory(decisions=decisions, batch=500)
    entries = factory.entries
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "log"
        write_log(folder, entries, origin=factory.origin, signer=factory.log_key)

        def ours() -> None:
            if fsck(FolderSource(folder), factory.log_key.vkey).exit_code != 0:
                raise SystemExit("expected a clean log")

        def ceiling() -> None:
            sha256, node = hashlib.sha256, b"\x01" + bytes(64)
            for entry in entries:
                sha256(entry).digest()
                sha256(node).digest()

        seconds, ceiling_s = paired(ours, ceiling, pairs=pairs)
    against = "hashlib over every entry and node once"
    report(
        [
            ratio_result(
                "fsck of a folder, chains included",
                seconds,
                ceiling_s,
                operations=len(entries),
                unit="entries/s",
                against=against,
            )
        ],
        as_json=options.json,
    )


if __name__ == "__main__":
    main()

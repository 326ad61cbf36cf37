"""A verifier of receipts written from the specification pages alone, as a program.

    python second_verifier.py RECEIPT... --trust FILE [--disclosures FILE] [--expect KEY=VALUE] [--json]

It shares no code with the product: a second reading of the same pages.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.conformance.second.verification import Result, verify

__all__ = ["main", "verify"]


def _read(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        print(f"cannot read {name}: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def main(argv: list[str] | None = None) -> int:
    """Verify receipts; the exit code is that of verification.md."""
    parser = argparse.ArgumentParser(prog="second_verifier")
    parser.add_argument("receipts", nargs="+", metavar="RECEIPT")
    parser.add_argument("--trust", required=True)
    parser.add_argument("--disclosures")
    parser.add_argument("--expect", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    if given.disclosures is not None and len(given.receipts) > 1:
        parser.error("--disclosures is for one receipt here")
    trust = _read(given.trust)
    disclosures = None if given.disclosures is None else _read(given.disclosures)
    expect = [tuple(item.partition("=")[::2]) for item in given.expect]
    results: list[tuple[str, Result]] = [
        (name, verify(_read(name), trust, disclosures, expect)) for name in given.receipts
    ]
    if given.json:
        reports = [{"file": name, **result.as_json()} for name, result in results]
        codes = {result.exit_code for _, result in results}
        code = next((worst for worst in (1, 2, 3) if worst in codes), 0)
        print(json.dumps({"v": "auditlog/verify@v1", "exit_code": code, "receipts": reports}))
        return code
    for name, result in results:
        print(f"{name}: {result.headline}")
        for number, (outcome, detail) in sorted(result.steps.items()):
            print(f"  {number:2} {outcome:11} {detail}")
    codes = {result.exit_code for _, result in results}
    return next((worst for worst in (1, 2, 3) if worst in codes), 0)


if __name__ == "__main__":
    sys.exit(main())

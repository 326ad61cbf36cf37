"""Every receipt ever released verifies for ever, and says at least what it said then.

The folders beside this file are never changed; a release adds one (`tests.support.build_compat`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from auditlog.core.receipt import format_receipt, parse_receipt
from auditlog.core.trust import parse_trust
from auditlog.verify import Grade, Verifier

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.iterdir() if (path / "expected.json").is_file())
CASES = [
    (version, case)
    for version in VERSIONS
    for case in json.loads((HERE / version / "expected.json").read_text())
]
RANK = {Grade.NOT_CHECKED: 0, Grade.STATED: 1, Grade.PROVEN: 2}


@pytest.mark.parametrize(
    ("version", "case"), CASES, ids=[f"{v} {c['receipt']} {c['disclosures']}" for v, c in CASES]
)
def test_a_released_receipt_says_at_least_what_it_said(version: str, case: dict[str, Any]) -> None:
    """The same exit code, and every fact of then at the same grade or a higher one."""
    folder = HERE / version
    shown = None if case["disclosures"] is None else (folder / case["disclosures"]).read_bytes()
    verifier = Verifier(parse_trust((folder / case["trust"]).read_bytes()))
    report = verifier.verify((folder / case["receipt"]).read_bytes(), disclosures=shown)
    assert report.exit_code == case["exit_code"] == 0, report.headline
    found = {(fact.name, fact.value): RANK[fact.grade] for fact in report.facts}
    for name, value, grade in case["facts"]:
        assert found.get((name, value), 0) >= RANK[Grade(grade)], (name, value)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_released_receipt_is_written_again_to_the_byte(version: str) -> None:
    """What was canonical stays canonical: an upgrade of an old receipt changes only what it adds."""
    for case in json.loads((HERE / version / "expected.json").read_text()):
        data = (HERE / version / case["receipt"]).read_bytes()
        assert format_receipt(parse_receipt(data)) == data


def test_released_folders_are_append_only() -> None:
    """The digest of every released file is pinned here; a new version adds lines, nothing changes one."""
    pinned = dict(reversed(line.split("  ", 1)) for line in (HERE / "SHA256SUMS").read_text().splitlines())
    files = [path for version in VERSIONS for path in (HERE / version).iterdir()]
    found = {str(path.relative_to(HERE)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert found == pinned

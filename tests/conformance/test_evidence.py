"""Two readings of the pages agree about evidence: on every vector, on changed files, and on worlds where
anything was written.
"""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from auditlog.core import canonical
from auditlog.core.trust import Trust, parse_trust
from auditlog.errors import EvidenceError
from auditlog.verify.evidence_check import check_evidence, is_evidence
from auditlog.verify.evidence_claim import ENTRY_ALARMS, Claimed, format_claim, parse_claim
from auditlog.verify.promise_evidence import format_evidence, parse_evidence
from tests.conformance.second.canonical import Malformed
from tests.conformance.second.evidence_any import judge, parse_any
from tests.support.claims_chaos import ClaimsChaos
from tests.support.claims_world import ClaimWorld
from tests.support.evidence_chaos import Chaos
from tests.support.evidence_mutations import EvidenceMutator
from tests.support.evidence_world import EvidenceWorld

_OF_PROMISES = ("CONFLICT", "SKIPPED", "LATE", "ABSENT", "DECLARED_LOST", "FORK")
VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "evidence").glob("*.json"))


def _read(path: Path) -> tuple[dict[str, Any], bytes, bytes]:
    vector: dict[str, Any] = json.loads(path.read_bytes())
    return vector, base64.b64decode(vector["evidence_b64"]), base64.b64decode(vector["trust_b64"])


def _ours(data: bytes, trust: Trust) -> tuple[int, str | None]:
    report = check_evidence(data, trust)
    return report.exit_code, report.verdict if report.exit_code == 0 else None


def _written_again(data: bytes, verdict: str) -> bytes:
    if verdict in Claimed.__members__:
        return format_claim(parse_claim(data))
    return format_evidence(parse_evidence(data))


def _theirs(data: bytes, trust: bytes) -> tuple[int, str | None]:
    told = judge(data, trust)
    return told.exit_code, told.verdict if told.exit_code == 0 else None


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_vector_gets_the_verdict_it_demands(path: Path) -> None:
    """Both readings: the exit code, what is proven, and the first rule that does not hold."""
    vector, data, trust = _read(path)
    expected = (vector["exit_code"], vector["verdict"] if vector["exit_code"] == 0 else None)
    assert _ours(data, parse_trust(trust)) == expected
    assert _theirs(data, trust) == expected
    assert vector["ok"] == (vector["exit_code"] != 1)
    if vector["exit_code"] == 1:
        assert judge(data, trust).rule == vector["failed_rule"]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_vector_is_a_file_or_none(path: Path) -> None:
    """What parses is written again as the same bytes; what does not is refused by both readings."""
    vector, data, _ = _read(path)
    if vector["parses"]:
        assert _written_again(data, json.loads(data)["verdict"]) == data
        assert is_evidence(data)
        parse_any(data)
        return
    for parse in (parse_evidence, parse_claim):
        with pytest.raises(EvidenceError):
            parse(data)
    with pytest.raises(Malformed):
        parse_any(data)


def test_there_are_vectors_of_everything() -> None:
    """Every verdict is proven by several, and every rule of the page is broken by several."""
    read = [_read(path)[0] for path in VECTORS]
    proven = Counter(vector["verdict"] for vector in read if vector["exit_code"] == 0)
    assert set(proven) == {*_OF_PROMISES, "ENTRIES", "ANCHOR", "NOTICE"}
    assert sum(vector.get("verdict") == "OBSERVED" for vector in read if vector["exit_code"] == 3) >= 2
    broken = Counter(vector["failed_rule"] for vector in read if vector["exit_code"] == 1)
    assert set(broken) == {1, 2, 3, 4, 5}
    assert min(proven.values()) >= 2
    assert min(broken.values()) >= 10


@cache
def _proving() -> tuple[tuple[bytes, bytes], ...]:
    read = [_read(path) for path in VECTORS if not path.stem.startswith("bad-")]
    return tuple((data, trust) for _, data, trust in read if len(data) < 20_000)


def _changed(count: int, seed: int) -> Counter[int]:
    """Change every good file so often; both readings say the same of each."""
    found: Counter[int] = Counter()
    files = [data for data, _ in _proving()]
    for number, (data, trust) in enumerate(_proving()):
        ours = parse_trust(trust)
        others = [other for other in files if other is not data]
        for mutated in islice(EvidenceMutator(data, others, random.Random(f"{seed} {number}")), count):
            told = _ours(mutated, ours)
            assert told == _theirs(mutated, trust), mutated
            found[told[0]] += 1
    return found


def test_both_readings_agree_on_changed_files() -> None:
    """Bytes, members, notes, entries and splices: proven by both, or by neither."""
    found = _changed(35, 1)
    assert found.total() > 2500
    assert found[1] > found.total() * 9 // 10


@pytest.mark.long
def test_both_readings_agree_on_changed_files_at_length() -> None:
    """The same, a hundred thousand times."""
    assert _changed(2_000, 2).total() > 80_000


def _anything(worlds: int, files: int, seed: int, *, honest: bool) -> Counter[tuple[int, str | None]]:
    found: Counter[tuple[int, str | None]] = Counter()
    trusts = [EvidenceWorld().trust(quorum=quorum) for quorum in ("both", "w1", "none")]
    trusts.append(EvidenceWorld().trust(groups=("group both any w1 w2",)))
    for number in range(worlds):
        rng = random.Random(f"{seed} {number}")
        for value in Chaos(rng, honest=honest).files(files):
            trust, data = rng.choice(trusts), canonical.encode(value) + b"\n"
            told = _ours(data, parse_trust(trust))
            assert told == _theirs(data, trust), value
            found[told] += 1
    return found


def test_both_readings_agree_on_anything_that_was_written() -> None:
    """Logs of dishonest operators, everything in its tree: both judge alike, and every verdict is met."""
    found = _anything(40, 25, 1, honest=False)
    proven = {verdict for (code, verdict) in found if code == 0}
    assert proven == set(_OF_PROMISES)


@pytest.mark.long
def test_both_readings_agree_on_anything_that_was_written_at_length() -> None:
    """The same in a thousand worlds."""
    assert _anything(1_000, 60, 2, honest=False).total() == 60_000


def test_nothing_is_proven_of_an_honest_log() -> None:
    """Restarts, rotations, gaps and promises kept: no entries of it are evidence of anything."""
    found = _anything(24, 25, 3, honest=True)
    assert {code for code, _ in found} <= {1, 3}


def _claims(worlds: int, files: int, seed: int) -> Counter[tuple[int, str, str]]:
    """Claims about worlds where anything was written; both readings judge each alike."""
    found: Counter[tuple[int, str, str]] = Counter()
    trusts = [ClaimWorld().trust(), ClaimWorld().trust(quorum="none"), EvidenceWorld().trust()]
    for number in range(worlds):
        rng = random.Random(f"{seed} {number}")
        for value in ClaimsChaos(rng).claims(files):
            trust, data = rng.choice(trusts), canonical.encode(value) + b"\n"
            told = _ours(data, parse_trust(trust))
            assert told == _theirs(data, trust), value
            found[told[0], value["verdict"], value.get("alarm", "")] += 1
    return found


def test_both_readings_agree_on_claims_about_anything() -> None:
    """Entries, heads, anchors and notices of dishonest logs: every rule is met, broken and kept."""
    found = _claims(50, 30, 1)
    proven = {(verdict, alarm) for (code, verdict, alarm) in found if code == 0}
    rules = {("ENTRIES", alarm) for alarm in ENTRY_ALARMS - {"forged_enrolment"}}
    assert rules | {("ANCHOR", ""), ("NOTICE", "backdated"), ("NOTICE", "gap")} <= proven
    assert {code for code, _, _ in found} == {0, 1, 3}


@pytest.mark.long
def test_both_readings_agree_on_claims_about_anything_at_length() -> None:
    """The same in two thousand worlds."""
    assert _claims(2_000, 60, 2).total() == 120_000

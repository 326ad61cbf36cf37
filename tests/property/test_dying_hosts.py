"""Lives that die at any byte and declare what the capture layer declares: honest hosts never contradict
themselves, and those that leave calls out do.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from auditlog.verify.completeness import Period, fold_entry
from auditlog.verify.completeness_lives import Lives
from auditlog.verify.completeness_report import Findings, ProducerSummary, Weight
from auditlog.verify.completeness_watched import Watched
from tests.support.dying_host import PRODUCER, Host


def judged(host: Host) -> Findings:
    """What the entries of this host show."""
    findings = Findings()
    lives = Lives(Period(), findings, {PRODUCER: Watched(ProducerSummary(PRODUCER, "p"))})
    for index, entry in enumerate(host.entries()):
        fold_entry(lives, index, bytes(32), entry)
    lives.end(lives.newest)
    return findings


def contradictions(findings: Findings) -> list[str]:
    """What nobody honest writes."""
    return [found.text for found in findings.kept if found.weight is Weight.CONTRADICTION]


def lived(seed: int, *, omits: int = 0) -> tuple[Findings, Host]:
    """A host of some lives; the last one ends in order."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder), rng, omits=omits, drafts=rng.choice((0, 0, 1, 2)))
        for _ in range(rng.randint(1, 6)):
            # Short lives, of which many die with their first writes, and longer ones.
            host.live(rng.choice((0, 0, 1, 12)), dies=rng.random() < 0.8, owes=rng.random() < 0.4)
            if not omits and rng.random() < 0.2:
                host.reboot()
        while omits and not host.has_omitted:
            host.live(6, dies=rng.random() < 0.5)
        for _ in range(rng.randint(0, 3)):
            host.live(rng.choice((0, 1)), dies=True)
        host.live(3, dies=False)
        return judged(host), host


def check_honest(seeds: range) -> Counter[str]:
    """None of these contradicts itself; what else they showed."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        findings, _ = lived(seed)
        assert contradictions(findings) == [], seed
        seen.update(found.kind for found in findings.kept)
    return seen


def test_an_honest_host_never_contradicts_itself_however_it_dies() -> None:
    """Torn starts, deaths in a row, reboots, drafts: gaps and ends without a word, and no contradiction."""
    seen = check_honest(range(100))
    assert min(seen[kind] for kind in ("gap", "no_end")) > 50
    assert "unrecorded" not in seen


@pytest.mark.long
def test_an_honest_host_never_contradicts_itself_in_many_lives() -> None:
    """The same, of very many hosts."""
    check_honest(range(10_000, 13_000))


def test_a_host_that_leaves_calls_out_contradicts_itself_however_it_dies() -> None:
    """A hundred calls answered and not written: whatever dies behind it and declares what it should."""
    for seed in range(40):
        findings, _ = lived(seed, omits=100)
        assert any("had ended" in text for text in contradictions(findings)), seed

"""Evidence of a broken promise cannot be changed into other evidence, nor made from an honest log."""

from __future__ import annotations

import json
import random
from functools import cache
from itertools import islice

import pytest

from auditlog.core.entry import parse_entry
from auditlog.core.receipt import Related
from auditlog.core.trust import Trust
from auditlog.verify.promise_evidence import Cause, Evidence, format_evidence
from auditlog.verify.promise_judge import EvidenceReport, judge_evidence
from auditlog.verify.promise_verdict import check_promise
from tests.support import promise_world
from tests.support.evidence_mutations import EvidenceMutator, gained
from tests.support.promise_world import Kept, World, honest_start

CHEATS = (
    promise_world.conflict,
    promise_world.other_content,
    promise_world.skipped_number,
    promise_world.skipped_by_gap,
    promise_world.skipped_by_restart,
    promise_world.skipped_life,
    promise_world.late,
    promise_world.absent,
    promise_world.declared_lost,
)


def _evidence(world: World, kept: Kept) -> Evidence:
    sight = world.sight(kept=world.checkpoints)
    found = check_promise(kept.note, sight, now_us=world.now_s * 1_000_000).evidence
    assert found is not None
    return found


@cache
def _all() -> tuple[tuple[bytes, ...], Trust]:
    files = [format_evidence(_evidence(*cheat())) for cheat in CHEATS]
    rotated = honest_start()
    rotated.rotate()
    with rotated.drop():
        kept = rotated.decide()
    promise_world.goes_on(rotated)
    files.append(format_evidence(_evidence(rotated, kept)))
    return tuple(files), rotated.trust()


def _promise_of(file: bytes) -> str:
    return str(json.loads(file)["promise"])


def _is_about_another(told: EvidenceReport, promises: set[str]) -> bool:
    """A splice may hold another promise that was really given: what it proves of that one is true."""
    return told.evidence is not None and told.evidence.promise in promises


def _run(count: int, seed: int) -> tuple[int, int]:
    """How many mutations were tried, and how many were accepted as the same evidence."""
    files, trust = _all()
    promises = {_promise_of(file) for file in files}
    same = 0
    for number, file in enumerate(files):
        original = judge_evidence(file, trust)
        assert original.exit_code == 0
        others = [other for other in files if other is not file]
        mutator = EvidenceMutator(file, others, random.Random(f"{seed} {number}"))
        for mutated in islice(mutator, count):
            told = judge_evidence(mutated, trust)
            if told.exit_code == 0 and not _is_about_another(told, promises - {_promise_of(file)}):
                assert gained(original, told) == [], mutated
                same += 1
    return count * len(files), same


def test_no_mutation_of_evidence_proves_anything_else() -> None:
    """Whatever is changed, the file is refused, or proves no more than it did (a line that is none)."""
    tried, same = _run(250, 1)
    assert tried == 2500
    assert same <= tried // 25


@pytest.mark.long
def test_no_mutation_of_evidence_proves_anything_else_at_length() -> None:
    """The same, a hundred thousand times."""
    tried, same = _run(10_000, 2)
    assert tried == 100_000
    assert same <= tried // 25


def test_honest_entries_make_no_evidence() -> None:
    """Every combination of an honest log's own entries under every verdict is refused."""
    world = honest_start()
    kept = world.decide()
    world.decide()
    world.gap(world.instance, world.seq, 1)
    world.decide()
    lost, last = world.instance, world.seq
    world.restart()
    world.gap(lost, last)
    promise_world.goes_on(world)
    sight, trust = world.sight(), world.trust()
    tree = sight.tree(sight.newest())
    items = [
        Related(tree.entry(index), index, tuple(tree.inclusion(index))) for index in range(len(world.entries))
    ]
    base = {"checkpoint": sight.newest().note, "promise": kept.note, "producer": items[1]}
    starts = [item for item in items if parse_entry(item.entry).kind == "instance"]
    causes = {"entry": Cause.CONFLICT, "notice": Cause.DECLARED_LOST}
    tried = 0
    for first in items:
        shapes = [{"entry": first}, {"successor": first}, {"gap": first}, {"notice": first}]
        shapes += [{"start": first, "base": other} for other in items]
        shapes += [{"start": first, "base": other, "life": life} for other in items for life in starts]
        for shape in shapes:
            cause = causes.get(next(iter(shape)), Cause.SKIPPED)
            evidence = format_evidence(Evidence(verdict=cause, **base, **shape))  # type: ignore[arg-type]
            assert judge_evidence(evidence, trust).exit_code == 1, shape
            tried += 1
    assert tried > 500

"""No honest log is convicted: whatever happened to it, and whatever its producers tried, its entries break no
rule of evidence.md.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditlog.core.entry import parse_entry
from auditlog.core.head import parse_head_text
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import split_note
from auditlog.errors import EvidenceError
from auditlog.verify import evidence_rules as rules
from auditlog.verify.evidence_counts import counter_mismatch
from auditlog.verify.evidence_signed import broken_head, forged_enrolment, wrong_key
from auditlog.verify.steps_chain import Placed
from tests.support.busy_log import BusyLog

_OFTEN = ("decide", "beat", "cheat")
_SOMETIMES = ("restart producer", "rotate", "again", "fault", "anchor")
_SELDOM = ("retire", "retired by the log", "declared lost", "clock", "own notice", "crash")
STEPS = (*_OFTEN * 6, *_SOMETIMES * 3, *_SELDOM)
Entries = Sequence[Placed]
_ONE: tuple[Callable[[Entries], str], ...] = (forged_enrolment, rules.foreign_anchor)
_TWO = (rules.duplicate_number, rules.after_retirement)


def _placed(entries: Sequence[bytes]) -> list[Placed]:
    return [Placed(parse_entry(data), hash_leaf(data), index) for index, data in enumerate(entries)]


def _refused(rule: Callable[[], str]) -> bool:
    try:
        rule()
    except EvidenceError:
        return True
    return False


def _claims(found: Sequence[Placed]) -> Iterator[Callable[[], str]]:
    """Every rule over every choice of entries that it could be asked about."""
    leaves = [item.leaf_hash for item in found]
    for one in found:
        for rule in _ONE:
            yield lambda rule=rule, one=one: rule([one])  # type: ignore[misc]
        for given_leaves in (None, leaves):
            yield lambda one=one, more=given_leaves: rules.broken_chain([one], more)  # type: ignore[misc]
            yield lambda one=one, more=given_leaves: rules.unknown_producer([one], more)  # type: ignore[misc]
    for pair in itertools.combinations(found, 2):
        for rule in _TWO:
            yield lambda rule=rule, pair=pair: rule(pair)  # type: ignore[misc]
        yield lambda pair=pair: rules.broken_chain(pair, None)  # type: ignore[misc]
        yield lambda pair=pair: rules.unknown_producer(pair, None)  # type: ignore[misc]
    for three in itertools.combinations(found, 3):
        yield lambda three=three: rules.broken_chain(three, None)  # type: ignore[misc]


def _chains(found: Sequence[Placed]) -> Iterator[list[Placed]]:
    """Of each producer its enrolment and its entries in the order of the log."""
    for enrolment in found:
        if enrolment.entry.kind == "producer":
            identity = enrolment.leaf_hash.hex()
            yield [enrolment, *(item for item in found if item.entry.producer == identity)]


def _keys_hold(found: Sequence[Placed], rng: random.Random) -> None:
    """Neither a whole chain nor one with entries left out shows a wrong key."""
    for chain in _chains(found):
        for end in range(1, len(chain) + 1):
            assert _refused(lambda part=chain[:end]: wrong_key(part))  # type: ignore[misc]
        for _ in range(10):
            some = [chain[0], *(item for item in chain[1:] if rng.random() < 0.7)]
            assert _refused(lambda part=some: wrong_key(part))  # type: ignore[misc]


def _counts_hold(found: Sequence[Placed]) -> None:
    """Of honest producers no run of entries and no two of them show wrong counts."""
    for chain in _chains(found):
        if not str(chain[0].entry.body["name"]).startswith("honest"):
            continue
        own = chain[1:]
        runs = [own[start:end] for end in range(1, len(own) + 1) for start in range(end)]
        for run in [*runs, *(list(pair) for pair in itertools.combinations(own, 2))]:
            assert _refused(lambda run=run: counter_mismatch(run)), run  # type: ignore[misc]


def _heads_hold(found: Sequence[Placed], heads: Sequence[str]) -> None:
    """Every head that an honest producer ever signed is over what the log has."""
    for note in heads:
        head = parse_head_text(split_note(note)[0])
        covered = [
            item
            for item in found
            if (item.entry.producer, item.entry.instance) == (head.producer, head.instance)
            and head.first_seq <= item.entry.seq <= head.seq
        ]
        if covered:
            assert _refused(lambda head=head, some=covered: broken_head(some, head))  # type: ignore[misc]
            assert _refused(lambda head=head, some=covered: broken_head(some[-1:], head))  # type: ignore[misc]


def _anchors_hold(found: Sequence[Placed]) -> None:
    """Every root that the log says is anchored is one that its tree had."""
    leaves = [item.leaf_hash for item in found]
    for item in found:
        if rules.is_whole(item.entry, "anchor"):
            assert root_hash(leaves[: item.entry.body["size"]]).hex() == item.entry.body["root"]


def _judge(steps: list[str], seed: int) -> int:
    rng = random.Random(seed)
    busy = BusyLog(rng)
    found = _placed(busy.run(steps))
    for claim in _claims(found):
        assert _refused(claim), (claim.__defaults__, claim())
    _keys_hold(found, rng)
    _counts_hold(found)
    _heads_hold(found, busy.heads)
    _anchors_hold(found)
    return len(found)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(STEPS), min_size=5, max_size=25), st.integers(0, 2**32))
def test_no_honest_log_is_convicted(steps: list[str], seed: int) -> None:
    """Crashes, faults, clocks, replays, rotations, ends, losses and cheating producers: no rule is broken."""
    _judge(steps, seed)


def test_an_honest_log_that_did_everything_is_not_convicted() -> None:
    """Long histories with every kind of step many times over."""
    sizes = [_judge(random.Random(seed).choices(STEPS, k=60), seed) for seed in range(4)]
    assert min(sizes) > 20


@pytest.mark.long
def test_no_honest_log_is_convicted_at_length() -> None:
    """The same, three hundred times."""
    for seed in range(100, 400):
        _judge(random.Random(seed).choices(STEPS, k=random.Random(seed).randrange(5, 60)), seed)

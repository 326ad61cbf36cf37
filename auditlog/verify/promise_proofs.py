"""Is it so? Everything that may be said about a promise, proven from bytes in hand under a trust file.

Spec: auditlog/spec/promise.md, "Broken promises", and auditlog/spec/evidence.md. The same functions judge an
evidence file of a stranger and what our own reading of a log found: nothing is called broken that a third
party could not check. Everything here is attacker-controlled but the trust file. Promises: pure; each
function returns what is proven or raises an `EvidenceError`. Must never: call a promise broken because
something was not shown, or date a checkpoint by anything but cosignatures of the trust file's quorum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from auditlog.core.cosignature import cosignature_timestamp
from auditlog.core.losses import declared_lost_covers, gap_covers
from auditlog.core.merkle import root_hash, verify_consistency, verify_inclusion
from auditlog.core.promise import Promise, open_promise, parse_promise_text
from auditlog.core.receipt import Related
from auditlog.core.scalars import format_time, parse_time
from auditlog.core.signed import check_one
from auditlog.core.trust import Trust
from auditlog.errors import (
    InconsistentLogError,
    MalformedError,
    QuorumError,
    SignatureError,
    VerificationError,
)
from auditlog.verify.evidence_notes import open_signed
from auditlog.verify.promise_evidence import Cause, Earlier, Evidence, Leaf
from auditlog.verify.promise_keys import place_entry, prove_producer, prove_rotations
from auditlog.verify.steps import LogTrust, Opened, find_log
from auditlog.verify.steps_chain import Placed, Producer

T = TypeVar("T")


class NotDatableError(QuorumError):
    """No quorum of this trust file could date it: it has none, or one that another could contradict."""


@dataclass(frozen=True, slots=True)
class Dated:
    """A checkpoint that the quorum had cosigned, every needed time of it after a given instant."""

    opened: Opened
    by: str
    """The instant by which the quorum was complete."""


@dataclass(frozen=True, slots=True)
class Promised:
    """A promise shown to be the producer's own."""

    promise: Promise
    producer: Producer
    opened: Opened
    """The checkpoint in whose tree the producer is enrolled."""
    rotations: int
    """How often the key had changed before the one that signed it."""
    replaced: int | None = None
    """The index of the rotation that took that key out of force, if it is shown."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a piece of evidence proves: one sentence, and the numbers in it."""

    cause: Cause
    promised: Promised | None
    text: str
    opened: Opened
    index: int | None = None
    dated: Dated | None = None


def open_evidence_log(note: str, trust: Trust) -> tuple[LogTrust, Opened]:
    """Open a checkpoint of a log of the trust file; raises EvidenceError."""
    log = find_log(note, trust).value
    return log, open_signed(note, log)


def prove_promise(note: str, opened: Opened, producer: Related, rotations: Sequence[Related]) -> Promised:
    """Check that the producer a promise names is enrolled in this log, and that a key it had signed it.

    Any key it ever had: if only the one in force at the promised number counted, whoever holds the keys could
    unsay a promise by writing a rotation where the promised entry should be.

    Raises:
        EvidenceError: it did not.
    """
    promise = parse_promise_text(check_one(note))
    checkpoint = opened.checkpoint
    if promise.origin != checkpoint.origin:
        raise VerificationError(
            f"promise: expected one of the log {checkpoint.origin}, found one of another origin"
        )
    enrolled = prove_producer(producer, checkpoint, promise.producer)
    placed, keys = prove_rotations(rotations, checkpoint, enrolled)
    for number, key in enumerate(keys):
        try:
            open_promise(note, key)
        except SignatureError:
            continue
        replaced = placed[number].index if number < len(placed) else None
        return Promised(promise, enrolled, opened, number, replaced)
    raise SignatureError("promise: expected the signature of a key of its producer, found another")


def contradictions(promise: Promise, placed: Placed) -> list[str]:
    """What an entry with the promised leaf hash says otherwise than the promise: names of members."""
    entry = placed.entry
    said = {
        "producer": (promise.producer, entry.producer),
        "instance": (promise.instance, entry.instance),
        "seq": (promise.seq, entry.seq),
    }
    if entry.understood:
        body = entry.body if entry.kind == "decision" else {}
        said |= {
            "model": (promise.model, body.get("model")),
            "request": (promise.request.hex(), _commitment(body, "request")),
            "response": (promise.response.hex(), _commitment(body, "response")),
        }
    return [name for name, (expected, found) in said.items() if expected != found]


def _commitment(body: dict[str, object], name: str) -> object:
    member = body.get(name)
    return member.get("commitment") if isinstance(member, dict) else None


def date_after(opened: Opened, trust: Trust, after_us: int) -> Dated:
    """Show that a checkpoint was the newest a quorum knew at a time after `after_us` (microseconds).

    Only cosignatures whose own time is after it count. They must satisfy the quorum by themselves, and the
    witnesses without one must not: else those could have cosigned the promised entry in time, while somebody
    had the others, cut off from the log, cosign an old checkpoint again. Nobody lied, and nothing was late.

    Raises:
        NotDatableError: the trust file has no quorum, or the witnesses that remain could make one.
        QuorumError: the cosignatures after it do not satisfy the quorum.
    """
    policy = trust.policy
    if policy.quorum is None:
        raise NotDatableError(
            "expected a quorum of witnesses in the trust file to date a checkpoint, found none"
        )
    names = {witness.verifier.vkey: witness.name for witness in policy.witnesses}
    late = sorted(
        (when, names[line.vkey])
        for line in opened.opened.verified
        if line.vkey in names and (when := cosignature_timestamp(line)) * 1_000_000 > after_us
    )
    after, found = _instant(after_us // 1_000_000), {name for _, name in late}
    for limit in sorted({when for when, _ in late}):
        if policy.is_decided_by({name for when, name in late if when <= limit}):
            return Dated(opened, _instant(limit))
    if policy.is_quorum(found):
        raise NotDatableError(
            f"expected cosignatures after {after} of so many witnesses that the others are no quorum, found "
            f"{len(found)} of {len(names)}: the others could have seen the promised entry in time"
        )
    raise QuorumError(f"expected a quorum of cosignatures after {after}, found {len(found)} after it")


def _instant(seconds: int) -> str:
    try:
        return format_time(seconds * 1_000_000)
    except MalformedError:
        return f"@{seconds}"


def prove_evidence(evidence: Evidence, trust: Trust) -> Proof:
    """Check a piece of evidence from scratch.

    Raises:
        QuorumError: it needs a date that the trust file's quorum does not give.
        EvidenceError: it does not prove what it says.
    """
    log, opened = open_evidence_log(evidence.checkpoint, trust)
    if evidence.verdict is Cause.FORK:
        return _prove_fork(_needed(evidence.earlier), log, opened)
    placed = {
        name: place_entry(item, opened.checkpoint, f"{name} entry")
        for name in ("entry", "successor", "gap", "start", "base", "life", "notice")
        if (item := getattr(evidence, name)) is not None
    }
    promised = prove_promise(
        _needed(evidence.promise), opened, _needed(evidence.producer), evidence.rotations
    )
    if evidence.verdict is Cause.CONFLICT:
        return _prove_conflict(promised, placed["entry"])
    if evidence.verdict is Cause.SKIPPED:
        return _prove_skipped(promised, placed)
    if evidence.verdict is Cause.DECLARED_LOST:
        return _prove_declared_lost(promised, placed["notice"])
    if evidence.verdict is Cause.LATE:
        return _prove_late(promised, _needed(evidence.leaf), _needed(evidence.earlier), log)
    return _prove_absent(promised, evidence.leaves, trust)


def _needed(value: T | None) -> T:
    if value is None:  # `parse_evidence` gives every member a verdict needs; a caller may not have
        raise MalformedError("evidence: expected the members of its verdict, found one missing")
    return value


def _prove_conflict(promised: Promised, placed: Placed) -> Proof:
    promise, entry = promised.promise, placed.entry
    where = (entry.producer, entry.instance, entry.seq)
    if placed.leaf_hash == promise.leaf_hash:
        different = contradictions(promise, placed)
        if not different:
            raise VerificationError("expected an entry that contradicts the promise, found the promised one")
        text = (
            f"Entry {placed.index} has the promised leaf hash and says otherwise than the promise about "
            f"{', '.join(different)}."
        )
    elif where == (promise.producer, promise.instance, promise.seq):
        text = f"Entry {placed.index} of the log has the promised number, and is another entry."
    else:
        raise VerificationError("expected an entry with the promised number, found one with another")
    return Proof(Cause.CONFLICT, promised, text, promised.opened, placed.index)


def _prove_skipped(promised: Promised, placed: dict[str, Placed]) -> Proof:
    if "successor" in placed:
        return _prove_successor(promised, placed["successor"])
    if "gap" in placed:
        return _prove_gap(promised, placed["gap"])
    return _prove_restart(promised, placed["start"], placed["base"], placed.get("life"))


def _prove_successor(promised: Promised, placed: Placed) -> Proof:
    promise, entry = promised.promise, placed.entry
    expected = (promise.producer, promise.instance, promise.seq + 1)
    if (entry.producer, entry.instance, entry.seq) != expected:
        raise VerificationError("successor: expected the number after the promised one, found another")
    if entry.prev == promise.leaf_hash.hex():
        raise VerificationError("successor: expected one that follows another entry, found the promised one")
    text = f"Entry {placed.index}, the next of the same process, follows another entry than the promised one."
    return Proof(Cause.SKIPPED, promised, text, promised.opened, placed.index)


def _prove_gap(promised: Promised, placed: Placed) -> Proof:
    promise = promised.promise
    if not gap_covers(placed.entry, producer=promise.producer, instance=promise.instance, seq=promise.seq):
        raise VerificationError("gap: expected one that covers the promised number, found another entry")
    text = f"Entry {placed.index} declares a gap over the promised number, which was already promised."
    return Proof(Cause.SKIPPED, promised, text, promised.opened, placed.index)


def _prove_restart(promised: Promised, start: Placed, base: Placed, life: Placed | None) -> Proof:
    """The producer's next life goes on from before the promised entry: what stands between is cut off."""
    promise = promised.promise
    if (start.entry.kind, start.entry.seq, start.entry.producer) != ("instance", 0, promise.producer):
        raise VerificationError("start: expected an instance entry of this producer, found another entry")
    if start.entry.instance == promise.instance:
        raise VerificationError("start: expected the start of another life, found the promised one")
    if start.entry.prev != base.leaf_hash.hex() or base.index >= start.index:
        raise VerificationError("base: expected the entry that the start follows, found another")
    if promise.producer not in (base.entry.producer, base.leaf_hash.hex()):
        raise VerificationError("base: expected an entry of this producer or its enrolment, found another")
    if (base.entry.producer, base.entry.instance) == (promise.producer, promise.instance):
        is_cut = life is None and base.entry.seq < promise.seq
    else:
        # A life that the log holds between the two: the later start leaves it out, and all it promised.
        is_cut = life is not None and _is_between(promise, base, life, start)
    if not is_cut:
        raise VerificationError("start: expected one that leaves the promised number out, found another")
    text = f"Entry {start.index} starts the producer's next life from before the promised number."
    return Proof(Cause.SKIPPED, promised, text, promised.opened, start.index)


def _is_between(promise: Promise, base: Placed, life: Placed, start: Placed) -> bool:
    of = (life.entry.producer, life.entry.instance)
    return of == (promise.producer, promise.instance) and base.index < life.index < start.index


def _prove_declared_lost(promised: Promised, placed: Placed) -> Proof:
    promise = promised.promise
    if not declared_lost_covers(
        placed.entry, producer=promise.producer, instance=promise.instance, seq=promise.seq
    ):
        raise VerificationError("notice: expected one that declares the promised number lost, found another")
    text = f"Entry {placed.index} declares the promised entry lost together with the disk it was on."
    return Proof(Cause.DECLARED_LOST, promised, text, promised.opened, placed.index)


def _prove_late(promised: Promised, leaf: Leaf, earlier: Earlier, log: LogTrust) -> Proof:
    promise, newer = promised.promise, promised.opened.checkpoint
    verify_inclusion(promise.leaf_hash, leaf.index, newer.tree_size, list(leaf.proof), newer.root_hash)
    older = open_signed(earlier.checkpoint, log)
    old = older.checkpoint
    verify_consistency(old.tree_size, newer.tree_size, list(earlier.proof), old.root_hash, newer.root_hash)
    if old.tree_size > leaf.index:
        raise VerificationError(
            f"expected an earlier tree of at most {leaf.index} entries, found {old.tree_size}"
        )
    dated = date_after(older, log.trust, parse_time(promise.merge_by))
    text = (
        f"At {dated.by}, after the promised time, the log had {old.tree_size} entries and not the promised "
        f"one, which it has now as entry {leaf.index}."
    )
    return Proof(Cause.LATE, promised, text, promised.opened, leaf.index, dated)


def _prove_absent(promised: Promised, leaves: Sequence[bytes], trust: Trust) -> Proof:
    promise, checkpoint = promised.promise, promised.opened.checkpoint
    if len(leaves) != checkpoint.tree_size or root_hash(leaves) != checkpoint.root_hash:
        raise VerificationError("leaves: expected those of the signed tree, found others")
    if promise.leaf_hash in leaves:
        raise VerificationError("leaves: expected none to be the promised one, found it")
    dated = date_after(promised.opened, trust, parse_time(promise.merge_by))
    text = (
        f"At {dated.by}, after the promised time, the log had {checkpoint.tree_size} entries, and none of "
        "them is the promised one."
    )
    return Proof(Cause.ABSENT, promised, text, promised.opened, None, dated)


def _prove_fork(earlier: Earlier, log: LogTrust, opened: Opened) -> Proof:
    other, root = open_signed(earlier.checkpoint, log), _needed(earlier.root)
    newer, old = opened.checkpoint, other.checkpoint
    # Two keys of one name may be two logs, each of them honest.
    if not log.signers(opened) & log.signers(other):
        raise VerificationError("expected one key of the log that signed both, found another for each")
    # The proof shows which root the newer tree has at the older size; the log has signed another one.
    verify_consistency(old.tree_size, newer.tree_size, list(earlier.proof), root, newer.root_hash)
    if root == old.root_hash:
        raise VerificationError("expected two histories, found a checkpoint that extends the other")
    text = f"The log has signed two different histories of its first {old.tree_size} entries."
    return Proof(Cause.FORK, None, text, opened, old.tree_size)


def fork_error(evidence: Evidence) -> InconsistentLogError:
    """The two signed notes of a FORK as the error that other commands keep."""
    earlier = _needed(evidence.earlier)
    return InconsistentLogError(
        "expected one history, found two", smaller=earlier.checkpoint, larger=evidence.checkpoint
    )

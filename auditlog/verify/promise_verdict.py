"""What became of a promise: looks at the log, tries every proof there is, and says what it found.

Spec: auditlog/spec/promise.md, "Verdicts". All but the trust file and the clock is attacker-controlled.
Promises: a verdict for any bytes; BROKEN only with evidence that `prove_evidence` has accepted, the same that
a third party runs; the clock decides nothing but whether a promise is due. Must never: take the log's "not
there" for a proof, nor its "there" for more than a proof shows.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.core.merkle import hash_leaf
from auditlog.core.note import split_note
from auditlog.core.promise import Promise, check_promise_bytes, parse_promise_text
from auditlog.core.receipt import Related
from auditlog.core.scalars import parse_time
from auditlog.core.signed import check_one
from auditlog.errors import DisclosureError, EvidenceError, QuorumError, SignatureError, SourceError
from auditlog.verify.promise_candidates import candidates, evidence_of
from auditlog.verify.promise_evidence import Cause, Earlier, Evidence, Leaf
from auditlog.verify.promise_keys import holding_rotations, place_entry, prove_producer
from auditlog.verify.promise_look import UNREAD, look, look_under
from auditlog.verify.promise_proofs import (
    NotDatableError,
    Proof,
    contradictions,
    date_after,
    prove_evidence,
    prove_promise,
)
from auditlog.verify.promise_report import PROMISE_STEPS, PromiseReport, Verdict
from auditlog.verify.promise_sources import View, find_leaves, first_leaves, prove, why_unread
from auditlog.verify.promise_view import LogSight
from auditlog.verify.promise_words import (
    Finding,
    broken,
    headline,
    in_log_facts,
    promise_facts,
    proof_facts,
    reservations,
    stated_facts,
)
from auditlog.verify.report import Fact, Outcome, Step
from auditlog.verify.steps import Opened, check_quorum


@dataclass(frozen=True, slots=True)
class OwnBytes:
    """What the caller sent and got, and the key of the exchange: to check what a promise is about."""

    exchange_key: bytes
    request: bytes
    response: bytes


def read_promise(note: str | bytes) -> Promise:
    """What a promise says, unverified; raises MalformedError."""
    return parse_promise_text(check_one(note))


def check_promise(note: str, sight: LogSight, *, now_us: int, own: OwnBytes | None = None) -> PromiseReport:
    """Judge one promise by what one log shows; `now_us` is this machine's clock in microseconds since 1970.

    Raises:
        MalformedError: `note` is no promise at all.
    """
    check = _Check(note, read_promise(note), sight, now_us)
    finding = check.decide()
    return check.report(finding, own)


def _is_settled(finding: Finding) -> bool:
    """Whether it is proven: that the promise was kept, that it was not, or that it is none."""
    return finding.cause is not None or finding.verdict in (Verdict.IN_LOG, Verdict.NO_PROMISE)


class _Check:
    """One promise being judged."""

    def __init__(self, note: str, promise: Promise, sight: LogSight, now_us: int) -> None:
        self._note, self._promise, self._sight = note, promise, sight
        self._is_due = now_us >= parse_time(promise.merge_by)
        self._steps: dict[int, Step] = {}
        self._facts: list[Fact] = list(stated_facts(promise))
        self._unread: list[str] = []
        self._opened: Opened | None = None
        self._is_split = False
        """A quorum saw a checkpoint after merge-by, and another quorum may have seen the promised entry."""
        self._step(1, Outcome.PASSED, f"well formed, due by {promise.merge_by}")
        self._step(2, Outcome.PASSED, f"{sight.log.origin} is a log of the trust file")

    def decide(self) -> Finding:
        """Look, prove, judge."""
        try:
            opened, view = look(self._note, self._promise, self._sight, self._unread)
        except UNREAD as error:
            return self._unreadable("its checkpoint", error)
        self._opened = opened
        self._step(3, Outcome.PASSED, f"signed by the log, size {opened.checkpoint.tree_size}")
        if (fork := self._fork(opened)) is not None:
            return fork
        finding = self._authenticate(opened, view)
        if finding is not None and not _is_settled(finding) and (read := self._read(opened)) is not None:
            view = read  # an answer that leaves the producer's keys out hides nothing where entries are open
            finding = self._authenticate(opened, view)
        finding = finding or self._judge(opened, view)
        return finding if _is_settled(finding) else (self._at_public(opened, view) or finding)

    def _at_public(self, opened: Opened, view: View) -> Finding | None:
        """What the public tree proves, where the log answers from a newer one and does not show that."""
        public = self._sight.public
        if public is None or public.checkpoint.tree_size >= opened.checkpoint.tree_size:
            return None
        under = look_under(self._promise, self._sight, public, view, self._unread)
        if under is None:
            return None
        before = (dict(self._steps), list(self._facts))
        found = self._authenticate(public, under) or self._judge(public, under)
        if _is_settled(found):
            self._opened = public
            return found
        self._steps, self._facts = before
        return None

    def _fork(self, opened: Opened) -> Finding | None:
        try:
            evidence = self._sight.find_fork(opened)
        except UNREAD as error:
            self._unread.append(f"the tiles that compare it with earlier checkpoints ({why_unread(error)})")
            return None
        return None if evidence is None else self._prove(evidence)

    def _authenticate(self, opened: Opened, view: View) -> Finding | None:
        """Whose promise it is; a finding only if that cannot be shown."""
        if view.producer is None:
            self._step(4, Outcome.NOT_CHECKED, "the log does not show the producer's entry")
            return self._undecided("the log does not show who made this promise")
        try:
            producer = prove_producer(view.producer, opened.checkpoint, self._promise.producer)
            held, keys = holding_rotations(view.rotations, opened.checkpoint, producer)
        except EvidenceError as error:
            self._step(4, Outcome.FAILED, str(error))
            return self._undecided(f"what the log shows of the producer does not hold: {error}")
        self._step(4, Outcome.PASSED, f"{producer.name}, enrolled as entry {producer.placed.index}")
        try:
            promised = prove_promise(self._note, opened, view.producer, held)
        except SignatureError as error:
            self._step(5, Outcome.FAILED, str(error))
            line = split_note(self._note)[1][0]
            is_ours = any((key.name, key.key_id) == (line.name, line.key_id) for key in keys)
            if is_ours or line.name != producer.key.name:
                return Finding(Verdict.NO_PROMISE, "it is not signed by the producer it names")
            return self._undecided("it is signed by a key that the log does not show as this producer's")
        except EvidenceError as error:
            self._step(5, Outcome.FAILED, str(error))
            return self._undecided(f"what the log shows of the producer's keys does not hold: {error}")
        # What its key needs, and the rotation that replaced it: a reader should know of that.
        view.rotations = held[: promised.rotations + 1]
        changed = f" after {promised.rotations} rotation(s)" if promised.rotations else ""
        self._step(5, Outcome.PASSED, f"signed by {producer.key.name}{changed}")
        self._facts[:] = promise_facts(promised)
        return None

    def _judge(self, opened: Opened, view: View) -> Finding:
        finding = self._by_entries(opened, view)
        if finding is not None:
            return finding
        if not self._is_due:
            return Finding(
                Verdict.NOT_YET_DUE, f"it is not in the log yet; it is due {self._promise.merge_by}"
            )
        try:
            finding = self._by_tiles(opened, view)
        except UNREAD as error:
            finding = self._unreadable("its hash tiles", error)
        more = self._sight.shows_less(opened)
        if _is_settled(finding) or more <= 0:
            return finding
        return Finding(Verdict.WITHHELD, f"the log shows {more} entries less than it had signed before")

    def _by_entries(self, opened: Opened, view: View) -> Finding | None:
        """What the entries shown prove by themselves."""
        if view.entry is not None and hash_leaf(view.entry.entry) == self._promise.leaf_hash:
            return self._in_log(opened, view, view.entry)
        for evidence in candidates(self._note, opened, view):
            if (finding := self._prove(evidence)) is not None:
                return finding
        return None

    def _prove(self, evidence: Evidence) -> Finding | None:
        try:
            proof = prove_evidence(evidence, self._sight.log.trust)
        except EvidenceError:
            return None
        self._add(proof)
        return broken(proof, evidence)

    def _add(self, proof: Proof) -> None:
        self._facts += proof_facts(proof)
        self._step(6, Outcome.FAILED, proof.text)
        if proof.dated is not None:
            self._step(7, Outcome.PASSED, f"dated {proof.dated.by} by the quorum")

    def _in_log(self, opened: Opened, view: View, item: Related) -> Finding | None:
        try:
            placed = place_entry(item, opened.checkpoint, "promised entry")
        except EvidenceError as error:
            self._unread.append(f"a proof of the promised entry that holds ({error})")
            return None
        if contradictions(self._promise, placed):
            return self._prove(evidence_of(Cause.CONFLICT, self._note, opened, view, entry=item))
        late = self._late(opened, view, Leaf(item.index, item.proof))
        if late is not None:
            return late
        size, index = opened.checkpoint.tree_size, placed.index
        since = check_quorum(opened, self._sight.log.trust).value.since
        self._step(6, Outcome.PASSED, f"entry {index} of {size} has the promised leaf hash")
        self._facts += in_log_facts(self._promise, index, size, since)
        text = f"the promised entry is entry {index} of {self._promise.origin}"
        return Finding(Verdict.IN_LOG, text, index=index)

    def _late(self, opened: Opened, view: View, leaf: Leaf) -> Finding | None:
        """Whether a checkpoint dated after merge-by lacks what this one has."""
        for other in self._dated(leaf.index):
            try:
                proof = (
                    ()
                    if other is opened
                    else self._sight.tree(opened).consistency(other.checkpoint.tree_size)
                )
            except UNREAD as error:
                self._unread.append(f"the tiles that join an earlier checkpoint ({why_unread(error)})")
                return None
            earlier = Earlier(other.note, tuple(proof))
            evidence = evidence_of(Cause.LATE, self._note, opened, view, leaf=leaf, earlier=earlier)
            if (finding := self._prove(evidence)) is not None:
                return finding
        return None

    def _dated(self, most: int) -> list[Opened]:
        """Checkpoints seen, of at most so many entries, that the quorum dates after merge-by."""
        found = []
        for opened in self._sight.seen.values():
            try:
                date_after(opened, self._sight.log.trust, parse_time(self._promise.merge_by))
            except QuorumError as error:
                self._is_split |= isinstance(error, NotDatableError)
                continue
            if opened.checkpoint.tree_size <= most:
                found.append(opened)
        return sorted(found, key=lambda item: item.checkpoint.tree_size)

    def _by_tiles(self, opened: Opened, view: View) -> Finding:
        """What the leaf hashes prove, without anybody's word for which of them to look at."""
        leaf_hash, sight = self._promise.leaf_hash, self._sight
        tree = sight.tree(opened)
        found = find_leaves(tree, [leaf_hash], sight.progress).get(leaf_hash)
        if found is not None:
            try:
                item = prove(tree, found)
            except UNREAD as error:
                # Its place alone shows that it came late; what it says is not needed for that.
                late = self._late(opened, view, Leaf(found, tuple(tree.inclusion(found))))
                return late or self._unreadable(f"entry {found}, which has the promised leaf hash,", error)
            if item is not None and (finding := self._in_log(opened, view, item)) is not None:
                return finding
        if (finding := self._absent(opened, view)) is not None:
            return finding
        return self._by_reading(opened) or self._undated()

    def _absent(self, opened: Opened, view: View) -> Finding | None:
        """A dated tree without the leaf; the smallest there is, since all its leaves are the evidence."""
        producer = view.producer
        for other in self._dated(opened.checkpoint.tree_size):
            size = other.checkpoint.tree_size
            if producer is None or producer.index >= size:
                continue
            within = [item for item in view.rotations if item.index < size]
            evidence = Evidence(
                verdict=Cause.ABSENT,
                checkpoint=other.note,
                promise=self._note,
                producer=self._sight.again(producer, other, opened),
                rotations=tuple(self._sight.again(item, other, opened) for item in within),
                leaves=first_leaves(self._sight.tree(opened), size, self._sight.progress),
            )
            if (finding := self._prove(evidence)) is not None:
                return finding
        return None

    def _by_reading(self, opened: Opened) -> Finding | None:
        """What the log's answer may have left out, where its entries can be read."""
        view = self._read(opened)
        if view is None or self._authenticate(opened, view) is not None:
            return None
        return self._by_entries(opened, view)

    def _read(self, opened: Opened) -> View | None:
        try:
            return self._sight.read(self._promise, opened)
        except UNREAD as error:
            self._unread.append(f"its entries ({why_unread(error)})")
            return None

    def _undated(self) -> Finding:
        if self._sight.log.trust.policy.quorum is None:
            why = "your trust file has no witness quorum to date what the log shows"
        elif self._is_split:
            why = (
                "your quorum is too small to date what the log shows: the witnesses that did not see it "
                "after that time could be a quorum themselves"
            )
        else:
            why = "no checkpoint at hand was cosigned by your quorum after that time"
        self._step(7, Outcome.NOT_CHECKED, why)
        text = f"it is not in the log and was due {self._promise.merge_by} by this machine's clock, but {why}"
        return Finding(Verdict.NOT_CHECKED, text)

    def _undecided(self, text: str) -> Finding:
        if not self._is_due:
            return Finding(Verdict.NOT_YET_DUE, f"it is due {self._promise.merge_by}; so far {text}")
        is_offline = bool(self._unread) and all("no answer" in each for each in self._unread)
        refused = f" ({'; '.join(self._unread)})" if self._unread else ""
        return Finding(Verdict.NOT_CHECKED if is_offline else Verdict.WITHHELD, f"{text}{refused}")

    def _unreadable(self, what: str, error: SourceError | EvidenceError) -> Finding:
        self._unread.append(f"{what} ({why_unread(error)})")
        self._step(6, Outcome.NOT_CHECKED, str(error))
        return self._undecided("the log does not show what would decide")

    def _step(self, number: int, outcome: Outcome, detail: str) -> None:
        self._steps[number] = Step(number, PROMISE_STEPS[number - 1], outcome, detail)

    def report(self, finding: Finding, own: OwnBytes | None) -> PromiseReport:
        """The report of a finding, with the caller's own bytes compared."""
        differ = self._compare(own)
        trust = self._sight.log.trust
        has_quorum = self._opened is not None and check_quorum(self._opened, trust).value.is_satisfied
        kept = reservations(finding, trust, has_quorum=has_quorum)
        if differ:
            kept = ("the promise is about other bytes than those you sent and got", *kept)
        return PromiseReport(
            verdict=finding.verdict,
            headline=headline(finding, kept),
            steps=tuple(
                self._steps.get(number) or Step(number, name, Outcome.NOT_CHECKED, "not reached")
                for number, name in enumerate(PROMISE_STEPS, start=1)
            ),
            facts=tuple(self._facts),
            reservations=kept,
            cause=finding.cause,
            evidence=finding.evidence,
            merge_by=self._promise.merge_by,
            index=finding.index,
            bytes_differ=differ,
        )

    def _compare(self, own: OwnBytes | None) -> bool:
        if own is None:
            self._step(8, Outcome.NOT_CHECKED, "the bytes sent and got were not given")
            return False
        try:
            check_promise_bytes(
                self._promise, exchange_key=own.exchange_key, request=own.request, response=own.response
            )
        except DisclosureError as error:
            self._step(8, Outcome.FAILED, str(error))
            return True
        self._step(8, Outcome.PASSED, "the promise is about exactly the bytes sent and got")
        return False

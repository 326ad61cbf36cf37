"""The verifier: fifteen numbered steps in their order, from the bytes of a receipt to a graded report.

    report = Verifier(parse_trust(trust_file)).verify(receipt, expect=OperatorIs("log.example/loans"))
    report.exit_code, report.headline, report.facts

Spec: auditlog/spec/verification.md; the numbers in `Verifier.verify` are the numbers there, in the report and
in `--json`. Promises: total (any bytes give a `Report`); pure but for what the `CurrentLog` given to it
fetches; exit code 0 only if nothing failed and everything required was checked. Must never: read a clock,
take trust from the receipt, or raise a grade because several weak things agree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from auditlog.core.trust import Trust
from auditlog.verify import presented, steps, steps_anchor, steps_chain, steps_cose, steps_demand, steps_order
from auditlog.verify.comparison import CurrentLog, compare_with_log
from auditlog.verify.disclosed import check_disclosures
from auditlog.verify.expectations import Expectation
from auditlog.verify.facts import entry_facts, open_questions
from auditlog.verify.familiar import Familiar
from auditlog.verify.headline import find_reservations, write_headline
from auditlog.verify.judgement import Judgement
from auditlog.verify.presented import Presented
from auditlog.verify.report import Report
from auditlog.verify.run import Checked, Run, StoppedError
from auditlog.verify.shown import Shown


@dataclass(frozen=True, slots=True)
class _Given:
    """The arguments of one call, all attacker-controlled but the expectation."""

    read: Callable[[], Checked[Presented]]
    disclosures: bytes | None
    expect: Expectation | None
    log: CurrentLog | None


@dataclass(frozen=True, slots=True)
class _Located:
    """After step 6: an entry at its index of a tree that the log has signed."""

    found: Presented
    log: steps.LogTrust
    opened: steps.Opened
    quorum: steps.Quorum
    leaf_hash: bytes
    index: int


class Verifier:
    """Checks receipts against one trust file. Safe to share.

    Holds nothing between receipts but what it verified of entries that many of them share (`Familiar`), which
    makes no receipt's verdict depend on another's.
    """

    def __init__(self, trust: Trust) -> None:
        """`trust` is the verifier's own choice (`parse_trust` reads the file); never from the receipt."""
        self._trust = trust
        self._familiar = Familiar()

    def verify(
        self,
        receipt: bytes,
        *,
        expect: Expectation | None = None,
        disclosures: bytes | None = None,
        log: CurrentLog | None = None,
    ) -> Report:
        """Check one receipt; every argument but the expectation is attacker-controlled.

        `expect` is what the caller insists on (`AllOf` for several); `disclosures` is a disclosure file given
        beside the receipt; `log` is the log as it is now. Never raises on any bytes: what cannot be read is a
        failed step.
        """
        return self._report(_Given(lambda: presented.read_receipt(receipt), disclosures, expect, log))

    def verify_proof(
        self,
        proof: bytes,
        entry: bytes,
        *,
        expect: Expectation | None = None,
        disclosures: bytes | None = None,
        log: CurrentLog | None = None,
    ) -> Report:
        """Check a bare proof of an entry: a `.tlog-proof` (C2SP) or a COSE receipt (RFC 9942).

        It shows that the entry is in the log and who cosigned that; who sealed the entry, and so what its
        body says, a bare proof cannot show, and steps 8 to 10 are not checked. Otherwise as `verify`.
        """
        return self._report(_Given(lambda: presented.read_proof(proof, entry), disclosures, expect, log))

    def _report(self, given: _Given) -> Report:
        run, shown, judged = Run(), Shown(self._trust), None
        with contextlib.suppress(
            StoppedError
        ):  # the failed step is in `run`; what comes after it is not checked
            judged = self._take_steps(run, shown, given)
        steps_taken = run.steps()
        reservations = find_reservations(shown, self._trust)
        return Report(
            steps=steps_taken,
            facts=run.facts(),
            headline=write_headline(steps_taken, shown, reservations, self._trust),
            reservations=reservations,
            claimed_time=shown.claimed,
            on_record_by=shown.recorded,
            on_record_by_devnet=shown.devnet,
            evidence=run.evidence,
            expectation=judged,
        )

    def _take_steps(self, run: Run, shown: Shown, given: _Given) -> Judgement | None:
        at = self._find_entry(run, shown, given)
        receipt = at.found.receipt

        # (7) The bytes are an entry of this log.
        content = run.must(7, lambda: steps_chain.read_content(receipt.entry, at.log.origin))
        shown.add_kind(content.entry.kind)
        shown.is_bare = at.found.is_bare and not content.entry.by_log

        # (8) to (10) Who sealed it, at which number, and the entries it stands on.
        standing, is_bound = self._find_writer(run, at, content)
        said = entry_facts(content, standing, is_bound=is_bound)
        run.add_facts(said)
        if is_bound:
            shown.add_content(content, standing, said)

        # (11) What was disclosed opens the entry's commitments.
        opens = run.also(
            11, lambda: check_disclosures(content, standing, receipt.disclosures, given.disclosures)
        )

        # (12) Every anchor in the receipt holds, asked for or not.
        anchored = run.also(
            12,
            lambda: steps_anchor.check_anchors(
                receipt.anchors, at.leaf_hash, at.index, own=at.opened, log=at.log
            ),
        )
        shown.add_anchors(anchored)

        # (13) The log as it is now extends every checkpoint in the receipt.
        held = (at.opened, *steps_anchor.opened_checkpoints(anchored))
        run.also(13, lambda: compare_with_log(given.log, held, at.index, at.log))

        # (14) What the caller insists on.
        judged = steps_demand.judge(given.expect, shown)
        run.also(14, lambda: steps_demand.check_expectations(judged))

        # (15) What the trust file insists on.
        run.also(15, lambda: steps_demand.check_required(self._trust, at.quorum, anchored))
        whole = opens.whole if opens else frozenset()
        run.add_facts(open_questions(content, given.log is not None, whole, is_bare=at.found.is_bare))
        return judged

    def _find_entry(self, run: Run, shown: Shown, given: _Given) -> _Located:
        # (1) The receipt parses, byte for byte.
        found = run.must(1, given.read)
        proof = found.receipt.proof

        # (2) Its checkpoint claims to be of a log the trust file names; only that log's keys count from here.
        log = run.must(2, lambda: steps.find_log(proof.checkpoint, self._trust))

        # (3) The log signed the checkpoint. Size and root come from here and from nowhere else.
        opened = run.must(3, lambda: steps_cose.open_presented(found, log))

        # (4) Which witnesses cosigned it, and since when they are enough.
        quorum = run.must(4, lambda: steps.check_quorum(opened, self._trust))

        # (5) The leaf hash of the entry bytes in hand.
        leaf_hash = run.must(5, lambda: steps.compute_leaf_hash(found.receipt.entry))

        # (6) That leaf is at that index of that tree.
        index = run.must(6, lambda: steps.check_inclusion(leaf_hash, proof, opened.checkpoint))
        shown.add_log(log.origin, index, leaf_hash, quorum)
        return _Located(found, log, opened, quorum, leaf_hash, index)

    def _find_writer(
        self, run: Run, at: _Located, content: steps_chain.Content
    ) -> tuple[steps_chain.Standing, bool]:
        receipt, owed, entry = at.found.receipt, at.found.owed, content.entry

        # (8) The entries it stands on are in the same tree: producer, rotations, process life, model.
        standing = run.must(
            8,
            lambda: owed(
                steps_chain.check_related(
                    entry, at.index, receipt.related, at.opened.checkpoint, self._familiar
                )
            ),
        )

        # (9) The producer signed a batch that holds it at this number.
        head = run.must(
            9, lambda: owed(steps_chain.check_head(entry, at.leaf_hash, receipt.head, standing.key))
        )

        # (10) Everything that names a producer, a process life, a number or an order says the same.
        this = steps_chain.Placed(entry, at.leaf_hash, at.index)
        return standing, run.must(10, lambda: owed(steps_order.check_chain(this, standing, head)))

"""The verifier: fifteen numbered steps in one function, from the bytes of a receipt to a graded report.

Spec: auditlog/spec/verification.md; the numbers in `Verifier.verify` are the numbers there, in the report and
in `--json`. Promises: total (any bytes give a `Report`); pure but for what the `CurrentLog` given to it
fetches; exit code 0 only if nothing failed and everything required was checked. Must never: read a clock,
take trust from the receipt, or raise a grade because several weak things agree.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from auditlog.core.trust import Trust
from auditlog.verify import steps, steps_anchor, steps_chain, steps_demand, steps_order
from auditlog.verify.comparison import CurrentLog, compare_with_log
from auditlog.verify.disclosed import check_disclosures
from auditlog.verify.expectations import Expectation
from auditlog.verify.facts import entry_facts, open_questions
from auditlog.verify.headline import find_reservations, write_headline
from auditlog.verify.report import Report
from auditlog.verify.run import Run, StoppedError
from auditlog.verify.shown import Shown


@dataclass(frozen=True, slots=True)
class _Given:
    """The arguments of one call, all attacker-controlled but the expectations."""

    receipt: bytes
    disclosures: bytes | None
    expectations: Sequence[Expectation]
    log: CurrentLog | None


class Verifier:
    """Checks receipts against one trust file. Holds no state between receipts."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def verify(
        self,
        receipt: bytes,
        *,
        disclosures: bytes | None = None,
        expectations: Sequence[Expectation] = (),
        log: CurrentLog | None = None,
    ) -> Report:
        """Check one receipt; every argument but the expectations is attacker-controlled.

        `disclosures` is a disclosure file given beside the receipt; `log` is the log as it is now. Never
        raises on any bytes: what cannot be read is a failed step.
        """
        run, shown = Run(), Shown()
        with contextlib.suppress(
            StoppedError
        ):  # the failed step is in `run`; what comes after it is not checked
            self._take_steps(run, shown, _Given(receipt, disclosures, expectations, log))
        steps_taken = run.steps()
        reservations = find_reservations(shown, self._trust)
        return Report(
            steps=steps_taken,
            facts=run.facts(),
            headline=write_headline(steps_taken, shown, reservations),
            reservations=reservations,
            claimed_time=shown.claimed,
            on_record_by=shown.recorded,
            on_record_by_devnet=shown.devnet,
            evidence=run.evidence,
        )

    def _take_steps(self, run: Run, shown: Shown, given: _Given) -> None:
        # (1) The receipt parses, byte for byte.
        receipt = run.must(1, lambda: steps.read_receipt(given.receipt))

        # (2) Its checkpoint claims to be of a log the trust file names; only that log's keys count from here.
        log = run.must(2, lambda: steps.find_log(receipt.proof.checkpoint, self._trust))

        # (3) The log signed the checkpoint. Size and root come from here and from nowhere else.
        opened = run.must(3, lambda: steps.open_log_checkpoint(receipt.proof.checkpoint, log))

        # (4) Which witnesses cosigned it, and since when they are enough.
        quorum = run.must(4, lambda: steps.check_quorum(opened, self._trust))

        # (5) The leaf hash of the entry bytes in hand.
        leaf_hash = run.must(5, lambda: steps.compute_leaf_hash(receipt.entry))

        # (6) That leaf is at that index of that tree.
        index = run.must(6, lambda: steps.check_inclusion(leaf_hash, receipt.proof, opened.checkpoint))
        shown.add_log(log.origin, index, leaf_hash, quorum)

        # (7) The bytes are an entry of this log.
        content = run.must(7, lambda: steps_chain.read_content(receipt.entry, log.origin))
        shown.add_kind(content.entry.kind)

        # (8) The entries it stands on are in the same tree: producer, rotations, process life, model.
        standing = run.must(
            8, lambda: steps_chain.check_related(content.entry, index, receipt.related, opened.checkpoint)
        )

        # (9) The producer signed a batch that holds it at this number.
        head = run.must(
            9, lambda: steps_chain.check_head(content.entry, leaf_hash, receipt.head, standing.key)
        )

        # (10) Everything that names a producer, a process life, a number or an order says the same.
        this = steps_chain.Placed(content.entry, leaf_hash, index)
        is_bound = run.must(10, lambda: steps_order.check_chain(this, standing, head))
        run.add_facts(entry_facts(content, standing, is_bound=is_bound))
        if is_bound:
            shown.add_content(content, standing)

        # (11) What was disclosed opens the entry's commitments.
        opens = run.also(
            11, lambda: check_disclosures(content, standing, receipt.disclosures, given.disclosures)
        )

        # (12) Every anchor in the receipt holds, asked for or not.
        anchored = run.also(
            12, lambda: steps_anchor.check_anchors(receipt.anchors, leaf_hash, index, own=opened, log=log)
        )
        shown.add_anchors(anchored)

        # (13) The log as it is now extends every checkpoint in the receipt.
        held = (opened, *steps_anchor.opened_checkpoints(anchored))
        run.also(13, lambda: compare_with_log(given.log, held, index, log))
        # (14) What the caller insists on.
        run.also(14, lambda: steps_demand.check_expectations(given.expectations, shown))
        # (15) What the trust file insists on.
        run.also(15, lambda: steps_demand.check_required(self._trust, quorum, anchored))
        run.add_facts(open_questions(content, given.log is not None, opens.whole if opens else frozenset()))

"""The verdict on a promise in plain words, and its facts with their grades.

Spec: auditlog/spec/promise.md, "Verdicts"; grades as in verification.md. Promises: every fact is proven,
stated (by whom) or not checked. Must never: pass on a stranger's text unescaped, or call a date proven that
no quorum of the trust file gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from auditlog.core.promise import Promise
from auditlog.core.trust import Trust
from auditlog.verify.headline import OPERATOR_ONLY
from auditlog.verify.promise_evidence import Cause, Evidence
from auditlog.verify.promise_proofs import Promised, Proof
from auditlog.verify.promise_report import Verdict
from auditlog.verify.report import Fact, Grade
from auditlog.verify.wording import printable

_PRODUCER: Final = "signature of the producer, whose key is enrolled in the log"
_TREE: Final = "Merkle proofs into checkpoints the log signed"
_OLD_KEY: Final = "whoever had stolen it could have signed this promise since"
_PREFIX: Final = {
    Verdict.IN_LOG: "IN THE LOG",
    Verdict.NOT_YET_DUE: "NOT YET DUE",
    Verdict.WITHHELD: "WITHHELD",
    Verdict.DECLARED_LOST: "DECLARED LOST",
    Verdict.NOT_CHECKED: "NOT CHECKED",
    Verdict.NO_PROMISE: "NO PROMISE",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check came to: the verdict and one sentence for it."""

    verdict: Verdict
    text: str
    cause: Cause | None = None
    evidence: Evidence | None = None
    index: int | None = None
    replaced: int | None = None
    """The rotation that took the key of the promise out of force, if there is one."""


def broken(proof: Proof, evidence: Evidence) -> Finding:
    """The finding of a proof that holds."""
    verdict = Verdict.DECLARED_LOST if proof.cause is Cause.DECLARED_LOST else Verdict.BROKEN
    replaced = None if proof.promised is None else proof.promised.replaced
    return Finding(verdict, proof.text, proof.cause, evidence, proof.index, replaced)


def headline(finding: Finding, reservations: tuple[str, ...]) -> str:
    """Verdict first, then why, then every reservation."""
    prefix = _PREFIX.get(finding.verdict, f"BROKEN ({finding.cause})")
    text = f"{prefix}: {finding.text}".rstrip(".")
    return ". ".join((text, *(f"{each[:1].upper()}{each[1:]}" for each in reservations))) + "."


def reservations(finding: Finding, trust: Trust, *, has_quorum: bool) -> tuple[str, ...]:
    """What a reader must know before relying on the verdict."""
    found = []
    if finding.verdict is Verdict.IN_LOG and not has_quorum:
        found.append(OPERATOR_ONLY)
    if finding.cause in (Cause.SKIPPED, Cause.ABSENT) and finding.verdict is Verdict.BROKEN:
        found.append("a declaration of loss, if the log has one, would not be part of this evidence")
    if finding.replaced is not None:
        found.append(f"its key was replaced by entry {finding.replaced}: {_OLD_KEY}")
    if trust.issuer.role == "operator":
        found.append(f"the trust file came from the operator ({printable(trust.issuer.name)})")
    return tuple(found)


def stated_facts(promise: Promise) -> tuple[Fact, ...]:
    """What an unverified promise says: nobody's word yet."""
    return (
        Fact(
            "promise",
            promise.leaf_hash.hex(),
            Grade.NOT_CHECKED,
            "nobody",
            f"Whether {promise.producer[:16]} made this promise was not checked.",
        ),
    )


def promise_facts(promised: Promised) -> tuple[Fact, ...]:
    """What a promise shown to be the producer's own says."""
    promise, name = promised.promise, printable(promised.producer.name)
    return (
        Fact(
            "promise",
            promise.leaf_hash.hex(),
            Grade.PROVEN,
            _PRODUCER,
            f"The producer {name} promised that the entry with the leaf hash {promise.leaf_hash.hex()} will "
            f"be in the log {promise.origin} by {promise.merge_by}.",
        ),
        Fact(
            "number",
            f"{promise.instance} {promise.seq}",
            Grade.PROVEN,
            _PRODUCER,
            f"It promised the number {promise.seq} of its process life {promise.instance} to that entry.",
        ),
        Fact("producer", promise.producer, Grade.PROVEN, _TREE, f"The log enrolled {name}."),
        Fact(
            "time",
            promise.time,
            Grade.STATED,
            "the producer",
            f"By its own clock it promised this at {promise.time}.",
        ),
        Fact("model", promise.model, Grade.STATED, "the producer", f"It named the model {promise.model}."),
        *_replaced_facts(promised),
    )


def _replaced_facts(promised: Promised) -> tuple[Fact, ...]:
    """A key out of force may be in other hands, and no log shows when a promise was signed."""
    if promised.replaced is None:
        return ()
    text = f"The key that signed it was replaced by entry {promised.replaced}; {_OLD_KEY}."
    return (Fact("replaced_key", str(promised.replaced), Grade.PROVEN, _TREE, text),)


def proof_facts(proof: Proof) -> tuple[Fact, ...]:
    """What a proof adds."""
    facts = [Fact("broken", f"{proof.cause} {proof.index}", Grade.PROVEN, _TREE, proof.text)]
    if proof.dated is not None:
        facts.append(
            Fact(
                "dated",
                f"{proof.dated.by} {proof.dated.opened.checkpoint.tree_size}",
                Grade.PROVEN,
                "cosignatures of the quorum in your trust file",
                f"The witnesses in your trust file saw that state of the log by {proof.dated.by}.",
            )
        )
    return tuple(facts)


def in_log_facts(promise: Promise, index: int, size: int, since: str | None) -> tuple[Fact, ...]:
    """Where the promised entry is, and by when others saw it."""
    text = f"The promised entry is entry {index} of the log's {size}, byte for byte."
    facts = [Fact("index", str(index), Grade.PROVEN, _TREE, text)]
    if since is None:
        text = "Whether it was there by the promised time was not checked: no quorum dates this state."
        facts.append(Fact("on_time", "", Grade.NOT_CHECKED, "nobody", text))
    elif since <= promise.merge_by:
        text = f"It was on record by {since}, within the promised time."
        facts.append(Fact("on_time", since, Grade.PROVEN, "cosignatures of the quorum", text))
    else:
        text = (
            f"It was on record by {since}, the time of the state looked at; whether it was there by the "
            f"promised {promise.merge_by} needs a checkpoint of that time."
        )
        facts.append(Fact("on_time", since, Grade.NOT_CHECKED, "nobody", text))
    return tuple(facts)

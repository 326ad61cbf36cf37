"""Any evidence file, judged with nothing but a trust file: what `auditlog verify FILE` asks.

Spec: auditlog/spec/evidence.md, "Checking".

    report = check_evidence(file, trust)     file: bytes of a stranger; trust: core.trust.Trust
    report.exit_code   0 it proves what it says; 1 it does not; 3 the trust file cannot tell, or OBSERVED
    report.headline    one sentence for people
    report.verdict, .alarm, .against, .index, .facts, .to_json()
    is_evidence(file)  whether the file says that it is evidence, and is no receipt

Promises: any bytes give a report. Must never: read a network or a clock.
"""

from __future__ import annotations

import re

from auditlog.core.keys import Ed25519Verifier
from auditlog.core.receipt import RECEIPT_VERSION
from auditlog.core.trust import Trust
from auditlog.errors import EvidenceError
from auditlog.verify.evidence_claim import Claim, Claimed, parse_claim
from auditlog.verify.evidence_parts import EVIDENCE_VERSION
from auditlog.verify.evidence_prove import Shown, prove_claim
from auditlog.verify.evidence_report import EvidenceReport, not_checked
from auditlog.verify.finding import ALARMS
from auditlog.verify.promise_judge import judge_evidence
from auditlog.verify.promise_proofs import NotDatableError
from auditlog.verify.report import Fact, Grade
from auditlog.verify.wording import printable

_TREE = "Merkle proofs into a checkpoint the log signed"
_END = re.compile(rb'"v":"auditlog/evidence@v1","verdict":"([A-Z_]{1,32})"\}\n\Z')
_EDGE = 4096


def is_evidence(data: bytes) -> bool:
    """Whether bytes name themselves evidence. In canonical JSON a receipt's version is its last member."""
    name = f'"{EVIDENCE_VERSION}"'.encode()
    if data.endswith(f'"v":"{RECEIPT_VERSION}"}}\n'.encode()):
        return False
    return name in data[:_EDGE] or name in data[-_EDGE:]


def check_evidence(data: bytes, trust: Trust) -> EvidenceReport:
    """Check an evidence file of any verdict; `data` is attacker-controlled. Never raises on any bytes."""
    # A canonical file ends with its verdict. Of one that does not, either parser says what is wrong with it.
    end = _END.search(data[-128:])
    if end is None or end[1].decode() not in Claimed.__members__:
        return judge_evidence(data, trust)
    try:
        claim = parse_claim(data)
        return _told(claim, _prove(claim, trust), trust)
    except EvidenceError as error:
        return EvidenceReport(1, f"NOT PROVEN: {error}", ())


def _prove(claim: Claim, trust: Trust) -> Shown | NotDatableError:
    try:
        return prove_claim(claim, trust)
    except NotDatableError as error:
        return error


def _told(claim: Claim, shown: Shown | NotDatableError, trust: Trust) -> EvidenceReport:
    if isinstance(shown, NotDatableError):
        return not_checked(shown, claim.verdict, claim.checkpoint)
    checkpoint, said = shown.opened.checkpoint, shown.observed
    alarm = claim.alarm or ("anchor_fork" if said is None else said.alarm)
    facts = _observed_facts(claim, shown) if said is not None else _proven_facts(alarm, shown)
    headline = _headline(claim, shown, alarm)
    if trust.issuer.role == "operator":
        headline += f" The trust file came from the operator ({printable(trust.issuer.name)})."
    return EvidenceReport(
        3 if said is not None else 0,
        headline,
        facts,
        verdict=claim.verdict.value,
        alarm=alarm,
        origin=checkpoint.origin,
        tree_size=checkpoint.tree_size,
        index=shown.index,
        against=shown.against,
    )


def _headline(claim: Claim, shown: Shown, alarm: str) -> str:
    origin = shown.opened.checkpoint.origin
    if shown.observed is not None:
        text = printable(shown.text, 500).rstrip(".")
        return (
            f"STATED, NOT PROVEN ({alarm}): a monitor says of the log {origin} that at {shown.observed.time} "
            f"it saw this: {text}. Nobody else can check it."
        )
    if claim.verdict is Claimed.NOTICE:
        return f"PROVEN (notice, {alarm}) of the log {origin}: {shown.text}"
    who = f"the log {origin}" if len(shown.against) == 1 else f"the log {origin} or {shown.against[1]}"
    return f"PROVEN ({alarm}) against {who}: {ALARMS[alarm].sentence} {shown.text}"


def _proven_facts(alarm: str, shown: Shown) -> tuple[Fact, ...]:
    value = "" if shown.index is None else str(shown.index)
    return (_tree_fact(shown), Fact(alarm, value, Grade.PROVEN, _TREE, shown.text))


def _tree_fact(shown: Shown) -> Fact:
    checkpoint = shown.opened.checkpoint
    text = f"The log {checkpoint.origin} has signed a tree of {checkpoint.tree_size} entries."
    by = "signature of the log"
    return Fact("tree_size", str(checkpoint.tree_size), Grade.PROVEN, by, text)


def _observed_facts(claim: Claim, shown: Shown) -> tuple[Fact, ...]:
    said = shown.observed
    if said is None:
        return ()
    others = [
        Fact(
            "shown",
            str(size),
            Grade.PROVEN,
            "signature of the log",
            f"The log has signed the checkpoint of {size} entries that is shown.",
        )
        for size in shown.signed
    ]
    name = printable(Ed25519Verifier.from_vkey(claim.monitor or "").name)
    by = f"the monitor {name}"
    return (
        _tree_fact(shown),
        *others,
        Fact("observed", f"{said.alarm} {said.time}", Grade.STATED, by, printable(said.detail, 500)),
        Fact(
            "monitor_key",
            claim.monitor or "",
            Grade.STATED,
            by,
            f"It is worth as much as you trust this key: {claim.monitor}",
        ),
    )

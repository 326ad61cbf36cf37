"""fsck: rebuild a whole log from what it serves, and compare every byte.

Spec: `auditlog/spec/log.md`, "fsck". Works on any tlog-tiles log, ours or not. Imports core only, so that it
can judge the engine. Steps, each passed, failed, not checked or with nothing to check:

    1 checkpoint   signed by the given key
    2 tree         every tile is the hashes below it, and all lead to the signed root
    3 entries      every entry bundle holds exactly the entries of the tree
    4 chains       numbers, links, enrolments and instances of the producers (`auditlog.verify.chains`); the
                   key that genesis names, and the roots that anchors do
    5 heads        signed heads, in heartbeats and of those the caller holds, are covered by the log

Without bundles steps 3 to 5 are not checked and the exit code is 3. Everything read is attacker-controlled:
any bytes give a report, never another exception.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from auditlog.core.head import parse_head_text
from auditlog.core.note import Ed25519Verifier, split_note
from auditlog.errors import EvidenceError, SourceError
from auditlog.verify.chains import ChainChecker, LeafHashes
from auditlog.verify.fsck_hands import Hands
from auditlog.verify.fsck_report import FsckReport, StepLog
from auditlog.verify.fsck_walk import Complaints, Progress, Walk
from auditlog.verify.retention import read_retention
from auditlog.verify.sources import CHECKPOINT_PATH, LogSource
from auditlog.verify.tlogclient import VerifiedTree
from auditlog.verify.trusted_log import LogKeys, SignedCheckpoint

__all__ = ["FsckReport", "Hands", "Progress", "fsck"]


def fsck(
    source: LogSource,
    vkey: str,
    *,
    origin: str | None = None,
    heads: Sequence[str] = (),
    progress: Progress | None = None,
    hands: Hands | None = None,
) -> FsckReport:
    """Check a whole log.

    Args:
        source: where the log is read from, with a token inside if its bundles need one.
        vkey: the log's key, from the reader's own trust file; its name need not be the origin.
        origin: refuse a checkpoint of another origin.
        heads: producers' signed heads the caller holds, for step 5.
        progress: told how far the entries are read.
        hands: processes that read the same log beside this one; without, it does all by itself.

    Raises:
        MalformedError: `vkey` is not a key; whatever the log serves only shows in the report.
    """
    verifier = Ed25519Verifier.from_vkey(vkey)
    keys = LogKeys([verifier], origin=origin, key_name=verifier.name)
    steps = StepLog()
    signed = _open(source, keys, steps)
    if signed is None:
        for name in ("tree", "entries", "chains", "heads"):
            steps[name].not_checked("there is no checkpoint to check it against")
        return steps.report(signed=None, chains=None)
    complaints = Complaints()
    chains = ChainChecker(
        signed.checkpoint.origin, complaints.take, vkey=verifier.vkey, heads_of=_instances(heads)
    )
    told = read_retention(source, [verifier], signed.checkpoint)
    walk = Walk(source, signed, steps, chains, complaints, told=told)
    walk.run(progress or (lambda _done, _all: None), hands or Hands())
    _check_anchors(source, signed, chains, steps)
    _check_heads(source, signed, chains, heads, steps)
    if walk.embedded:
        steps["heads"].passed(f"{walk.embedded} heads in heartbeats are covered by the log")
    return steps.report(signed=signed, chains=chains, minimum=told.minimum)


def _open(source: LogSource, keys: LogKeys, steps: StepLog) -> SignedCheckpoint | None:
    try:
        signed = keys.open(source.fetch(CHECKPOINT_PATH))
    except SourceError as error:
        steps["checkpoint"].not_checked(str(error))
    except EvidenceError as error:
        steps["checkpoint"].problem(str(error))
    else:
        size = signed.tree_size
        steps["checkpoint"].passed(f"{signed.checkpoint.origin}, size {size}, signed by the given key")
        return signed
    return None


def _check_anchors(source: LogSource, signed: SignedCheckpoint, chains: ChainChecker, steps: StepLog) -> None:
    """The roots that the log's own `anchor` entries name are those of the signed tree."""
    step, anchored = steps["chains"], chains.anchored
    if not anchored:
        return
    try:
        tree = VerifiedTree(source, signed.checkpoint)
        for claim in anchored:
            if (root := tree.root_at(claim.size).hex()) != claim.root:
                step.problem(
                    f"entry {claim.index}: expected the root {root} anchored at size {claim.size}, "
                    f"found {claim.root}"
                )
    except (SourceError, EvidenceError) as error:  # what is wrong with the tiles is for step 2 to say
        step.not_checked(f"the anchored roots could not be compared: {error}")


def _instances(heads: Sequence[str]) -> set[tuple[str, str]] | None:
    """(producer, instance) of the heads that can be read: where their entries are will be asked for."""
    found = set()
    for note in heads:
        with contextlib.suppress(EvidenceError):
            head = parse_head_text(split_note(note)[0])
            found.add((head.producer, head.instance))
    return found or None


def _check_heads(
    source: LogSource, signed: SignedCheckpoint, chains: ChainChecker, heads: Sequence[str], steps: StepLog
) -> None:
    if not heads:
        return
    step = steps["heads"]
    if "not_checked" in (steps["entries"].outcome, steps["chains"].outcome):
        step.not_checked("the entries could not all be read")
        return
    try:
        leaf_hash = VerifiedTree(source, signed.checkpoint).leaf_hash
        leaf_hashes: LeafHashes = lambda indices: [leaf_hash(index) for index in indices]  # noqa: E731
        checked = sum(chains.check_head(head, leaf_hashes, step.problem) for head in heads)
    except (SourceError, EvidenceError) as error:  # what is wrong with the tiles is for step 2 to say
        step.not_checked(f"the entries under the heads could not be compared: {error}")
        return
    if step.outcome != "failed" and checked:
        step.passed(f"{checked} signed heads are covered by the log")
    if checked < len(heads):
        step.not_checked(f"{len(heads) - checked} heads are by producers this log does not have")

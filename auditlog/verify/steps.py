"""Steps 1 to 6: from the bytes of a receipt to "this entry is at this index of this log".

Spec: auditlog/spec/verification.md, "Steps". Everything read here is attacker-controlled but the trust file.
Promises: size and root come from the signed checkpoint only; each function returns or raises an
`EvidenceError`. Must never: take a key, a size or a root from the receipt itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.cosignature import cosignature_timestamp
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.merkle import hash_leaf, verify_inclusion
from auditlog.core.note import NoteVerifier, OpenedNote
from auditlog.core.scalars import format_time
from auditlog.core.tlogproof import TlogProof
from auditlog.core.trust import Trust
from auditlog.errors import MalformedError, SignatureError, VerificationError
from auditlog.verify.quorum_words import (
    cosigned_words,
    group_words,
    ignored_words,
    parting_words,
    too_few_words,
)
from auditlog.verify.report import Fact, Grade, Outcome
from auditlog.verify.run import Checked, not_checked
from auditlog.verify.wording import printable

LOG_SIGNATURE = "signature of the log"
TREE = "Merkle proof into the log's checkpoint"


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint whose log signature holds, and the note it came in."""

    note: str
    checkpoint: Checkpoint
    opened: OpenedNote


@dataclass(frozen=True, slots=True)
class LogTrust:
    """What the trust file says of one log: its origin, the
    keys that may speak for it, and the rest of the file.
    """

    origin: str
    keys: tuple[Ed25519Verifier, ...]
    trust: Trust

    @property
    def verifiers(self) -> tuple[NoteVerifier, ...]:
        """Every key of the trust file. Only `keys` speak for
        the log, but a wrong signature by any refuses a note.
        """
        devnet = self.trust.devnet
        return (*self.trust.policy.verifiers(), *(() if devnet is None else (devnet,)))

    def open(self, note: str) -> Opened:
        """Open a checkpoint note of this log: the receipt's, or one that was anchored.

        Raises:
            EvidenceError: the log did not sign it, any key of the trust file signed it wrongly, it is of
            another origin, or it goes beyond the final size of a retired log.
        """
        checkpoint, opened = open_checkpoint(note, self.verifiers, self.origin)
        # The devnet key is among the verifiers and may be named like the log; it is no key of the log.
        found = Opened(note, checkpoint, opened)
        if not self.signers(found):
            raise SignatureError(f"expected a signature by the log {self.origin}, found none")
        self.check_retired(checkpoint)
        return found

    def signers(self, opened: Opened) -> frozenset[str]:
        """The log's own keys that have signed a checkpoint, as vkeys."""
        own = {key.vkey for key in self.keys}
        return frozenset(line.vkey for line in opened.opened.verified if line.vkey in own)

    def check_retired(self, checkpoint: Checkpoint) -> None:
        """Refuse what a retired log's key signed after its end; raises VerificationError."""
        for final in self.trust.retired:
            if final.origin != checkpoint.origin:
                continue
            if checkpoint.tree_size > final.size:
                raise VerificationError(
                    f"expected at most {final.size} entries of the retired log, found {checkpoint.tree_size}"
                )
            if checkpoint.tree_size == final.size and checkpoint.root_hash != final.root:
                raise VerificationError("expected the final root hash of the retired log, found another")


@dataclass(frozen=True, slots=True)
class Quorum:
    """What the cosignatures show. `since` is the instant by which the quorum was complete, or None."""

    is_satisfied: bool
    since: str | None
    cosigned: frozenset[str] = frozenset()
    """Names, in the policy, of the witnesses that have cosigned."""


def find_log(note: str, trust: Trust) -> Checked[LogTrust]:
    """(2) Find the trusted log that the checkpoint claims to be of, and the keys that may speak for it.

    The claim is only used to choose the key; step 3 proves it.
    """
    claimed = note.partition("\n")[0]
    keys = tuple(log.verifier for log in trust.policy.logs if log.verifier.name == claimed)
    if not keys:
        known = ", ".join(sorted(log.verifier.name for log in trust.policy.logs))
        raise VerificationError(f"expected a log of the trust file ({known}), found {printable(claimed)}")
    issuer = f"{printable(trust.issuer.name)} ({trust.issuer.role})"
    detail = f"{claimed} is a log of the trust file, which came from {issuer}"
    return Checked(LogTrust(claimed, keys, trust), detail)


def open_log_checkpoint(note: str, log: LogTrust) -> Checked[Opened]:
    """(3) Verify the log's signature; then, and only then, believe origin, size and root."""
    opened = log.open(note)
    size = str(opened.checkpoint.tree_size)
    facts = (
        Fact("log", log.origin, Grade.PROVEN, LOG_SIGNATURE, f"The record is in the log {log.origin}."),
        Fact(
            "tree_size",
            size,
            Grade.PROVEN,
            LOG_SIGNATURE,
            f"When this was signed the log held {size} entries.",
        ),
    )
    ignored = ignored_words(opened.opened.unknown)
    return Checked(opened, f"signed by the log, size {size}{ignored}", facts)


def check_quorum(opened: Opened, trust: Trust) -> Checked[Quorum]:
    """(4) Count cosignatures. Never a failure: what is absent is not checked, a wrong one failed step 3."""
    result = trust.policy.check_quorum(opened.opened.text, opened.opened)
    facts = tuple(
        Fact(
            "cosigned",
            f"{name} {_instant(timestamp)}",
            Grade.PROVEN,
            f"cosignature of witness {name}",
            f"Witness {name} saw this state of the log at {_instant(timestamp)}.",
        )
        for name, timestamp in sorted(result.cosigners)
    )
    is_required = False  # step 15 asks for it if the trust file does
    too_few = Quorum(False, None, frozenset(name for name, _ in result.cosigners))
    if result.is_none:
        detail = "the trust file asks for no witnesses (quorum none)"
        return not_checked(too_few, detail, is_required=is_required, facts=facts)
    if not result.satisfied:
        detail = (
            f"{too_few_words(trust.policy, too_few.cosigned)}{group_words(trust.policy, too_few.cosigned)}"
        )
        return not_checked(too_few, detail, is_required=is_required, facts=facts)
    # The instant it was complete is no fact of its own: leaving a cosignature out would move it, and so make
    # a weaker statement look like a new one. It is told as the report's time, from the cosignatures above.
    enough = Fact(
        "quorum",
        trust.policy.quorum or "",
        Grade.PROVEN,
        "cosignatures",
        "Enough of the witnesses in your trust file have seen this state of the log.",
    )
    detail = (
        f"{cosigned_words(trust.policy, too_few.cosigned)}; the quorum is complete"
        f"{group_words(trust.policy, too_few.cosigned)}{parting_words(trust.policy)}"
    )
    quorum = Quorum(True, _quorum_since(opened, trust), too_few.cosigned)
    return Checked(quorum, detail, (*facts, enough), Outcome.PASSED, is_required)


def _quorum_since(opened: Opened, trust: Trust) -> str | None:
    """The smallest instant such that the cosignatures up to it satisfy the quorum on their own.

    A cosignature that names no time (0) helps the quorum but dates nothing.
    """
    names = {witness.verifier.vkey: witness.name for witness in trust.policy.witnesses}
    lines = [line for line in opened.opened.verified if line.vkey in names]
    early: set[str] = set()
    for when, name in sorted((cosignature_timestamp(line), names[line.vkey]) for line in lines):
        early |= {name} if when else set()
        if trust.policy.is_quorum(early):
            return _instant(when)
    return None


def compute_leaf_hash(entry: bytes) -> Checked[bytes]:
    """(5) Hash the bytes in hand."""
    leaf_hash = hash_leaf(entry)
    return Checked(leaf_hash, f"computed from the {len(entry)} bytes in hand")


def check_inclusion(leaf_hash: bytes, proof: TlogProof, checkpoint: Checkpoint) -> Checked[int]:
    """(6) Follow the path from the leaf hash to the signed root; index < size comes first."""
    index, path = proof.index, list(proof.hashes)
    verify_inclusion(leaf_hash, index, checkpoint.tree_size, path, checkpoint.root_hash)
    facts = (
        Fact(
            "index",
            str(index),
            Grade.PROVEN,
            TREE,
            f"It is entry number {index} of the log, counting from 0.",
        ),
        Fact(
            "leaf_hash",
            leaf_hash.hex(),
            Grade.PROVEN,
            TREE,
            f"Its leaf hash is {leaf_hash.hex()}.",
        ),
    )
    return Checked(
        index, f"entry {index} of {checkpoint.tree_size}, {len(path)} hashes lead to the root", facts
    )


def _instant(timestamp: int) -> str:
    """A cosignature's POSIX seconds as text; 0 claims no time, and after the year 9999 there are no dates."""
    if timestamp == 0:
        return "no stated time"
    try:
        return format_time(timestamp * 1_000_000)
    except MalformedError:
        return f"@{timestamp}"

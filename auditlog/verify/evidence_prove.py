"""Is it so? What evidence of entries, anchors, notices and observations proves, and against whom.

Spec: auditlog/spec/evidence.md, "Checking". Everything here is attacker-controlled but the trust file.
Promises: pure; each function returns what is proven or raises an `EvidenceError`; a `NotDatableError` says
that only the trust file is missing something. Must never: name as convicted whom the file does not convict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from auditlog.core.anchor import DEVNET_TYPE, log_id, open_devnet_anchor, parse_address
from auditlog.core.entry import parse_entry
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.merkle import hash_leaf, root_hash, verify_consistency, verify_inclusion
from auditlog.core.receipt import Related
from auditlog.core.scalars import parse_time
from auditlog.core.signed import open_one
from auditlog.core.statements import Observed, parse_observed_text
from auditlog.core.trust import Trust
from auditlog.errors import AnchorError, EvidenceError, MalformedError, VerificationError
from auditlog.verify.evidence_claim import Anchor, Claim, Claimed
from auditlog.verify.evidence_counts import counter_mismatch
from auditlog.verify.evidence_notes import open_signed
from auditlog.verify.evidence_parts import Earlier
from auditlog.verify.evidence_rules import (
    after_retirement,
    broken_chain,
    duplicate_number,
    expect,
    foreign_anchor,
    is_whole,
    unknown_producer,
)
from auditlog.verify.evidence_signed import broken_head, forged_enrolment, open_producer_head, wrong_key
from auditlog.verify.promise_keys import place_entry
from auditlog.verify.promise_proofs import NotDatableError, date_after, open_evidence_log
from auditlog.verify.steps import LogTrust, Opened
from auditlog.verify.steps_chain import Placed

T = TypeVar("T")

LOG: Final = "the log"
PRODUCER: Final = "its producer"
DEVNET: Final = "the devnet"


class UnknownEvidenceError(NotDatableError):
    """The trust file lacks the key, the pin or the type by which an anchor could be checked."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a file shows: one sentence, against whom, and where.

    `against` has one name where the file convicts, several where one of them did it, none where nothing is
    wrong by itself or nothing is proven. `observed` is set where all of it is a monitor's word.
    """

    text: str
    opened: Opened
    against: tuple[str, ...] = ()
    index: int | None = None
    observed: Observed | None = None
    signed: tuple[int, ...] = ()
    """Tree sizes of the notes shown that the log has signed."""


_SIMPLE: Final[dict[str, Callable[[Sequence[Placed]], str]]] = {
    "duplicate_number": duplicate_number,
    "forged_enrolment": forged_enrolment,
    "wrong_key": wrong_key,
    "after_retirement": after_retirement,
    "anchor_foreign": foreign_anchor,
    "counter_mismatch": counter_mismatch,
}
_EITHER: Final = frozenset({"counter_mismatch", "broken_head"})
"""Rules that only a producer's own words break: a log that wrote in its name cannot be told from it."""


def prove_claim(claim: Claim, trust: Trust) -> Shown:
    """Check evidence from scratch.

    Raises:
        NotDatableError: it needs a date or an anchor's key, which the trust file does not give.
        EvidenceError: it does not prove what it says.
    """
    log, opened = open_evidence_log(claim.checkpoint, trust)
    if claim.verdict is Claimed.ENTRIES:
        return _prove_entries(claim, log, opened)
    if claim.verdict is Claimed.ANCHOR:
        return _prove_anchor(claim, log, opened)
    if claim.verdict is Claimed.NOTICE:
        return _prove_notice(claim, log, opened)
    return _prove_observed(claim, log, opened)


def needed(value: T | None) -> T:
    """A member that the parser demands; raises MalformedError for a claim made otherwise."""
    if value is None:
        raise MalformedError("evidence: expected the members of its verdict, found one missing")
    return value


def _prove_entries(claim: Claim, log: LogTrust, opened: Opened) -> Shown:
    _prove_genesis(needed(claim.genesis), log, opened)
    against = (LOG, PRODUCER) if claim.alarm in _EITHER else (LOG,)
    if claim.alarm in ("entry_malformed", "foreign_entry"):
        expect(claim.entries, 1)
        text = _prove_no_entry(claim.entries[0], opened, claim.alarm)
        return Shown(text, opened, against, claim.entries[0].index)
    if claim.leaves is not None:
        _check_leaves(claim.leaves, opened)
    found = [place_entry(item, opened.checkpoint, f"entry {item.index}") for item in claim.entries]
    if claim.alarm == "broken_head":
        producer = needed(claim.producer)
        head = open_producer_head(needed(claim.head), opened.checkpoint, producer, claim.rotations)
        text = broken_head(found, head)
    elif claim.alarm == "broken_chain":
        text = broken_chain(found, claim.leaves)
    elif claim.alarm == "unknown_producer":
        text = unknown_producer(found, claim.leaves)
    else:
        text = _SIMPLE[claim.alarm](found)
    return Shown(text, opened, against, found[-1].index)


def _prove_genesis(item: Related, log: LogTrust, opened: Opened) -> None:
    """That the log began as one of ours, under the key that signed, and so promised to keep our rules.

    No more is asked of its body: else a log could begin with an odd one, and nothing would ever convict it.
    """
    genesis = place_entry(item, opened.checkpoint, "genesis")
    if genesis.index != 0 or genesis.entry.kind != "genesis":
        raise VerificationError("genesis: expected the log's first entry, found another")
    listed = genesis.entry.body.get("vkeys")
    if not isinstance(listed, list) or not any(key in listed for key in log.signers(opened)):
        raise VerificationError("genesis: expected one that names the key that signed, found another")


def _prove_no_entry(item: Related, opened: Opened, alarm: str) -> str:
    checkpoint = opened.checkpoint
    verify_inclusion(
        hash_leaf(item.entry), item.index, checkpoint.tree_size, list(item.proof), checkpoint.root_hash
    )
    try:
        entry = parse_entry(item.entry)
    except MalformedError:
        if alarm == "foreign_entry":
            raise
        return f"What the log has at {item.index} is no entry."
    if alarm == "entry_malformed" or entry.origin == checkpoint.origin:
        raise VerificationError(f"entries: expected what {alarm} is about, found an entry of the log")
    return f"Entry {item.index} is one of another log."


def _check_leaves(leaves: Sequence[bytes], opened: Opened) -> None:
    checkpoint = opened.checkpoint
    if len(leaves) != checkpoint.tree_size or root_hash(leaves) != checkpoint.root_hash:
        raise VerificationError("leaves: expected those of the signed tree, found others")


def _prove_anchor(claim: Claim, log: LogTrust, opened: Opened) -> Shown:
    anchored, checkpoint = needed(claim.anchored), opened.checkpoint
    index: int | None = None
    against: tuple[str, ...] = (LOG, DEVNET)
    if claim.entry is not None:
        _prove_genesis(needed(claim.genesis), log, opened)
        size, root = _anchor_entry(place_entry(claim.entry, checkpoint, "anchor entry"))
        index, against = claim.entry.index, (LOG,)
    else:
        size, root = _devnet_anchor(needed(claim.anchor), checkpoint.origin, log.trust)
    verify_consistency(size, checkpoint.tree_size, list(anchored.proof), anchored.root, checkpoint.root_hash)
    if root == anchored.root:
        raise VerificationError("expected another root than the tree's, found an anchor of this tree")
    text = (
        f"The root that is anchored for {size} entries is not the one that the log's tree has at that size."
    )
    return Shown(text, opened, against, index)


def _anchor_entry(placed: Placed) -> tuple[int, bytes]:
    """The size and root that the log itself says are anchored."""
    body = placed.entry.body
    if not is_whole(placed.entry, "anchor") or body["log_id"] != log_id(placed.entry.origin).hex():
        raise VerificationError("anchor entry: expected an anchor of this log, found another entry")
    return body["size"], bytes.fromhex(body["root"])


def _devnet_anchor(anchor: Anchor, origin: str, trust: Trust) -> tuple[int, bytes]:
    """The size and root that the devnet's key says are anchored."""
    if anchor.type != DEVNET_TYPE:
        raise UnknownEvidenceError(f"expected an anchor of a known type ({DEVNET_TYPE}), found another")
    if trust.devnet is None:
        raise UnknownEvidenceError("expected the devnet's key in the trust file, found none")
    found = open_devnet_anchor(anchor.evidence, trust.devnet)
    if found.origin != origin:
        raise AnchorError(f"anchor: expected one of the log {origin}, found one of another log")
    return found.size, found.root


def _prove_notice(claim: Claim, log: LogTrust, opened: Opened) -> Shown:
    found = [place_entry(item, opened.checkpoint, f"entry {item.index}") for item in claim.entries]
    if claim.alarm == "backdated":
        text = _backdated(found, needed(claim.earlier), log, opened)
    elif claim.alarm == "anchor_foreign":
        text = _unpinned(found, log.trust)
    elif claim.alarm == "gap":
        expect(found, 1)
        if not is_whole(found[0].entry, "gap"):
            raise VerificationError("entries: expected a gap that is well formed, found another entry")
        text = f"Entry {found[0].index} declares a gap."
    else:
        text = _changed(found, claim.alarm)
    return Shown(text, opened, (), found[-1].index)


def _changed(found: Sequence[Placed], alarm: str) -> str:
    kind, names = {
        "coverage_changed": ("coverage", None),
        "model_changed": ("model", ("fingerprint", "adapters")),
    }[alarm]
    expect(found, 2)
    a, b = (item.entry for item in found)
    if a.producer != b.producer or not is_whole(a, kind) or not is_whole(b, kind):
        raise VerificationError(f"entries: expected two {kind} entries of one producer, found others")
    if all(a.body.get(name) == b.body.get(name) for name in names or a.body.keys() | b.body.keys()):
        raise VerificationError("entries: expected two that differ, found the same said twice")
    return f"Entry {found[1].index} says otherwise than entry {found[0].index} of the same producer."


def _backdated(found: Sequence[Placed], earlier: Earlier, log: LogTrust, opened: Opened) -> str:
    expect(found, 1)
    one, newer = found[0], opened.checkpoint
    older = open_signed(earlier.checkpoint, log)
    old = older.checkpoint
    verify_consistency(old.tree_size, newer.tree_size, list(earlier.proof), old.root_hash, newer.root_hash)
    if old.tree_size > one.index:
        raise VerificationError(f"expected an earlier tree without entry {one.index}, found one that has it")
    dated = date_after(older, log.trust, parse_time(one.entry.time))
    return (
        f"Entry {one.index} claims the time {one.entry.time}. At {dated.by} the log had {old.tree_size} "
        "entries, and not this one."
    )


def _unpinned(found: Sequence[Placed], trust: Trust) -> str:
    expect(found, 1)
    one = found[0]
    if not is_whole(one.entry, "anchor") or one.entry.body["type"] == DEVNET_TYPE:
        raise VerificationError("entries: expected an anchor that is well formed, found another entry")
    if not trust.anchors:
        raise UnknownEvidenceError("expected the pinned contracts in the trust file, found none")
    slot = (one.entry.body["chain_id"], parse_address(one.entry.body["contract"]))
    if slot in {(pin.chain_id, pin.contract) for pin in trust.anchors}:
        raise VerificationError("entries: expected an anchor by a contract not pinned, found a pinned one")
    return f"Entry {one.index} names an anchor by a contract that your trust file does not pin."


def _prove_observed(claim: Claim, log: LogTrust, opened: Opened) -> Shown:
    key = Ed25519Verifier.from_vkey(needed(claim.monitor))
    said = parse_observed_text(open_one(needed(claim.note), key))
    checkpoint = opened.checkpoint
    expected = (checkpoint.origin, checkpoint.tree_size, checkpoint.root_hash)
    if (said.origin, said.size, said.root) != expected:
        raise VerificationError("note: expected one about the checkpoint shown, found another")
    if said.shown != shown_root(claim.shown):
        raise VerificationError("note: expected one over the notes shown, found others")
    signed = tuple(size for note in claim.shown if (size := _size_of(note, log)) is not None)
    return Shown(said.detail, opened, (), None, said, signed)


def shown_root(notes: Sequence[str]) -> bytes:
    """The RFC 6962 root over notes, each the UTF-8 bytes of a leaf: what an observation is bound to."""
    return root_hash([hash_leaf(note.encode("utf-8")) for note in notes])


def _size_of(note: str, log: LogTrust) -> int | None:
    """The size of a checkpoint that this log signed, or None."""
    try:
        return open_signed(note, log).checkpoint.tree_size
    except EvidenceError:
        return None

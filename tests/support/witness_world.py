"""A log that forks at will, and a judge of every cosignature a witness ever gave: are they of one history?"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise

import httpx

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureVerifier
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import prove_consistency, root_hash
from auditlog.core.note import parse_signature
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint, parse_tree_size

MOST = 200
LOG = Ed25519Signer.from_seed("log.example/forking", b"f" * 32)
BRANCHES: list[list[bytes]] = []
"""Three histories: the second leaves the first at 5 leaves, the third at 40."""
for _name, _common in (("a", 0), ("b", 5), ("c", 40)):
    _start = BRANCHES[0][:_common] if BRANCHES else []
    BRANCHES.append([*_start, *(sha256(f"{_name} {n}".encode()).digest() for n in range(_common, MOST))])
_ROOTS = [[root_hash(branch[:size]) for size in range(MOST + 1)] for branch in BRANCHES]


def request(old: int, size: int, branch: int, proof_of: int | None = None) -> bytes:
    """A request for the first `size` leaves of a branch; `proof_of`: with another branch's proof."""
    leaves = BRANCHES[branch if proof_of is None else proof_of]
    proof = tuple(prove_consistency(leaves[:size], old)) if 0 < old < size else ()
    note = sign_checkpoint(Checkpoint(LOG.name, size, _ROOTS[branch][size]), LOG)
    return format_add_checkpoint(AddCheckpoint(old, proof, note))


@dataclass(frozen=True)
class Given:
    """One cosignature that left the witness."""

    size: int
    branch: int
    timestamp: int

    @property
    def root(self) -> bytes:
        """What was cosigned."""
        return _ROOTS[self.branch][self.size]


@dataclass
class Judge:
    """Takes every answer, and insists that all of them together are one history."""

    verifier: CosignatureVerifier
    given: list[Given] = field(default_factory=list)

    def take(self, size: int, branch: int, answer: httpx.Response) -> int:
        """The size that the witness knows after this answer, as far as it tells."""
        if answer.status_code == 409:
            known = parse_tree_size(answer.content)
            assert known >= max((each.size for each in self.given), default=0), "a memory went back"
            return known
        if answer.status_code != 200:
            return -1
        signature = parse_signature(answer.text.removesuffix("\n"))
        root = _ROOTS[branch][size]
        text = sign_checkpoint(Checkpoint(LOG.name, size, root), LOG).split("\n\n")[0] + "\n"
        assert self.verifier.verify(text.encode(), signature.blob), "not a cosignature over what was asked"
        self.given.append(Given(size, branch, int.from_bytes(signature.blob[:8], "big")))
        return size

    def check(self) -> None:
        """No two cosignatures contradict each other: the smaller tree is the beginning of the larger one, and
        has no later time.
        """
        ordered = sorted(self.given, key=lambda each: (each.size, each.timestamp))
        for smaller, larger in pairwise(ordered):
            assert _ROOTS[larger.branch][smaller.size] == smaller.root, (smaller, larger)
            assert smaller.timestamp <= larger.timestamp, (smaller, larger)

"""A reader that believes nothing: each checkpoint extends the last, each acknowledged entry is in the newest.

Spec: auditlog/spec/api.md, "Proofs", "Receipts". Whatever does not check is a violation, with both sides of
it; what could not be fetched is counted as not checked. Must never: take the log's word for a size or a root.
"""

from __future__ import annotations

import base64
import binascii
import random
import threading
import time

from auditlog.core.capability import receipt_capability
from auditlog.core.merkle import hash_leaf
from auditlog.core.proofs import verify_inclusion
from auditlog.core.receipt import parse_receipt
from auditlog.errors import EvidenceError, MalformedError, SourceError
from auditlog.hammer.book import Acknowledged, Book
from auditlog.hammer.link import Link
from auditlog.verify.trusted_log import LogKeys, SignedCheckpoint, TrustedLog

_PAUSE_S = 0.05
_PROOFS = 4
"""Entries that are proven between two looks at the checkpoint."""


class Reader:
    """Follows and checks one log, on one thread."""

    def __init__(
        self, link: Link, keys: LogKeys, book: Book, receipt_keys: dict[str, bytes], rng: random.Random
    ) -> None:
        self._link, self._book, self._rng = link, book, rng
        self._keys = keys
        self._log = TrustedLog(keys)
        self._receipt_keys = receipt_keys

    @property
    def size(self) -> int:
        """Size of the newest checkpoint that was accepted."""
        return 0 if self._log.newest is None else self._log.newest.tree_size

    def run(self, stop: threading.Event) -> None:
        """Look and prove until told to stop."""
        while not stop.is_set():
            self.look()
            for _ in range(_PROOFS):
                self.prove_one()
            self.check_receipt()
            stop.wait(_PAUSE_S)

    def finish(self, *, within_s: float, proofs: int) -> None:
        """After the load: everything acknowledged is published in time, and some more of it is proven."""
        deadline = time.monotonic() + within_s
        while self._book.waiting and time.monotonic() < deadline:
            self.look()
            time.sleep(_PAUSE_S)
        if self._book.waiting:
            self._book.violate(
                f"{self._book.waiting} acknowledged batches were not published within {within_s:g} s"
            )
        for _ in range(proofs):
            self.prove_one()
        for _ in range(min(proofs, 20)):
            self.check_receipt()

    def look(self) -> None:
        """Fetch the checkpoint; it must be the log's, and extend the one before."""
        try:
            status, note = self._link.get("/checkpoint")
            if status != 200:
                raise SourceError(f"expected a checkpoint, found {status}", reason="refused")
            candidate = self._keys.open(note)
            needed = self._log.missing_proof(candidate)
            proof = [] if needed is None else self._hashes("consistency?from={}&to={}".format(*needed))
            before = self.size
            self._log.accept(candidate, proof)
        except SourceError:
            self._book.count("checkpoints_not_checked")
        except EvidenceError as error:
            self._book.violate(f"checkpoint: {error}")
        else:
            if self.size > before:
                self._book.count("checkpoints_checked")
                self._book.publish(self.size, time.monotonic())

    def prove_one(self) -> None:
        """Prove one acknowledged entry into the newest checkpoint."""
        newest = self._log.newest
        picked = None if newest is None else self._book.pick(self._rng, newest.tree_size)
        if newest is None or picked is None:
            return
        batch, at = picked
        index = batch.first_index + at
        try:
            proof = self._hashes(f"inclusion?index={index}&size={newest.tree_size}")
            verify_inclusion(batch.leaf_hash(at), index, newest.tree_size, proof, newest.root_hash)
        except SourceError as error:
            if error.reason == "missing":
                self._book.violate(f"acknowledged entry {index} is not in the tree of {newest.tree_size}")
            else:
                self._book.count("inclusions_not_checked")
        except EvidenceError as error:
            self._book.violate(f"acknowledged entry {index}: {error}")
        else:
            self._book.count("inclusions_checked")

    def check_receipt(self) -> None:
        """Fetch the receipt of an acknowledged decision as its caller would, and check it."""
        picked = self._book.pick(self._rng, self.size)
        if picked is None or picked[0].sealed.first_seq + picked[1] == 0:
            return  # the entry of a start has no id
        batch, at = picked
        try:
            status, body = self._link.get(self._address(batch, at))
            if status == 202:
                self._book.count("receipts_not_yet")
                return
            if status != 200:
                raise SourceError(f"expected a receipt, found {status}", reason="refused")
            self._judge(body, batch, at)
        except SourceError:
            self._book.count("receipts_not_checked")
        except EvidenceError as error:
            self._book.violate(f"receipt of entry {batch.first_index + at}: {error}")
        else:
            self._book.count("receipts_checked")

    def _judge(self, body: bytes, batch: Acknowledged, at: int) -> None:
        """Raises EvidenceError: it is not the receipt of this entry into a checkpoint of this log."""
        receipt = parse_receipt(body)
        checkpoint: SignedCheckpoint = self._keys.open(receipt.proof.checkpoint)
        if (hash_leaf(receipt.entry), receipt.proof.index) != (batch.leaf_hash(at), batch.first_index + at):
            raise MalformedError("expected the entry that was acknowledged, found another")
        verify_inclusion(
            batch.leaf_hash(at),
            receipt.proof.index,
            checkpoint.tree_size,
            receipt.proof.hashes,
            checkpoint.root_hash,
        )

    def _address(self, batch: Acknowledged, at: int) -> str:
        chain = batch.chain
        decision = chain.decision_id(batch.sealed.unix_ms, batch.sealed.first_seq + at)
        capability = receipt_capability(self._receipt_keys[chain.id], decision)
        return f"/receipts/{chain.id[:16]}/{decision}/{capability}"

    def _hashes(self, query: str) -> list[bytes]:
        found = self._link.get_json(f"/proofs/{query}").get("hashes")
        try:
            return [base64.b64decode(each, validate=True) for each in found or []]
        except (binascii.Error, ValueError, TypeError):
            raise MalformedError("proof: expected hashes in base64, found something else") from None

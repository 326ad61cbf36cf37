"""Building receipts: one entry with everything needed to believe it offline.

Spec: design section 5, "Receipt", and `auditlog/spec/receipt.md`. Everything goes into one published
checkpoint, the newest, unless only an older one that covers the entry has a quorum of witnesses: the entry's
proof, and `related`: the producer's enrolment, its rotations, the start of its instance, the model (of a
`pending` one the entry that resolves it, or says that nothing will). Each proof is verified against the
signed root before the receipt leaves: a damaged tile is an error here and never a receipt that fails in
somebody's hands. Must never: use a checkpoint that is not published.
"""

from __future__ import annotations

from hashlib import sha256

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.cose import sign_cose_receipt
from auditlog.core.entry import Entry, parse_entry, parse_time
from auditlog.core.head import parse_head_text
from auditlog.core.merkle import prove_inclusion, root_hash, verify_inclusion
from auditlog.core.note import split_note
from auditlog.core.receipt import Receipt, ReceiptAnchor, ReceiptHead, Related, format_receipt, parse_receipt
from auditlog.core.scalars import is_hash_hex
from auditlog.core.tlogproof import TlogProof
from auditlog.errors import InclusionError, NotYetPublished, StorageError
from auditlog.log.anchors import Anchors
from auditlog.log.index import Index
from auditlog.log.live import Live
from auditlog.log.publisher import Publisher
from auditlog.log.reader import Reader
from auditlog.log.recover import open_own
from auditlog.log.standing import check_signs
from auditlog.storage.records import BatchHead

_RETRY_MODEL_S = 5


class Receipts:
    """Issues receipts of one log. Safe to use from any thread."""

    def __init__(
        self, live: Live, reader: Reader, publisher: Publisher, index: Index, anchors: Anchors
    ) -> None:
        self._live = live
        self._reader = reader
        self._publisher = publisher
        self._index = index
        self._anchors = anchors

    def issue(self, index: int) -> bytes:
        """Receipt of the entry at `index`, into the newest published checkpoint, or the newest with a quorum.

        Raises:
            NotFoundError: there is no such entry.
            NotYetPublished: it is not published yet, or its model is pending and may still be named.
            StorageError: a store failed, or holds damage that shows in a proof.
        """
        data = self._reader.entry(index)
        notes = self._publisher.notes_for(index)
        if not notes:
            raise NotYetPublished(
                f"expected entry {index} to be published, found size {self._publisher.size}"
            )
        entry = parse_entry(data)
        for note in notes[:-1]:
            checkpoint = open_own(note, self._live.signer.verifier)
            if self._is_whole(entry, checkpoint):
                return self._build(data, index, note)
        return self._build(data, index, notes[-1])

    def issue_cose(self, index: int) -> bytes:
        """The proof of the same receipt as a COSE receipt (RFC 9942), signed by the log's key here and now.

        What is signed is origin, size and root of a checkpoint that this key has signed before.

        Raises:
            NotFoundError, NotYetPublished, StorageError: as `issue`; not yet too while the tree has one
                entry, of which RFC 9942 has no receipt.
            LogReadOnly, LogRetired: the log's key signs nothing.
        """
        check_signs(self._live, self._reader)
        proof = parse_receipt(self.issue(index)).proof
        if not proof.hashes:
            raise NotYetPublished("expected a published tree of two entries or more, found one of one entry")
        checkpoint = open_own(proof.checkpoint, self._live.signer.verifier)
        return sign_cose_receipt(proof, checkpoint, self._live.signer)

    def _is_whole(self, entry: Entry, checkpoint: Checkpoint) -> bool:
        """Whether this checkpoint covers the entry that names a pending model, if any does."""
        if entry.by_log or entry.kind != "decision" or entry.body.get("model") != "pending":
            return True
        self._index.follow()
        row = self._index.next_model(bytes.fromhex(entry.producer), entry.instance, entry.seq)
        return row is not None and row.index < checkpoint.tree_size

    def _build(self, data: bytes, index: int, note: str) -> bytes:
        checkpoint = open_own(note, self._live.signer.verifier)
        entry = parse_entry(data)
        proof = TlogProof(index, self._prove(data, index, checkpoint), note)
        return format_receipt(
            Receipt(
                entry=data,
                proof=proof,
                related=self._related(entry, index, checkpoint),
                head=None if entry.by_log else self._head(entry, data),
                anchors=self._anchored(data, index),
            )
        )

    def _prove(self, data: bytes, index: int, checkpoint: Checkpoint) -> tuple[bytes, ...]:
        path = self._reader.inclusion(index, checkpoint.tree_size)
        leaf_hash = sha256(b"\x00" + data).digest()
        try:
            verify_inclusion(leaf_hash, index, checkpoint.tree_size, path, checkpoint.root_hash)
        except InclusionError as error:
            raise StorageError(
                f"expected stored tiles to prove entry {index}, found damage: {error}"
            ) from error
        return tuple(path)

    def _related(self, entry: Entry, index: int, checkpoint: Checkpoint) -> tuple[Related, ...]:
        """Producer, its rotations before the entry, instance and model of an entry, those that are not the
        entry itself, in that order.
        """
        if entry.by_log:
            return ()
        producer = bytes.fromhex(entry.producer)
        with self._live.lock:
            chains = self._live.chains
            indices = [chains.producer(producer).index]
            # Without them the key that signed the head would be a stranger's.
            indices += [each.index for each in chains.lives.rotations(producer, below=index)]
        indices += self._index.by_chain(producer, entry.instance, 0)
        model = self._model(entry, producer, checkpoint)
        if model is not None:
            indices.append(model)
        related: list[Related] = []
        for other in indices:
            if other != index:
                data = self._reader.entry(other)
                related.append(Related(data, other, self._prove(data, other, checkpoint)))
        return tuple(related)

    def _model(self, entry: Entry, producer: bytes, checkpoint: Checkpoint) -> int | None:
        """Index of the `model` entry a decision names, or of the entry that ends the wait of `pending`."""
        model = entry.body.get("model") if entry.kind == "decision" else None
        if model == "pending":
            return self._pending_model(entry, producer, checkpoint)
        if type(model) is not str or not is_hash_hex(model):
            return None
        self._index.follow()
        found = [index for index in self._index.by_leaf(bytes.fromhex(model)) if index < checkpoint.tree_size]
        return found[0] if found else None

    def _pending_model(self, entry: Entry, producer: bytes, checkpoint: Checkpoint) -> int | None:
        self._index.follow()
        # A `model` entry, or the `coverage` entry after which there is nothing to wait for.
        row = self._index.next_model(producer, entry.instance, entry.seq)
        if row is not None and row.index < checkpoint.tree_size:
            return row.index
        waited_us = self._live.clock.unix_us() - parse_time(entry.time)
        if waited_us < self._live.config.model_wait_s * 1_000_000:
            raise NotYetPublished(
                "expected the model entry that this decision waits for, found none published yet",
                retry_after_s=_RETRY_MODEL_S,
            )
        return None

    def _head(self, entry: Entry, data: bytes) -> ReceiptHead:
        """The signed head of the batch that brought the entry, and the entry's path to its root."""
        producer = bytes.fromhex(entry.producer)
        found = self._live.stores.state.batch_head_of(producer, entry.instance, entry.seq)
        if found is None:
            raise StorageError(f"expected a head over number {entry.seq} of {entry.producer}, found none")
        leaf_hashes = self._batch_leaf_hashes(found)
        if root_hash(leaf_hashes) != parse_head_text(split_note(found.note)[0]).root:
            raise StorageError(f"expected the entries that head {found.seq} signs, found others")
        place = entry.seq - found.first_seq
        if leaf_hashes[place] != sha256(b"\x00" + data).digest():
            raise StorageError(f"expected entry {entry.seq} in its batch, found another")
        return ReceiptHead(found.note, tuple(prove_inclusion(leaf_hashes, place)))

    def _batch_leaf_hashes(self, head: BatchHead) -> list[bytes]:
        """Leaf hashes of a batch; it may lie in several runs if a part of it was sent before."""
        found: list[bytes] = []
        seq = head.first_seq
        while seq <= head.seq:
            run = self._live.stores.state.run_of(head.producer, head.instance, seq)
            if run is None:
                raise StorageError(f"expected number {seq} of a chain in the log, found none")
            last = min(run.seq, head.seq)
            first_index = run.first_index + seq - run.first_seq
            found += self._reader.leaf_hashes(first_index, first_index + last - seq + 1)
            seq = last + 1
        return found

    def _anchored(self, data: bytes, index: int) -> tuple[ReceiptAnchor, ...]:
        """The newest anchor that holds the entry, with the entry's own proof into it."""
        anchor = self._anchors.newest(index)
        if anchor is None or not anchor.evidence:
            # Anchored on a chain whose proof was not collected: a claim nobody could check stays out.
            return ()
        checkpoint = open_own(anchor.checkpoint, self._live.signer.verifier)
        proof = self._prove(data, index, checkpoint)
        return (ReceiptAnchor(anchor.type, anchor.checkpoint, proof, anchor.evidence),)

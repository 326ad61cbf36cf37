"""The log of the evidence vectors with everything a monitor may raise: heartbeats, ends, anchors, heads, and
files about them.

Deterministic, as `evidence_world`. Must never be used for anything but examples and tests.
"""

from __future__ import annotations

from typing import Any

from auditlog.core.anchor import sign_devnet_anchor
from auditlog.core.entry import format_time, parse_entry
from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from auditlog.core.statements import Observed, observed_text
from tests.support import format_world as fixed
from tests.support.evidence_world import START_US, EvidenceWorld
from tests.support.rotated_world import coverage, heartbeat

Value = dict[str, Any]
MONITOR = "monitor.example"


class ClaimWorld(EvidenceWorld):
    """Genesis, one producer, one life of four decisions; then whatever is asked for."""

    def beat(self, recorded: int, **changes: Any) -> int:
        """A heartbeat of the running life."""
        return self.life.add(self, "heartbeat", {**heartbeat(recorded), **changes})

    def cover(self, **changes: Any) -> int:
        """A coverage entry of the running life."""
        return self.life.add(self, "coverage", coverage(**changes))

    def model(self, content: bytes, **changes: Any) -> int:
        """A model entry of the running life."""
        return self.life.add(self, "model", {**self._model("smol", content), **changes})

    def end(self, *, by_log: bool, **changes: Any) -> int:
        """The retirement of the producer."""
        newest = max(place for place, data in enumerate(self.entries) if self._is_mine(data))
        entry = parse_entry(self.entries[newest])
        last = {"instance": entry.instance, "seq": entry.seq, "leaf_hash": self.leaf(newest).hex()}
        chain = self.log if by_log else self.life
        named = {"producer": self.producer} if by_log else {}
        return chain.add(self, "retirement", {"last": last, **named, **changes})

    def _is_mine(self, data: bytes) -> bool:
        return parse_entry(data).producer == self.producer

    def anchor_entry(self, size: int, /, **changes: Any) -> int:
        """The log's entry about an anchor of its first entries."""
        anchor = self.anchor(size)
        body = {
            "type": "devnet@v0",
            "chain_id": anchor.chain_id,
            "contract": "0x" + anchor.contract.hex(),
            "log_id": anchor.log_id.hex(),
            "size": size,
            "root": anchor.root.hex(),
            "tx": "0x" + anchor.tx.hex(),
            "block_number": anchor.block_number,
            "block_hash": "0x" + anchor.block_hash.hex(),
            "block_time": anchor.block_time,
        }
        return self.log.add(self, "anchor", {**body, **changes})

    def anchor_note(self, size: int, key: Ed25519Signer | None = None, **changes: Any) -> str:
        """What the devnet says of the first entries."""
        return sign_devnet_anchor(self.anchor(size, **changes), key or self.devnet_key)

    def signed_head(self, indices: list[int], key: Ed25519Signer | None = None, **changes: Any) -> str:
        """A head over the entries at these places."""
        last, leaves = parse_entry(self.entries[indices[-1]]), [self.leaf(index) for index in indices]
        head = {
            "origin": last.origin,
            "producer": last.producer,
            "instance": last.instance,
            "first_seq": parse_entry(self.entries[indices[0]]).seq,
            "seq": last.seq,
            "leaf_hash": leaves[-1],
            "root": root_hash(leaves),
        }
        return sign_head(Head(**{**head, **changes}), key or self.key)

    def raw(self, data: bytes) -> int:
        """Bytes in the log that nobody sealed."""
        self.entries.append(data)
        return len(self.entries) - 1

    def claim(self, alarm: str, *indices: int, **own: Any) -> Value:
        """ENTRIES of everything; a member that is a number stands for the entry there."""
        value = {
            "v": "auditlog/evidence@v1",
            "verdict": "ENTRIES",
            "alarm": alarm,
            "checkpoint": self.signed(),
            "genesis": self.placed(0),
            "entries": [self.placed(index) for index in indices],
        }
        return {**value, **self._given(own)}

    def headed(self, note: str, *indices: int, rotations: tuple[int, ...] = ()) -> Value:
        """ENTRIES of a head."""
        own = {"head": note, "producer": self.at["producer"]}
        shown = [self.placed(index) for index in rotations]
        return self.claim("broken_head", *indices, **own, rotations=shown)

    def noticed(self, alarm: str, *indices: int, **own: Any) -> Value:
        """NOTICE of everything."""
        value = {
            "v": "auditlog/evidence@v1",
            "verdict": "NOTICE",
            "alarm": alarm,
            "checkpoint": self.signed(),
            "entries": [self.placed(index) for index in indices],
        }
        return {**value, **own}

    def anchored(self, size: int, **own: Any) -> Value:
        """ANCHOR of everything."""
        root = encode_base64(root_hash(self.hashes()[:size]))
        value = {
            "v": "auditlog/evidence@v1",
            "verdict": "ANCHOR",
            "checkpoint": self.signed(),
            "anchored": {"root": root, "proof": self.consistency(size)},
        }
        return {**value, **self._given(own)}

    def _given(self, own: Value) -> Value:
        return {name: self.placed(item) if isinstance(item, int) else item for name, item in own.items()}

    def observed(
        self, alarm: str = "silent", shown: tuple[str, ...] = (), key: str = MONITOR, **changes: Any
    ) -> Value:
        """OBSERVED of everything."""
        signer, leaves = fixed.signer(key), self.hashes()
        said: Value = {
            "origin": fixed.ORIGIN,
            "alarm": alarm,
            "time": format_time(START_US + 900_000_000),
            "size": len(leaves),
            "root": root_hash(leaves),
            "shown": root_hash([hash_leaf(note.encode()) for note in shown]),
            "detail": "gpu-0 said a heartbeat every 60 s and was not heard for 600 s",
        }
        return {
            "v": "auditlog/evidence@v1",
            "verdict": "OBSERVED",
            "checkpoint": self.signed(),
            "monitor": signer.vkey,
            "note": sign_one(observed_text(Observed(**{**said, **changes})), signer),
            "shown": list(shown),
        }

    def trust(self, **more: Any) -> bytes:
        """A trust file with this log, both witnesses and the devnet."""
        return super().trust(**{"devnet": self.devnet_key.vkey, **more})


def other_start(world: ClaimWorld, key: Ed25519Signer) -> int:
    """A life whose start another key signed."""
    own, world.key = world.key, key
    try:
        world.life = world.begin(world.life.prev)
    finally:
        world.key = own
    return len(world.entries) - 1


def alone(value: Value, *numbers: int) -> Value:
    """The same file with only some of its entries."""
    return {**value, "entries": [value["entries"][number] for number in numbers]}


Case = tuple[str, ClaimWorld, Value]
"""The name of a vector, and what it is made of."""

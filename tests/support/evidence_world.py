"""The log of the evidence vectors: the keys, witnesses and chains of the format vectors, with an operator who
cheats on demand.

Deterministic: keys come from names and times from places. What is written here is in vectors that never
change, so a new case is a new method or a new world. Must never be used for anything but examples.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditlog.core import canonical
from auditlog.core.checkpoint import Checkpoint, format_checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.entry import ZERO_HASH_HEX, format_time, parse_entry
from auditlog.core.merkle import hash_leaf, prove_consistency, prove_inclusion, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.core.promise import Promise, sign_promise
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from auditlog.core.statements import producer_key_name, producer_text, rotation_text
from tests.support import format_world as fixed
from tests.support.format_world import ORIGIN, START_US, Chain, decision_id

START_S = START_US // 1_000_000
MERGE_S = 60
LATER_S = START_S + 600
"""Long after the merge-by of every promise in these worlds."""


TIMES = {"from": format_time(START_US), "to": format_time(START_US + 9_000_000)}


def gap_body(instance: str, after_seq: int) -> dict[str, Any]:
    """The body of a gap."""
    return {"instance": instance, "after_seq": after_seq, "count": "unknown", **TIMES}


def cosigned(who: CosignatureSigner, text: str, when: int) -> str:
    """The line of a witness; with 0 for a time it names none, which our own witnesses never do."""
    if when:
        return who.sign(text, when)
    key = Ed25519PrivateKey.from_private_bytes(fixed.seed(who.name))
    signature = key.sign(b"cosignature/v1\ntime 0\n" + text.encode())
    key_id = bytes.fromhex(who.vkey.split("+")[1])
    return f"\u2014 {who.name} {encode_base64(key_id + bytes(8) + signature)}\n"


class EvidenceWorld(fixed.World):
    """Genesis, one producer, one life of four decisions; what comes then is the operator's doing."""

    log: Chain
    life: Chain
    key: Ed25519Signer
    producer: str

    def _write(self) -> None:
        self.log = Chain("log", "log", ZERO_HASH_HEX)
        genesis = {
            "vkeys": [self.log_key.vkey],
            "visibility": "hashes",
            "max_merge_delay_s": MERGE_S,
            "contact": "audit@log.example",
        }
        self.log.add(self, "genesis", genesis)
        self.key, self.keys = self.producer_key, 1
        self.at["producer"] = self.log.add(self, "producer", self.enrolled())
        self.producer, self.lives = self.log.prev, 0
        self.life = self.begin(self.producer)
        for number in range(1, 5):
            self.decide(number)

    def enrolled(self) -> dict[str, Any]:
        """The body of the enrolment; a dishonest world differs."""
        note = sign_one(producer_text(ORIGIN, fixed.PRODUCER), self.key)
        return {"name": fixed.PRODUCER, "vkey": self.key.vkey, "note": note}

    def start_key(self) -> Ed25519Signer:
        """The key in force signs starts."""
        return self.key

    def begin(self, prev: str) -> Chain:
        """Start the producer's next life, on any entry."""
        self.lives += 1
        chain = Chain(self.producer, fixed.seed(f"evidence instance {self.lives}")[:16].hex(), prev)
        self._start(chain)
        return chain

    def body(self, number: int, **changes: Any) -> dict[str, Any]:
        """The body of the n-th decision."""
        return {**self._loan("unregistered"), "id": decision_id(number), **changes}

    def decide(self, number: int, **changes: Any) -> int:
        """A decision in the log."""
        return self.life.add(self, "decision", self.body(number, **changes))

    def withheld(self, number: int) -> bytes:
        """A decision that was sealed, and never reached the log: its number and hash are used up."""
        self.decide(number)
        return self.entries.pop()

    def left_out(self, number: int) -> bytes:
        """A decision that was sealed, and after which everything goes on as though it had not been."""
        before = copy.copy(self.life)
        data = self.withheld(number)
        self.life = before
        return data

    def odd(self, kind: str, body: dict[str, Any], **envelope: Any) -> int:
        """An entry of the running life whose envelope says otherwise than it should."""
        index = self.life.add(self, kind, body)
        self.entries[index] = canonical.encode({**json.loads(self.entries[index]), **envelope})
        self.life.prev = self.leaf(index).hex()
        return index

    def another_producer(self) -> Chain:
        """A second producer, whose life has the instance of the running one."""
        name = "gpu-1"
        self.other_key = fixed.signer(producer_key_name(ORIGIN, name))
        note = sign_one(producer_text(ORIGIN, name), self.other_key)
        enrolled = {"name": name, "vkey": self.other_key.vkey, "note": note}
        self.at["other_producer"] = self.log.add(self, "producer", enrolled)
        return Chain(self.log.prev, self.life.instance, self.log.prev)

    def gap(self, instance: str, after_seq: int) -> int:
        """A gap declared by the life that is running."""
        return self.life.add(self, "gap", gap_body(instance, after_seq))

    def lost(self, **changes: Any) -> int:
        """The log declares the numbers above the running life's last one lost."""
        return self.log.add(self, "notice", {"what": "declared_lost", "detail": {**self.loss(), **changes}})

    def loss(self) -> dict[str, Any]:
        """The detail of a notice that does."""
        of = {"producer": self.producer, "instance": self.life.instance, "after_seq": self.life.seq - 1}
        return {**of, **TIMES}

    def rotate(self, to: Ed25519Signer | None = None) -> int:
        """Change the producer's key: to the next of its keys, or to one given."""
        following = to or self.nth_key(self.keys)
        text = rotation_text(ORIGIN, self.producer, following.vkey)
        notes = [sign_one(text, self.key), sign_one(text, following)]
        index = self.life.add(self, "rotation", {"vkey": following.vkey, "notes": notes})
        self.key, self.keys = following, self.keys + 1
        return index

    def nth_key(self, number: int) -> Ed25519Signer:
        """A key of the producer's name."""
        return Ed25519Signer.from_seed(self.producer_key.name, fixed.seed(f"evidence key {number}"))

    def fill(self, count: int) -> None:
        """Entries of the log until it has so many."""
        while len(self.entries) < count:
            self.log.add(self, "notice", {"what": "restored"})

    def promise(self, data: bytes, key: Ed25519Signer | None = None, **changes: Any) -> str:
        """The promise of an entry, or one that says something else."""
        return sign_promise(replace(self.promised(data), **changes), key or self.key)

    def promised(self, data: bytes) -> Promise:
        """What the promise of an entry says."""
        entry = parse_entry(data)
        bodies = {name: entry.body.get(name, {}) for name in ("request", "response")}
        return Promise(
            origin=entry.origin,
            producer=entry.producer,
            instance=entry.instance,
            seq=entry.seq,
            leaf_hash=hash_leaf(data),
            model=entry.body.get("model", "unregistered"),
            **{name: bytes.fromhex(item.get("commitment", "ab" * 32)) for name, item in bodies.items()},
            time=entry.time,
            merge_by=format_time(START_US + MERGE_S * 1_000_000 + 500_000),
        )

    def hashes(self) -> list[bytes]:
        """Leaf hashes of everything in the log now."""
        return [hash_leaf(entry) for entry in self.entries]

    def signed(self, size: int | None = None, *times: int | None, key: Ed25519Signer | None = None) -> str:
        """A checkpoint of the first entries; `times` in seconds, one a witness, None for no line of it.

        Without times both witnesses cosign long after merge-by.
        """
        leaves = self.hashes()[:size]
        checkpoint = Checkpoint(ORIGIN, len(leaves), root_hash(leaves))
        text = format_checkpoint(checkpoint)
        given = times or (LATER_S, LATER_S)
        lines = [
            cosigned(who, text, when)
            for who, when in zip(self.witnesses, given, strict=True)
            if when is not None
        ]
        return sign_checkpoint(checkpoint, key or self.log_key) + "".join(lines)

    def placed(self, index: int) -> dict[str, Any]:
        """P of the page: an entry and its proof into the tree of everything."""
        proof = [encode_base64(item) for item in prove_inclusion(self.hashes(), index)]
        return {"entry": encode_base64(self.entries[index]), "index": index, "proof": proof}

    def consistency(self, size: int) -> list[str]:
        """The proof from a size to everything."""
        return [encode_base64(item) for item in prove_consistency(self.hashes(), size)]

    def tiles(self) -> list[str]:
        """Leaf hashes of everything, tile by tile."""
        leaves = self.hashes()
        return [encode_base64(b"".join(leaves[at : at + 256])) for at in range(0, len(leaves), 256)]

    def evidence(
        self, verdict: str, promise: str, rotations: tuple[int, ...] = (), **own: Any
    ) -> dict[str, Any]:
        """An evidence file as a value: a member that is a number stands for the entry there."""
        return {
            "v": "auditlog/evidence@v1",
            "verdict": verdict,
            "checkpoint": self.signed(),
            "promise": promise,
            "producer": self.placed(self.at["producer"]),
            "rotations": [self.placed(index) for index in rotations],
            **{name: self.placed(item) if isinstance(item, int) else item for name, item in own.items()},
        }

    def trust(
        self,
        *,
        quorum: str = "both",
        log_keys: tuple[str, ...] = (),
        groups: tuple[str, ...] = ("group both all w1 w2",),
        **more: Any,
    ) -> bytes:
        """A trust file with this log and both witnesses."""
        lines = [f"log {vkey}" for vkey in log_keys or (self.log_key.vkey,)]
        lines += [f"witness w{number} {who.vkey}" for number, who in enumerate(self.witnesses, start=1)]
        lines += [*groups, f"quorum {quorum}"]
        value = {
            "v": "auditlog/trust@v1",
            "issuer": {"name": "the evidence vectors", "role": "regulator"},
            "policy": "".join(f"{line}\n" for line in lines),
            **more,
        }
        return json.dumps(value, indent=1).encode() + b"\n"

"""A small log of this project as a list of entries: genesis, producers, instances, decisions. No engine.

Bodies are as thin as the envelope allows; the chains are honest until a test says otherwise.
"""

from __future__ import annotations

from typing import Any

from auditlog.core.entry import ZERO_HASH_HEX, Entry, encode_entry
from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Signer, sign_note
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from tests.support.tlog_writer import ORIGIN, log_signer

TIME = "2025-01-01T00:00:00.000000Z"


class ChainLog:
    """Appends entries with the right numbers and links."""

    def __init__(self, origin: str = ORIGIN, genesis: dict[str, Any] | None = None) -> None:
        self.origin = origin
        self.entries: list[bytes] = []
        self._log_seq = -1
        self._log_prev = ZERO_HASH_HEX
        self.log("genesis", {"vkeys": [log_signer(origin).vkey]} if genesis is None else genesis)

    def add(self, entry: Entry) -> str:
        """Append an entry as it is; returns its leaf hash in hex."""
        data = encode_entry(entry)
        self.entries.append(data)
        return hash_leaf(data).hex()

    def log(self, kind: str, body: dict[str, Any], /, **changed: Any) -> str:
        """Append an entry of the log's own."""
        members = {
            "producer": "log",
            "instance": "log",
            "seq": self._log_seq + 1,
            "prev": self._log_prev,
        } | changed
        entry = Entry(kind=kind, origin=self.origin, time=TIME, body=body, **members)
        self._log_seq, self._log_prev = entry.seq, self.add(entry)
        return self._log_prev

    def enrol(self, name: str, /, **changed: Any) -> ChainProducer:
        """Enrol a producer; `changed` members replace those of the enrolment's body."""
        signer = Ed25519Signer.from_seed(producer_key_name(self.origin, name), name.encode().ljust(32, b"\0"))
        note = sign_note(producer_text(self.origin, name), [signer])
        body = {"name": name, "vkey": signer.vkey, "note": note} | changed
        return ChainProducer(self, signer, self.log("producer", body))


class ChainProducer:
    """One producer's chain in a `ChainLog`."""

    def __init__(self, log: ChainLog, signer: Ed25519Signer, identity: str) -> None:
        self.log = log
        self.signer = signer
        self.identity = identity
        self.instance = ""
        self.seq = -1
        self.prev = identity
        self.hashes: list[bytes] = []

    def begin(self, instance: str, **changed: Any) -> str:
        """Start an instance: 32 hex digits."""
        self.instance, self.seq, self.hashes = instance, -1, []
        text = instance_text(self.log.origin, self.identity, instance, self.prev)
        body = {"note": sign_note(text, [self.signer]), "software": "test"}
        return self.write("instance", body, **changed)

    def write(self, kind: str, body: dict[str, Any], /, **changed: Any) -> str:
        """Append the next entry; `changed` members replace those of the envelope."""
        members: dict[str, Any] = {
            "producer": self.identity,
            "instance": self.instance,
            "seq": self.seq + 1,
            "prev": self.prev,
            "origin": self.log.origin,
        }
        entry = Entry(kind=kind, time=TIME, body=body, **(members | changed))
        self.prev, self.seq = self.log.add(entry), entry.seq
        self.hashes.append(bytes.fromhex(self.prev))
        return self.prev

    def head(self, first_seq: int = 0, **changed: Any) -> str:
        """A signed head over the current instance's entries from `first_seq` on."""
        members: dict[str, Any] = {
            "origin": self.log.origin,
            "producer": self.identity,
            "instance": self.instance,
            "first_seq": first_seq,
            "seq": self.seq,
            "leaf_hash": self.hashes[-1],
            "root": root_hash(self.hashes[first_seq:]),
        }
        return sign_head(Head(**(members | changed)), self.signer)


def sample_log(decisions: int = 300) -> tuple[ChainLog, ChainProducer]:
    """An honest log with two producers, two instances of the first, and so many entries of theirs."""
    log = ChainLog()
    first, second = log.enrol("loan-0"), log.enrol("loan-1")
    first.begin("a" * 32)
    second.begin("b" * 32)
    for number in range(decisions):
        (first if number % 3 else second).write("heartbeat", {"number": number})
        if number == decisions // 2:
            first.begin("c" * 32)
    log.log("notice", {"what": "stopped"})
    return log, first

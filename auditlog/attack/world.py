"""The honest world before an attack: the copy, gone on with a little, and everybody outside who has seen it.

Spec: auditlog/attack/README.md, "The world". A witness (`auditlog.witness`) has cosigned the newest
checkpoint, a monitor (`auditlog.verify.monitor`) has followed it, a caller holds a receipt and another a
promise, a trust file names log, witness and devnet. Every attack gets copies of the witness's and the
monitor's memory. Must never: let one attack see what another did.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from auditlog.attack.forging import CHECKPOINT
from auditlog.attack.memory import Served
from auditlog.attack.pen import Answered, Pen
from auditlog.attack.receipts import issue
from auditlog.attack.twin import Armed, suite_key
from auditlog.core.anchor import DevnetAnchor, format_devnet_text
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import prove_consistency, root_hash
from auditlog.core.signed import sign_one
from auditlog.core.trust import Trust, parse_trust
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint
from auditlog.verify.monitor.anchors import AnchorSource
from auditlog.verify.monitor.beside import Beside
from auditlog.verify.monitor.following import Follower
from auditlog.verify.monitor.outbox import Outbox
from auditlog.verify.monitor.promised import Promised
from auditlog.verify.monitor.prove import Prover
from auditlog.verify.monitor.running import Monitor, Watch
from auditlog.verify.monitor.store import Store
from auditlog.verify.steps import LogTrust
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.followed import follow
from auditlog.witness.states import States

WITNESS: Final = "attack-suite.example/witness"
WITNESS_FOLDER, MONITOR_FOLDER = "witness", "monitor"


@dataclass(frozen=True, slots=True)
class World:
    """What everybody outside has, before anything is attacked."""

    folder: Path
    pen: Pen
    """The honest log as everybody has seen it."""
    note: str
    """Its checkpoint, cosigned."""
    files: dict[str, bytes]
    held: Answered
    """What the caller holds whose receipt this is."""
    receipt: bytes
    trust: Trust
    trust_text: bytes
    witness: CosignatureSigner
    devnet: Ed25519Signer
    monitor_key: Ed25519Signer
    before: tuple[str, ...]
    """Alarm words that the monitor raised over the copy as it is."""
    is_twin: bool
    """Whether its keys are the suite's."""

    @property
    def log(self) -> LogTrust:
        """The log as the trust file has it."""
        return log_of(self.trust, self.pen.origin)

    def devnet_note(self, size: int, root: bytes | None = None, *, origin: str | None = None) -> str:
        """What a development chain says is anchored for this log, true unless told otherwise."""
        anchor = DevnetAnchor(
            origin=origin or self.pen.origin,
            chain_id=31337,
            contract=b"\xab" * 20,
            size=size,
            root=root or root_hash(self.pen.leaves(size)),
            tx=b"\xcd" * 32,
            block_number=7,
            block_hash=b"\xef" * 32,
            block_time=self.pen.time,
        )
        return sign_one(format_devnet_text(anchor), self.devnet)


def log_of(trust: Trust, origin: str) -> LogTrust:
    """A log of a trust file."""
    keys = tuple(log.verifier for log in trust.policy.logs if log.verifier.name == origin)
    return LogTrust(origin, keys, trust)


def make_world(armed: Armed, folder: Path) -> World:
    """Go on with the log a little, honestly, and let everybody outside see it. Writes below `folder`."""
    pen = Pen(armed)
    pen.start()
    pen.cover()
    for _ in range(3):
        pen.decide()
    pen.beat(2)
    held = pen.decide()
    pen.beat()
    pen.now_s += 1
    witness = _witness_key(pen.origin)
    devnet = suite_key("attack-suite.example/devnet")
    trust_text = _trust_text(pen.signer.vkey, witness, devnet)
    trust = parse_trust(trust_text)
    monitor_key = suite_key("monitor/attack-suite")
    files = pen.files()
    cosigner, states = open_witness(folder / WITNESS_FOLDER, witness, pen.signer.vkey, int(pen.now_s))
    plain = files[CHECKPOINT].decode()
    note = plain + cosigner.add_checkpoint(format_add_checkpoint(AddCheckpoint(0, (), plain)))
    states.close()
    files[CHECKPOINT] = note.encode()
    watched = Watched(log_of(trust, pen.origin), Served(files), monitor_key, [pen.now_s])
    monitor = open_monitor(folder / MONITOR_FOLDER, watched)
    monitor.once()
    before = tuple(word for _, word in monitor.new_alarms())
    unread = monitor.statuses[pen.origin].unread
    monitor.close()
    return World(
        folder=folder,
        pen=pen,
        note=note,
        files=files,
        held=held,
        receipt=issue(pen.entries, held, note),
        trust=trust,
        trust_text=trust_text,
        witness=witness,
        devnet=devnet,
        monitor_key=monitor_key,
        before=(*before, *(f"not read: {why}" for why in unread)),
        is_twin=armed.is_twin,
    )


def _witness_key(origin: str) -> CosignatureSigner:
    # Its key name must not be the log's.
    name = WITNESS if origin != WITNESS else f"{WITNESS}-of-another"
    return CosignatureSigner.from_seed(name, sha256(f"auditlog attack suite {name}".encode()).digest())


def _trust_text(vkey: str, witness: CosignatureSigner, devnet: Ed25519Signer) -> bytes:
    policy = f"log {vkey}\nwitness w {witness.vkey}\ngroup g 1 w\nquorum g\n"
    value = {
        "v": "auditlog/trust@v1",
        "policy": policy,
        "issuer": {"name": "the reader of this table", "role": "self"},
        "require": ["quorum"],
        "devnet": devnet.vkey,
    }
    return json.dumps(value).encode()


def open_witness(folder: Path, signer: CosignatureSigner, vkey: str, now_s: int) -> tuple[Cosigner, States]:
    """The witness with its memory in `folder`; whoever opens it closes its states."""
    folder.mkdir(parents=True, exist_ok=True)
    states = States(folder, signer.verifier, unix_s=lambda: now_s)
    return Cosigner([follow([vkey])], signer, states, lambda: now_s), states


@dataclass(frozen=True, slots=True)
class Watched:
    """What a monitor follows, and by which clock: a list of one, to be moved."""

    log: LogTrust
    source: Served
    key: Ed25519Signer
    clock_s: list[float]


def open_monitor(
    folder: Path,
    watched: Watched,
    *,
    beside: Beside | None = None,
    promised: Promised | None = None,
    anchors: Sequence[AnchorSource] = (),
) -> Monitor:
    """The monitor with its memory in `folder`; whoever opens it closes it."""

    def clock_us() -> int:
        return int(watched.clock_s[0] * 1_000_000)

    store = Store(folder)
    prover = Prover(watched.log.trust, watched.key, clock_us)
    follower = Follower(watched.log, watched.source, store, prover, clock_us=clock_us)
    watch = Watch(follower, beside=beside, promised=promised, anchors=list(anchors))
    return Monitor(store, [watch], Outbox(store, {}))


def consistency(leaves: list[bytes], known: int) -> tuple[bytes, ...]:
    """The proof that a log with these leaves would give for a smaller tree."""
    return tuple(prove_consistency(leaves, known)) if 0 < known < len(leaves) else ()

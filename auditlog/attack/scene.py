"""One attack being played: what its writer shows, to whom, in what order; and what the witness says to it.

Spec: auditlog/attack/README.md, "The world". An attack asks the witness for its cosignature as any log does,
and shows its checkpoint without one where it is refused. Nothing is judged here; `pieces` does that.
Must never: sign for the witness, unless the attack is that the witness is in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from auditlog.attack.forging import CHECKPOINT, log_files
from auditlog.attack.pen import Pen
from auditlog.attack.world import WITNESS_FOLDER, World, consistency, open_witness
from auditlog.core.checkpoint import format_checkpoint, parse_checkpoint
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import split_note
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint
from auditlog.witness.errors import WitnessRefusal
from auditlog.witness.states import Conflict


@dataclass(frozen=True, slots=True)
class State:
    """What the log serves from some time on."""

    files: dict[str, bytes]
    now_s: float

    @property
    def note(self) -> str:
        """Its checkpoint."""
        return self.files[CHECKPOINT].decode()


@dataclass
class Scene:
    """All that outsiders are shown. What an attack does not set stays as it is in an honest world."""

    world: World
    folder: Path
    states: list[State] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """What the witness said to each checkpoint it did not cosign."""
    asked: int = 0
    """How often it was asked."""
    conflicts: list[Conflict] = field(default_factory=list)
    stores: list[bytes] | None = None
    """The entries in the operator's stores when its service starts again."""
    receipt: bytes | None = None
    """What is handed to the verifier as a receipt; None for the honest one from before."""
    disclosures: bytes | None = None
    promise: str | None = None
    kept: list[str] = field(default_factory=list)
    """Checkpoints that customers kept."""
    peer: str | None = None
    """The checkpoint that another monitor was shown."""
    anchors: list[str] = field(default_factory=list)
    """Notes of the development chain that the monitor reads."""

    def pen(self) -> Pen:
        """The honest log as everybody has seen it, to be gone on with."""
        return self.world.pen.fork()

    def publish(
        self,
        entries: Sequence[bytes] | Pen,
        *,
        signer: Ed25519Signer | None = None,
        now_s: float | None = None,
        change: Callable[[dict[str, bytes]], None] | None = None,
        colluding: bool = False,
    ) -> State:
        """Sign these entries, ask for the cosignature, and serve what came of it, changed by `change`."""
        state = self.prepare(entries, signer=signer, now_s=now_s, colluding=colluding)
        if change is not None:
            change(state.files)
        self.states.append(state)
        return state

    def prepare(
        self,
        entries: Sequence[bytes] | Pen,
        *,
        signer: Ed25519Signer | None = None,
        now_s: float | None = None,
        colluding: bool = False,
    ) -> State:
        """The same, served to nobody yet."""
        pen = self.world.pen
        now_s = now_s or max(pen.now_s, entries.now_s if isinstance(entries, Pen) else 0) + 1
        listed = list(entries.entries if isinstance(entries, Pen) else entries)
        files = log_files(listed, pen.origin, signer or pen.signer)
        note = files[CHECKPOINT].decode()
        if colluding:
            text = format_checkpoint(parse_checkpoint(split_note(note)[0]))
            note += self.world.witness.sign(text, int(now_s))
        else:
            note += self._ask(note, [hash_leaf(entry) for entry in listed], now_s)
        files[CHECKPOINT] = note.encode()
        return State(files, now_s)

    def serve(self, files: dict[str, bytes], now_s: float) -> None:
        """Serve files as they are; nobody is asked."""
        self.states.append(State(files, now_s))

    def _ask(self, note: str, leaves: list[bytes], now_s: float) -> str:
        """The cosignature line; empty where the witness refuses."""
        folder = self.folder / WITNESS_FOLDER
        if not folder.exists():
            shutil.copytree(self.world.folder / WITNESS_FOLDER, folder)
        world = self.world
        cosigner, states = open_witness(folder, world.witness, world.pen.signer.vkey, int(now_s))
        self.asked += 1
        try:
            cosigned = cosigner.newest(world.pen.origin)
            known = 0 if cosigned is None else cosigned.checkpoint.tree_size
            # Of a smaller tree, or another one, no true proof is to be had: it sends what it can make.
            request = AddCheckpoint(min(known, len(leaves)), consistency(leaves, known), note)
            return cosigner.add_checkpoint(format_add_checkpoint(request))
        except WitnessRefusal as refusal:
            self.refusals.append(f"{refusal.status}: {refusal}")
            return ""
        finally:
            self.conflicts = states.conflicts()
            states.close()

"""The witnesses of the demo, and how a log of its cheats gets their cosignatures: by asking, like any log.

Each is `auditlog witness serve`, a process with its own key and memory. It cosigns whatever extends what it
cosigned before, and nothing else; so copies of both, from a moment before a cheat, stand for the witnesses of
a world in which that cheat is what came next. Must never: sign for a witness.
"""

from __future__ import annotations

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from auditlog.core.merkle import prove_consistency
from auditlog.core.witnessing import ADD_CHECKPOINT, AddCheckpoint, format_add_checkpoint
from auditlog.demo.processes import Servers, free_port, run_auditlog
from auditlog.errors import AuditLogError
from auditlog.witness.config import CONFIG
from auditlog.witness.database import STORE

WITNESSES = ("demo.example/witness-a-on-the-same-machine", "demo.example/witness-b-on-the-same-machine")
"""Their names are in every verdict that counts on them, and say why such witnesses would bind nobody."""
STATES = "states"
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class DemoWitness:
    """A witness in a folder that `auditlog witness init` made, and the port it serves on."""

    folder: Path
    port: int
    name: str

    @property
    def url(self) -> str:
        """Where a log submits its checkpoints."""
        return f"http://127.0.0.1:{self.port}"

    def make(self) -> str:
        """Make key and folder; the vkey. Raises AuditLogError with what the command said."""
        # The mark beside the store: this witness guards nobody, and its copies need one of their own.
        made = ["witness", "init", str(self.folder), "--name", self.name, "--high-water", "high-water"]
        done = run_auditlog(made, folder=self.folder.parent)
        if done.exit_code:
            raise AuditLogError(f"expected `auditlog witness init` to make a witness, found: {done.output}")
        return (self.folder / "witness.vkey").read_text(encoding="utf-8").strip()

    def follow(self, vkey: str) -> None:
        """Cosign the log with this key, from the next start on."""
        with (self.folder / CONFIG).open("a", encoding="utf-8") as config:
            config.write(f'\n[[logs]]\nvkey = "{vkey.strip()}"\n')

    def start(self, servers: Servers) -> None:
        """Start it; returns before it answers."""
        arguments = ["witness", "serve", str(self.folder), "--port", str(self.port)]
        servers.start(self._process, ["-m", "auditlog.cli.main", *arguments], {})

    def wait(self, servers: Servers) -> None:
        """Wait until it answers; raises AuditLogError."""
        servers.wait(self._process, f"{self.url}/health")

    @property
    def _process(self) -> str:
        """Its name among the servers: copies of one witness are told apart by the folder around them."""
        return f"{self.folder.parent.name}-{self.folder.name}"

    def copy(self, folder: Path) -> DemoWitness:
        """The witness as it is now: its mark first, so that the store copied after it is never behind."""
        (folder / STATES).mkdir(parents=True)
        for name in ("witness.key", "witness.vkey", CONFIG, "high-water"):
            shutil.copy2(self.folder / name, folder / name)
        with (
            closing(sqlite3.connect(self.folder / STATES / STORE, timeout=5.0)) as running,
            closing(sqlite3.connect(folder / STATES / STORE)) as copy,
        ):
            running.backup(copy)
        return DemoWitness(folder, free_port(), self.name)

    def known_size(self) -> int:
        """The size of the largest tree it has cosigned; 0 before the first."""
        with closing(sqlite3.connect(self.folder / STATES / STORE, timeout=5.0)) as store:
            (size,) = store.execute("SELECT coalesce(max(size), 0) FROM log").fetchone()
        return int(size)

    def cosign(self, note: str, leaf_hashes: list[bytes]) -> str:
        """The witness's line for the checkpoint note of the tree over `leaf_hashes`.

        Raises:
            AuditLogError: it refused; the message has the HTTP status.
        """
        known = self.known_size()
        proof = prove_consistency(leaf_hashes, known) if 0 < known < len(leaf_hashes) else []
        body = format_add_checkpoint(AddCheckpoint(min(known, len(leaf_hashes)), tuple(proof), note))
        answer = httpx.post(f"{self.url}/{ADD_CHECKPOINT}", content=body, timeout=_TIMEOUT_S)
        if answer.status_code != 200:
            raise AuditLogError(f"expected a cosignature, found status {answer.status_code}")
        return answer.text


@dataclass(frozen=True)
class DemoWitnesses:
    """Both witnesses of a log. They know nothing of each other."""

    each: tuple[DemoWitness, ...]

    @classmethod
    def at(cls, folder: Path) -> DemoWitnesses:
        """Choose folders in `folder`, and ports; nothing is written."""
        letters = "abcdefgh"
        return cls(
            tuple(
                DemoWitness(folder / f"witness-{letter}", free_port(), name)
                for letter, name in zip(letters, WITNESSES, strict=False)
            )
        )

    def make(self) -> list[str]:
        """Make them, at once; what `auditlog init --witness` wants of each. Raises AuditLogError."""
        with ThreadPoolExecutor(len(self.each)) as threads:
            vkeys = list(threads.map(DemoWitness.make, self.each))
        return [f"{vkey}={witness.url}" for vkey, witness in zip(vkeys, self.each, strict=True)]

    def follow(self, vkey: str) -> None:
        """Cosign the log with this key, from the next start on."""
        for witness in self.each:
            witness.follow(vkey)

    def start(self, servers: Servers) -> None:
        """Start them; returns before they answer."""
        for witness in self.each:
            witness.start(servers)

    def wait(self, servers: Servers) -> None:
        """Wait until all answer; raises AuditLogError."""
        for witness in self.each:
            witness.wait(servers)

    def copy(self, folder: Path) -> DemoWitnesses:
        """Each as it is now, in `folder`."""
        return DemoWitnesses(tuple(witness.copy(folder / witness.folder.name) for witness in self.each))

    def known_sizes(self) -> list[int]:
        """The size of the largest tree that each has cosigned; 0 before its first."""
        return [witness.known_size() for witness in self.each]

    def cosign(self, note: str, leaf_hashes: list[bytes]) -> str:
        """The checkpoint note of the tree over `leaf_hashes`, with a line of each.

        Raises:
            AuditLogError: one refused; the message has the HTTP status.
        """
        return note + "".join(witness.cosign(note, leaf_hashes) for witness in self.each)

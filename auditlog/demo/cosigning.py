"""The witness of the demo, and how a log of the demo's cheats gets its cosignature: by asking, like any log.

The witness is `auditlog witness serve`, a process with its own key and memory. It cosigns whatever extends
what it cosigned before, and nothing else; so a copy of it, from a moment before a cheat, stands for the
witness of a world in which that cheat is what came next. Must never: sign for the witness.
"""

from __future__ import annotations

import shutil
import sqlite3
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

WITNESS = "demo.example/witness-on-the-same-machine"
"""Its name is in every verdict that counts on it, and says why such a witness would bind nobody."""
STATES = "states"
_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class DemoWitness:
    """A witness in a folder that `auditlog witness init` made, and the port it serves on."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Where a log submits its checkpoints."""
        return f"http://127.0.0.1:{self.port}"

    def make(self) -> str:
        """Make key and folder; the vkey. Raises AuditLogError with what the command said."""
        # The mark beside the store: this witness guards nobody, and its copies need one of their own.
        made = ["witness", "init", str(self.folder), "--name", WITNESS, "--high-water", "high-water"]
        done = run_auditlog(made, folder=self.folder.parent)
        if done.exit_code:
            raise AuditLogError(f"expected `auditlog witness init` to make a witness, found: {done.output}")
        return (self.folder / "witness.vkey").read_text(encoding="utf-8").strip()

    def follow(self, vkey: str) -> None:
        """Cosign the log with this key, from the next start on."""
        with (self.folder / CONFIG).open("a", encoding="utf-8") as config:
            config.write(f'\n[[logs]]\nvkey = "{vkey.strip()}"\n')

    def start(self, servers: Servers, name: str = "witness") -> None:
        """Start it; returns before it answers."""
        arguments = ["witness", "serve", str(self.folder), "--port", str(self.port)]
        servers.start(name, ["-m", "auditlog.cli.main", *arguments], {})

    def wait(self, servers: Servers, name: str = "witness") -> None:
        """Wait until it answers; raises AuditLogError."""
        servers.wait(name, f"{self.url}/health")

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
        return DemoWitness(folder, free_port())

    def known_size(self) -> int:
        """The size of the largest tree it has cosigned; 0 before the first."""
        with closing(sqlite3.connect(self.folder / STATES / STORE, timeout=5.0)) as store:
            (size,) = store.execute("SELECT coalesce(max(size), 0) FROM log").fetchone()
        return int(size)

    def cosign(self, note: str, leaf_hashes: list[bytes]) -> str:
        """The checkpoint note of the tree over `leaf_hashes`, with the witness's line.

        Raises:
            AuditLogError: it refused; the message has the HTTP status.
        """
        known = self.known_size()
        proof = prove_consistency(leaf_hashes, known) if 0 < known < len(leaf_hashes) else []
        body = format_add_checkpoint(AddCheckpoint(min(known, len(leaf_hashes)), tuple(proof), note))
        answer = httpx.post(f"{self.url}/{ADD_CHECKPOINT}", content=body, timeout=_TIMEOUT_S)
        if answer.status_code != 200:
            raise AuditLogError(f"expected a cosignature, found status {answer.status_code}")
        return note + answer.text

"""The operator of the demo: a company with a log service and two model servers, as files on disk.

DIR/log/            the public log, all that an outsider may read
DIR/operator/       its own: configuration, keys, database, spools, models; the verifier never sees this
DIR/witness-a/, b/  the witnesses that cosign the log: processes of their own, but on the operator's machine
DIR/monitor/        what a monitor remembers of the log: another process, on that machine as well
DIR/receipts/, DIR/promises/   what its customers hold
DIR/trust.json      what a customer trusts, DIR/log.vkey the log's public key
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from auditlog.core.keys import Ed25519Signer
from auditlog.demo.cosigning import DemoWitnesses
from auditlog.demo.processes import Servers, free_port, run_auditlog
from auditlog.errors import AuditLogError

ORIGIN = "demo.example/decisions"
MERGE_BY_S = 5
"""What promises say here. A real service has a day, and a log that may take a minute."""
_WAIT_MS = 250
"""How long an answer waits for its promise: a laptop's disk is slower than the 20 ms that servers wait."""
_LOAN_HOST = "loan-host"


@dataclass(frozen=True)
class Operator:
    """The operator's files under one folder, and the ports it serves on."""

    folder: Path
    log_port: int
    loan_port: int
    assistant_port: int
    witnesses: DemoWitnesses
    """Other parties'; here they run on the operator's machine."""

    @classmethod
    def at(cls, folder: Path) -> Operator:
        """Choose ports; nothing is written."""
        return cls(folder, free_port(), free_port(), free_port(), DemoWitnesses.at(folder))

    @property
    def home(self) -> Path:
        """What only the operator sees."""
        return self.folder / "operator"

    @property
    def public_log(self) -> Path:
        """The folder anyone may read."""
        return self.folder / "log"

    @property
    def loan_model(self) -> Path:
        """The folder of the mortgage model's files."""
        return self.home / "models" / "loan"

    @property
    def log_url(self) -> str:
        """Prefix of the log on the service."""
        return f"http://127.0.0.1:{self.log_port}/logs/main"

    def published_size(self) -> int:
        """How many entries the published checkpoint covers."""
        return int((self.public_log / "checkpoint").read_text(encoding="utf-8").split("\n")[1])

    def signer(self) -> Ed25519Signer:
        """The log's signing key: an operator has it, so a cheating one does too."""
        text = (self.home / "keys" / "main.key").read_text(encoding="utf-8")
        return Ed25519Signer.from_private_key(text.strip())

    def producer_signer(self) -> Ed25519Signer:
        """The key of the mortgage API's host: the operator has that as well."""
        path = self.home / _LOAN_HOST / "slots" / f"{_LOAN_HOST}-0" / "producer.key"
        return Ed25519Signer.from_private_key(path.read_text(encoding="utf-8").strip())

    def prepare(self) -> None:
        """Make witnesses and service with their commands, as anyone would; anchor every second.

        Raises:
            AuditLogError: a command failed; the message is what it said.
        """
        arguments = ["init", str(self.home), "--origin", ORIGIN, "--visibility", "public"]
        arguments += [part for witness in self.witnesses.make() for part in ("--witness", witness)]
        # Both must have cosigned before anything is shown: no state of the log is the operator's word alone.
        arguments += ["--quorum", str(len(self.witnesses.each)), "--when-no-quorum", "hold"]
        arguments += ["--max-merge-delay", str(MERGE_BY_S)]
        arguments += ["--port", str(self.log_port), "--public-dir", str(self.public_log)]
        made = run_auditlog([*arguments, "--high-water", str(self.folder / "high-water")], folder=self.folder)
        if made.exit_code:
            raise AuditLogError(f"expected `auditlog init` to make a service, found: {made.output}")
        config = self.home / "auditlog.toml"
        text = config.read_text(encoding="utf-8").replace("interval_s = 5 ", "interval_s = 1 ")
        config.write_text(text, encoding="utf-8")
        for name in ("trust.json", "log.vkey"):
            shutil.copy(self.home / name, self.folder / name)
        self.witnesses.follow((self.folder / "log.vkey").read_text(encoding="utf-8"))

    def start_log(self, servers: Servers) -> None:
        """Start the log service; returns before it answers."""
        config = str(self.home / "auditlog.toml")
        # By option: a copy of the operator serves on another port than its configuration says.
        arguments = ["serve", "--config", config, "--port", str(self.log_port)]
        servers.start("log", ["-m", "auditlog.cli.main", *arguments], {})

    def start_loan_api(self, servers: Servers) -> None:
        """Start the mortgage decision API behind the middleware."""
        environment = self._capture(_LOAN_HOST, self.loan_model, "loan-mlp")
        # The one route of this API that decides; by default only well-known inference routes keep values.
        environment["AUDITLOG_ROUTES"] = "POST /decide=values"
        servers.serve_app("loan", "auditlog.demo.loan_app:create_app", self.loan_port, environment)

    def start_assistant(self, servers: Servers, model: Path, name: str) -> None:
        """Start the writing assistant behind the middleware."""
        environment = self._capture("assistant-host", model, name)
        # Two threads that wait for each other take ten times as long where a core is busy otherwise.
        environment["OMP_NUM_THREADS"] = "1"
        servers.serve_app(
            "assistant", "auditlog.demo.assistant_app:create_app", self.assistant_port, environment
        )

    def _capture(self, producer: str, model: Path, model_name: str) -> dict[str, str]:
        return {
            "AUDITLOG_LOG": self.log_url,
            "AUDITLOG_ORIGIN": ORIGIN,
            "AUDITLOG_TOKEN_FILE": str(self.home / "tokens" / "capture.token"),
            "AUDITLOG_PRODUCER": producer,
            "AUDITLOG_STATE": str(self.home / producer),
            "AUDITLOG_MODEL": str(model),
            "AUDITLOG_MODEL_NAME": model_name,
            "AUDITLOG_MERGE_BY_S": str(MERGE_BY_S),
            "AUDITLOG_WAIT_MS": str(_WAIT_MS),
        }

    def copy(self, folder: Path) -> Operator:
        """Copy everything the operator has, for a cheat; the original stays as it is."""
        shutil.rmtree(folder, ignore_errors=True)
        others = shutil.ignore_patterns("receipts", "promises", "monitor")
        shutil.copytree(self.folder, folder, ignore=others)
        config = folder / "operator" / "auditlog.toml"
        copied = Operator.at(folder)
        text = config.read_text(encoding="utf-8").replace(str(self.folder), str(folder))
        for honest, twin in zip(self.witnesses.each, copied.witnesses.each, strict=True):
            text = text.replace(honest.url, twin.url)
        config.write_text(text, encoding="utf-8")
        return copied

"""The operator of the demo: a company with a log service and two model servers, as files on disk.

DIR/log/            the public log, all that an outsider may read
DIR/operator/       its own: configuration, keys, database, spools, models; the verifier never sees this
DIR/receipts/       what its customers hold
DIR/trust.json      what a customer trusts, DIR/log.vkey the log's public key
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from auditlog.core.note import Ed25519Signer
from auditlog.demo.processes import Servers, free_port

ORIGIN = "demo.example/decisions"
DEVNET_KEY_NAME = "demo.example/devnet"

_CONFIG = """\
[service]
host = "127.0.0.1"
port = {port}
data_dir = "state"

[[logs]]
name = "main"
origin = "{origin}"
visibility = "public"
key_file = "log.key"
public_dir = "../log"
high_water_file = "high-water"
contact = "audit@demo.example"

[[tokens]]
name = "serving-hosts"
scopes = ["enrol", "submit"]
sha256 = "{token_sha256}"

[anchoring]
mode = "devnet"
interval_s = 1
devnet_key_file = "devnet.key"
"""


@dataclass(frozen=True)
class Operator:
    """The operator's files under one folder, and the ports it serves on."""

    folder: Path
    log_port: int
    loan_port: int
    assistant_port: int

    @classmethod
    def at(cls, folder: Path) -> Operator:
        """Choose ports; nothing is written."""
        return cls(folder, free_port(), free_port(), free_port())

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

    def signer(self) -> Ed25519Signer:
        """The log's signing key: an operator has it, so a cheating one does too."""
        return Ed25519Signer.from_private_key((self.home / "log.key").read_text(encoding="utf-8").strip())

    def prepare(self) -> None:
        """Make keys, a token and the configuration."""
        self.home.mkdir(parents=True, mode=0o700)
        log_key = Ed25519Signer.from_seed(ORIGIN, secrets.token_bytes(32))
        devnet_key = Ed25519Signer.from_seed(DEVNET_KEY_NAME, secrets.token_bytes(32))
        token = secrets.token_urlsafe(32)
        for name, secret in (
            ("log.key", log_key.private_key),
            ("devnet.key", devnet_key.private_key),
            ("token", token),
        ):
            path = self.home / name
            path.touch(mode=0o600)
            path.write_text(secret + "\n", encoding="utf-8")
        self._write_config(hashlib.sha256(token.encode()).hexdigest())
        (self.folder / "log.vkey").write_text(log_key.vkey + "\n", encoding="utf-8")
        self._write_trust(log_key.vkey, devnet_key.vkey)

    def _write_config(self, token_sha256: str) -> None:
        text = _CONFIG.format(port=self.log_port, origin=ORIGIN, token_sha256=token_sha256)
        (self.home / "auditlog.toml").write_text(text, encoding="utf-8")

    def _write_trust(self, log_vkey: str, devnet_vkey: str) -> None:
        trust = {
            "v": "auditlog/trust@v1",
            "policy": f"log {log_vkey}\nquorum none\n",
            "devnet": devnet_vkey,
            "require": ["devnet"],
            "issuer": {"name": "the demo", "role": "operator"},
        }
        (self.folder / "trust.json").write_text(json.dumps(trust, indent=1) + "\n", encoding="utf-8")

    def start_log(self, servers: Servers) -> None:
        """Start the log service; returns before it answers."""
        config = str(self.home / "auditlog.toml")
        environment = {"AUDITLOG_SERVE_PORT": str(self.log_port)}
        servers.start("log", ["-m", "auditlog.cli.main", "serve", "--config", config], environment)

    def start_loan_api(self, servers: Servers) -> None:
        """Start the mortgage decision API behind the middleware."""
        environment = self._capture("loan-host", self.loan_model, "loan-mlp")
        # The one route of this API that decides; by default only well-known inference routes keep values.
        environment["AUDITLOG_ROUTES"] = "POST /decide=values"
        servers.serve_app("loan", "auditlog.demo.loan_app:create_app", self.loan_port, environment)

    def start_assistant(self, servers: Servers, model: Path, name: str) -> None:
        """Start the writing assistant behind the middleware."""
        environment = self._capture("assistant-host", model, name)
        servers.serve_app(
            "assistant", "auditlog.demo.assistant_app:create_app", self.assistant_port, environment
        )

    def _capture(self, producer: str, model: Path, model_name: str) -> dict[str, str]:
        return {
            "AUDITLOG_LOG": self.log_url,
            "AUDITLOG_ORIGIN": ORIGIN,
            "AUDITLOG_TOKEN_FILE": str(self.home / "token"),
            "AUDITLOG_PRODUCER": producer,
            "AUDITLOG_STATE": str(self.home / producer),
            "AUDITLOG_MODEL": str(model),
            "AUDITLOG_MODEL_NAME": model_name,
        }

    def copy(self, folder: Path) -> Operator:
        """Copy everything the operator has, for a cheat; the original stays as it is."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.home, folder / "operator")
        shutil.copytree(self.public_log, folder / "log")
        return Operator.at(folder)

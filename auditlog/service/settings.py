"""What the service is told: `auditlog.toml`, with secrets
in files. Strict: an unknown or odd setting is refused.

Spec: auditlog/spec/api.md, section "Configuration". Promises: after `Settings.load`
every path is absolute, every combination is one that `settings_checks` allows, and
every secret is still only a file name (read where it is used). Must never: hold a
token or a private key in clear, or bind to more than the loopback address by default.

    [service]                                   [[logs]]
    host = "127.0.0.1"                          name = "main"
    port = 8700                                 origin = "example.org/decisions"
    data_dir = "data"                           visibility = "hashes"     # public | hashes | private
    public_url = "https://log.example.org"      high_water_file = "/var/backups/auditlog/main.high-water"

    [[tokens]]                                  [anchoring]
    name = "serving-hosts"                      mode = "devnet"           # devnet | rpc | off
    scopes = ["enrol", "submit"]                interval_s = 60
    sha256 = "9f86d081..."
    expires = 2027-12-31T00:00:00Z
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from auditlog.errors import ConfigurationError
from auditlog.service.settings_buckets import BucketsSettings, StoreUrls
from auditlog.service.settings_checks import refuse_dangerous
from auditlog.service.settings_ingest import IngestSettings
from auditlog.service.settings_types import BucketUrl, ConfigPath, Instant, NamePattern, Strict

Visibility = Literal["public", "hashes", "private"]
Scope = Literal["enrol", "submit", "read", "admin"]

ENVIRONMENT = {
    "AUDITLOG_SERVE_HOST": ("service", "host"),
    "AUDITLOG_SERVE_PORT": ("service", "port"),
    "AUDITLOG_SERVE_PUBLIC_URL": ("service", "public_url"),
    "AUDITLOG_SERVE_DATABASE_URL": ("service", "database_url"),
    "AUDITLOG_SERVE_DATABASE_URL_FILE": ("service", "database_url_file"),
    "AUDITLOG_SERVE_ROLE": ("ingest", "role"),
    "AUDITLOG_SERVE_RPC_URL": ("anchoring", "rpc_url"),
    "AUDITLOG_SERVE_RPC_URL_FILE": ("anchoring", "rpc_url_file"),
}
"""Variables that override the file. (AUDITLOG_SERVICE_* is what a Kubernetes Service named auditlog sets.)"""


class ServiceSettings(Strict):
    """The process: where it listens, where it keeps its files, and how much it takes at once."""

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=0, le=65535)
    """0 lets the system choose (tests)."""
    data_dir: ConfigPath
    public_url: str | None = Field(default=None, pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")
    high_water_dir: ConfigPath | None = None
    """Where logs without a `high_water_file` keep theirs; belongs on another disk than `data_dir`."""
    database_url: str | None = None
    """SQLAlchemy URL; None means SQLite in `data_dir`."""
    database_url_file: ConfigPath | None = None
    allow_plain_http: bool = False
    """Accept that tokens and receipt capabilities cross a network in clear."""
    max_batch_bytes: int = Field(default=4 << 20, ge=1 << 17, le=256 << 20)
    max_waiting_bytes: int = Field(default=64 << 20, ge=1 << 17)
    """Batches being read or sequenced at once, in bytes; above it: pushback."""
    checking_processes: int | None = Field(default=None, ge=0, le=64)
    """Processes that check batches beside this one; None: one for each core but one, four at most."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    keep_promises_days: int = Field(default=30, ge=1, le=3650)
    """How long a promise handed over for its caller is kept after it was due."""
    drain_s: int = Field(default=30, ge=1)
    """How long a stop waits for requests in flight."""
    metrics: Literal["open", "token", "off"] | None = None
    """None: open on a loopback address, else a token with scope read is asked for."""
    log_format: Literal["json", "console"] = "json"


class WitnessSettings(Strict):
    """One witness that is asked to cosign."""

    vkey: str = Field(min_length=1, max_length=2048)
    url: str = Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")
    """Prefix of its submission address; `/add-checkpoint` is appended."""
    monitoring_url: str | None = Field(default=None, pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")
    """Prefix under which it shows what it cosigned; None: the same."""


class LogSettings(Strict):
    """One log. Every path has a default under `data_dir/logs/NAME`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    origin: str = Field(pattern=r"^[^\s+]+$", max_length=255)
    visibility: Visibility = "hashes"
    key_file: ConfigPath | None = None
    receipt_secret_file: ConfigPath | None = None
    public_dir: ConfigPath | None = None
    private_dir: ConfigPath | None = None
    public_store: BucketUrl | None = None
    """Instead of `public_dir`: `s3://bucket/prefix`, `gs://..` or `az://..`; so for the next two."""
    private_store: BucketUrl | None = None
    staging_store: BucketUrl | None = None
    high_water_file: ConfigPath | None = None
    """Rollback guard: remembers the largest signed tree; belongs on another disk than `data_dir`."""
    allow_unguarded_start: bool = False
    max_merge_delay_s: int = Field(default=60, ge=1, le=86400)
    publish_interval_s: float = Field(default=1.0, gt=0, le=3600)
    contact: str = Field(default="", max_length=255)
    witnesses: list[WitnessSettings] = Field(default_factory=list, max_length=32)
    """Asked to cosign each checkpoint before it is published; their lines keep this order."""
    witness_quorum: int | None = Field(default=None, ge=0, le=32)
    """How many of `witnesses` are enough; None: more than half of them; 0: `quorum none`."""
    witness_policy: str | None = Field(default=None, max_length=100_000)
    """Instead of `witnesses`: a C2SP tlog-policy with groups; each witness line ends in its URL."""
    when_no_quorum: Literal["publish", "hold"] = "publish"
    """Too few have cosigned: show the checkpoint all the same, or keep the old one up until enough have."""
    witness_guard: Literal["all", "quorum", "answered", "off"] | None = None
    """Which witnesses must say at a start what they cosigned, before anything is signed, and before a log is
    created with a key made earlier. None: see `witnessing.silence_of`.
    """
    witness_timeout_s: float = Field(default=2.0, gt=0, le=60)
    """A publication waits for cosignatures this long, a start for what the witnesses say, and goes on with
    what came; an exchange that is under way still is cut a quarter of a second later.
    """
    witness_refresh_s: float = Field(default=300.0, ge=1)
    """Cosignatures of a log that does not grow are made anew when they are this old."""
    retention_days: int | None = Field(default=None, ge=1, le=3650)
    """Entries that were published so long ago may be pruned (`auditlog prune`); None: no such rule."""
    retention_entries: int | None = Field(default=None, ge=0)
    """The newest so many are kept in any case."""
    max_entries_per_s: int | None = Field(default=None, ge=1)
    """Entries a second from everyone together, in bursts of 10 s' worth; None: no limit but the pool's."""
    token_entries_per_s: int | None = Field(default=None, ge=1)
    """The same for one token."""
    max_waiting_bytes: int | None = Field(default=None, ge=1 << 17)
    """What this log may take of `service.max_waiting_bytes`; None: half of it where there are other logs."""
    max_entry_bytes: int = Field(default=65_535, ge=1024, le=65_535)
    """Longer entries are refused; a host that has sealed one already cannot go on."""


class AnchoringSettings(Strict):
    """The chain the checkpoints are anchored on."""

    mode: Literal["devnet", "rpc", "off"] = "devnet"
    interval_s: float = Field(default=60.0, ge=0.1)
    stalled_after_s: float = Field(default=3600.0, gt=0)
    """How long a decision may wait for a final anchor before the log says so. Finality alone takes a
    quarter of an hour on Ethereum.
    """
    rpc_url: str | None = None
    rpc_url_file: ConfigPath | None = None
    chain_id: int | None = Field(default=None, ge=1, le=2**53 - 1)
    """What the node must answer: the slot of another chain is empty, and would guard nothing."""
    contract: str | None = Field(default=None, pattern=r"^0x[0-9a-fA-F]{40}$")
    """None: where `auditlog anchor deploy` puts the registry on every chain."""
    first_block: int = Field(default=0, ge=0, le=2**53 - 1)
    """No anchor of ours is older: a search for one stops here."""
    key_file: ConfigPath | None = None
    password_file: ConfigPath | None = None
    """For a `key_file` that is a keystore."""
    max_fee_gwei: int = Field(default=500, ge=1, le=10**6)
    """Never offer more than this for a unit of gas, tip included."""
    devnet_key_file: ConfigPath | None = None


class TokenSettings(Strict):
    """One token named in the file, by its SHA-256 or by a secret file."""

    name: str = Field(min_length=1, max_length=100)
    scopes: list[Scope] = Field(min_length=1)
    logs: list[str] | None = None
    """Names of the logs it is good for; None: all."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    token_file: ConfigPath | None = None
    expires: Instant | None = None
    """Until when it is good (RFC 3339), in Unix microseconds; None: for ever."""
    producers: NamePattern | None = None
    """Names of the producers it may enrol and submit for; None: every name."""


class KubernetesSettings(Strict):
    """Service accounts that may come in with a projected token."""

    issuer: str = Field(min_length=1, max_length=255)
    audience: str = Field(min_length=1, max_length=255)
    """What the token must be made for: never the audience of the cluster's own API."""
    subjects: list[str] = Field(min_length=1)
    """`system:serviceaccount:NAMESPACE:NAME`, each whole."""
    jwks_file: ConfigPath | None = None
    jwks_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    jwks_ca_file: ConfigPath | None = None
    jwks_token_file: ConfigPath | None = None
    """Sent to `jwks_url` by clusters that ask for it."""
    scopes: list[Scope] = Field(default=["enrol", "submit"], min_length=1)
    logs: list[str] | None = None
    producers: NamePattern | None = None


class EnrolmentSettings(Strict):
    """Who may come in beside the holders of our own tokens."""

    kubernetes: KubernetesSettings | None = None


@dataclass(frozen=True, slots=True)
class LogPaths:
    """Where one log keeps what, all absolute."""

    key_file: Path
    receipt_secret_file: Path
    public_dir: Path
    private_dir: Path
    high_water_file: Path | None
    outcomes_key_file: Path
    """Key of the producer that writes outcomes."""
    facts_key_file: Path
    """Seals the facts of these outcomes."""


class Settings(Strict):
    """The whole configuration of one service process."""

    service: ServiceSettings
    logs: list[LogSettings] = Field(default_factory=list)
    tokens: list[TokenSettings] = Field(default_factory=list)
    enrolment: EnrolmentSettings = EnrolmentSettings()
    anchoring: AnchoringSettings = AnchoringSettings()
    buckets: BucketsSettings = BucketsSettings()
    ingest: IngestSettings = IngestSettings()

    @classmethod
    def load(cls, path: str | Path, environ: Mapping[str, str] | None = None) -> Self:
        """Read the file, apply the variables of `ENVIRONMENT` (of this process by default), check the whole.

        Raises:
            ConfigurationError: the file is unreadable, not TOML, or holds a setting that is unknown, odd or
            dangerous.
        """
        path = Path(path)
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(
                f"expected a configuration file at {path}, found: {error.strerror}"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"expected TOML in {path}, found: {error}") from error
        return cls.build(raw, base=path.parent, environ=os.environ if environ is None else environ)

    @classmethod
    def build(cls, raw: dict[str, Any], *, base: Path, environ: Mapping[str, str] | None = None) -> Self:
        """Check a configuration given as a dictionary; relative paths start at `base`.

        Raises:
            ConfigurationError: as `load`.
        """
        try:
            settings = cls.model_validate(_overridden(raw, environ or {}), context={"base": base.resolve()})
        except ValidationError as error:
            raise ConfigurationError(_first_fault(error)) from error
        refuse_dangerous(settings)
        return settings

    def paths(self, log: LogSettings) -> LogPaths:
        """Where `log` keeps its files, defaults filled in."""
        home = self.service.data_dir / "logs" / log.name
        shared = self.service.high_water_dir
        high_water_file = log.high_water_file or (
            None if shared is None else shared / f"{log.name}.high-water"
        )
        return LogPaths(
            key_file=log.key_file or home / "log.key",
            receipt_secret_file=log.receipt_secret_file or home / "receipt.secret",
            public_dir=log.public_dir or home / "public",
            private_dir=log.private_dir or home / "private",
            high_water_file=high_water_file,
            outcomes_key_file=home / "outcomes.key",
            facts_key_file=home / "facts.key",
        )

    def stores(self, log: LogSettings) -> StoreUrls:
        """Which buckets `log` keeps its objects in, defaults filled in."""
        return StoreUrls.of(
            self.buckets.root,
            log.name,
            public=(log.public_store, log.public_dir),
            private=(log.private_store, log.private_dir),
            staging=log.staging_store,
        )

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL, read from its secret file where one is named. Raises ConfigurationError."""
        if self.service.database_url_file is not None:
            return read_secret(self.service.database_url_file)
        return self.service.database_url or f"sqlite:///{self.service.data_dir / 'auditlog.sqlite'}"

    @property
    def public_url(self) -> str:
        """The base under which the outside reaches the service, without a trailing slash."""
        return (self.service.public_url or f"http://{self.service.host}:{self.service.port}").rstrip("/")


def read_secret(path: Path) -> str:
    """The one line of a secret file (`*_FILE`), without its newline.

    Raises:
        ConfigurationError: the file cannot be read, or is empty. The message never holds what was read.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"expected a readable secret file at {path}, found: {type(error).__name__}"
        ) from error
    if not text:
        raise ConfigurationError(f"expected a secret in {path}, found an empty file")
    return text


def _overridden(raw: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """A copy of `raw` with the variables of `ENVIRONMENT` put over it."""
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    for variable, (section, member) in ENVIRONMENT.items():
        value = environ.get(variable)
        if value:
            table = result.setdefault(section, {})
            table[member] = int(value) if member == "port" and value.isdigit() else value
            # A variable replaces both forms of its setting, or the file's own secret would win or clash.
            table.pop(member.removesuffix("_file") if member.endswith("_file") else f"{member}_file", None)
    return result


def _first_fault(error: ValidationError) -> str:
    """One line for the first fault. Never the value found: it may be a secret."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"setting {place}: {fault['msg']}{more}"

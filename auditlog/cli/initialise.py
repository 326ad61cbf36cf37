"""`auditlog init DIR`: configuration, keys, tokens and
the first entry of a log, and the line that wraps a model.

Promises: every secret goes to its own file that only the owner can read, and none is
printed; nothing that exists is overwritten, so a second `init` in the same folder is
refused before anything is written. If the process dies half way, delete the folder
and begin again: no log exists before its first entry, which is written last.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.initialise_witnesses import (
    NoQuorumOption,
    PolicyOption,
    WitnessOption,
    read_new_policy,
    read_witness,
    witness_lines,
)
from auditlog.cli.output import say, say_json
from auditlog.cli.secretfile import write_new, write_secret
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.core.keys import Ed25519Signer
    from auditlog.core.policy import Policy

_TOKENS = {"capture": ("enrol", "submit"), "reader": ("read",), "admin": ("admin", "read")}
_HighWaterOption = Annotated[
    Path | None,
    typer.Option("--high-water", metavar="FILE", help="Rollback guard; best on another disk than DIR."),
]
_PublicOption = Annotated[
    Path | None,
    typer.Option("--public-dir", metavar="DIR", help="Folder to publish; by default inside the data."),
]
_DelayOption = Annotated[
    int | None,
    typer.Option(
        "--max-merge-delay",
        metavar="SECONDS",
        min=1,
        max=86_400,
        help="Longest time until an acknowledged entry is published; no promise is shorter (60).",
    ),
]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What `init` was asked to make; every path is absolute."""

    folder: Path
    name: str
    key: Ed25519Signer
    visibility: str
    port: int
    high_water: Path
    anchoring: str
    public_dir: Path | None
    witnesses: list[tuple[str, str]]
    """(vkey, URL) of each."""
    quorum: int
    policy: Policy | None
    """Instead of these two: a whole policy."""
    when_no_quorum: str
    max_merge_delay_s: int | None
    """What the first entry says for ever; None for the default of the service."""

    @property
    def has_quorum(self) -> bool:
        return self.quorum > 0 if self.policy is None else self.policy.quorum is not None

    @property
    def origin(self) -> str:
        return self.key.name

    @property
    def config(self) -> Path:
        return self.folder / "auditlog.toml"

    @property
    def log_key(self) -> Path:
        return self.folder / "keys" / f"{self.name}.key"

    @property
    def devnet_key(self) -> Path:
        return self.folder / "keys" / "devnet.key"

    def token(self, name: str) -> Path:
        return self.folder / "tokens" / f"{name}.token"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/logs/{self.name}"


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the service.")],
    *,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="Name of the log for ever, such as log.example.org/decisions."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Short name of the log in URLs.")] = "main",
    visibility: Annotated[str, typer.Option("--visibility", help="public, hashes or private.")] = "hashes",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8700,
    high_water: _HighWaterOption = None,
    public_dir: _PublicOption = None,
    anchoring: Annotated[str, typer.Option("--anchoring", help="devnet or off.")] = "devnet",
    witness: WitnessOption = None,
    quorum: Annotated[
        int | None,
        typer.Option("--quorum", min=1, help="How many must cosign, in trust.json; by default most of them."),
    ] = None,
    witness_policy: PolicyOption = None,
    when_no_quorum: NoQuorumOption = "publish",
    max_merge_delay: _DelayOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a service: configuration, keys, tokens, and an empty log."""
    from auditlog.core.keys import Ed25519Signer

    folder, name = directory.absolute(), _checked_name(name)
    whole_name = _checked_origin(origin or f"{_word(socket.gethostname())}/{_word(folder.name)}/{name}")
    key = Ed25519Signer.generate(whole_name, os.urandom(32))
    witnesses = [read_witness(each) for each in witness or []]
    plan = _Plan(
        folder=folder,
        name=name,
        key=key,
        visibility=_one_of(visibility, ("public", "hashes", "private"), "--visibility"),
        port=port,
        high_water=(high_water or _propose_high_water(key, name)).absolute(),
        anchoring=_one_of(anchoring, ("devnet", "off"), "--anchoring"),
        public_dir=public_dir and public_dir.absolute(),
        witnesses=witnesses,
        quorum=quorum or (len(witnesses) // 2 + 1 if witnesses else 0),
        policy=None if witness_policy is None else read_new_policy(witness_policy, key.name),
        when_no_quorum=_one_of(when_no_quorum, ("publish", "hold"), "--when-no-quorum"),
        max_merge_delay_s=max_merge_delay,
    )
    _check_quorum(plan)
    if plan.config.exists():
        raise ConfigurationError(f"expected a new folder, found a configuration in {folder}")
    if plan.high_water.exists():
        raise ConfigurationError(
            f"expected a new file for --high-water, found {plan.high_water} already there"
        )
    devnet = _write_files(plan)
    _create_log(plan)
    write_new(folder / "log.vkey", f"{key.vkey}\n")
    write_new(folder / "trust.json", _trust(plan, devnet))
    _report(plan, as_json=json)


def _check_quorum(plan: _Plan) -> None:
    if plan.quorum > len(plan.witnesses):
        raise ConfigurationError(
            f"expected --quorum of at most {len(plan.witnesses)} witnesses, found {plan.quorum}"
        )
    if plan.policy is not None and plan.witnesses:
        raise ConfigurationError("expected --witness-policy or --witness, found both")
    if plan.when_no_quorum == "hold" and not plan.has_quorum:
        raise ConfigurationError("expected a quorum of witnesses for --when-no-quorum hold, found none")


def _one_of(value: str, words: tuple[str, ...], option: str) -> str:
    if value not in words:
        raise ConfigurationError(f"expected one of {', '.join(words)} for {option}, found {value!a}")
    return value


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise ConfigurationError(f"expected a name of a-z, 0-9 and -, found {name!a}")
    return name


def _checked_origin(origin: str) -> str:
    from auditlog.core.scalars import is_origin

    if not is_origin(origin):
        raise ConfigurationError(
            f"expected an origin of printable ASCII without space or '+', not all digits, found {origin!a}"
        )
    return origin


def _word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text) or "log"


def _propose_high_water(key: Ed25519Signer, name: str) -> Path:
    """Outside the folder, so that restoring a backup of it does not restore the guard as well.

    Named by the key: a log made anew in the place of a deleted one is another log, with a guard of its own.
    """
    from hashlib import sha256

    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "auditlog" / f"{name}-{sha256(key.vkey.encode()).hexdigest()[:12]}.high-water"


def _write_files(plan: _Plan) -> str | None:
    """Write keys, tokens and configuration; returns the vkey of the devnet, if there is one."""
    from auditlog.core.keys import Ed25519Signer

    write_secret(plan.log_key, plan.key.private_key)
    devnet = None
    if plan.anchoring == "devnet":
        devnet_key = Ed25519Signer.generate(f"{plan.origin}/devnet", os.urandom(32))
        write_secret(plan.devnet_key, devnet_key.private_key)
        devnet = devnet_key.vkey
    digests = {name: _write_token(plan.token(name)) for name in _TOKENS}
    plan.high_water.parent.mkdir(parents=True, exist_ok=True)
    write_new(plan.config, _config_text(plan, digests))
    return devnet


def _write_token(path: Path) -> str:
    from auditlog.service.tokens import mint_token, token_sha256

    token = mint_token(os.urandom(32))
    write_secret(path, token)
    return token_sha256(token).hex()


def _config_text(plan: _Plan, digests: dict[str, str]) -> str:
    """The configuration; its strings are checked words, or paths quoted as TOML basic strings."""
    lines = [
        "# The service of this folder: auditlog serve --config auditlog.toml",
        "[service]",
        'host = "127.0.0.1"',
        f"port = {plan.port}",
        'data_dir = "data"',
        "",
        "[[logs]]",
        f"name = {_quoted(plan.name)}",
        f"origin = {_quoted(plan.origin)}",
        f"visibility = {_quoted(plan.visibility)}  # fixed for ever by the first entry",
        f"key_file = {_quoted(f'keys/{plan.name}.key')}",
        "# Remembers the largest tree ever signed. Keep it on another disk, out of backups of this folder.",
        f"high_water_file = {_quoted(str(plan.high_water))}",
        *([] if plan.public_dir is None else [f"public_dir = {_quoted(str(plan.public_dir))}"]),
        *([] if plan.max_merge_delay_s is None else [f"max_merge_delay_s = {plan.max_merge_delay_s}"]),
        *witness_lines(plan.witnesses, plan.quorum, plan.policy, plan.when_no_quorum),
        "",
        "[anchoring]",
        f"mode = {_quoted(plan.anchoring)}  # devnet: for development, proves nothing to an outsider",
        "interval_s = 5  # a real chain costs money: there, minutes to hours",
    ]
    if plan.anchoring == "devnet":
        lines.append('devnet_key_file = "keys/devnet.key"')
    for name, scopes in _TOKENS.items():
        listed = ", ".join(map(_quoted, scopes))
        lines += ["", "[[tokens]]", f"name = {_quoted(name)}", f"scopes = [{listed}]"]
        lines += [f"sha256 = {_quoted(digests[name])}  # the token itself: tokens/{name}.token"]
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    import json

    return json.dumps(text)


def _create_log(plan: _Plan) -> None:
    from auditlog.cli.configured import find_log, load_settings
    from auditlog.cli.log import create_log

    settings = load_settings(plan.config)
    create_log(settings, find_log(settings, plan.name), is_key_new=True)


def _trust(plan: _Plan, devnet: str | None) -> str:
    """The trust file an operator can hand out; it says that it came from the operator."""
    from auditlog.cli.trust import policy_text, trust_text, with_logs

    witnesses = [f"{vkey.partition('+')[0]}={vkey}" for vkey, _ in plan.witnesses]
    policy = policy_text([plan.key.vkey], witnesses, plan.quorum)
    return trust_text(
        policy if plan.policy is None else with_logs(plan.policy, [plan.key.vkey]),
        devnet=devnet,
        require=[*(["quorum"] if plan.has_quorum else []), *(["devnet"] if devnet else [])] or ["nothing"],
        issuer={"name": plan.origin, "role": "operator"},
    )


def _warnings(plan: _Plan) -> list[str]:
    """What will keep this service from starting here, as far as it can be seen now, and what a quorum of its
    witnesses would not show.
    """
    from auditlog.cli.trust import quorum_warnings
    from auditlog.cli.verify import read_trust

    found = quorum_warnings(read_trust(plan.folder / "trust.json").policy)
    try:
        socket.create_server(("127.0.0.1", plan.port)).close()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        found.append(
            f"port {plan.port} cannot be listened on now ({reason}): another service may have it; see port "
            f"in {plan.config}"
        )
    return found


def _report(plan: _Plan, *, as_json: bool) -> None:
    warnings = _warnings(plan)
    environment = {
        "AUDITLOG_LOG": plan.url,
        "AUDITLOG_ORIGIN": plan.origin,
        "AUDITLOG_TOKEN_FILE": str(plan.token("capture")),
    }
    if as_json:
        say_json(
            {
                "config": str(plan.config),
                "origin": plan.origin,
                "vkey": plan.key.vkey,
                "trust": str(plan.folder / "trust.json"),
                "high_water_file": str(plan.high_water),
                "environment": environment,
                "warnings": warnings,
            }
        )
        return
    say(f"log      {plan.origin} ({plan.visibility})")
    say(f"vkey     {plan.key.vkey}")
    say(f"config   {plan.config}")
    say(f"guard    {plan.high_water}")
    say("         (the largest signed tree: keep it on another disk, out of backups of the folder above)")
    say()
    say(f"start    auditlog serve --config {plan.config}")
    say("wrap     " + " ".join(f"{key}={value}" for key, value in environment.items()) + " \\")
    say("           vllm serve MODEL --middleware auditlog.capture.asgi.AuditMiddleware")
    say("         or, in any ASGI app: app.add_middleware(AuditMiddleware)")
    say(f"check    auditlog verify RECEIPT --trust {plan.folder / 'trust.json'}")
    for warning in warnings:
        say(f"warning  {warning}")

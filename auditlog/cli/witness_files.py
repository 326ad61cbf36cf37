"""What `auditlog witness init` writes, and what `list` reads: the folder of a witness.

Spec: auditlog/spec/witness.md, "Configuration". Promises: the private key goes to a file only its owner can
read; nothing is written over; the store is made once, here, and never by a start. Must never: print the
private key.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlog.cli.reading import read_text_line
from auditlog.cli.secretfile import write_new, write_secret
from auditlog.errors import ConfigurationError, MalformedError

if TYPE_CHECKING:
    from auditlog.core.cosignature import CosignatureSigner
    from auditlog.witness.config import WitnessConfig

KEY, VKEY = "witness.key", "witness.vkey"


@dataclass(frozen=True)
class Plan:
    """What a new witness is to be."""

    folder: Path
    name: str
    logs: list[str]
    """Each `VKEY` or `VKEY=URL`; the vkey may be a file."""
    high_water: str | None
    listen: str
    promises: bool
    state_dir: str = "states"


def make_witness(plan: Plan) -> CosignatureSigner:
    """Write key, configuration and an empty store.

    Raises:
        ConfigurationError: there is one already, or a log's key is none.
    """
    from auditlog.core.cosignature import CosignatureSigner
    from auditlog.witness.config import CONFIG, load_config
    from auditlog.witness.followed import follow
    from auditlog.witness.states import States

    logs = [(follow([vkey]).vkeys[0], url) for vkey, url in map(split_log, plan.logs)]
    if (plan.folder / CONFIG).exists():
        raise ConfigurationError(f"expected a new folder, found a witness in {plan.folder}")
    try:
        signer = CosignatureSigner.from_seed(plan.name, os.urandom(32))
    except MalformedError as error:
        raise ConfigurationError(str(error)) from error
    write_secret(plan.folder / KEY, signer.private_key)
    write_new(plan.folder / VKEY, f"{signer.vkey}\n")
    high_water = plan.high_water or str(_propose_high_water(signer.vkey))
    write_new(plan.folder / CONFIG, _config_text(plan, logs, high_water))
    config = load_config(plan.folder / CONFIG)
    States(config.state_dir, signer.verifier, mark=config.high_water_file).close()
    return signer


def split_log(text: str) -> tuple[str, str]:
    """The vkey and the URL of `VKEY`, `FILE`, or either with `=URL` behind it; base64 may end in '='."""
    key, separator, url = text.partition("=http")
    vkey = key if "+" in key else read_text_line(Path(key), "a vkey")
    return vkey, f"http{url}" if separator else ""


def config_file(path: Path) -> Path:
    """The configuration a person means by a folder or a file.

    Raises:
        ConfigurationError: a folder made before there was one.
    """
    from auditlog.witness.config import CONFIG

    if not path.is_dir():
        return path
    if not (path / CONFIG).exists() and (path / KEY).exists():
        raise ConfigurationError(
            f"expected {CONFIG} in {path}, found a witness of an earlier version, with its memory in other "
            "files: make one with a new key (auditlog witness init), and have logs and trust files name it"
        )
    return path / CONFIG


def read_signer(config: WitnessConfig) -> CosignatureSigner:
    """The witness's key. Raises ConfigurationError."""
    from auditlog.core.cosignature import CosignatureSigner

    try:
        return CosignatureSigner.from_private_key(read_text_line(config.key_file, "a private key"))
    except MalformedError:
        # Not from the error: it may hold a piece of the key.
        raise ConfigurationError(f"expected a witness's private key in {config.key_file}") from None


def _propose_high_water(vkey: str) -> Path:
    """Outside the folder, so that restoring a backup of it does not restore the mark as well."""
    from hashlib import sha256

    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "auditlog" / f"witness-{sha256(vkey.encode()).hexdigest()[:12]}.high-water"


def _config_text(plan: Plan, logs: list[tuple[str, str]], high_water: str) -> str:
    lines = [
        "# A witness: auditlog witness serve witness.toml (auditlog/spec/witness.md, Configuration)",
        "[witness]",
        f"key_file = {_quoted(KEY)}",
        f"listen = {_quoted(plan.listen)}  # put TLS in front, and set behind_proxy",
        f"state_dir = {_quoted(plan.state_dir)}  # what was signed: never restore it from a backup",
        "# How far the store above had come. Keep it on another disk, out of backups of this folder.",
        f"high_water_file = {_quoted(high_water)}",
    ]
    if plan.promises:
        lines += ["", "[promises]  # the drop-box, for logs below that have a url"]
    for vkey, url in logs:
        lines += ["", "[[logs]]", f"vkey = {_quoted(vkey)}", *([f"url = {_quoted(url)}"] if url else [])]
    return "".join(f"{line}\n" for line in lines)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(text)


def listed(config: WitnessConfig) -> dict[str, Any]:
    """What this witness follows and remembers, read beside a process that may be serving.

    Raises:
        StorageError: there is no store.
    """
    from auditlog.witness.database import STORE, read_only
    from auditlog.witness.guard import restored_of

    connection = read_only(config.state_dir / STORE)
    try:
        vkey, epoch = connection.execute("SELECT vkey, epoch FROM meta").fetchone()
        rows = connection.execute("SELECT origin, size, timestamp FROM log ORDER BY origin").fetchall()
        query = "SELECT origin, kind, count(*) FROM conflict GROUP BY origin, kind"
        conflicts = {(origin, kind): count for origin, kind, count in connection.execute(query)}
        restored = restored_of(connection)
    finally:
        connection.close()
    known = {origin: (size, at) for origin, size, at in rows}
    followed = {log.origin: log for log in config.logs}
    return {
        "vkey": vkey,
        "epoch": epoch,
        "restored": [{"accepted_s": at, "found": found} for at, found in restored],
        "logs": [
            {
                "origin": origin,
                "followed": origin in followed,
                "vkeys": list(followed[origin].vkeys) if origin in followed else [],
                "not_checked": list(followed[origin].unchecked) if origin in followed else [],
                "url": followed[origin].url if origin in followed else "",
                "tree_size": known.get(origin, (None, None))[0],
                "cosigned_s": known.get(origin, (None, None))[1],
                "two_histories": bool(conflicts.get((origin, "fork"))),
                "unproven_growth": conflicts.get((origin, "growth"), 0),
            }
            for origin in sorted({*known, *followed})
        ],
    }

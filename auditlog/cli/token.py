"""`auditlog token create|list|revoke`: the bearer tokens
of the service. Spec: auditlog/spec/api.md, "Tokens".

Promises: the token goes to a file only its owner can read;
the service keeps its SHA-256. Must never: print a token.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlog.cli.configured import ConfigOption, load_settings
from auditlog.cli.output import say, say_json
from auditlog.cli.secretfile import write_secret
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.service.settings import TokenSettings
    from auditlog.storage.sql.tokens import SqlTokens, TokenRecord

app = typer.Typer(
    help="Make, list and revoke tokens of the service.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("create")
def create(  # noqa: PLR0917  options of a command line, each given by name
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    scope: Annotated[list[str], typer.Option("--scope", help="enrol, submit, read or admin; repeatable.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the token.")],
    log: Annotated[
        list[str] | None, typer.Option("--log", help="Good for this log only; repeatable.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", help="Good for so long (30d, 12h), or until 2027-01-31T00:00:00Z."),
    ] = None,
    producers: Annotated[
        str | None, typer.Option("--producers", help="Good for producers of such names only: 'gpu-*'.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make a token; a running service accepts it within seconds, from any number of hosts."""
    from auditlog.service.instants import parse_expiry
    from auditlog.service.tokens import SCOPES, check_pattern, mint_token, token_sha256
    from auditlog.storage.sql.tokens import TokenRecord

    unknown = sorted(set(scope) - set(SCOPES))
    if unknown:
        raise ConfigurationError(f"expected scopes of {', '.join(SCOPES)}, found {', '.join(unknown)}")
    expires_us = None if expires is None else parse_expiry(expires, now_us=time.time_ns() // 1000)
    if producers is not None:
        check_pattern(producers)
    with _store(config) as store:
        if any(held.name == name for held in store.all()):
            raise ConfigurationError(f"expected a new token name, found {name} taken")
        token = mint_token(os.urandom(32))
        # The file first: dying in between leaves a token nobody accepts, never one nobody holds.
        write_secret(out, token)
        logs, scopes = frozenset(log) if log else None, frozenset(scope)
        store.add(TokenRecord(token_sha256(token), name, scopes, logs, expires_us, producers))
    say(f"token {name} is in {out}")


@app.command("list")
def list_tokens(
    config: ConfigOption = None, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List tokens by name and scope."""
    settings = load_settings(config)
    listed = [_listed(token, token.expires, "configuration") for token in settings.tokens]
    with _store(config) as store:
        listed += [_listed(token, token.expires_us, "store") for token in store.all()]
    if json:
        say_json(listed)
        return
    for each in listed:
        logs = ", ".join(each["logs"]) if each["logs"] else "all logs"
        limits = f" for {each['producers']}" if each["producers"] else ""
        limits += f" until {each['expires']}" if each["expires"] else ""
        say(f"{each['name']}: {', '.join(each['scopes'])} on {logs}{limits} ({each['kept_in']})")


def _listed(token: TokenSettings | TokenRecord, expires_us: int | None, kept_in: str) -> dict[str, Any]:
    """A token without its secret."""
    from auditlog.service.instants import format_instant

    return {
        "name": token.name,
        "scopes": sorted(token.scopes),
        "logs": None if token.logs is None else sorted(token.logs),
        "expires": None if expires_us is None else format_instant(expires_us),
        "producers": token.producers,
        "kept_in": kept_in,
    }


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the token.")], config: ConfigOption = None
) -> None:
    """Forget a token; a running service refuses it within seconds."""
    with _store(config) as store:
        if not store.revoke(name):
            raise ConfigurationError(f"expected a token of the store, found none named {name}")
    say(f"token {name} is revoked")


@contextmanager
def _store(config: Path | None) -> Iterator[SqlTokens]:
    from auditlog.storage.sql.database import Database
    from auditlog.storage.sql.tokens import SqlTokens

    settings = load_settings(config)
    settings.service.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database.open(settings.database_url)
    try:
        yield SqlTokens(database)
    finally:
        database.close()

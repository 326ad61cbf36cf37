"""`auditlog token create|list|revoke`: the bearer tokens
of the service. Spec: auditlog/spec/api.md, "Tokens".

Promises: the token goes to a file only its owner can read;
the service keeps its SHA-256. Must never: print a token.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.configured import ConfigOption, load_settings
from auditlog.cli.output import say, say_json
from auditlog.cli.secretfile import write_secret
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.storage.sql.tokens import SqlTokens

app = typer.Typer(
    help="Make, list and revoke tokens of the service.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    scope: Annotated[list[str], typer.Option("--scope", help="enrol, submit, read or admin; repeatable.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the token.")],
    log: Annotated[
        list[str] | None, typer.Option("--log", help="Good for this log only; repeatable.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make a token; a running service accepts it within seconds."""
    from auditlog.service.tokens import SCOPES, mint_token, token_sha256
    from auditlog.storage.sql.tokens import TokenRecord

    unknown = sorted(set(scope) - set(SCOPES))
    if unknown:
        raise ConfigurationError(f"expected scopes of {', '.join(SCOPES)}, found {', '.join(unknown)}")
    with _store(config) as store:
        if any(held.name == name for held in store.all()):
            raise ConfigurationError(f"expected a new token name, found {name} taken")
        token = mint_token(os.urandom(32))
        # The file first: dying in between leaves a token nobody accepts, never one nobody holds.
        write_secret(out, token)
        store.add(TokenRecord(token_sha256(token), name, frozenset(scope), frozenset(log) if log else None))
    say(f"token {name} is in {out}")


@app.command("list")
def list_tokens(
    config: ConfigOption = None, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List tokens by name and scope."""
    settings = load_settings(config)
    listed: list[tuple[str, list[str], list[str] | None, str]] = [
        (token.name, [*sorted(token.scopes)], token.logs, "configuration") for token in settings.tokens
    ]
    with _store(config) as store:
        listed += [
            (token.name, sorted(token.scopes), None if token.logs is None else sorted(token.logs), "store")
            for token in store.all()
        ]
    if json:
        say_json([dict(zip(("name", "scopes", "logs", "kept_in"), each, strict=True)) for each in listed])
        return
    for name, scopes, logs, kept_in in listed:
        say(f"{name}: {', '.join(scopes)} on {', '.join(logs) if logs else 'all logs'} ({kept_in})")


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

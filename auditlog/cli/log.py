"""`auditlog log create|list|show`: the logs of a configuration; `log_standing` has the rest of the group.

Spec: auditlog/spec/api.md, "Logs".

Promises: creating a log twice is creating it once. Must never: create one as a side effect of a start, since
an unmounted disk would then become a second history under the same key.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlog.cli import log_standing
from auditlog.cli.configured import ConfigOption, find_log, load_settings
from auditlog.cli.output import say, say_json

if TYPE_CHECKING:
    from auditlog.service.settings import LogSettings, Settings

app = typer.Typer(help="Create and show logs.", no_args_is_help=True, rich_markup_mode=None)
log_standing.register(app)
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_NameArgument = Annotated[str | None, typer.Argument(help="Name of a configured log.")]


@app.command("create")
def create(name: _NameArgument = None, config: ConfigOption = None, json: _JsonOption = False) -> None:
    """Write the first entry of a configured log; its key is made if it has none."""
    settings = load_settings(config)
    shown = create_log(settings, find_log(settings, name))
    if json:
        say_json(shown)
        return
    say(f"log {shown['name']} is {shown['origin']}, {shown['visibility']}")
    say(shown["vkey"])


def create_log(settings: Settings, log: LogSettings, *, is_key_new: bool = False) -> dict[str, Any]:
    """Create a log in the stores of the configuration, and say what it is. `is_key_new`: the caller made its
    key just now; one that is not there yet is made here.

    Raises:
        AuditLogError: the stores refuse, or another process holds the log.
    """
    from auditlog.service.opening import EngineOpener
    from auditlog.service.stores import public_place

    opener = EngineOpener(settings)
    try:
        opener.start()
        created = opener.create(log, is_key_new=is_key_new)
        try:
            return {
                "name": log.name,
                "origin": created.origin,
                "visibility": created.visibility,
                "vkey": created.vkey,
                **dict([public_place(settings, log)]),
            }
        finally:
            created.close()
    finally:
        opener.close()


@app.command("list")
def list_logs(config: ConfigOption = None, json: _JsonOption = False) -> None:
    """List the configured logs."""
    settings = load_settings(config)
    listed = [_described(settings, log) for log in settings.logs]
    if json:
        say_json(listed)
        return
    for each in listed:
        say(f"{each['name']}: {each['origin']}, {each['visibility']}, {each['size']} entries published")


@app.command("show")
def show(name: _NameArgument = None, config: ConfigOption = None, json: _JsonOption = False) -> None:
    """Show one configured log: where it is, its key, its newest published checkpoint."""
    settings = load_settings(config)
    described = _described(settings, find_log(settings, name))
    if json:
        say_json(described)
        return
    for key, value in described.items():
        say(f"{key}: {value}")


def _described(settings: Settings, log: LogSettings) -> dict[str, Any]:
    from auditlog.service.stores import public_place

    paths = settings.paths(log)
    return {
        "name": log.name,
        "origin": log.origin,
        "visibility": log.visibility,
        "vkey": _vkey_of(paths.key_file),
        "size": _published_size(settings, log),
        "url": f"{settings.public_url}/logs/{log.name}",
        **dict([public_place(settings, log)]),
        "high_water_file": str(paths.high_water_file or "none"),
    }


def _vkey_of(key_file: Path) -> str:
    from auditlog.cli.reading import read_text_line
    from auditlog.core.keys import Ed25519Signer

    if not key_file.exists():
        return "not created yet"
    return Ed25519Signer.from_private_key(read_text_line(key_file, "the key of the log")).vkey


def _published_size(settings: Settings, log: LogSettings) -> int:
    """Tree size of the checkpoint in the public store, unverified: it is our own, and only shown."""
    from auditlog.core.checkpoint import parse_checkpoint
    from auditlog.core.note import split_note
    from auditlog.service.stores import published_note

    note = published_note(settings, log)
    return 0 if note is None else parse_checkpoint(split_note(note)[0]).tree_size

"""`auditlog log quiesce|resume|read-only|retire`: what a log takes and signs, and how it ends.

Spec: auditlog/spec/log.md, "Standing". Work on the running service through its admin API, and on the
stores where no service runs. Exit 3: done, but its last checkpoint is not published, or not by a quorum, yet;
the same command again looks again. Must never: end a log without the key of the one that goes on.
"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from auditlog.cli.configured import ConfigOption, find_log, load_settings
from auditlog.cli.output import say, say_json, say_note
from auditlog.cli.reading import read_text_line
from auditlog.cli.served import AdminTokenOption, JsonOption, NameArgument, running_service, with_log

EXIT_WAITING = 3


def register(app: typer.Typer) -> None:
    """Add the commands to the group `log`."""
    app.command("quiesce")(quiesce)
    app.command("resume")(resume)
    app.command("read-only")(read_only)
    app.command("retire")(retire)


def quiesce(
    name: NameArgument = None,
    config: ConfigOption = None,
    token_file: AdminTokenOption = None,
    json: JsonOption = False,
) -> None:
    """Let nothing new in: producers are told to wait; what was accepted is committed and published."""
    _show(_change(name, config, token_file, "quiesced"), as_json=json)


def resume(
    name: NameArgument = None,
    config: ConfigOption = None,
    token_file: AdminTokenOption = None,
    json: JsonOption = False,
) -> None:
    """Open a quiesced or read-only log again."""
    _show(_change(name, config, token_file, "open"), as_json=json)


def read_only(
    name: NameArgument = None,
    config: ConfigOption = None,
    token_file: AdminTokenOption = None,
    json: JsonOption = False,
) -> None:
    """Let nothing in and sign nothing, until it is resumed; everybody can still read."""
    _show(_change(name, config, token_file, "read-only"), as_json=json)


def retire(
    *,
    successor: Annotated[
        str,
        typer.Option("--successor", metavar="VKEY", help="Key of the log that goes on, or a file with it."),
    ],
    name: NameArgument = None,
    config: ConfigOption = None,
    token_file: AdminTokenOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be undone.")] = False,
    json: JsonOption = False,
) -> None:
    """End a log for ever: its last entry names the log that goes on. Drain the producers first."""
    vkey = successor if "+" in successor else read_text_line(Path(successor), "--successor")
    if not yes:
        say_note(
            "The log ends for ever. What producers have not sent by then can never get in: quiesce it only "
            "after `auditlog producer drain` on every host."
        )
        typer.confirm("End it?", abort=True, err=True)
    found = _change(name, config, token_file, "retired", vkey)
    _show(found, as_json=json)


def _change(
    name: str | None,
    config: Path | None,
    token_file: Path | None,
    standing: str,
    successor: str | None = None,
) -> dict[str, Any]:
    settings = load_settings(config)
    log = find_log(settings, name)
    with running_service(settings, log, token_file) as client:
        if client is not None:
            wanted = {"standing": standing} | ({} if successor is None else {"successor": successor})
            return client.ask("POST", "/standing", wanted)
    from auditlog.service.standing import change_standing

    return with_log(settings, log, lambda opened: change_standing(opened, standing, successor))


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    """Say where the log stands, and end with 3 while something of it is still to come."""
    shown = found["published_size"] == found["size"]
    code = 0 if shown and found["quorum_reached"] is not False else EXIT_WAITING
    if found["standing"] == "open":
        code = 0
    if as_json:
        say_json({**found, "exit_code": code})
        raise typer.Exit(code)
    say(f"log {found['origin']} is {found['standing']}, {found['size']} entries")
    if not shown:
        say(f"published so far: {found['published_size']} entries")
    if code and found["quorum_reached"] is False:
        say(f"cosigned by {found['cosigned']} witnesses, which is no quorum yet")
    if found["successor"] is not None:
        say(f"it goes on as {found['successor']['origin']}: {found['successor']['vkey']}")
    if found["retired"] is not None:
        say("trust files pin its end with this item of `retired`:")
        say(json_module.dumps(found["retired"]))
    raise typer.Exit(code)

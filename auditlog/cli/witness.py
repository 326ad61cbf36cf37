"""`auditlog witness init|serve|list|deposit`: run a witness that cosigns the checkpoints of some logs.

Spec: auditlog/spec/witness.md. Promises: SIGTERM and SIGINT answer what has arrived and end with 0; a store
that is older than what was signed is exit code 3, and nothing is signed. Must never: listen beyond this
machine unless told to (put TLS in front), make a store at a start, or print the private key.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from auditlog.cli.output import say, say_json, say_note
from auditlog.cli.witness_files import Plan, config_file, listed, make_witness

app = typer.Typer(help="Run a witness of other people's logs.", no_args_is_help=True, rich_markup_mode=None)
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="witness.toml, or its folder.")]
_LogOption = Annotated[
    list[str] | None,
    typer.Option("--log", metavar="VKEY[=URL]", help="Key of a log, or a file with it; repeatable."),
]


@app.command("init")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New folder of the witness.")],
    *,
    name: Annotated[str, typer.Option("--name", help="Key name, such as witness.example.org/w1.")],
    log: _LogOption = None,
    high_water: Annotated[
        str | None,
        typer.Option("--high-water", metavar="FILE", help="Best on another disk; from DIR if not absolute."),
    ] = None,
    state_dir: Annotated[
        str, typer.Option("--state-dir", metavar="DIR", help="Where it remembers; from DIR if not absolute.")
    ] = "states",
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where it will listen.")
    ] = "127.0.0.1:8710",
    promises: Annotated[
        bool, typer.Option("--promises", help="Take promises into a drop-box, for logs given with a URL.")
    ] = False,
    json: _JsonOption = False,
) -> None:
    """Make a witness: key, configuration, and an empty memory."""
    from auditlog.witness.config import CONFIG, load_config

    signer = make_witness(Plan(directory, name, log or [], high_water, listen, promises, state_dir))
    config = directory / CONFIG
    if json:
        guard = str(load_config(config).high_water_file)
        value = {"name": signer.name, "vkey": signer.vkey, "config": str(config), "high_water_file": guard}
        say_json(value)
        return
    say(signer.vkey)


@app.command("serve")
def serve(
    config: _ConfigArgument,
    *,
    log: _LogOption = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port; 0 for any.")] = None,
    accept_restored: Annotated[
        bool,
        typer.Option(
            "--accept-restored", help="Sign on from a store older than what was signed; shown for ever."
        ),
    ] = False,
    json: _JsonOption = False,
) -> None:
    """Cosign until stopped; says where it listens on standard output, what it does on standard error."""
    from auditlog.cli.witness_serve import Overrides, build, serve_until_told

    overrides = Overrides(tuple(log or ()), host, port, accept_restored=accept_restored)
    running = build(config_file(config), overrides)
    try:
        shown = {"url": running.server.url, "vkey": running.vkey}
        say_json(shown) if json else say(f"{shown['url']}  {shown['vkey']}")
        sys.stdout.flush()
        serve_until_told(running)
    finally:
        running.close()


@app.command("list")
def list_logs(
    config: _ConfigArgument,
    *,
    conflicts: Annotated[
        Path | None, typer.Option("--conflicts", metavar="DIR", help="Write what does not go together here.")
    ] = None,
    json: _JsonOption = False,
) -> None:
    """Show the logs followed and what was cosigned last. Exit 1 if a log has two histories."""
    from auditlog.witness.config import load_config

    settings = load_config(config_file(config))
    value = listed(settings)
    if conflicts is not None:
        from auditlog.cli.witness_conflicts import write_conflicts

        value["written"] = [str(path) for path in write_conflicts(settings, conflicts)]
    code = int(any(each["two_histories"] for each in value["logs"]))
    if json:
        say_json({**value, "exit_code": code})
    else:
        _say_listed(value)
    raise typer.Exit(code)


def _say_listed(value: dict[str, Any]) -> None:
    from auditlog.core.scalars import format_time

    say(value["vkey"])
    for each in value["restored"]:
        at = format_time(each["accepted_s"] * 1_000_000)
        say(f"RESTORED  accepted {at}: {each['found']}")
    for log in value["logs"]:
        size = "nothing yet" if log["tree_size"] is None else f"size {log['tree_size']}"
        when = "" if log["cosigned_s"] is None else f" at {format_time(log['cosigned_s'] * 1_000_000)}"
        say(f"{log['origin']}  {size}{when}{'' if log['followed'] else '  (no longer followed)'}")
        if log["two_histories"]:
            say("    TWO HISTORIES, both signed by the log (--conflicts DIR writes the evidence)")
        if log["unproven_growth"]:
            say(f"    {log['unproven_growth']} larger trees shown without a proof that holds: look at them")
        for vkey in log["not_checked"]:
            say(f"    not checked, the library here has no ML-DSA-44: {vkey.partition('+')[0]}")
    for path in value.get("written", []):
        say_note(f"written: {path}")


@app.command("deposit")
def deposit(
    url: Annotated[str, typer.Argument(metavar="URL", help="Of a witness with a drop-box.")],
    files: Annotated[list[Path], typer.Argument(metavar="PROMISE...", help="Promises, as you got them.")],
    *,
    json: _JsonOption = False,
) -> None:
    """Deposit promises with a witness, which will hold their log to them. Exit 1 if one is not taken."""
    from auditlog.cli.witness_deposit import deposit_all

    taken = deposit_all(url, files)
    code = int(any(each["status"] != 202 for each in taken))
    if json:
        say_json({"exit_code": code, "deposits": taken})
    else:
        for each in taken:
            what = each.get("state") or f"not taken ({each['status']}): {each.get('error', '')}"
            say(f"{each['file']}  {what}  {each.get('promise', '')}".rstrip())
    raise typer.Exit(code)

"""Registers `auditlog demo`, whose parts (torch, an EVM) are heavier than all other commands together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def add_demo(app: typer.Typer) -> None:
    """Add the command; its module is imported when it runs."""
    app.command("demo")(demo)


def demo(
    directory: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="Where to leave receipts, trust file and log.")
    ] = None,
    decisions: Annotated[int, typer.Option(min=1, max=100_000, help="How many decisions to make.")] = 200,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    no_llm: Annotated[bool, typer.Option("--no-llm", help="Leave the language model out.")] = False,
) -> None:
    """Show the whole thing: real models, a log, receipts, and a cheating operator caught."""
    from auditlog.cli.demo import run_demo

    raise typer.Exit(run_demo(directory=directory, decisions=decisions, as_json=json, with_llm=not no_llm))

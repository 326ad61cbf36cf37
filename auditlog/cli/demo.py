"""`auditlog demo`: the whole thing on one machine. The acts are in `auditlog.demo.story`."""

from __future__ import annotations

import json
import signal
import sys
import textwrap
from pathlib import Path

from rich.console import Console

from auditlog.demo.story import Result, Story
from auditlog.demo.telling import WIDTH

DEFAULT_FOLDER = Path("auditlog-demo")


def run_demo(*, directory: Path | None, decisions: int, as_json: bool, with_llm: bool) -> int:
    """Play the demo and return 0 if every honest thing passed and every cheat was caught, else 1."""
    folder = (directory or DEFAULT_FOLDER).resolve()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # As Ctrl-C: whatever ends the demo ends its servers.
        signal.signal(number, signal.default_int_handler)
    # With --json standard output is one object; whoever watches sees the story on standard error.
    console = Console(stderr=as_json, highlight=False, soft_wrap=True, markup=False)
    width = min(WIDTH, console.width) if console.is_terminal else WIDTH

    def say(line: str) -> None:
        # In a file a sentence stays one line.
        console.print(textwrap.fill(line, width, subsequent_indent="   ") if console.is_terminal else line)

    with console.status("starting") as status:
        story = Story(
            folder,
            decisions=decisions,
            with_llm=with_llm,
            say=say,
            doing=status.update,
            width=width,
        )
        result = story.run()
    if as_json:
        sys.stdout.write(json.dumps(result.to_json()) + "\n")
    else:
        _close(console, result)
    return 0 if result.is_as_expected else 1


def _close(console: Console, result: Result) -> None:
    folder = _shown(result.folder)
    console.print(
        f"{'as it should be' if result.is_as_expected else 'NOT as it should be'}, {result.seconds:.0f} s."
    )
    where = f"--trust {folder}/trust.json --log {folder}/log"
    console.print(f"check it without us:  auditlog verify {folder}/receipts/*.json {where}")
    console.print(f'                      auditlog fsck {folder}/log --vkey "$(cat {folder}/log.vkey)"')
    console.print(f"                      auditlog promise check {folder}/promises/*.promise {where}")
    console.print(
        "wrap yours:           auditlog init my-log   then one line: app.add_middleware(AuditMiddleware)"
    )


def _shown(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)

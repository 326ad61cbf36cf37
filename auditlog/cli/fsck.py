"""`auditlog fsck TARGET --vkey VKEY`: read a whole tlog-tiles log, ours or not, and check its tree.

Spec: auditlog/spec/log.md, "fsck". Promises: exit 3 when a log without public entries could
only be checked as a tree. Must never: need anything of the operator but the folder or URL and the key.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from auditlog.cli.output import say, say_json
from auditlog.cli.reading import read_text_line


def fsck(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Folder or URL of a tlog-tiles log.")],
    vkey: Annotated[str, typer.Option("--vkey", help="Key of the log, or a file that holds it.")],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Token with scope read, for entries.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Rebuild the tree from what is served and compare. Exit 0 clean, 1 not, 3 not all could be read."""
    from auditlog.errors import ConfigurationError, MalformedError
    from auditlog.verify.fsck import fsck as check_log
    from auditlog.verify.sources import open_source

    key = vkey if "+" in vkey else read_text_line(Path(vkey), "--vkey")
    token = None if token_file is None else read_text_line(token_file, "--token-file")
    try:
        report = check_log(open_source(target, token), key, progress=_show_progress)
    except MalformedError as error:  # only the key is ours to have got wrong; the log shows in the report
        raise ConfigurationError(f"--vkey: {error}") from error
    if json:
        say_json(report.to_json())
    else:
        for line in report.lines():
            say(line)
    raise typer.Exit(report.exit_code)


def _show_progress(done: int, of: int) -> None:
    """One line on standard error that grows in place, for people only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {of} entries" + ("\n" if done == of else ""))
        sys.stderr.flush()

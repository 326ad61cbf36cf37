"""`auditlog fsck TARGET --vkey VKEY`: read a whole tlog-tiles log, ours or not, and check its tree.

Spec: auditlog/spec/log.md, "fsck". Promises: exit 3 when a log without public entries could
only be checked as a tree. Must never: need anything of the operator but the folder or URL and the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditlog.cli.output import say, say_json
from auditlog.cli.reading import read_text_line


def fsck(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Folder, URL or bucket of a tlog-tiles log.")
    ],
    vkey: Annotated[str, typer.Option("--vkey", help="Key of the log, or a file that holds it.")],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Token with scope read, for entries.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", min=0, help="Processes that read and hash; 0: one for each core.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Rebuild the tree from what is served and compare. Exit 0 clean, 1 not, 3 not all could be read."""
    from auditlog.cli.progress import Bar
    from auditlog.errors import ConfigurationError, MalformedError
    from auditlog.verify.fsck import Hands
    from auditlog.verify.fsck import fsck as check_log
    from auditlog.verify.monitor.prefetch import Ahead
    from auditlog.verify.second_process import usable_cores
    from auditlog.verify.sources import FolderSource, open_source

    key = vkey if "+" in vkey else read_text_line(Path(vkey), "--vkey")
    token = None if token_file is None else read_text_line(token_file, "--token-file")
    source, bar = open_source(target, token), Bar("entries", with_rate=True)
    # What is far away is fetched before it is asked for.
    source = source if isinstance(source, FolderSource) else Ahead(source)
    hands = Hands(target, token, jobs=jobs or usable_cores())
    try:
        report = check_log(source, key, progress=bar, hands=hands)
    except MalformedError as error:  # only the key is ours to have got wrong; the log shows in the report
        raise ConfigurationError(f"--vkey: {error}") from error
    finally:
        bar.close()
    if json:
        say_json(report.to_json())
    else:
        for line in report.lines():
            say(line)
    raise typer.Exit(report.exit_code)

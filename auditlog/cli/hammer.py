"""`auditlog hammer URL --token-file FILE`: load on a running log, with readers that check its proofs.

Promises: exit 1 for any violation, 3 if producers were refused or nothing could be checked. Must never: be
pointed at a log by anything but its user: what it writes stays there for ever.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from auditlog.cli.output import say, say_json, say_note
from auditlog.cli.progress import Bar
from auditlog.cli.reading import read_text_line

TokenOption = Annotated[
    Path, typer.Option("--token-file", metavar="FILE", help="Token with the scopes enrol and submit.")
]
ReadTokenOption = Annotated[
    Path | None,
    typer.Option("--read-token-file", metavar="FILE", help="Token with scope read, if proofs are private."),
]
VkeyOption = Annotated[
    str | None,
    typer.Option("--vkey", metavar="KEY", help="Key of the log, or a file with it; else what the log says."),
]
PictureOption = Annotated[
    Path, typer.Option("--picture", metavar="FILE", help="Where to draw throughput and latency (SVG).")
]


def hammer(
    url: Annotated[str, typer.Argument(metavar="URL", help="The log: http[s]://HOST/logs/NAME.")],
    *,
    token_file: TokenOption,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="How long to send.")] = 10.0,
    producers: Annotated[int, typer.Option(min=1, max=256, help="How many chains send at once.")] = 4,
    batch: Annotated[int, typer.Option(min=1, max=2000, help="Entries in a batch, of about 1 KB.")] = 100,
    readers: Annotated[int, typer.Option(min=1, max=32, help="How many readers check proofs.")] = 1,
    read_token_file: ReadTokenOption = None,
    vkey: VkeyOption = None,
    picture: PictureOption = Path("hammer.svg"),
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Drive load on a log and check its proofs meanwhile. The made-up decisions stay in it for ever."""
    from auditlog.hammer.picture import draw
    from auditlog.hammer.run import Load
    from auditlog.hammer.run import hammer as run

    key = vkey if vkey is None or "+" in vkey else read_text_line(Path(vkey), "--vkey")
    load = Load(
        url=url,
        token=read_text_line(token_file, "--token-file"),
        read_token=None if read_token_file is None else read_text_line(read_token_file, "--read-token-file"),
        vkey=key,
        seconds=seconds,
        producers=producers,
        batch=batch,
        readers=readers,
    )
    bar = Bar("driving")
    try:
        found = run(load, randomness=os.urandom, progress=bar)
    finally:
        bar.close()
    picture.write_text(draw(found), encoding="utf-8")
    if json:
        say_json({**found.to_json(), "picture": str(picture)})
    else:
        for line in found.lines():
            say(line)
        if key is None:
            say("key: the log's own word (--vkey pins one)")
        say_note(f"picture: {picture}")
    raise typer.Exit(found.exit_code)

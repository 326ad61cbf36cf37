"""`auditlog find subject=123`: decisions of this host by what the operator knows of them; with `--log URL`
entries of a log by what they say.

On this host it searches the private index of every slot (`auditlog.capture.private_index`): keyed digests.
With `--log` it asks `GET /logs/{log}/search` (spec/api.md, "Search"), all pages: the log's word, no proof.
Must never: print a fact, or ask anything outside this host unless a log is named.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from auditlog.cli.output import say, say_json
from auditlog.errors import ConfigurationError

_NOT_FOUND = 1


def find(
    facts: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE...", help="What has to hold; all of it."),
    ],
    *,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="State of the capture layer (or AUDITLOG_STATE)."),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option("--log", metavar="URL", help="Search this log instead: http[s]://HOST/logs/NAME."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Token with scope read, for --log.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="With --log: entries shown at most.")] = 1000,
    json: Annotated[bool, typer.Option("--json", help="One JSON value.")] = False,
) -> int:
    """Find decisions of this host by subject, label, request_id or trace_id; or, with --log, entries of a log
    by decision, leaf, producer, kind, model, operation, status, ended, since, before, order.
    """
    if log is not None:
        from auditlog.cli.find_in_log import find_in_log

        return find_in_log(log, facts, token_file=token_file, most=most, as_json=json)
    from auditlog.capture.disclose import find_decisions
    from auditlog.capture.private_index import parse_search

    wanted = parse_search(facts)
    folder = state or (Path(os.environ["AUDITLOG_STATE"]) if os.environ.get("AUDITLOG_STATE") else None)
    if folder is None:
        raise ConfigurationError("expected --state or AUDITLOG_STATE, found neither")
    if not (folder / "slots").is_dir():
        raise ConfigurationError(f"expected the state of a capture layer in {folder}, found no slots")
    found = find_decisions(folder, wanted)
    if json:
        say_json([{"id": one.id, "kind": one.kind, "kept": _time(one.stored_us)} for one in found])
    for one in [] if json else found:
        say(f"{one.id}  {one.kind:<8}  {_time(one.stored_us)}")
    return 0 if found else _NOT_FOUND


def _time(stored_us: int) -> str:
    return datetime.fromtimestamp(stored_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

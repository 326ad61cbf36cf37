"""`auditlog attack --target COPY`: cheat with copies of a log in every way the suite knows; see who notices.

Spec: auditlog/attack/README.md. Promises: the target is read and never changed; exit 0 only if every attack
was noticed by whoever should notice it and nothing was raised over the honest log, 1 if not, 2 for a target
that is live or no copy of a log. Must never: work on a log that somebody is running.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.errors import AuditLogError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditlog.attack.results import Results
    from auditlog.attack.tools.tool import ToolResults

TargetOption = Annotated[
    Path | None,
    typer.Option("--target", metavar="COPY", help="A copy of a log folder (with --tool: of an export)."),
]
OnlyOption = Annotated[
    list[str] | None, typer.Option("--only", metavar="NAME", help="This attack alone; may be repeated.")
]
EvidenceOption = Annotated[
    Path | None,
    typer.Option("--evidence", metavar="DIR", help="Keep the evidence files and the trust file here."),
]


def attack(
    *,
    target: TargetOption = None,
    list_: Annotated[bool, typer.Option("--list", help="Name the attacks, one a line, and stop.")] = False,
    only: OnlyOption = None,
    tool: Annotated[
        str | None,
        typer.Option("--tool", metavar="NAME", help="The copy is another tool's; its own verifier judges."),
    ] = None,
    evidence: EvidenceOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Attack copies of a log and see who notices. Exit 0 all noticed by whoever should, 1 not, 2 usage."""
    if list_:
        _list(as_json=json)
        return
    if target is None:
        raise ConfigurationError("expected --target COPY or --list, found neither")
    if tool is not None:
        results = _run_tool(tool, target, only or [])
        _say(results, as_json=json)
        raise typer.Exit(results.exit_code)
    suite = _run(target, only or [], evidence)
    _say(suite, as_json=json)
    raise typer.Exit(suite.exit_code)


def _list(*, as_json: bool) -> None:
    from auditlog.attack.suite import ATTACKS
    from auditlog.attack.table import list_line
    from auditlog.cli.output import say, say_json

    if as_json:
        rows = [
            {
                "name": each.name,
                "by": each.by.value,
                "title": each.title,
                "should_notice": [piece.value for piece in each.should],
                "why_nobody_can": each.why_none or None,
            }
            for each in ATTACKS
        ]
        say_json({"attacks": rows})
        return
    for each in ATTACKS:
        say(list_line(each))


def _say(results: Results | ToolResults, *, as_json: bool) -> None:
    from auditlog.cli.output import say, say_json

    if as_json:
        say_json(results.to_json())
        return
    for line in results.lines():
        say(line)


def _run(target: Path, only: Sequence[str], evidence: Path | None) -> Results:
    import logging
    import tempfile

    from auditlog.attack.suite import chosen, run_suite
    from auditlog.attack.target import read_target
    from auditlog.cli.progress import Bar

    chosen(only)
    # What the parts log about the attacks is in the table; nobody reads it beside that.
    for name in ("auditlog.witness", "auditlog.monitor"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    bar = Bar("attacks")
    try:
        with tempfile.TemporaryDirectory(prefix="auditlog-attack-", dir=_memory()) as scratch:
            return run_suite(
                read_target(target),
                Path(scratch),
                only=only,
                guard=rollback_guard,
                keep=evidence,
                progress=lambda _name, done, of: bar(done, of),
            )
    finally:
        bar.close()


def _memory() -> str | None:
    """Where nothing need survive: witnesses and monitors wait for their disk at every step they take."""
    import os

    folder = "/dev/shm"  # noqa: S108  below it is a folder of ours alone
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


def _run_tool(name: str, target: Path, only: Sequence[str]) -> ToolResults:
    from auditlog.attack.tools import run_tool

    return run_tool(name, target, only)


def rollback_guard(size: int, root: bytes, stores: Sequence[bytes]) -> str | None:
    """What the log's own service says at its start, if somebody outside remembers a tree of this size and
    root and these leaf hashes are in its stores; None where it starts.
    """
    from auditlog.core.merkle import root_hash
    from auditlog.log.rollback import SeenTree, check_not_rolled_back

    class Remembered:
        """What a high-water file says."""

        name = "high-water file"

        def record(self, note: str) -> None:
            """Nothing is signed here."""

    seen = [(Remembered(), SeenTree(size, root))]
    try:
        check_not_rolled_back(
            seen, tree_size=len(stores), root_at=lambda at: root_hash(stores[:at]), allow_unguarded=False
        )
    except AuditLogError as error:
        return str(error)
    return None

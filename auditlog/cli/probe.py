"""`auditlog probe URL --log TARGET` and `auditlog probe check DIR`: ask as a customer, keep the promises, see
what became of them.

Spec: auditlog/spec/promise.md, "Probing". Promises: everything is kept before anything is judged; nothing is
sent that was not asked for. Must never: tell the operator that it is probed.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.output import say, say_json, say_note
from auditlog.cli.promise import TokenOption, TrustOption
from auditlog.cli.reading import read_bounded, read_text_line
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.cli.probe_requests import Asking
    from auditlog.cli.probe_store import Probe, ProbeFolder

_MAX_BODY_BYTES = 16 * 1024 * 1024
_MARGIN_S = 5.0
"""After merge-by a quorum still has to see it: so long is waited before asking."""

BodyOption = Annotated[
    Path | None,
    typer.Option("--body", metavar="FILE", help="Send this; {random} in it is a new number each time."),
]
DialectOption = Annotated[
    str, typer.Option("--dialect", help="openai.chat, openai.completions, openai.responses, ...")
]
BearerOption = Annotated[
    Path | None, typer.Option("--bearer-file", metavar="FILE", help="API key of the endpoint.")
]
KeyOption = Annotated[
    bool, typer.Option("--want-key", help="Ask for the exchange key (this tells the operator).")
]
ClockSlackOption = Annotated[
    int,
    typer.Option("--clock-slack", metavar="SECONDS", min=0, max=3600, help="How far its clock may be off."),
]


def probe(
    target: Annotated[str, typer.Argument(metavar="URL|check", help="The endpoint; or the word check.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="With check: the folder of the probe.")
    ] = None,
    *,
    log: Annotated[
        str | None, typer.Option("--log", metavar="TARGET", help="URL or folder of the log.")
    ] = None,
    requests: Annotated[int, typer.Option("--requests", min=1, max=1_000_000, help="How many.")] = 20,
    body: Annotated[
        Path | None,
        typer.Option(
            "--body", metavar="FILE", help="Send this body instead of questions; {random} in it is a number."
        ),
    ] = None,
    dialect: DialectOption = "openai.chat",
    model: Annotated[str, typer.Option("--model", help="Model name to ask for.")] = "default",
    bearer_file: BearerOption = None,
    want_key: KeyOption = False,
    keep: Annotated[Path | None, typer.Option("--keep", metavar="DIR", help="Keep everything here.")] = None,
    clock_slack: Annotated[
        int,
        typer.Option(
            "--clock-slack",
            metavar="SECONDS",
            min=0,
            max=3600,
            help="How far its clock may be from this one.",
        ),
    ] = 30,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all is due, and judge.")] = False,
    trust: TrustOption = None,
    token_file: TokenOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Send ordinary requests and judge what became of them. Exit 0 all recorded, 1 omission, 3 undecided."""
    from auditlog.cli.probe_judge import Where, judge
    from auditlog.cli.probe_store import Probe, ProbeFolder

    if target == "check":
        if folder is None:
            raise ConfigurationError("expected probe check DIR, found no folder")
        kept = ProbeFolder(folder)
        asked = kept.read()
    else:
        asking = _asking(dialect, model, body, bearer_file, want_key)
        kept, asked = ProbeFolder(_folder(keep)), Probe(_endpoint(target), _log(log))
        _ask(asked, kept, asking, requests)
        if not wait:
            say_note(f"kept in {kept.path}; later: auditlog probe check {kept.path}")
    if wait:
        _wait_until_due([each.merge_by for each in asked.sent if each.merge_by])
    report = judge(asked, kept, Where(log or asked.log, trust, token_file), slack_s=clock_slack)
    if json:
        say_json(report.to_json())
    else:
        for line in report.lines():
            say(line)
    raise typer.Exit(report.exit_code)


def _asking(dialect: str, model: str, body: Path | None, bearer_file: Path | None, want_key: bool) -> Asking:
    from auditlog.cli.probe_requests import Asking

    headers = {}
    if bearer_file is not None:
        headers["Authorization"] = f"Bearer {read_text_line(bearer_file, '--bearer-file')}"
    given = None if body is None else read_bounded(body, _MAX_BODY_BYTES, "--body")
    asking = Asking(dialect, model, given, headers, want_key)
    if asking.is_one_for_all:
        say_note("every request has the same body; {random} in it stands for a number that differs")
    return asking


def _ask(asked: Probe, kept: ProbeFolder, asking: Asking, requests: int) -> None:
    from auditlog.cli.probe_requests import send_all
    from auditlog.cli.progress import Bar

    next(asking.bodies())  # an unknown dialect is said before anything is made
    kept.begin()
    bar = Bar("requests")
    try:
        send_all(asked, kept, asking, requests, bar)
    finally:
        bar.close()


def _folder(keep: Path | None) -> Path:
    return keep if keep is not None else Path(tempfile.mkdtemp(prefix="auditlog-probe-"))


def _endpoint(url: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        raise ConfigurationError("expected an http(s) URL of an endpoint, or check, found another text")
    return url


def _log(log: str | None) -> str:
    if log is None:
        raise ConfigurationError("expected --log with the URL or folder of the log, found none")
    return log


def _wait_until_due(merge_bys: list[str]) -> None:
    """Sleep until the last promise is due, and a little longer."""
    from auditlog.core.scalars import parse_time

    if not merge_bys:
        return
    last_s = parse_time(max(merge_bys)) / 1_000_000 + _MARGIN_S
    left_s = last_s - time.time()
    if left_s > 0:
        say_note(f"waiting {left_s:.0f} s until every promise is due")
        time.sleep(left_s)

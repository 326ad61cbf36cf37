"""`auditlog promise check|evidence`: what became of a promise, and proof of it for others.

Spec: auditlog/spec/promise.md, "Verdicts"; auditlog/spec/evidence.md. Promises: `evidence` reads no network;
checkpoints and evidence are written before anything is printed. Must never: send a promise anywhere but to
the log it names.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.output import say_error, say_json, say_note
from auditlog.cli.promise_files import keep_checkpoints, kept_checkpoints, read_promise_note
from auditlog.cli.reading import read_bounded, read_text_line
from auditlog.errors import ConfigurationError, MalformedError

if TYPE_CHECKING:
    from auditlog.core.trust import Trust
    from auditlog.verify.promise_evidence import Evidence
    from auditlog.verify.promise_report import PromiseReport
    from auditlog.verify.promise_verdict import OwnBytes
    from auditlog.verify.promise_view import LogSight

app = typer.Typer(
    help="Check promises, and evidence of broken ones.", no_args_is_help=True, rich_markup_mode=None
)

REPORTS_VERSION = "auditlog/promise-reports@v1"
LOG_BUDGET_S = 600.0
"""Seconds for all that one call reads of a log."""
_MAX_BODY_BYTES = 1 << 30

LogOption = Annotated[
    str | None,
    typer.Option("--log", metavar="TARGET", help="URL or folder of the log (else the trust file's)."),
]
TrustOption = Annotated[Path | None, typer.Option("--trust", metavar="FILE", help="Your trust file.")]
TokenOption = Annotated[
    Path | None, typer.Option("--token-file", metavar="FILE", help="Token with scope read, for entries.")
]
KeepOption = Annotated[
    Path | None, typer.Option("--keep", metavar="DIR", help="Read and keep the checkpoints seen here.")
]
CheckpointOption = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", metavar="FILE", help="A checkpoint kept from earlier; repeatable."),
]


@app.command("check")
def check(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Each a note, a header or a comment line.")
    ],
    *,
    log: LogOption = None,
    trust: TrustOption = None,
    token_file: TokenOption = None,
    checkpoint: CheckpointOption = None,
    keep: KeepOption = None,
    evidence: Annotated[
        Path | None,
        typer.Option("--evidence", metavar="OUT", help="Write the proof here, if broken."),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", metavar="FILE", help="Exchange key (the header Audit-Key).")
    ] = None,
    request: Annotated[
        Path | None, typer.Option("--request", metavar="FILE", help="Bytes of the request you sent.")
    ] = None,
    response: Annotated[
        Path | None, typer.Option("--response", metavar="FILE", help="Bytes of the answer you got.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what became of promises. Exit 0 in the log, 1 broken or declared lost, 2 usage, 3 not decided."""
    if len(files) > 1 and any((evidence, key_file, request, response)):
        raise ConfigurationError(
            "expected one promise with --evidence, --key-file, --request or --response, found several"
        )
    asked = _Asked(log, trust, token_file, kept_checkpoints(checkpoint or [], keep))
    own = _own_bytes(key_file, request, response)
    try:
        reports = [(str(path), asked.judge(path, own)) for path in files]
    finally:
        asked.close()
    if keep is not None:
        for sight in asked.sights.values():
            keep_checkpoints(keep, sight)
    if evidence is not None and reports[0][1].evidence is not None:
        _write_evidence(evidence, reports[0][1], keep)
    code = _combined([report.exit_code for _, report in reports])
    if json:
        say_json(_as_json(reports, code))
    else:
        from auditlog.verify.promise_render import render_promise, render_promises

        render_promise(*reports[0]) if len(reports) == 1 else render_promises(reports)
    raise typer.Exit(code)


class _Asked:
    """The logs that the promises of one call name, each looked at once."""

    def __init__(self, log: str | None, trust: Path | None, token_file: Path | None, kept: list[str]) -> None:
        self._log, self._trust, self._token_file, self._kept = log, trust, token_file, kept
        self.sights: dict[str, LogSight] = {}

    def judge(self, path: Path, own: OwnBytes | None) -> PromiseReport:
        """The report on the promise in a file; raises ConfigurationError."""
        from auditlog.verify.promise_verdict import check_promise, read_promise

        note = read_promise_note(path)
        origin = read_promise(note).origin
        if origin not in self.sights:
            self.sights[origin] = open_sight(origin, self._log, self._trust, self._token_file, self._kept)
        return check_promise(note, self.sights[origin], now_us=time.time_ns() // 1000, own=own)

    def close(self) -> None:
        """Close what was opened."""
        for sight in self.sights.values():
            sight.close()


def _combined(codes: list[int]) -> int:
    """The code of them all: broken is weightier than no promise, and that than not decided."""
    return next((code for code in (1, 2, 3) if code in codes), 0)


def _as_json(reports: list[tuple[str, PromiseReport]], code: int) -> dict[str, object]:
    """One promise is its report; of several there is a list."""
    if len(reports) == 1:
        return reports[0][1].to_json()
    listed = [{"file": name, **report.to_json()} for name, report in reports]
    return {"v": REPORTS_VERSION, "exit_code": code, "promises": listed}


@app.command("evidence")
def check_evidence(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An evidence file.")],
    *,
    trust: Annotated[Path, typer.Option("--trust", metavar="FILE", help="Your trust file.")],
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check evidence offline. Exit 0 it proves what it says, 1 it does not, 3 it cannot be told."""
    from auditlog.cli.verify import read_trust
    from auditlog.verify import evidence_check
    from auditlog.verify.evidence_parts import MAX_EVIDENCE_BYTES

    told = evidence_check.check_evidence(
        read_bounded(file, MAX_EVIDENCE_BYTES, "evidence"), read_trust(trust)
    )
    if json:
        say_json(told.to_json())
    else:
        from auditlog.verify.promise_render import render_evidence

        render_evidence(str(file), told)
    raise typer.Exit(told.exit_code)


def open_sight(
    origin: str, target: str | None, trust_file: Path | None, token_file: Path | None, kept: list[str]
) -> LogSight:
    """The log of an origin, as these options show it.

    Raises:
        ConfigurationError: no way to the log, or a trust file without it.
    """
    from auditlog.cli.progress import Bar
    from auditlog.verify.promise_sources import HttpLookup
    from auditlog.verify.promise_view import LogSight
    from auditlog.verify.sources import open_source

    believed, target = believe(origin, target, trust_file)
    token = None if token_file is None else read_text_line(token_file, "--token-file")
    is_url = target.lower().startswith(("http://", "https://"))
    return LogSight(
        believed,
        origin,
        open_source(target, token, budget_s=LOG_BUDGET_S),
        lookup=HttpLookup(target) if is_url else None,
        kept=kept,
        progress=Bar("entries"),
    )


def believe(origin: str, target: str | None, trust_file: Path | None) -> tuple[Trust, str]:
    """The trust to judge by, and where the log is: each from the other, where one is not given."""
    from auditlog.cli.trust import pinned_trust
    from auditlog.cli.verify import read_trust

    if trust_file is None:
        if target is None:
            raise ConfigurationError("expected --log or --trust, found neither")
        return pinned_trust(target), target
    believed = read_trust(trust_file)
    if target is None:
        target = next((log.url for log in believed.policy.logs if log.verifier.name == origin), "")
    if not target:
        raise ConfigurationError(f"expected --log, or a URL of {origin} in the trust file, found neither")
    return believed, target


def _own_bytes(key_file: Path | None, request: Path | None, response: Path | None) -> OwnBytes | None:
    given = [key_file, request, response]
    if not any(given):
        return None
    if key_file is None or request is None or response is None:
        raise ConfigurationError("expected --key-file, --request and --response together, found some of them")
    from auditlog.core.scalars import parse_base64
    from auditlog.verify.promise_verdict import OwnBytes

    try:
        key = parse_base64(read_text_line(key_file, "--key-file"), "exchange key")
    except MalformedError as error:
        raise ConfigurationError(str(error)) from error
    if len(key) != 32:
        raise ConfigurationError(f"expected an exchange key of 32 bytes, found {len(key)}")
    bodies = [read_bounded(path, _MAX_BODY_BYTES, "a body") for path in (request, response)]
    return OwnBytes(key, *bodies)


def _write_evidence(path: Path, report: PromiseReport, keep: Path | None) -> None:
    from auditlog.verify.promise_evidence import EvidenceTooLargeError, format_evidence

    if report.evidence is None:
        return
    try:
        path.write_bytes(format_evidence(report.evidence))
    except EvidenceTooLargeError as error:
        say_error(f"no evidence file was written, and the verdict stands: {error}")
        say_note(_instead_of_a_file(report.evidence, keep))
    except MalformedError as error:
        say_error(f"no evidence file was written: {error}")
    else:
        say_note(f"evidence: {path}")


def _instead_of_a_file(evidence: Evidence, keep: Path | None) -> str:
    """What proves the absence from a tree that is too large for a file, and how to keep it."""
    size = evidence.checkpoint.split("\n")[1]
    kept = f"it is in {keep}" if keep is not None else "--keep DIR keeps it"
    return (
        f"The evidence is the promise, the checkpoint of {size} entries with its cosignatures ({kept}), "
        "and the log's public hash tiles up to that size. Copy the tiles, and the entry bundles if they "
        "are open, while they are served: with --log FOLDER this command judges such a copy."
    )

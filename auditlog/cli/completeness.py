"""`auditlog completeness --log TARGET`: what a log shows of what it does not show, over a period.

Spec: auditlog/spec/promise.md, "Completeness". Promises: exit 1 only for what no honest log has; without a
trust file the report says that the key came from the log itself. Must never: say that nothing is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.output import say_json
from auditlog.cli.promise import LOG_BUDGET_S, TokenOption, TrustOption
from auditlog.cli.reading import read_text_line
from auditlog.errors import ConfigurationError, EvidenceError, SourceError

if TYPE_CHECKING:
    from auditlog.core.trust import Trust
    from auditlog.verify.completeness import Period
    from auditlog.verify.completeness_report import CompletenessReport
    from auditlog.verify.sources import LogSource
    from auditlog.verify.steps import Opened


def completeness(
    *,
    log: Annotated[str, typer.Option("--log", metavar="TARGET", help="URL or folder of the log.")],
    trust: TrustOption = None,
    token_file: TokenOption = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Count from this date or UTC time.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Count up to this date or UTC time.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Look for gaps, silences and counters that disagree. Exit 0 nothing, 1 a contradiction, 3 not whole."""
    from auditlog.verify.sources import HttpSource, open_source

    period = _period(since, until)
    token = None if token_file is None else read_text_line(token_file, "--token-file")
    source = open_source(log, token, budget_s=LOG_BUDGET_S * 6)
    try:
        report = check(source, trust, period)
    finally:
        if isinstance(source, HttpSource):
            source.close()
    if json:
        say_json(report.to_json())
    else:
        from auditlog.verify.completeness_render import render_completeness

        render_completeness(log, report)
    raise typer.Exit(report.exit_code)


def check(source: LogSource, trust_file: Path | None, period: Period) -> CompletenessReport:
    """Open the newest checkpoint and follow everything under it.

    Raises:
        ConfigurationError: there is no checkpoint to look under.
    """
    import dataclasses

    from auditlog.cli.progress import Bar
    from auditlog.cli.verify import read_trust
    from auditlog.verify.completeness import check_completeness
    from auditlog.verify.steps import check_quorum, find_log

    note = _newest(source)
    believed = claimed_trust(source, note) if trust_file is None else read_trust(trust_file)
    try:
        trusted = find_log(note, believed).value
        opened = trusted.open(note)
    except EvidenceError as error:
        raise ConfigurationError(f"the log's checkpoint: {error}") from error
    bar = Bar("entries")
    try:
        report = check_completeness(
            source,
            opened.checkpoint,
            _signer(opened),
            period=period,
            seen_at=check_quorum(opened, believed).value.since,
            progress=bar,
        )
    finally:
        bar.close()
    return dataclasses.replace(report, reservations=_reservations(believed, trust_file))


def _newest(source: LogSource) -> str:
    from auditlog.verify.sources import CHECKPOINT_PATH

    try:
        return source.fetch(CHECKPOINT_PATH).decode("utf-8", "replace")
    except SourceError as error:
        raise ConfigurationError(f"expected a checkpoint of the log, found none: {error}") from error


def _signer(opened: Opened) -> str:
    """The vkey of the log that signed: the genesis entry must name it."""
    origin = opened.checkpoint.origin
    return next(line.vkey for line in opened.opened.verified if line.name == origin)


def claimed_trust(source: LogSource, note: str) -> Trust:
    """The trust that follows from the log's own first entry: worth no more than the operator's word.

    Raises:
        ConfigurationError: the first entry is not to be had, or names no key.
    """
    from auditlog.cli.trust import policy_text, trust_text
    from auditlog.core.checkpoint import parse_checkpoint
    from auditlog.core.entry import parse_entry
    from auditlog.core.note import split_note
    from auditlog.core.trust import parse_trust
    from auditlog.verify.tlogclient import VerifiedTree

    try:
        checkpoint = parse_checkpoint(split_note(note)[0])
        genesis = parse_entry(VerifiedTree(source, checkpoint).entry(0))
    except (SourceError, EvidenceError, ValueError) as error:
        raise ConfigurationError(
            f"expected --trust, or a log whose first entry names its key, found: {error}"
        ) from error
    keys = genesis.body.get("vkeys")
    if not isinstance(keys, list) or not keys or not isinstance(keys[0], str) or "+" not in keys[0]:
        raise ConfigurationError("expected a log whose first entry names its key, found another")
    issuer = {"name": "the log's own first entry", "role": "operator"}
    text = trust_text(policy_text([keys[0]], [], 0), devnet=None, require=[], issuer=issuer)
    return parse_trust(text.encode("utf-8"))


def _reservations(trust: Trust, trust_file: Path | None) -> tuple[str, ...]:
    found = [
        "a host can leave out a call nobody holds a promise for: only what disagrees with that shows here"
    ]
    if trust_file is None:
        found.append("the log's key was taken from the log itself")
    elif trust.issuer.role == "operator":
        found.append(f"the trust file came from the operator ({trust.issuer.name})")
    return tuple(found)


def _period(since: str | None, until: str | None) -> Period:
    from auditlog.verify.completeness import Period

    given = Period(instant("--from", since), instant("--to", until))
    if given.since is not None and given.until is not None and given.since > given.until:
        raise ConfigurationError("expected --from not after --to, found it after")
    return given


def instant(option: str, text: str | None) -> str | None:
    """A date or UTC time in the form of entries; raises ConfigurationError."""
    from auditlog.verify.expectation_values import normal_instant

    return None if text is None else normal_instant(option, text)

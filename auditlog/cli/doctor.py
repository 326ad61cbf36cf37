"""`auditlog doctor`: is this host fit to run the service or to record decisions, and if not, why.

Promises: every check ends in ok, warning or problem, with what to do; nothing is changed but a scratch file
that is removed again. Exit 0 without problems, 1 with, 2 usage. Must never: print a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.configured import ConfigOption, config_path, load_settings
from auditlog.cli.output import say, say_json
from auditlog.errors import AuditLogError

if TYPE_CHECKING:
    from auditlog.cli.findings import Finding


def doctor(
    config: ConfigOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check configuration, clock, disk, fsync, log, key, chain and routes of this host."""
    findings = [*_service_side(config), *_capture_side()]
    problems = sum(finding.level == "problem" for finding in findings)
    if json:
        say_json({"problems": problems, "checks": [finding.to_json() for finding in findings]})
    else:
        for finding in findings:
            say(f"{finding.level:<8} {finding.check:<10} {finding.text}")
    raise typer.Exit(1 if problems else 0)


def _service_side(config: object) -> list[Finding]:
    """Checks of the host that runs the service, if there is a configuration here."""
    from pathlib import Path

    from auditlog.cli import checks_anchoring, checks_host, checks_service
    from auditlog.cli.findings import Finding, problem

    path = config_path(config if isinstance(config, Path) else None)
    if config is None and not path.exists():
        return [Finding("skipped", "config", f"no configuration at {path}: nothing to serve from here")]
    try:
        settings = load_settings(path)
    except AuditLogError as error:
        return [problem("config", str(error))]
    data_dir = settings.service.data_dir
    return [
        Finding("ok", "config", f"{path}: {len(settings.logs)} log(s), {len(settings.tokens)} token(s)"),
        checks_host.check_clock([data_dir]),
        checks_host.check_space(data_dir),
        checks_host.check_fsync(data_dir),
        *checks_service.check_buckets(settings),
        *checks_service.check_logs(settings),
        checks_anchoring.check_anchoring(settings),
    ]


def _capture_side() -> list[Finding]:
    """Checks of the host that records decisions, if its environment says it does."""
    import os

    from auditlog.cli import checks_capture
    from auditlog.cli.findings import Finding

    if not os.environ.get("AUDITLOG_LOG"):
        return [Finding("skipped", "capture", "AUDITLOG_LOG is not set: nothing to record from here")]
    return checks_capture.check_capture(os.environ)

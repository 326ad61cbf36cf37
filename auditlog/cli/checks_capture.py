"""`auditlog doctor`, the capture layer: its settings, routes and state folder, and the log it sends to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from auditlog.cli.checks_host import check_clock, check_fsync, check_space
from auditlog.cli.findings import Finding, ok, problem, warning

if TYPE_CHECKING:
    import httpx

    from auditlog.capture.backlog import Backlog
    from auditlog.capture.settings import CaptureSettings
    from auditlog.capture.slots import SlotReport

_LONGEST_ON_THE_WAY_S = 60
_TIMEOUT_S = 5.0
_MAX_CLOCK_SKEW_S = 2
_NOBODY = "0" * 64


def check_capture(environ: Mapping[str, str]) -> list[Finding]:
    """Check what the capture layer would meet if it started here, now."""
    from auditlog.capture.settings import CaptureSettings

    settings = CaptureSettings.from_environ(environ)
    findings = [problem("capture", text) for text in settings.problems]
    if not settings.enabled:
        findings.append(warning("capture", "AUDITLOG_ENABLED is off: decisions are not recorded"))
    findings += [*_routes(settings), *_state(settings)]
    if settings.log_url:
        findings += _log(settings)
    return findings


def _routes(settings: CaptureSettings) -> Iterator[Finding]:
    for rule in settings.routes:
        yield ok("routes", f"{rule.method} {rule.path}: {rule.mode}")
    if not settings.routes:
        yield ok(
            "routes", "none set: known inference routes keep values, other POST routes are recorded without"
        )


def _state(settings: CaptureSettings) -> Iterator[Finding]:
    yield check_clock([settings.state_dir])
    yield check_space(settings.state_dir)
    yield check_fsync(settings.state_dir)
    if settings.model_path is not None and not settings.model_path.exists():
        yield problem("model", f"expected the model's files at {settings.model_path}, found nothing")
    yield from _unguarded(settings)
    for slot in _slots(settings):
        yield from _slot(slot)


def _slots(settings: CaptureSettings) -> list[SlotReport]:
    from auditlog.capture.slots import list_slots

    return list_slots(settings.state_dir, origin=settings.origin)


def _slot(slot: SlotReport) -> Iterator[Finding]:
    """One slot: whether it can be used, and whether what it holds is on its way to the log."""
    from auditlog.capture.backlog import REFUSED, STOPPED, read_backlog

    try:
        backlog = read_backlog(slot.directory)
    except OSError as error:
        yield problem("slot", f"{slot.name}: expected to read its spool, found: {error.strerror}")
        return
    where = "in use" if slot.is_held else "free"
    if slot.is_conflicted:
        yield problem(
            "slot", f"{slot.name}: the log contradicts its chain, see {slot.directory}/conflict.json"
        )
    elif slot.flaw is not None:
        yield problem("slot", f"{slot.name}: cannot be used: {slot.flaw}")
    elif backlog.note.state in (REFUSED, STOPPED):
        yield problem(
            "slot", f"{slot.name}: the log refused it ({backlog.note.state}): {backlog.note.detail}"
        )
    else:
        yield ok("slot", f"{slot.name}: {'enrolled' if slot.is_enrolled else 'not enrolled yet'}, {where}")
    if backlog.waiting:
        yield _waiting(slot, backlog)


def _waiting(slot: SlotReport, backlog: Backlog) -> Finding:
    """What the log does not have yet: normal for a moment in a slot that is in use, else a problem."""
    from time import time

    oldest_s = max(0, round(time() - (backlog.oldest_us or 0) / 1e6))
    text = f"{slot.name}: {backlog.waiting} entries not in the log, the oldest for {oldest_s} s"
    if slot.is_held and oldest_s <= _LONGEST_ON_THE_WAY_S:
        return ok("unsent", text)
    met = backlog.note.detail or ("the sender says nothing" if slot.is_held else "no process holds the slot")
    return problem("unsent", f"{text}: {met}")


def _unguarded(settings: CaptureSettings) -> Iterator[Finding]:
    """Lives on this state directory that let decisions pass."""
    from auditlog.capture.unguarded import list_unguarded

    lives = len(list_unguarded(settings.state_dir))
    if lives:
        yield problem(
            "unrecorded", f"{lives} process(es) let decisions pass; the next that records declares the gap"
        )


def _log(settings: CaptureSettings) -> list[Finding]:
    import httpx

    try:
        token = settings.read_token()
    except OSError as error:
        return [problem("token", f"expected to read the token file, found: {error.strerror}")]
    if token and not (token.isascii() and token.isprintable()):
        return [problem("token", "expected a token of printable ASCII, found another text")]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=settings.log_url + "/", headers=headers, timeout=_TIMEOUT_S) as client:
            findings = [*_described(settings, client.get(settings.log_url))]
            findings.append(_token(client.get(f"producers/{_NOBODY}/head"), has_token=token is not None))
            return findings
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        ValueError,
    ) as error:  # ValueError: a host name DNS cannot have
        return [problem("log", f"expected an answer from {settings.log_url}, found {type(error).__name__}")]


def _described(settings: CaptureSettings, answer: httpx.Response) -> Iterator[Finding]:
    """What the log says of itself: attacker-controlled, and only compared."""
    try:
        said = json.loads(answer.content) if answer.status_code == 200 else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        yield problem("log", f"expected a log at {settings.log_url}, found status {answer.status_code}")
        return
    origin = said.get("origin")
    if settings.origin is not None and origin != settings.origin:
        yield problem("log", f"expected the origin {settings.origin}, found {origin!a}")
    else:
        yield ok("log", f"{origin!a} answers, {said.get('size')!a} entries")
    yield from _skew(answer)


def _skew(answer: httpx.Response) -> Iterator[Finding]:
    from email.utils import parsedate_to_datetime
    from time import time

    try:
        there = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return
    apart = abs(time() - there)
    if apart > _MAX_CLOCK_SKEW_S:
        yield warning("clock", f"expected this clock and the service's within 2 s, found {apart:.0f} s apart")


def _token(answer: httpx.Response, *, has_token: bool) -> Finding:
    """A producer nobody has asked about: 404 means the token was accepted first."""
    if answer.status_code == 404:
        return ok("token", "the log accepts it")
    if answer.status_code in (401, 403):
        found = f"status {answer.status_code}" if has_token else "none set"
        return problem("token", f"expected a token with scope submit, found {found}")
    return warning("token", f"could not be checked: status {answer.status_code}")

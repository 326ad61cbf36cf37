"""`auditlog doctor`, the capture layer: its settings, routes and state folder, and the log it sends to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from auditlog.cli.checks_host import check_clock, check_fsync, check_space
from auditlog.cli.findings import Finding, ok, problem, warning

if TYPE_CHECKING:
    import httpx

    from auditlog.capture.settings import CaptureSettings

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
    for slot in _slots(settings):
        if slot.is_conflicted:
            yield problem(
                "slot", f"{slot.name}: the log contradicts its chain, see {slot.directory}/conflict.json"
            )
        else:
            enrolled = "enrolled" if slot.is_enrolled else "not enrolled yet"
            yield ok("slot", f"{slot.name}: {enrolled}, {'in use' if slot.is_held else 'free'}")


def _slots(settings: CaptureSettings) -> list[Any]:
    from auditlog.capture.slots import list_slots

    return list(list_slots(settings.state_dir))


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

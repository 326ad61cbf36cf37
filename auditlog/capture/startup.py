"""What speaks against the settings, said before the first request: a line each, at start and in `doctor`.

A value that cannot be read is a *problem* (`settings`): nothing is recorded. What stands here is a *doubt*:
decisions are recorded, but something will not be as the operator probably meant: a promise that never travels
in time, a token file that is not there, a name with a slip of the pen. Promises: no text holds a secret.
Must never: raise, change anything on disk, or stop the layer.
"""

from __future__ import annotations

import difflib
import ipaddress
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from auditlog.capture.settings import NO_LOG, CaptureSettings

KNOWN_NAMES = frozenset(
    {
        "AUDITLOG_ADAPTERS",
        "AUDITLOG_CONFIG",
        "AUDITLOG_DEBUG",
        "AUDITLOG_DURABILITY",
        "AUDITLOG_ENABLED",
        "AUDITLOG_ENGINE_METRICS",
        "AUDITLOG_FAIL_AFTER_MS",
        "AUDITLOG_HEARTBEAT_S",
        "AUDITLOG_HELPER",
        "AUDITLOG_KEEP_DAYS",
        "AUDITLOG_LOG",
        "AUDITLOG_MERGE_BY_S",
        "AUDITLOG_MODE",
        "AUDITLOG_MODEL",
        "AUDITLOG_MODEL_NAME",
        "AUDITLOG_ORIGIN",
        "AUDITLOG_OUTCOME_HEADERS",
        "AUDITLOG_PRODUCER",
        "AUDITLOG_PUBLIC_URL",
        "AUDITLOG_REDACT",
        "AUDITLOG_ROUTES",
        "AUDITLOG_SPOOL_MIB",
        "AUDITLOG_STATE",
        "AUDITLOG_STORE_MIB",
        "AUDITLOG_STRICT",
        "AUDITLOG_TOKEN",
        "AUDITLOG_TOKEN_FILE",
        "AUDITLOG_WAIT_MS",
    }
)
"""Every variable that anything of this package reads, but those of the service (AUDITLOG_SERVE_*)."""

_OTHERS = re.compile(r"AUDITLOG_(SERVE_|([A-Z0-9_]+_)?(SERVICE_(HOST|PORT)|PORT(_[0-9]|$)))")
"""Settings of the service, and what Kubernetes puts there for a Service whose name begins with `auditlog`."""

_METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT", "WEBSOCKET", "*"
)  # fmt: skip
_ROUND_TRIP_MS = 1000
"""What an acknowledgement by the log takes at least, with room: its commit, and the way there and back."""
_LEAST_MERGE_BY_S = 60


def settings_lines(
    settings: CaptureSettings, environ: Mapping[str, str] | None = None
) -> list[tuple[int, str]]:
    """All that a start says of these settings: level of the log line, and the line."""
    problems = [f"not recording: {problem}" for problem in settings.problems]
    if settings.enabled and not settings.log_url and not settings.problems:
        problems = [f"not recording: {NO_LOG}"]
    lines = [(logging.ERROR, problem) for problem in problems]
    return lines + [(logging.WARNING, doubt) for doubt in doubts(settings, environ)]


def doubts(settings: CaptureSettings, environ: Mapping[str, str] | None = None) -> list[str]:
    """Everything that speaks against these settings on this host; `environ` is looked through for slips."""
    if not settings.enabled:
        return []
    found = [
        *_waits(settings), *_signals(settings), *_log(settings), *_routes(settings), *_files(settings)
    ]  # fmt: skip
    return found if environ is None else [*found, *_adapters(settings, environ), *_slips(environ)]


def merge_by_doubt(settings: CaptureSettings, max_merge_delay_s: int | None) -> str | None:
    """What is wrong with a merge-by shorter than the log allows itself; the log's is then promised."""
    if max_merge_delay_s is None or settings.merge_by_s >= max_merge_delay_s:
        return None
    return (
        f"AUDITLOG_MERGE_BY_S: expected at least the log's own delay of {max_merge_delay_s}, found "
        f"{settings.merge_by_s}: promises say {max_merge_delay_s}"
    )


def _waits(settings: CaptureSettings) -> Iterator[str]:
    is_closed, for_log = settings.mode == "fail_closed", settings.durability == "log"
    if for_log and not is_closed and settings.wait_ms < _ROUND_TRIP_MS:
        yield (
            f"AUDITLOG_WAIT_MS: expected {_ROUND_TRIP_MS} or more with AUDITLOG_DURABILITY=log, found "
            f"{settings.wait_ms}: most answers will leave without their promise"
        )
    elif not is_closed and settings.wait_ms == 0:
        yield "AUDITLOG_WAIT_MS: expected more than 0, found 0: every answer leaves without its promise"
    if for_log and is_closed and settings.fail_after_ms < _ROUND_TRIP_MS:
        yield (
            f"AUDITLOG_FAIL_AFTER_MS: expected {_ROUND_TRIP_MS} or more with AUDITLOG_DURABILITY=log, found "
            f"{settings.fail_after_ms}: answers will be refused while the log is well"
        )
    if settings.merge_by_s < _LEAST_MERGE_BY_S:
        yield (
            f"AUDITLOG_MERGE_BY_S: expected {_LEAST_MERGE_BY_S} or more, found {settings.merge_by_s}: an "
            "outage of half that time ends all promises"
        )


def _signals(settings: CaptureSettings) -> Iterator[str]:
    if settings.heartbeat_s == 0:
        strict = " in fail_closed" if settings.mode == "fail_closed" else ""
        yield (
            f"AUDITLOG_HEARTBEAT_S: expected more than 0{strict}, found 0: the log cannot tell a quiet "
            "period from a silent one"
        )
    if settings.strict:
        yield "AUDITLOG_STRICT: expected 0 in front of users, found 1: errors of this layer reach callers"
    if settings.model_name and settings.model_path is None:
        yield "AUDITLOG_MODEL_NAME: expected AUDITLOG_MODEL beside it, found none: decisions name no model"


def _routes(settings: CaptureSettings) -> Iterator[str]:
    for rule in settings.routes:
        if rule.method not in _METHODS:
            near = difflib.get_close_matches(rule.method, _METHODS, n=1)
            hint = f", perhaps {near[0]}" if near else ""
            yield f"AUDITLOG_ROUTES: expected a method of HTTP{hint}, found {rule.method!a}"


def _log(settings: CaptureSettings) -> Iterator[str]:
    has_token = settings.token is not None or settings.token_file is not None
    if settings.log_url and not has_token:
        yield "AUDITLOG_TOKEN_FILE: expected a token with scopes enrol and submit, found none"
    if has_token and not _is_private(settings.log_url):
        yield "AUDITLOG_LOG: expected https:// beyond this host, found http://: the token travels in clear"
    if settings.public_url and not _is_private(settings.public_url):
        yield "AUDITLOG_PUBLIC_URL: expected https:// beyond this host, found http://: receipts in clear"


def _is_private(url: str) -> bool:
    """Whether what goes there cannot be read on the way: TLS, or it stays on this host."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return parts.hostname == "localhost"


def _files(settings: CaptureSettings) -> Iterator[str]:
    if settings.token_file is not None:
        yield from _token_file(settings.token_file)
    elif settings.token is not None and not _is_token(settings.token):
        yield "AUDITLOG_TOKEN: expected printable ASCII, found another text"
    model = settings.model_path
    if model is not None and not os.path.exists(model):  # noqa: PTH110  `Path.exists` raises for a long name
        yield f"AUDITLOG_MODEL: expected the model's files at {model}, found nothing"
    elif model is not None and not os.access(model, os.R_OK):
        yield f"AUDITLOG_MODEL: expected to read {model}, found: Permission denied"
    yield from _state(settings)


def _token_file(path: Path) -> Iterator[str]:
    try:
        content = path.read_bytes()[: 1 << 16]
    except OSError as error:
        yield f"AUDITLOG_TOKEN_FILE: expected to read {path}, found: {error.strerror}"
        return
    if not _is_token(content.decode("utf-8", "replace").strip()):
        yield f"AUDITLOG_TOKEN_FILE: expected one token of printable ASCII in {path}, found something else"


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _state(settings: CaptureSettings) -> Iterator[str]:
    place = settings.state_dir
    try:
        place.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        yield state_doubt(settings, getattr(error, "strerror", None) or "no path")
        return
    while not os.path.exists(place) and place != place.parent:  # noqa: PTH110  as above
        place = place.parent
    if not os.path.isdir(place):  # noqa: PTH112  as above
        yield state_doubt(settings, f"{place} is no directory")
        return
    if not os.access(place, os.W_OK | os.X_OK):
        yield state_doubt(settings, f"{place} cannot be written")
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return
    if free < settings.max_spool_bytes:
        yield (
            f"AUDITLOG_SPOOL_MIB: expected {settings.max_spool_bytes >> 20} MiB free at {place}, found "
            f"{free >> 20}: an outage of the log may fill the disk"
        )


def state_doubt(settings: CaptureSettings, found: str) -> str:
    """The line for a state directory that cannot be used."""
    return f"AUDITLOG_STATE: expected a directory to write in at {settings.state_dir}, found: {found}"


def _adapters(settings: CaptureSettings, environ: Mapping[str, str]) -> Iterator[str]:
    items = [part.strip() for part in environ.get("AUDITLOG_ADAPTERS", "").split(",") if part.strip()]
    if items and settings.model_path is None:
        yield "AUDITLOG_ADAPTERS: expected AUDITLOG_MODEL beside it, found none: no adapter is measured"
        return
    for item in items:
        name, equals, path = (part.strip() for part in item.partition("="))
        if not (name and equals and path):
            yield f"AUDITLOG_ADAPTERS: expected name=path, found {item[:80]!a}"
        elif not os.path.exists(os.path.expanduser(path)):  # noqa: PTH110, PTH111  these never raise
            yield f"AUDITLOG_ADAPTERS: expected the files of {name[:80]!a} at {path}, found nothing"


def _slips(environ: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environ):
        if not name.startswith("AUDITLOG_") or name in KNOWN_NAMES or _OTHERS.match(name):
            continue
        near = difflib.get_close_matches(name, KNOWN_NAMES, n=1)
        hint = f", perhaps {near[0]}" if near else ""
        yield f"{name[:64]!a}: expected a setting of this version{hint}, found a name that nothing reads"

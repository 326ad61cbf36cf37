"""The settings of the capture layer, from the environment. Spec: README.md of this package.

Promises that no value, however wrong, raises here or breaks the application: what is wrong is listed in
`problems` (shown by `auditlog doctor`), and the recorder then counts decisions without recording them.
Secrets are never in a problem's text nor in `repr`. Every secret also has a `*_FILE` form, read
for every request: a token that is replaced before it expires is never used too long.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, get_args

from auditlog.capture.redaction import RedactFunction, Redactor
from auditlog.capture.urls import is_usable_url
from auditlog.core.scalars import is_origin
from auditlog.errors import ConfigurationError

RouteMode = Literal["values", "record", "skip", "model"]
"""What AUDITLOG_ROUTES may say of a route: keep values, record without values, do not record, or: it changes
what is loaded.
"""
Mode = Literal["fail_open", "fail_closed"]
"""Whether an answer leaves although it cannot be recorded (`mode` in the entry)."""
Durability = Literal["local", "log"]
"""What a promise waits for: the disk of this host, or the acknowledgement of the log."""

NO_LOG = "AUDITLOG_LOG: expected the URL of a log, found nothing"
_NOT_IN_PATHS = re.compile(r"[=;\s]")
"""What in a path of AUDITLOG_ROUTES is another rule, behind a separator that is none."""
_METHOD = re.compile(r"\*|[!#$%&'+.^_`|~0-9A-Za-z-]{1,40}")
_DAY_S = 86_400
_MAX_LABEL_CHARS = 255
_MIB = 1 << 20
_OFF = frozenset({"0", "false", "no", "off"})
_ON = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One item of AUDITLOG_ROUTES: `METHOD path=values|record|skip|model`; the method `*` is any."""

    method: str
    path: str
    mode: RouteMode


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """What the recorder needs to know. Build it by hand in tests, by `from_environ` in a serving process.

    Sizes are bytes, times are in the unit of the name. `log_url` is the prefix of one log, without a final
    slash. `strict` re-raises the layer's own errors (tests only: never set it in front of users). `helper`
    cuts large bodies into fields in a process of its own.
    """

    log_url: str = ""
    origin: str | None = None
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    producer: str = "producer"
    state_dir: Path = Path("auditlog-state")
    model_path: Path | None = None
    model_name: str | None = None
    routes: tuple[RouteRule, ...] = ()
    public_url: str = ""
    mode: Mode = "fail_open"
    durability: Durability = "local"
    wait_ms: int = 20
    fail_after_ms: int = 5_000
    merge_by_s: int = 86_400
    heartbeat_s: int = 60
    engine_metrics: str = ""
    redact: str | RedactFunction = ""
    outcome_headers: bool = False
    enabled: bool = True
    strict: bool = False
    helper: bool = True
    max_queue_items: int = 10_000
    max_queue_bytes: int = 64 * _MIB
    max_spool_bytes: int = 1024 * _MIB
    segment_bytes: int = 8 * _MIB
    max_batch_entries: int = 500
    max_batch_bytes: int = 1 * _MIB
    keep_s: int = 400 * _DAY_S
    max_store_bytes: int = 10 * 1024 * _MIB
    max_body_bytes: int = 4 * _MIB
    request_timeout_s: float = 10.0
    close_timeout_s: float = 5.0
    problems: tuple[str, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether decisions can be recorded at all: switched on, and nothing wrong with the settings."""
        return self.enabled and not self.problems and bool(self.log_url)

    @property
    def receipt_base(self) -> str:
        """The prefix of the receipt URLs given to callers."""
        return self.public_url or self.log_url

    def read_token(self) -> str | None:
        """The bearer token, from its file each time, so that a rotated one is found. Raises OSError."""
        if self.token_file is not None:
            return self.token_file.read_text(encoding="utf-8").strip() or None
        return self.token

    @classmethod
    def from_environ(cls, env: Mapping[str, str]) -> CaptureSettings:
        """Read `AUDITLOG_*` from `env`. Never raises: a bad value is listed in `problems` and its default
        kept.
        """
        problems: list[str] = []
        enabled = _switch(env, "AUDITLOG_ENABLED", True, problems)
        log_url = _url(env, "AUDITLOG_LOG", problems)
        if enabled and not log_url and not any(problem.startswith("AUDITLOG_LOG:") for problem in problems):
            problems.append(NO_LOG)
        token_file = env.get("AUDITLOG_TOKEN_FILE")
        if env.get("AUDITLOG_TOKEN") and token_file:
            problems.append("AUDITLOG_TOKEN and AUDITLOG_TOKEN_FILE: expected one of them, found both")
        return cls(
            log_url=log_url,
            origin=_origin(env, problems),
            token=env.get("AUDITLOG_TOKEN") or None,
            token_file=_path(env, "AUDITLOG_TOKEN_FILE", problems),
            producer=_producer(env, problems),
            state_dir=_path(env, "AUDITLOG_STATE", problems) or _default_state(env),
            model_path=_path(env, "AUDITLOG_MODEL", problems),
            model_name=_label(env, "AUDITLOG_MODEL_NAME", problems),
            routes=parse_routes(env.get("AUDITLOG_ROUTES", ""), problems),
            public_url=_url(env, "AUDITLOG_PUBLIC_URL", problems),
            mode=_mode(env, problems),
            durability=_word(env, "AUDITLOG_DURABILITY", "local", "log", problems=problems),
            wait_ms=_number(env, "AUDITLOG_WAIT_MS", 20, problems, low=0, high=60_000),
            fail_after_ms=_number(env, "AUDITLOG_FAIL_AFTER_MS", 5_000, problems, low=1, high=600_000),
            merge_by_s=_number(env, "AUDITLOG_MERGE_BY_S", 86_400, problems, low=1, high=30 * _DAY_S),
            heartbeat_s=_number(env, "AUDITLOG_HEARTBEAT_S", 60, problems, low=0, high=86_400),
            engine_metrics=_url(env, "AUDITLOG_ENGINE_METRICS", problems),
            redact=_redact(env, problems),
            outcome_headers=_switch(env, "AUDITLOG_OUTCOME_HEADERS", False, problems),
            enabled=enabled,
            strict=_switch(env, "AUDITLOG_STRICT", False, problems),
            helper=_switch(env, "AUDITLOG_HELPER", True, problems),
            keep_s=_number(env, "AUDITLOG_KEEP_DAYS", 400, problems, low=0, high=36_500) * _DAY_S,
            max_spool_bytes=_number(env, "AUDITLOG_SPOOL_MIB", 1024, problems, low=1, high=1 << 20) * _MIB,
            max_store_bytes=_number(env, "AUDITLOG_STORE_MIB", 10_240, problems, low=1, high=1 << 24) * _MIB,
            problems=tuple(problems) if enabled else (),
        )


def means_fail_closed(env: Mapping[str, str]) -> bool:
    """Whether answers may only leave on record, read from `AUDITLOG_MODE` and `AUDITLOG_ENABLED` alone: for a
    process in which nothing else of this layer could be made. Never raises.
    """
    return _switch(env, "AUDITLOG_ENABLED", True, []) and _mode(env, []) == "fail_closed"


def parse_routes(text: str, problems: list[str]) -> tuple[RouteRule, ...]:
    """Parse AUDITLOG_ROUTES (`POST /score=values, * /health=skip`); bad items are listed in `problems`."""
    rules = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        rule = _route(item)
        if rule is None:
            problems.append(
                f"AUDITLOG_ROUTES: expected 'METHOD /path=values|record|skip|model', found {item[:80]!r}"
            )
        else:
            rules.append(rule)
    return tuple(rules)


def _route(item: str) -> RouteRule | None:
    target, equals, mode = item.rpartition("=")
    method, space, path = target.strip().partition(" ")
    path, mode = path.strip(), mode.strip()
    if not equals or not space or not path.startswith("/") or not _METHOD.fullmatch(method):
        return None
    if _NOT_IN_PATHS.search(path):
        return None
    for known in get_args(RouteMode):
        if mode == known:
            return RouteRule(method.upper(), path, known)
    return None


def _redact(env: Mapping[str, str], problems: list[str]) -> str:
    """What AUDITLOG_REDACT says, once it is known that it can be done: else nothing may be recorded."""
    text = env.get("AUDITLOG_REDACT", "").strip()
    try:
        Redactor.from_setting(text)
    except ConfigurationError as error:
        problems.append(str(error))
    return text


def _origin(env: Mapping[str, str], problems: list[str]) -> str | None:
    text = env.get("AUDITLOG_ORIGIN", "").strip()
    if text and not is_origin(text):
        problems.append("AUDITLOG_ORIGIN: expected an origin (log.example.org/name), found something else")
        return None
    return text or None


def _label(env: Mapping[str, str], name: str, problems: list[str]) -> str | None:
    text = env.get(name, "").strip()
    if len(text) <= _MAX_LABEL_CHARS and text.isprintable():
        return text or None
    problems.append(f"{name}: expected at most {_MAX_LABEL_CHARS} printable characters, found others")
    return None


def _producer(env: Mapping[str, str], problems: list[str]) -> str:
    """The name prefix of the slots: it becomes part of a key name, so no space, plus, slash or control
    character.
    """
    name = env.get("AUDITLOG_PRODUCER") or socket.gethostname() or "producer"
    if len(name) <= 96 and all(c.isascii() and (c.isalnum() or c in "-._") for c in name):
        return name
    problems.append(
        "AUDITLOG_PRODUCER: expected up to 96 letters, digits, '-', '.', '_', found something else"
    )
    return "producer"


def _default_state(env: Mapping[str, str]) -> Path:
    base = env.get("XDG_STATE_HOME")
    if base:
        return Path(base) / "auditlog"
    home = env.get("HOME")
    return Path(home) / ".local/state/auditlog" if home else Path("auditlog-state")


def _path(env: Mapping[str, str], name: str, problems: list[str]) -> Path | None:
    """A path; `~` is the home directory, as a shell would have it where the text came from one."""
    text = env.get(name, "")
    if text == "~" or text.startswith("~/"):
        text = env.get("HOME", "~") + text[1:]
    expanded = os.path.expanduser(text)  # noqa: PTH111  `Path.expanduser` raises where there is no such user
    if expanded.startswith("~"):
        problems.append(f"{name}: expected a path, found one below a home directory that is not known")
        return None
    return Path(expanded) if expanded else None


def _url(env: Mapping[str, str], name: str, problems: list[str]) -> str:
    text = env.get(name, "").strip().rstrip("/")
    if not text or is_usable_url(text):
        return text
    problems.append(
        f"{name}: expected an http(s) URL of ASCII without user, query or fragment, found something else"
    )
    return ""


def _mode(env: Mapping[str, str], problems: list[str]) -> Mode:
    """A word with a slip of the pen is a problem; if it speaks of closing, it closes all the same."""
    found: Mode = _word(env, "AUDITLOG_MODE", "fail_open", "fail_closed", problems=problems)
    return "fail_closed" if "close" in env.get("AUDITLOG_MODE", "").lower() else found


def _number(
    env: Mapping[str, str], name: str, default: int, problems: list[str], *, low: int, high: int
) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) < 12 and low <= int(text) <= high:
        return int(text)
    problems.append(f"{name}: expected a number from {low} to {high}, found {text[:40]!r}")
    return default


_Word = TypeVar("_Word", bound=str)


def _word(env: Mapping[str, str], name: str, default: _Word, *others: _Word, problems: list[str]) -> _Word:
    """One of the given words; the first is the default."""
    text = env.get(name, "").strip().lower().replace("-", "_")
    if not text:
        return default
    for word in (default, *others):
        if text == word:
            return word
    problems.append(f"{name}: expected one of {', '.join((default, *others))}, found {text[:40]!r}")
    return default


def _switch(env: Mapping[str, str], name: str, default: bool, problems: list[str]) -> bool:
    text = env.get(name, "").strip().lower()
    if not text:
        return default
    if text in _ON | _OFF:
        return text in _ON
    problems.append(f"{name}: expected 1 or 0, found {text[:40]!r}")
    return default

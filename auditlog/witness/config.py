"""The one file that configures a witness: `witness.toml`.

Spec: `auditlog/spec/witness.md`, "Configuration". Strict: an unknown setting, a wrong type or an odd value is
refused by name. Promises: after `load_config` every path is absolute (from the folder of the file) and every
key is one that can be followed. Must never: hold a private key, only the name of its file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditlog.errors import ConfigurationError
from auditlog.witness.dropbox import BoxLimits
from auditlog.witness.followed import FollowedLog, follow
from auditlog.witness.http import Limits

CONFIG = "witness.toml"
_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
_LISTEN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class BoxConfig:
    """A drop-box: how much it takes, and by whose trust file it judges (None: by the witness's own word)."""

    limits: BoxLimits
    trust_file: Path | None = None
    poll_s: float = 5.0
    grace_s: float = 5.0
    """After a promise was due, before its log is asked."""


@dataclass(frozen=True, slots=True)
class WitnessConfig:
    """One witness."""

    key_file: Path
    state_dir: Path
    high_water_file: Path
    host: str = "127.0.0.1"
    port: int = 8710
    behind_proxy: bool = False
    """Take the peer's address, for rates, from the last `X-Forwarded-For`."""
    limits: Limits = field(default_factory=Limits)
    logs: tuple[FollowedLog, ...] = ()
    box: BoxConfig | None = None


def load_config(path: Path) -> WitnessConfig:
    """Read the file.

    Raises:
        ConfigurationError: unreadable, or a setting that is missing, unknown or odd.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"expected a configuration in {path}, found: {reason}") from error
    return parse_config(value, path.absolute().parent)


def parse_config(value: Mapping[str, Any], base: Path) -> WitnessConfig:
    """The configuration in a parsed file; its paths begin at `base`. Raises ConfigurationError."""
    top = _Table("", value, {"witness", "limits", "promises", "logs"})
    main = _Table(
        "witness",
        top.table("witness"),
        {"key_file", "state_dir", "high_water_file", "listen", "behind_proxy"},
    )
    host, port = _listen(main.text("listen", "127.0.0.1:8710"))
    return WitnessConfig(
        key_file=base / main.text("key_file"),
        state_dir=base / main.text("state_dir"),
        high_water_file=base / main.text("high_water_file"),
        host=host,
        port=port,
        behind_proxy=main.flag("behind_proxy", default=False),
        limits=_limits(top.table("limits")),
        logs=tuple(_log(number, each) for number, each in enumerate(top.tables("logs"), 1)),
        box=_box(top.table("promises"), base) if "promises" in value else None,
    )


def _limits(value: Mapping[str, Any]) -> Limits:
    names = {"connections", "connections_per_peer", "requests", "request_s", "idle_s"}
    given, usual = _Table("limits", value, names), Limits()
    return Limits(
        connections=given.number("connections", usual.connections, 1, 100_000),
        connections_per_peer=given.number("connections_per_peer", usual.connections_per_peer, 1, 100_000),
        requests=given.number("requests", usual.requests, 1, 1_000),
        request_s=given.seconds("request_s", usual.request_s),
        idle_s=given.seconds("idle_s", usual.idle_s),
    )


def _box(value: Mapping[str, Any], base: Path) -> BoxConfig:
    names = {"count", "bytes", "evidence_bytes", "keep_days", "ahead_days", "per_peer_hour", "per_hour"}
    given, usual = _Table("promises", value, names | {"trust_file", "poll_s", "grace_s"}), BoxLimits()
    limits = BoxLimits(**{name: given.number(name, getattr(usual, name), 1, 1 << 40) for name in names})
    trust_file = given.text("trust_file", "")
    return BoxConfig(
        limits,
        base / trust_file if trust_file else None,
        given.seconds("poll_s", 5.0),
        given.seconds("grace_s", 5.0),
    )


def _log(number: int, value: Mapping[str, Any]) -> FollowedLog:
    given = _Table(f"logs, number {number},", value, {"vkey", "vkeys", "origin", "url"})
    vkeys = given.texts("vkeys") if "vkeys" in value else [given.text("vkey")]
    if "vkeys" in value and "vkey" in value:
        raise ConfigurationError(f"{given.name}: expected vkey or vkeys, found both")
    url = given.text("url", "")
    if url and _URL.fullmatch(url) is None:
        raise ConfigurationError(f"{given.name}: expected an http(s) URL, found {url!a}")
    return follow(vkeys, origin=given.text("origin", ""), url=url.rstrip("/"))


def _listen(text: str) -> tuple[str, int]:
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[2]) > 65_535:
        raise ConfigurationError(f"witness: expected listen = 'HOST:PORT', found {text!a}")
    return found[1].strip("[]"), int(found[2])


class _Table:
    """One table of the file, read strictly."""

    def __init__(self, name: str, value: object, names: set[str]) -> None:
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"expected a table [{name}], found another value")
        self.name, self._value = name or "the file", value
        unknown = sorted(set(value) - names)
        if unknown:
            raise ConfigurationError(f"{self.name}: expected one of {sorted(names)}, found {unknown[0]!a}")

    def _get(self, name: str, kind: type, default: Any) -> Any:
        found = self._value.get(name, default)
        if found is None:
            raise ConfigurationError(f"{self.name}: expected the setting {name}, found none")
        if type(found) is not kind:
            raise ConfigurationError(f"{self.name}: expected {name} of type {kind.__name__}, found another")
        return found

    def text(self, name: str, default: str | None = None) -> str:
        return str(self._get(name, str, default))

    def texts(self, name: str) -> list[str]:
        found = self._get(name, list, None)
        if not all(type(each) is str for each in found):
            raise ConfigurationError(f"{self.name}: expected {name} as an array of texts, found another")
        return list(found)

    def flag(self, name: str, *, default: bool) -> bool:
        return bool(self._get(name, bool, default))

    def number(self, name: str, default: int, least: int, most: int) -> int:
        found = int(self._get(name, int, default))
        if not least <= found <= most:
            raise ConfigurationError(f"{self.name}: expected {name} from {least} to {most}, found {found}")
        return found

    def seconds(self, name: str, default: float) -> float:
        found = self._value.get(name, default)
        if type(found) not in (int, float) or not 0 < found <= 86_400:
            raise ConfigurationError(f"{self.name}: expected {name} in seconds, found another value")
        return float(found)

    def table(self, name: str) -> Mapping[str, Any]:
        found = self._value.get(name, {})
        if not isinstance(found, Mapping):
            raise ConfigurationError(f"expected a table [{name}], found another value")
        return found

    def tables(self, name: str) -> list[Mapping[str, Any]]:
        found = self._value.get(name, [])
        if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
            raise ConfigurationError(f"expected tables [[{name}]], found another value")
        return found

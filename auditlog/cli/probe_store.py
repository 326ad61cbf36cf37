"""What a probe keeps in its folder: each request and answer, the promise if one came, and where it was from.

Layout: `probe.json` (settings, one object a request), `0001.request`, `0001.response`, `0001.promise`,
checkpoints seen. Promises: the list is rewritten whole, by rename, after every request, so that a probe that
dies keeps what it had. Must never: hold a token.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from auditlog.errors import ConfigurationError

PROBE_VERSION: Final = "auditlog/probe@v1"
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Sent:
    """One request and what came of it."""

    number: int
    sent_at: str
    status: int | None = None
    error: str = ""
    id: str = ""
    receipt_url: str = ""
    is_deferred: bool = False
    promise: str = ""
    """Where its promise came from: header, comment, log; empty for none."""
    merge_by: str = ""
    answered_at: str = ""
    """When the answer was there, and its promise looked for; empty for no answer."""
    key: str = ""
    """The exchange key in base64, where it was asked for."""


@dataclass(slots=True)
class Probe:
    """All requests of one probe."""

    url: str
    log: str
    sent: list[Sent] = field(default_factory=list)


class ProbeFolder:
    """A folder with one probe in it."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or made yet."""
        self.path = path

    def begin(self) -> None:
        """Make the folder; raises ConfigurationError if a probe is in it already."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self._list.exists():
            raise ConfigurationError(f"expected a folder without a probe, found one in {self.path}")

    def write(self, probe: Probe) -> None:
        """Replace the list."""
        value = {"v": PROBE_VERSION, **asdict(probe)}
        beside = self.path / "probe.json.new"
        _write_own(beside, json.dumps(value, indent=1).encode() + b"\n")
        beside.replace(self._list)

    def read(self) -> Probe:
        """Read the list; raises ConfigurationError."""
        try:
            value: Any = json.loads(self._list.read_bytes()[:_MAX_BYTES])
            if value["v"] != PROBE_VERSION:
                raise ConfigurationError(f"expected {PROBE_VERSION} in {self._list}, found another")
            return Probe(value["url"], value["log"], [Sent(**each) for each in value["sent"]])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"expected a probe in {self.path}, found: {type(error).__name__}"
            ) from error

    def keep(self, number: int, kind: str, data: bytes) -> None:
        """Keep a file of one request: request, response, promise or evidence."""
        _write_own(self._file(number, kind), data)

    def kept(self, number: int, kind: str) -> bytes:
        """A file of one request; empty if there is none."""
        try:
            return self._file(number, kind).read_bytes()
        except FileNotFoundError:
            return b""

    @property
    def _list(self) -> Path:
        return self.path / "probe.json"

    def _file(self, number: int, kind: str) -> Path:
        return self.path / f"{number:06d}.{kind}"


def _write_own(path: Path, data: bytes) -> None:
    """Write for the owner alone: exchange keys and answers are in these files."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)

"""What `auditlog doctor` found: one line each, with a level."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and what came of it. `check` is a stable word."""

    level: Level
    check: str
    text: str

    def to_json(self) -> dict[str, str]:
        """The stable JSON form."""
        return asdict(self)


def ok(check: str, text: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", check, text)


def warning(check: str, text: str) -> Finding:
    """It works, but will not for ever, or not as well as it should."""
    return Finding("warning", check, text)


def problem(check: str, text: str) -> Finding:
    """It does not work, or is dangerous."""
    return Finding("problem", check, text)

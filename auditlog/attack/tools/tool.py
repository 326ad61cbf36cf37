"""What an adapter gives, and the attacks on a list of records that hold for any tool that keeps one.

Spec: auditlog/attack/README.md, "Other tools". A thief changes what is stored and has no key. The operator
has its key, and writes, chains and signs everything after the change anew; since no export holds that key,
the export is first written under one of the suite's, and the reader is given that key's public half.
Must never: change the target, or judge in a tool's place.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from auditlog.attack.results import By
from auditlog.errors import ConfigurationError

CUT: Final = 2
"""Records that are cut off."""
_LEAST: Final = 2 * CUT
TOOLS_VERSION: Final = "auditlog/tool-attacks@v1"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check of a tool said."""

    check: str
    is_accepted: bool
    words: str


class Tool(Protocol):
    """Another tool, as its own package reads, writes and checks its exports."""

    name: str
    suffix: str
    """Of an export's file name."""
    checks: tuple[str, ...]
    claims: str
    """What it says of itself, quoted."""
    not_asked: str
    """What it could be asked beside this, and was not here."""

    def version(self) -> str:
        """Of the installed package."""

    def read(self, path: Path) -> list[Any]:
        """The records of an export, in its order. Raises ConfigurationError."""

    def edited(self, record: Any) -> Any:
        """The record with another content."""

    def store(self, source: Path, out: Path, records: list[Any]) -> None:
        """The export with these records in it, and nothing signed anew: a thief's."""

    def sign(self, source: Path, out: Path, records: list[Any], key: str) -> None:
        """The export with these records, chained and signed anew under the suite's key of this name."""

    def verify(self, path: Path, reference: Path) -> list[Verdict]:
        """What its own checks say to a reader who has the key of `reference`, an export from before."""


Change = Callable[[Tool, list[Any]], list[Any]]


def _edit(tool: Tool, records: list[Any]) -> list[Any]:
    middle = len(records) // 2
    return [*records[:middle], tool.edited(records[middle]), *records[middle + 1 :]]


def _truncate(_tool: Tool, records: list[Any]) -> list[Any]:
    return records[:-CUT]


def _delete(_tool: Tool, records: list[Any]) -> list[Any]:
    middle = len(records) // 2
    return [*records[:middle], *records[middle + 1 :]]


def _reorder(_tool: Tool, records: list[Any]) -> list[Any]:
    return [records[1], records[0], *records[2:]]


def _duplicate(_tool: Tool, records: list[Any]) -> list[Any]:
    return [*records, records[len(records) // 2]]


def _same(_tool: Tool, records: list[Any]) -> list[Any]:
    return list(records)


_CHANGES: Final[dict[str, tuple[str, Change]]] = {
    "edit": ("changes a record", _edit),
    "truncate": ("cuts off the newest records", _truncate),
    "delete": ("takes a record out", _delete),
    "reorder": ("lets two records change places", _reorder),
    "duplicate": ("puts a record in twice", _duplicate),
}
OPERATOR_KEY, OTHER_KEY = "of the operator", "of a stranger"


@dataclass(frozen=True, slots=True)
class ToolOutcome:
    """One attack and the tool's verdicts."""

    name: str
    title: str
    by: By
    verdicts: tuple[Verdict, ...]

    @property
    def is_noticed(self) -> bool:
        """Whether any check of the tool did not accept it."""
        return any(not verdict.is_accepted for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "by": self.by.value,
            "noticed": self.is_noticed,
            "checks": [
                {"check": each.check, "accepted": each.is_accepted, "said": each.words}
                for each in self.verdicts
            ],
        }


@dataclass(frozen=True, slots=True)
class ToolResults:
    """A run over one export."""

    tool: Tool
    version: str
    records: int
    control: tuple[Verdict, ...]
    outcomes: tuple[ToolOutcome, ...]

    @property
    def exit_code(self) -> int:
        """0 if its checks accepted the honest export and noticed every attack, else 1."""
        is_honest_fine = all(verdict.is_accepted for verdict in self.control)
        return 0 if is_honest_fine and all(each.is_noticed for each in self.outcomes) else 1

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        control = ToolOutcome("honest", "nothing is changed", By.OPERATOR, self.control)
        return {
            "v": TOOLS_VERSION,
            "exit_code": self.exit_code,
            "tool": self.tool.name,
            "version": self.version,
            "claims": self.tool.claims,
            "not_asked": self.tool.not_asked,
            "records": self.records,
            "control": control.to_json()["checks"],
            "attacks": [each.to_json() for each in self.outcomes],
        }

    def summary(self) -> Iterator[str]:
        """The table for people."""
        yield f"{self.tool.name} {self.version}: an export of {self.records} records"
        yield f"it says of itself: {self.tool.claims}"
        yield f"not asked here: {self.tool.not_asked}"
        yield ""
        yield _line("attack", "by", self.tool.checks)
        yield _line("(honest control)", "nobody", _cells(self.control))
        for each in self.outcomes:
            yield _line(each.name, each.by.value, _cells(each.verdicts))

    def lines(self) -> Iterator[str]:
        """The same, and what the tool said to each."""
        yield from self.summary()
        yield ""
        for each in self.outcomes:
            for verdict in each.verdicts:
                yield f"{each.name}, {verdict.check}: {verdict.words}"
        noticed = sum(each.is_noticed for each in self.outcomes)
        yield f"{noticed} of {len(self.outcomes)} attacks were noticed by a check above"


def _cells(verdicts: Sequence[Verdict]) -> list[str]:
    return ["accepted" if verdict.is_accepted else "noticed" for verdict in verdicts]


def _line(name: str, by: str, cells: Sequence[str]) -> str:
    return f"{name:<18}{by:<10}{''.join(f'{cell:<20}' for cell in cells)}".rstrip()


def run_attacks(tool: Tool, target: Path, only: Sequence[str]) -> ToolResults:
    """Every attack, on copies. Raises ConfigurationError."""
    source = _export(tool, target)
    records = tool.read(source)
    if len(records) < _LEAST:
        raise ConfigurationError(f"expected at least {_LEAST} records in {source}, found {len(records)}")
    plays = [play for play in _plays() if not only or play.name in only]
    if unknown := set(only) - {play.name for play in plays}:
        raise ConfigurationError(f"expected attacks that apply to {tool.name}, found {sorted(unknown)[0]}")
    with tempfile.TemporaryDirectory(prefix="auditlog-attack-") as scratch:
        folder = Path(scratch)
        own = folder / f"operator{tool.suffix}"
        tool.sign(source, own, records, OPERATOR_KEY)
        control = [*tool.verify(source, source)]
        control = [_worse(one, two) for one, two in zip(control, tool.verify(own, own), strict=True)]
        copies = _Copies(folder, source, own, records)
        outcomes = [_play(tool, play, copies) for play in plays]
    return ToolResults(tool, tool.version(), len(records), tuple(control), tuple(outcomes))


def _worse(one: Verdict, two: Verdict) -> Verdict:
    return two if one.is_accepted else one


@dataclass(frozen=True, slots=True)
class _Play:
    name: str
    title: str
    by: By
    change: Change
    key: str = ""


def _plays() -> Iterator[_Play]:
    for name, (title, change) in _CHANGES.items():
        yield _Play(name, title, By.THIEF, change)
    for name, (title, change) in _CHANGES.items():
        signed = f"{title}, and signs all of it anew with its key"
        yield _Play(f"{name}-signed", signed, By.OPERATOR, change, OPERATOR_KEY)
    yield _Play("other-key", "signs all of it anew with a key of its own", By.THIEF, _same, OTHER_KEY)


@dataclass(frozen=True, slots=True)
class _Copies:
    """What is attacked: the export as it is, the same under the suite's key, and its records."""

    folder: Path
    source: Path
    own: Path
    records: list[Any]


def _play(tool: Tool, play: _Play, copies: _Copies) -> ToolOutcome:
    out = copies.folder / f"{play.name}{tool.suffix}"
    changed = play.change(tool, copies.records)
    reference = copies.source
    if play.key:
        tool.sign(copies.source, out, changed, play.key)
        reference = copies.own
    else:
        tool.store(copies.source, out, changed)
    return ToolOutcome(play.name, play.title, play.by, tuple(tool.verify(out, reference)))


def _export(tool: Tool, target: Path) -> Path:
    if target.is_file():
        return target
    found = sorted(target.glob(f"*{tool.suffix}")) if target.is_dir() else []
    if len(found) != 1:
        raise ConfigurationError(
            f"expected one export of {tool.name} (*{tool.suffix}) at {target}, found {len(found) or 'none'}"
        )
    return found[0]

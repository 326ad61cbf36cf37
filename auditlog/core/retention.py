"""The retention document of a log: which entries it may have pruned, and under which rule.

Spec: `auditlog/spec/log.md`, "Retention"; C2SP tlog-tiles, "Pruning". A note by the log's own key; its second
line is an origin, never digits only, so it can not be read as a checkpoint. A mark says how many entries were
published at an instant; nothing is pruned before a mark is as old as the rule asks, so that a rule is public
for as long as it keeps entries. Pure; bytes are attacker-controlled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from auditlog.core.keys import Ed25519Signer, Ed25519Verifier
from auditlog.core.scalars import check_origin, format_time, parse_decimal, parse_time
from auditlog.core.signed import open_one, sign_one
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import MalformedError

RETENTION_HEADER = "auditlog/retention@v1"
RETENTION_PATH = "retention"
"""Beside `checkpoint`, in the folder of a log and under its address."""

DAY_US = 86_400_000_000
MARK_EVERY_US = 20 * 3_600_000_000
"""Three marks in a row span this much at least, so that a daily run leaves one a day."""
MAX_MARKS = 10_000
_NONE = "-"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a log keeps: entries younger than `days`, and the newest `entries`; None: no such rule."""

    days: int | None = None
    entries: int | None = None

    def __str__(self) -> str:
        rules = [f"{self.days} days"] if self.days is not None else []
        rules += [f"the newest {self.entries} entries"] if self.entries is not None else []
        return " and ".join(rules) or "all"


@dataclass(frozen=True, slots=True)
class Mark:
    """So many entries were published at that instant (Unix microseconds)."""

    size: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Retention:
    """One document. Indices below `minimum` may be gone; `base` was the minimum when this policy began."""

    origin: str
    policy: Policy
    minimum: int
    since_us: int
    base: int
    marks: tuple[Mark, ...]

    def size_before(self, at_us: int) -> int:
        """How many entries were published by then, as far as the marks show."""
        return max((mark.size for mark in self.marks if mark.at_us <= at_us), default=0)

    def allowed(self) -> int:
        """The largest minimum that the policy allows by these marks."""
        if not self.marks or self.policy == Policy():
            return self.base
        now, bounds = self.marks[-1], []
        if self.policy.days is not None:
            bounds.append(self.size_before(now.at_us - self.policy.days * DAY_US))
        if self.policy.entries is not None:
            bounds.append(now.size - self.policy.entries)
        return max(self.base, min(bounds) // TILE_WIDTH * TILE_WIDTH)

    def marked(self, size: int, now_us: int, horizon_us: int) -> Retention:
        """With a mark of now. Marks that no question up to `horizon_us` back needs go."""
        marks = list(self.marks)
        if marks and (now_us < marks[-1].at_us or size < marks[-1].size):
            # A clock that was set back dates nothing.
            return self
        if len(marks) > 1 and now_us - marks[-2].at_us < MARK_EVERY_US:
            marks.pop()
        marks.append(Mark(size, now_us))
        old = [number for number, mark in enumerate(marks) if mark.at_us <= now_us - horizon_us]
        return replace(self, marks=tuple(marks[old[-1] if old else 0 :][-MAX_MARKS:]))


def format_retention(document: Retention) -> str:
    """The text that is signed."""
    policy = document.policy
    lines = [
        RETENTION_HEADER,
        document.origin,
        f"minimum {document.minimum}",
        f"days {_NONE if policy.days is None else policy.days}",
        f"entries {_NONE if policy.entries is None else policy.entries}",
        f"since {document.base} {format_time(document.since_us)}",
        *(f"mark {mark.size} {format_time(mark.at_us)}" for mark in document.marks),
    ]
    return "".join(f"{line}\n" for line in lines)


def sign_retention(document: Retention, signer: Ed25519Signer) -> str:
    """The signed note."""
    return sign_one(format_retention(document), signer)


def open_retention(note: str | bytes, verifier: Ed25519Verifier, origin: str) -> Retention:
    """The document in a note that the log must have signed: attacker-controlled.

    Raises:
        MalformedError: not such a document, or of another log. SignatureError: not signed by this key.
    """
    found = parse_retention(open_one(note, verifier))
    if found.origin != origin:
        raise MalformedError(f"retention: expected the origin {origin}, found another")
    return found


def parse_retention(text: str) -> Retention:
    """The document in a text; what `format_retention` would write and nothing else. Raises MalformedError."""
    lines = text.split("\n")
    if len(lines) < 7 or len(lines) > 7 + MAX_MARKS or lines[0] != RETENTION_HEADER or lines[-1]:
        raise MalformedError("retention: expected the lines of a retention document, found others")
    base, since = _two(lines[5], "since")
    found = Retention(
        origin=check_origin(lines[1]),
        policy=Policy(_rule(lines[3], "days"), _rule(lines[4], "entries")),
        minimum=parse_decimal(_one(lines[2], "minimum"), "retention: minimum"),
        since_us=parse_time(since),
        base=parse_decimal(base, "retention: since"),
        marks=tuple(_mark(line) for line in lines[6:-1]),
    )
    _check(found)
    return found


def _check(found: Retention) -> None:
    if found.minimum % TILE_WIDTH or found.base > found.minimum:
        raise MalformedError(
            f"retention: expected a minimum on the edge of a bundle, not below {found.base}, "
            f"found {found.minimum}"
        )
    order: Sequence[tuple[int, int]] = [(mark.at_us, mark.size) for mark in found.marks]
    sizes = [mark.size for mark in found.marks]
    if list(order) != sorted(order) or sizes != sorted(sizes):
        raise MalformedError("retention: expected marks in their order, found others")
    if found.marks and found.marks[0].at_us < found.since_us:
        raise MalformedError("retention: expected no mark from before the policy, found one")


def _mark(line: str) -> Mark:
    size, at = _two(line, "mark")
    return Mark(parse_decimal(size, "retention: mark"), parse_time(at))


def _rule(line: str, word: str) -> int | None:
    value = _one(line, word)
    return None if value == _NONE else parse_decimal(value, f"retention: {word}")


def _one(line: str, word: str) -> str:
    first, _, value = line.partition(" ")
    if first != word:
        raise MalformedError(f"retention: expected a line {word}, found another")
    return value


def _two(line: str, word: str) -> tuple[str, str]:
    first, _, second = _one(line, word).partition(" ")
    return first, second

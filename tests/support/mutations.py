"""Breaks receipts in every way we can think of, reproducibly: bytes, JSON members, notes, proofs, entries,
splices.

A mutated receipt is *accepted* if it verifies with exit code 0 and its report states a fact, or gives a
higher grade, that the original's does not (spec/verification.md, "Facts"). Splices take parts of other
honest receipts, at most two a time, so that no mutation is simply another honest receipt.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from auditlog.core import canonical
from auditlog.verify.report import Grade, Report

_RANK = {Grade.NOT_CHECKED: 0, Grade.STATED: 1, Grade.PROVEN: 2}
_WORDS = (
    "",
    "0",
    "log",
    "proven",
    "unregistered",
    "pending",
    "ok",
    "error",
    "2020-01-01T00:00:00.000000Z",
    "quorum none",
)

Path = tuple[str | int, ...]


def gained(original: Report, mutated: Report) -> list[str]:
    """Facts the mutated report states that the original does not, or at a higher grade; [] if it is not
    accepted.
    """
    if mutated.exit_code != 0:
        return []
    known: dict[tuple[str, str], int] = {}
    for fact in original.facts:
        at = (fact.name, fact.value)
        known[at] = max(known.get(at, 0), _RANK[fact.grade])
    return [
        f"{fact.name}={fact.value} ({fact.grade})"
        for fact in mutated.facts
        if _RANK[fact.grade] > known.get((fact.name, fact.value), 0)
    ]


class Mutator:
    """Mutations of one honest receipt; `others` are honest receipts to splice from."""

    def __init__(self, receipt: bytes, others: Sequence[bytes], rng: random.Random) -> None:
        self._receipt = receipt
        self._others = [json.loads(other) for other in others]
        self._rng = rng
        self._kinds: tuple[Callable[[], bytes], ...] = (
            self._bytes,
            self._members,
            self._members,
            self._deep,
            self._deep,
            self._deep,
            self._signed,
            self._signed,
            self._splice,
            self._entry,
            self._proof,
        )

    def __iter__(self) -> Iterator[bytes]:
        """Yield mutations for ever; never the receipt itself."""
        while True:
            mutated = self._rng.choice(self._kinds)()
            if mutated != self._receipt:
                yield mutated

    def _bytes(self) -> bytes:
        """Damage the file as a disk or a clumsy editor would."""
        return damage(self._receipt, self._rng)

    def _members(self) -> bytes:
        """Drop, double, reorder or replace a whole member or item."""
        value = json.loads(self._receipt)
        path = self._rng.choice([path for path, _ in walk(value) if path])
        parent = _at(value, path[:-1])
        kind = self._rng.randrange(4)
        if kind == 0:
            del parent[path[-1]]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(self._rng.randrange(len(parent) + 1), parent[int(path[-1])])
        elif kind == 2 and isinstance(parent, list):
            self._rng.shuffle(parent)
        else:
            parent[path[-1]] = self._rng.choice([None, 0, -1, "", [], {}, True, "x", 2**53, [""], {"a": 1}])
        return _encoded(value)

    def _deep(self) -> bytes:
        """Change one scalar with its format kept: base64 stays base64, a note text, a number a number."""
        value = json.loads(self._receipt)
        path, found = self._rng.choice(
            [(path, item) for path, item in walk(value) if isinstance(item, str | int)]
        )
        if isinstance(found, str):
            _put(value, path, self._text(found))
        else:
            _put(value, path, max(0, found + self._rng.choice([-1, 1, 2, 256, -found])))
        return _encoded(value)

    def _signed(self) -> bytes:
        """Edit one of the notes: what is signed, the signature line, or the key it names."""
        value = json.loads(self._receipt)
        notes = [(path, item) for path, item in walk(value) if isinstance(item, str) and "\n" in item]
        path, note = self._rng.choice(notes)
        for _ in range(self._rng.randint(1, 2)):
            note = self._note(note)
        _put(value, path, note)
        return _encoded(value)

    def _text(self, text: str) -> str:
        if "\n" in text:
            return self._note(text)
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError:
            return self._rng.choice(_WORDS)
        return base64.b64encode(damage(data, self._rng)).decode()

    def _note(self, text: str) -> str:
        """Edit a note or proof line by line."""
        lines = text.split("\n")
        at = self._rng.randrange(len(lines))
        kind = self._rng.randrange(6)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, self._rng.choice(lines))
        elif kind == 2:
            other = self._rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 3 and lines[at].isdigit():
            lines[at] = str(max(0, int(lines[at]) + self._rng.choice([-1, 1, 4, 100])))
        elif kind == 4:
            lines[at] = self._line(lines[at])
        elif kind == 5 and lines[at]:
            lines[at] = damage(lines[at].encode(), self._rng).decode("utf-8", "replace")
        else:
            lines[at] = self._line(lines[at])
        return "\n".join(lines)

    def _line(self, line: str) -> str:
        """Damage the bytes behind the base64 of a line: a key id, a signature, a hash."""
        head, space, last = line.rpartition(" ")
        try:
            data = base64.b64decode(last, validate=True)
        except ValueError:
            return self._rng.choice(_WORDS)
        return head + space + base64.b64encode(damage(data, self._rng)).decode()

    def _splice(self) -> bytes:
        """Put one or two parts of other honest receipts in the place of ours."""
        value = json.loads(self._receipt)
        for _ in range(self._rng.randint(1, 2)):
            other = self._rng.choice(self._others)
            path = self._rng.choice([path for path, _ in walk(value) if path])
            try:
                part = _at(other, path)
            except (KeyError, IndexError, TypeError):
                part = self._rng.choice([item for _, item in walk(other)])
            _put(value, path, copy.deepcopy(part))
        return _encoded(value)

    def _entry(self) -> bytes:
        """Change a member of the entry, or of a related entry, and seal it again in canonical form."""
        value = json.loads(self._receipt)
        related = [("related", place, "entry") for place in range(len(value["related"]))]
        path: Path = self._rng.choice([("entry",), ("entry",), *related])
        entry = json.loads(base64.b64decode(_at(value, path)))
        inner, found = self._rng.choice(
            [(path, item) for path, item in walk(entry) if isinstance(item, str | int)]
        )
        _put(entry, inner, self._text(found) if isinstance(found, str) else found + 1)
        _put(
            value,
            path,
            base64.b64encode(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()).decode(),
        )
        return _encoded(value)

    def _proof(self) -> bytes:
        """Shorten, lengthen or re-index a proof: aliases of an index among them."""
        value = json.loads(self._receipt)
        lines = value["proof"].split("\n")
        index = int(lines[1].removeprefix("index "))
        end = lines.index("")
        kind = self._rng.randrange(4)
        if kind == 0 and end > 2:
            del lines[self._rng.randrange(2, end)]
        elif kind == 1:
            lines.insert(self._rng.randrange(2, end + 1), base64.b64encode(self._rng.randbytes(32)).decode())
        elif kind == 2 and end > 3:
            lines[2], lines[3] = lines[3], lines[2]
        else:
            bit = 1 << self._rng.randrange(8)
            lines[1] = (
                f"index {self._rng.choice([index ^ bit, index + bit, 2 * index, 2 * index + 1, index // 2])}"
            )
        value["proof"] = "\n".join(lines)
        return _encoded(value)


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flip a bit, or change, drop, double, move or cut some bytes."""
    if not data:
        return b"\x00"
    at, to = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    to = min(to, at + 64) + 1
    kind = rng.randrange(7)
    if kind <= 1:
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 3:
        return data[:at] + data[to:]
    if kind == 4:
        return data[:to] + data[at:]
    if kind == 5:
        return data[:at] + data[at:to][::-1] + data[to:]
    return data[:at]


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value inside a JSON value, with its path; the whole first."""
    yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from walk(item, (*path, place))


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _put(value: Any, path: Path, item: Any) -> None:
    _at(value, path[:-1])[path[-1]] = item


def _encoded(value: Any) -> bytes:
    """Canonical if it can be, so that the mutation gets past the parser; any JSON otherwise."""
    try:
        return canonical.encode(value) + b"\n"
    except Exception:
        return json.dumps(value, default=repr).encode() + b"\n"

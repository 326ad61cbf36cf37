"""Breaks evidence files in every way we can think of, reproducibly: bytes, members, notes, proofs, entries,
splices.

A mutated file is *accepted* if it is proven and proves something that the original does not say
(spec/evidence.md, "Checking"). One that proves the same, such as a note with a line of an unknown key more,
is no gain to anybody; `same` counts them.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from auditlog.core import canonical
from auditlog.verify.evidence_claim import ENTRY_ALARMS, NOTICE_ALARMS
from auditlog.verify.evidence_report import EvidenceReport
from tests.support.mutations import damage, walk

Path = tuple[str | int, ...]
_OF_PROMISES = ("CONFLICT", "SKIPPED", "LATE", "ABSENT", "DECLARED_LOST", "FORK")
_VERDICTS = (*_OF_PROMISES, "ENTRIES", "ANCHOR", "NOTICE", "OBSERVED")
_ALARMS = tuple(sorted(ENTRY_ALARMS | NOTICE_ALARMS))


def gained(original: EvidenceReport, mutated: EvidenceReport) -> list[str]:
    """Facts that the mutated file proves and the original does not; [] if it is not accepted."""
    if mutated.exit_code != 0:
        return []
    known = {(fact.name, fact.value, fact.grade) for fact in original.facts}
    return [fact.text for fact in mutated.facts if (fact.name, fact.value, fact.grade) not in known]


class EvidenceMutator:
    """Mutations of one evidence file; `others` are honest ones to splice from."""

    def __init__(self, evidence: bytes, others: Sequence[bytes], rng: random.Random) -> None:
        self._evidence, self._rng = evidence, rng
        self._others = [json.loads(other) for other in others]
        self._kinds: tuple[Callable[[], bytes], ...] = (
            self._bytes,
            self._members,
            self._scalars,
            self._scalars,
            self._notes,
            self._notes,
            self._entries,
            self._splice,
            self._verdict,
        )

    def __iter__(self) -> Iterator[bytes]:
        """Yield mutations for ever; never the file itself."""
        while True:
            mutated = self._rng.choice(self._kinds)()
            if mutated != self._evidence:
                yield mutated

    def _value(self) -> Any:
        return json.loads(self._evidence)

    def _bytes(self) -> bytes:
        return damage(self._evidence, self._rng)

    def _members(self) -> bytes:
        """Drop, double, reorder or replace a member or item."""
        value = self._value()
        path = self._rng.choice([path for path, _ in walk(value) if path])
        parent = _at(value, path[:-1])
        kind = self._rng.randrange(4)
        if kind == 0:
            del parent[path[-1]]
        elif kind == 1 and isinstance(parent, list):
            parent.insert(self._rng.randrange(len(parent) + 1), copy.deepcopy(parent[int(path[-1])]))
        elif kind == 2 and isinstance(parent, list):
            self._rng.shuffle(parent)
        else:
            parent[path[-1]] = self._rng.choice([None, 0, "", [], {}, "x", 2**53, [""], {"a": 1}])
        return _encoded(value)

    def _scalars(self) -> bytes:
        """Change one scalar, its form kept: base64 stays base64, a number a number."""
        value = self._value()
        places = [(path, item) for path, item in walk(value) if isinstance(item, str | int)]
        path, found = self._rng.choice(places)
        if isinstance(found, int):
            _put(value, path, max(0, found + self._rng.choice([-1, 1, 2, 256, -found])))
        elif "\n" in found:
            _put(value, path, self._note(found))
        else:
            _put(value, path, self._base64(found))
        return _encoded(value)

    def _notes(self) -> bytes:
        value = self._value()
        notes = [(path, item) for path, item in walk(value) if isinstance(item, str) and "\n" in item]
        path, note = self._rng.choice(notes)
        _put(value, path, self._note(note))
        return _encoded(value)

    def _note(self, note: str) -> str:
        """Drop, double, swap or change a line: the text, a signature, a key name."""
        lines = note.split("\n")
        at, other = self._rng.randrange(len(lines)), self._rng.randrange(len(lines))
        kind = self._rng.randrange(6)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(at, lines[other])
        elif kind == 2:
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == 3 and lines[at].isdigit():
            lines[at] = str(max(0, int(lines[at]) + self._rng.choice([-1, 1, 4, 100])))
        elif kind == 4:
            head, space, last = lines[at].rpartition(" ")
            lines[at] = head + space + self._base64(last)
        else:
            lines[at] = damage(lines[at].encode(), self._rng).decode("utf-8", "replace")
        return "\n".join(lines)

    def _base64(self, text: str) -> str:
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError:
            return self._rng.choice(["", "0", "log", *_VERDICTS])
        return base64.b64encode(damage(data, self._rng)).decode()

    def _entries(self) -> bytes:
        """Change a member of an entry and seal it again in canonical form."""
        value = self._value()
        places = [path for path, _ in walk(value) if path and path[-1] == "entry"]
        places = [path for path in places if isinstance(_at(value, path), str)]
        if not places:
            return self._bytes()
        path = self._rng.choice(places)
        try:
            entry = json.loads(base64.b64decode(_at(value, path)))
        except ValueError:
            return self._bytes()
        if not isinstance(entry, dict):
            return self._bytes()
        inner, found = self._rng.choice(
            [(path, item) for path, item in walk(entry) if isinstance(item, str | int)]
        )
        _put(entry, inner, found + 1 if isinstance(found, int) else self._note(found))
        _put(value, path, base64.b64encode(canonical.encode(entry)).decode())
        return _encoded(value)

    def _splice(self) -> bytes:
        """Put parts of other evidence in the place of ours."""
        value = self._value()
        for _ in range(self._rng.randint(1, 2)):
            other = self._rng.choice(self._others)
            path = self._rng.choice([path for path, _ in walk(value) if path])
            try:
                part = _at(other, path)
            except (KeyError, IndexError, TypeError):
                part = self._rng.choice([item for _, item in walk(other)])
            _put(value, path, copy.deepcopy(part))
        return _encoded(value)

    def _verdict(self) -> bytes:
        """The same members, or another's, under another verdict."""
        value, other = self._value(), self._rng.choice(self._others)
        if "alarm" in value and self._rng.random() < 0.5:
            value["alarm"] = self._rng.choice(_ALARMS)
            return _encoded(value)
        value["verdict"] = self._rng.choice(_VERDICTS)
        names = set(other) - {"v", "verdict", "checkpoint", "promise", "producer", "rotations"}
        own = set(value) - {"v", "verdict", "checkpoint", "promise", "producer", "rotations"}
        if self._rng.random() < 0.5:
            value = {name: item for name, item in value.items() if name not in own}
            value |= {name: other[name] for name in names}
        return _encoded(value)


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _put(value: Any, path: Path, item: Any) -> None:
    _at(value, path[:-1])[path[-1]] = item


def _encoded(value: Any) -> bytes:
    try:
        return canonical.encode(value) + b"\n"
    except Exception:
        return json.dumps(value, default=repr).encode() + b"\n"

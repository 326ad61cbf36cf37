"""Entries spelled like one that was read before: the plain ones of a producer differ in few places.

Spec: auditlog/spec/entry.md. A `Shape` is made from an entry that `read_plain` has taken: its text, with
hashes, ids, times and numbers left open. What fits a shape is what `read_plain` takes, by the same producer
and instance and of the same kind, with the number and the link asked for (a property test holds that); it
takes a third of the time. Bytes are attacker-controlled. Must never: take what `read_plain` would not.
"""

from __future__ import annotations

import re
from operator import itemgetter
from struct import Struct
from typing import Any, Final

from auditlog.verify.plain_entries import PlainText, match_plain

_HEX: Final = b"0123456789abcdef"

_OPEN = re.compile(
    rb'"(?:commitment|root|model)":"(?P<hash>[0-9a-f]{64})"'
    rb'|"(?:id|decision)":"(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"'
    rb'|"start":"(?P<time>[0-9T:-]{19}\.[0-9]{6})Z"'
    rb'|"duration_us":(?P<number>[0-9]+)'
)
"""Members whose value may be another of the same form and length, wherever in a plain body they stand: as
members of the body, or as texts by name, where any text may be.
"""

_ID_PARTS: Final = ((0, 8), (9, 13), (15, 18), (20, 23), (24, 36))
"""Digits of a UUIDv7; version, variant and dashes stay as they are."""

_ZERO: Final = b"0"[0]
_join: Final = b"".join
_SECOND_CHARS: Final = 20
_MOST_SECONDS: Final = 4096
_MOST_SHAPES: Final = 4096
_TRY_AGAIN: Final = 8

Cut = tuple[int, int, str]
"""(begin, end, form) of a part that is left open; the form is hex, digits, number, second, prev or seq."""


class Shape:
    """The text of a plain entry with its open parts. Made by `Shapes.learn`."""

    __slots__ = (
        "_digits", "_hexes", "_numbers", "_pieces", "_prev", "_seconds", "_seq", "_times", "_unpack",
        "kind", "length", "owner",
    )  # fmt: skip

    def __init__(self, data: bytes, kind: str, owner: Any, cuts: list[Cut], seconds: Seconds) -> None:
        """`owner` is whatever the caller keeps for this producer and instance; `cuts` are in order."""
        self.kind, self.length, self.owner = kind, len(data), owner
        forms, pieces, layout, at = [], [], [], 0
        for begin, end, form in cuts:
            pieces += [data[at:begin], b""]
            layout.append(f"{begin - at}x{end - begin}s")
            forms.append(form)
            at = end
        self._pieces = [*pieces, data[at:]]
        self._unpack = Struct("".join([*layout, f"{len(data) - at}x"])).unpack
        self._hexes, self._digits = _getter(forms, "hex"), _getter(forms, "digits", "number")
        self._numbers = [at for at, form in enumerate(forms) if form == "number"]
        self._times = [at for at, form in enumerate(forms) if form == "second"]
        self._prev, self._seq = forms.index("prev"), forms.index("seq")
        self._seconds = seconds

    def fits(self, data: bytes, seq: int, prev: bytes) -> bool:
        """Whether `data`, of `length` bytes, is a plain entry of this shape, numbered `seq` (1 or more),
        following `prev` (hex).
        """
        fields, pieces = self._unpack(data), self._pieces
        if fields[self._prev] != prev or fields[self._seq] != b"%d" % seq:
            return False
        pieces[1::2] = fields
        if _join(pieces) != data or _join(self._hexes(fields)).translate(None, _HEX):
            return False
        known = self._seconds.known
        for at in self._times:
            if fields[at] not in known and fields[at] not in self._seconds:
                return False
        for at in self._numbers:
            if fields[at][0] == _ZERO and len(fields[at]) > 1:
                return False
        return _join(self._digits(fields)).isdigit()


class Seconds:
    """Which `YYYY-MM-DDTHH:MM:SS.` are times: a memory of those seen, for they come many to one."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()

    def __contains__(self, text: bytes) -> bool:
        if text in self.known:
            return True
        if PlainText.second.fullmatch(text) is None:
            return False
        if len(self.known) >= _MOST_SECONDS:
            self.known.clear()
        self.known.add(text)
        return True


class Shapes:
    """The shapes seen in one log. Bounded. For one thread."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], Shape] = {}
        self._missed: dict[tuple[int, bytes], int] = {}
        self._seconds = Seconds()

    def find(self, data: bytes) -> Shape | None:
        """One that `data` may fit: of its length, by the producer it names."""
        return self._known.get(_place(data))

    def learn(self, data: bytes, owner: Any) -> Shape | None:
        """The shape of an entry that `read_plain` has taken; None where making one does not pay."""
        place = _place(data)
        missed = self._missed.get(place, _TRY_AGAIN)
        if missed < _TRY_AGAIN:
            # Another text of the same length every time: a shape costs more than reading does.
            self._missed[place] = missed + 1
            return None
        if len(self._known) >= _MOST_SHAPES:
            self._known.clear()
            self._missed.clear()
        found = match_plain(data)
        if found is None:
            return None
        shape = Shape(data, found.kind, owner, _cuts(data, found), self._seconds)
        self._known[place], self._missed[place] = shape, 0
        return shape


def _place(data: bytes) -> tuple[int, bytes]:
    at = data.rfind(b'"producer":"') + 12
    return len(data), data[at : at + 64]


def _cuts(data: bytes, found: PlainText) -> list[Cut]:
    cuts: list[Cut] = []
    for match in _OPEN.finditer(data, 0, found.envelope):
        form = str(match.lastgroup)
        begin, end = match.span(form)
        if form == "hash":
            cuts.append((begin, end, "hex"))
        elif form == "id":
            cuts += [(begin + low, begin + high, "hex") for low, high in _ID_PARTS]
        elif form == "time":
            cuts += _time_cuts(begin)
        else:
            cuts.append((begin, end, "number"))
    return [*cuts, (*found.prev, "prev"), (*found.seq, "seq"), *_time_cuts(found.time[0])]


def _time_cuts(begin: int) -> list[Cut]:
    middle = begin + _SECOND_CHARS
    return [(begin, middle, "second"), (middle, middle + 6, "digits")]


def _getter(forms: list[str], *wanted: str) -> Any:
    places = [at for at, form in enumerate(forms) if form in wanted]
    if len(places) == 1:
        return itemgetter(slice(places[0], places[0] + 1))
    return itemgetter(*places)

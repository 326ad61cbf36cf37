"""Facets: what entries can be searched by, kept for a whole block of 256 entries at a time.

Spec: auditlog/spec/decisions/0009-search-by-blocks.md. A block is a bundle of the tree. For each property
that an entry of it has (the minute of its time, kind, producer, and of a decision model, operation, status,
how it ended) one row says at which places: about ten rows for 256 ordinary decisions. Blocks that are not
full have no rows: who searches reads their entries. A row may claim too much (of a word only eight bytes of
its hash are kept), never too little: who searches looks at each entry it names. Pure functions of the log.
Must never: keep a word of a stranger as it came.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any, TypeGuard

from auditlog.core.entry import parse_time
from auditlog.core.tiles import TILE_WIDTH
from auditlog.log.envelope import Indexed
from auditlog.storage.records import FacetRow

TIME, KIND, PRODUCER, MODEL, OPERATION, STATUS, ENDED = range(1, 8)
"""Numbers of the facets, for ever: they stand in databases."""

MINUTE_US = 60_000_000
MAX_STATUS = 999
_EVERYWHERE = tuple(range(TILE_WIDTH))
_MOST_LISTED = TILE_WIDTH // 8 - 1
"""Up to so many places are a list, of a byte each; more are a bitmap, which is as long at most."""


def word_value(word: str) -> int:
    """What stands for a word in a row: the word itself may be any text, as long as an entry."""
    digest = sha256(word.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def block_rows(block: int, entries: Sequence[Indexed]) -> list[FacetRow]:
    """The rows of one full block, in order of facet and value."""
    values: dict[tuple[int, int], list[int]] = {}
    for (facet, word), places in _by_word(entries).items():
        # Two words may have one value.
        values.setdefault((facet, _value(facet, word)), []).extend(places)
    return [FacetRow(*key, block, encode_places(sorted(places))) for key, places in sorted(values.items())]


def _by_word(entries: Sequence[Indexed]) -> dict[tuple[int, str | int], list[int]]:
    """Places by facet and word. Bodies are a stranger's: what is of another form is found by less.

    Column by column: most have one word in the whole block, and then nothing is done for each place.
    """
    everywhere = list(_EVERYWHERE)
    kinds = [entry.kind for entry in entries]
    decided = everywhere
    if kinds.count("decision") < len(kinds):
        decided = [place for place, kind in enumerate(kinds) if kind == "decision"]
    bodies = [entries[place].body for place in decided]
    found: dict[tuple[int, str | int], list[int]] = {}
    columns: tuple[tuple[int, list[int], list[Any]], ...] = (
        (TIME, everywhere, [entry.time[:16] for entry in entries]),
        (KIND, everywhere, kinds),
        (PRODUCER, everywhere, [entry.producer for entry in entries]),
        (MODEL, decided, [body.model for body in bodies]),
        (OPERATION, decided, [body.operation for body in bodies]),
        (STATUS, decided, [body.status for body in bodies]),
        (ENDED, decided, [body.ended for body in bodies]),
    )
    for facet, places, words in columns:
        first: Any = words[0] if words else None
        if _is_word(facet, first) and words.count(first) == len(words):
            found[facet, first] = places
            continue
        are_words = facet != STATUS and {*map(type, words)} == {str}
        among: defaultdict[Any, list[int]] = defaultdict(list)
        for place, word in zip(places, words, strict=True):
            if are_words or _is_word(facet, word):
                among[word].append(place)
        found.update({(facet, word): held for word, held in among.items()})
    return found


def _is_word(facet: int, word: object) -> TypeGuard[str | int]:
    """Whether one can search for it."""
    if facet == STATUS:
        return type(word) is int and 0 <= word <= MAX_STATUS
    return type(word) is str


def _value(facet: int, word: str | int) -> int:
    if type(word) is int:
        return word
    return parse_time(f"{word}:00.000000Z") // MINUTE_US if facet == TIME else word_value(str(word))


def encode_places(places: Sequence[int]) -> bytes:
    """Places in a block, ascending, as bytes: none for all of them, a list of bytes, or a bitmap of 32."""
    if len(places) == TILE_WIDTH:
        return b""
    if len(places) <= _MOST_LISTED:
        return bytes(places)
    bits = 0
    for place in places:
        bits |= 1 << place
    return bits.to_bytes(TILE_WIDTH // 8, "little")


def decode_places(data: bytes) -> Sequence[int]:
    """The reverse."""
    if not data:
        return _EVERYWHERE
    if len(data) <= _MOST_LISTED:
        return list(data)
    bits = int.from_bytes(data, "little")
    return [place for place in _EVERYWHERE if bits >> place & 1]


def common_places(places: bytes, others: Iterable[bytes | None]) -> list[int]:
    """Places that all of them have, ascending."""
    found = set(decode_places(places))
    for other in others:
        if other is None:
            return []
        if other:
            found.intersection_update(decode_places(other))
    return sorted(found)

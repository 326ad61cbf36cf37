"""log.md, "Tiles": the names of C2SP tlog-tiles."""

from __future__ import annotations

import re

from .canonical import need, refuse
from .merkle import MAX_SIZE

_NAME = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def parse_path(path: str) -> tuple[int | None, int, int]:
    """Level (None for entries), number and width of a tile's path."""
    match = _NAME.fullmatch(path)
    if match is None:
        refuse("not the path of a tile")
    level = None if match[1] == "entries" else int(match[1])
    need(level is None or level <= 7, "level too high for a size below 2^63")
    number = int(match[2].replace("x", "").replace("/", ""))
    need(number <= MAX_SIZE and _number(number) == match[2], "not the one spelling of the number")
    width = 256 if match[3] is None else int(match[3])
    need(match[3] is None or width < 256, "a partial tile is narrower than 256")
    return level, number, width


def _number(number: int) -> str:
    text = f"{number % 1000:03}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03}/{text}"
    return text


def paths_for_size(size: int) -> list[str]:
    """Every tile and bundle of a tree of this size."""
    paths, level, hashes = [], 0, size
    while hashes:
        paths += _level(f"{level}", hashes)
        level, hashes = level + 1, hashes // 256
    return paths + _level("entries", size)


def _level(name: str, hashes: int) -> list[str]:
    full, rest = divmod(hashes, 256)
    paths = [f"tile/{name}/{_number(number)}" for number in range(full)]
    return [*paths, f"tile/{name}/{_number(full)}.p/{rest}"] if rest else paths

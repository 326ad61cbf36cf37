"""`auditlog find --log URL NAME=VALUE...`: entries of a log by what they say, all pages of them.

Spec: auditlog/spec/api.md, "Search". What it prints is the log's word; `auditlog verify` and `fsck` prove.
Must never: send the token anywhere but to the log that was named.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from auditlog.cli.output import say, say_json, say_note
from auditlog.cli.reading import read_text_line
from auditlog.errors import ConfigurationError, SourceError, SubmissionRefused
from auditlog.hammer.link import Link, read_object

_NOT_FOUND = 1
_OFFERED = frozenset(
    {"decision", "leaf", "producer", "instance", "seq", "kind", "model"}
    | {"operation", "status", "ended", "since", "before", "order"}
)
_MOST_PAGES = 100_000


def find_in_log(url: str, asked: list[str], *, token_file: Path | None, most: int, as_json: bool) -> int:
    """Print what the log finds, `most` entries at most; 1 if nothing.

    Raises:
        ConfigurationError: a condition that no search has. SubmissionRefused: the log refuses the question.
        SourceError: it does not answer as a log of ours.
    """
    wanted = _conditions(asked)
    link = Link(url, None if token_file is None else read_text_line(token_file, "--token-file"))
    try:
        found, size, is_all = _pages(link, wanted, most)
    finally:
        link.close()
    if as_json:
        say_json({"entries": found, "size": size, "all": is_all})
    for each in [] if as_json else found:
        say(_line(each))
    if not is_all and not as_json:
        say_note(f"there are more than {most}: --most shows more")
    return 0 if found else _NOT_FOUND


def _conditions(asked: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in asked]
    wanted = {name: value for name, _, value in pairs}
    if len(wanted) != len(pairs) or not wanted.keys() <= _OFFERED or not all(wanted.values()):
        raise ConfigurationError(
            f"expected NAME=VALUE, each once, of {', '.join(sorted(_OFFERED))}, found others"
        )
    return wanted


def _pages(link: Link, wanted: dict[str, str], most: int) -> tuple[list[dict[str, Any]], int, bool]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    for _ in range(_MOST_PAGES):
        path = f"/search?{urlencode({**wanted, **cursor, 'limit': 200})}"
        status, body = link.get(path)
        if status in {401, 403, 404, 422}:
            raise SubmissionRefused(
                f"search: expected 200, found {status}: {body[:300].decode(errors='replace')}"
            )
        page = read_object("/search", status, body)
        entries, following, size = page.get("entries"), page.get("next"), page.get("size")
        if type(entries) is not list or type(size) is not int:
            raise SourceError("search: expected entries and a size, found something else", reason="refused")
        found += [each for each in entries if type(each) is dict]
        if type(following) is not str or len(found) > most:
            return found[:most], size, type(following) is not str and len(found) <= most
        cursor = {"cursor": following}
    raise SourceError("search: expected an end of the pages, found none", reason="refused")


def _line(entry: dict[str, Any]) -> str:
    told = ("index", "time", "kind", "decision", "operation", "status", "ended", "model")
    return "  ".join(str(entry.get(name)) for name in told if entry.get(name) is not None)

"""The specification pages show real values: every example is a vector, every linked page exists."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SPEC = ROOT / "auditlog" / "spec"
PAGES = ("README", "entry", "commitment", "promise", "evidence", "receipt", "trust", "anchor", "registry")

_EXAMPLE = re.compile(
    r"^<!-- example: (\S+) (\S+) (exact|json) -->\n```\n(.*?)\n```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\(([a-z0-9_./-]+)\)")


def _examples() -> list[Any]:
    found = []
    for page in PAGES:
        for path, member, mode, text in _EXAMPLE.findall((SPEC / f"{page}.md").read_text("utf-8")):
            found.append(pytest.param(path, member, mode, text, id=f"{page}:{path}:{member}"))
    return found


@pytest.mark.parametrize(("path", "member", "mode", "text"), _examples())
def test_example_is_its_vector(path: str, member: str, mode: str, text: str) -> None:
    """What a page shows is what the vector holds, byte for byte or as JSON."""
    value = json.loads((ROOT / "tests" / "vectors" / path).read_text("utf-8"))
    for part in () if member == "-" else member.split("."):
        value = value[part]
    if member.endswith("_b64"):
        value = base64.b64decode(value).decode("utf-8")
    if mode == "json":
        assert json.loads(text) == (json.loads(value) if isinstance(value, str) else value)
    else:
        assert text == value.removesuffix("\n")


@pytest.mark.parametrize("page", PAGES)
def test_every_example_marker_is_read(page: str) -> None:
    """No example escapes the comparison by another layout."""
    text = (SPEC / f"{page}.md").read_text("utf-8")
    assert text.count("<!-- example:") == len(_EXAMPLE.findall(text))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages(page: str) -> None:
    """A page links only to files that exist."""
    links = _LINK.findall((SPEC / f"{page}.md").read_text("utf-8"))
    assert [link for link in links if not (SPEC / link).exists()] == []

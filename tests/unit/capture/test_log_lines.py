"""Every line of the layer in the application's log is one event with a stable word."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

CAPTURE = Path(__file__).parents[3] / "auditlog" / "capture"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception", "log"}
EVENTS = {
    "disabled", "enrolled", "failed", "helper_failed", "leftovers", "no_recorder", "problem",
    "recording_again", "rotated", "routes", "sender", "sender_stopped", "slot_passed_over",
    "state_deleted", "was_disabled",
}  # fmt: skip
"""The words, as README.md has them: whoever searches the logs depends on them."""


def calls(path: Path) -> list[ast.Call]:
    """The calls that write a line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LEVELS:
            owner = ast.unparse(node.func.value)
            if owner.endswith("logger"):
                found.append(node)
    return found


@pytest.mark.parametrize("path", sorted(CAPTURE.glob("*.py")), ids=lambda path: path.stem)
def test_each_line_has_an_event(path: Path) -> None:
    """Its text begins with our name and is put together by the logger; `extra` holds the word."""
    for call in calls(path):
        text = (
            call.args[1] if isinstance(call.func, ast.Attribute) and call.func.attr == "log" else call.args[0]
        )
        assert isinstance(text, ast.Constant), ast.unparse(call)
        assert str(text.value).startswith("auditlog: "), ast.unparse(call)
        assert "extra" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)


def test_the_words_are_the_ones_that_are_documented() -> None:
    """No more and no fewer, in the code and in README.md."""
    code = "".join(path.read_text("utf-8") for path in CAPTURE.glob("*.py"))
    assert set(re.findall(r'"event": "([a-z_]+)"', code)) == EVENTS
    readme = (CAPTURE / "README.md").read_text("utf-8")
    assert all(f"`{event}`" in readme for event in EVENTS)

"""What the demo says of what it found: the facts a person asks about first, each with its grade, and reasons.

Must never: say more than a verifier's report does.
"""

from __future__ import annotations

import json
from typing import Any

from auditlog.demo.cheating import Check
from auditlog.demo.omission import OmissionCheck
from auditlog.demo.watching import AlarmCheck

WIDTH = 116
"""Columns of a line that is cut; what must be read whole is longer."""
_SHOWN_FACTS = (
    "index",
    "request",
    "response",
    "cosigned",
    "start",
    "model",
    "devnet_anchor",
    "model_ran",
    "fair",
)


def said(check: Check) -> str:
    """What was said, or why it was caught and whether others can tell."""
    if isinstance(check, AlarmCheck) and check.is_as_expected:
        worth = "with evidence" if check.is_proven else "its word alone"
        return f"{check.alarm.upper()}, {worth}: {check.said}"
    if not isinstance(check, OmissionCheck) or not check.is_as_expected:
        return check.said
    return f"{check.cause}, with evidence: {check.said.partition(': ')[2]}"


def model_of(report: dict[str, Any]) -> str:
    """The fingerprint in a report of a receipt; empty if it has none."""
    return next((str(f["value"]) for f in report["facts"] if f["name"] == "model"), "")


def graded_lines(report: dict[str, Any], width: int) -> list[str]:
    """The facts a person asks about first, each with its grade; `auditlog verify` prints all of them."""
    chosen = [fact for name in _SHOWN_FACTS for fact in report["facts"] if fact["name"] == name]
    return [f"   {fact['grade'].upper():<12} {shorten(fact['text'], width - 16)}" for fact in chosen]


def verdict_line(check: Check, width: int) -> str:
    """One check: its name, whether it came out as it should, and what was said."""
    right = "passes" if check.expected_exit == 0 else "caught"
    mark = right if check.is_as_expected else f"WRONG (exit {check.exit_code})"
    line = f"   {check.name:<30} {mark}"
    if check.expected_exit == 0 and check.is_as_expected:
        return line
    return f"{line}: {shorten(said(check), max(24, width - len(line) - 2))}"


def streamed_text(stream: bytes) -> str:
    """What the model wrote, out of the events of a chat stream."""
    text = ""
    for line in stream.decode("utf-8").splitlines():
        if line.startswith("data: {"):
            text += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    return text


def shorten(text: str, most: int = 90) -> str:
    """One line of at most so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"

"""How every command speaks: plain lines or JSON on standard output, errors as one line on standard error.

Promises: whatever a line holds, only plain printable characters reach the terminal.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def say(line: str = "") -> None:
    """Print one line of a command's result."""
    from auditlog.verify.wording import visible

    sys.stdout.write(visible(line) + "\n")


def say_json(value: Any) -> None:
    """Print one JSON value, indented, ASCII only so that no stranger's text can act on a terminal."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def say_error(message: str) -> None:
    """Print one line on standard error, whatever the message holds: no line breaks, no control characters."""
    from auditlog.verify.wording import printable

    sys.stderr.write(f"auditlog: {printable(' '.join(message.split()), 1000)}\n")


def say_note(line: str) -> None:
    """Print one line about the work, beside the result: on standard error."""
    from auditlog.verify.wording import visible

    sys.stderr.write(visible(line) + "\n")

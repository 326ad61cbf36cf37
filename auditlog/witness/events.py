"""What a witness says while it runs: one JSON object a line on standard error.

The message of a record is the event's name; what belongs to it stands in `extra`. Must never: hold a peer's
address, a key, or more of a stranger's request than its size and origin.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

_FIELDS = ("log", "size", "time", "signed_at", "error", "promise", "verdict", "count", "found", "url", "key")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        value: dict[str, Any] = {"time": at, "level": record.levelname.lower(), "event": record.getMessage()}
        for name in _FIELDS:
            found = record.__dict__.get(name)
            if found is not None:
                value["at" if name == "time" else name] = found
        if record.exc_info:
            value["trace"] = self.formatException(record.exc_info)
        return json.dumps(value)


def configure_logging() -> None:
    """Send everything to standard error. Called once a process, by whoever serves."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for chatty in ("httpx", "httpcore", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

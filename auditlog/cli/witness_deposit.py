"""Hands promises to a witness's drop-box: the note alone, whatever form it was kept in.

Spec: auditlog/spec/witness.md, "Drop-box". Must never: send anything but the note. Answers are
attacker-controlled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from auditlog.errors import ConfigurationError, SourceError

_TIMEOUT_S = 30.0
_MAX_ANSWER_BYTES = 64 << 10


def deposit_all(url: str, files: list[Path]) -> list[dict[str, Any]]:
    """Deposit each; what the witness said of it.

    Raises:
        ConfigurationError: a file that holds no promise, or no URL. SourceError: the witness is not there.
    """
    import httpx

    from auditlog.cli.promise_files import read_promise_note

    if not url.lower().startswith(("http://", "https://")):
        raise ConfigurationError("expected an http(s) URL of a witness, found another text")
    notes = [(str(path), read_promise_note(path)) for path in files]
    with httpx.Client(timeout=_TIMEOUT_S) as client:
        return [
            {"file": name, **_deposit(client, f"{url.rstrip('/')}/promises", note)} for name, note in notes
        ]


def _deposit(client: Any, url: str, note: str) -> dict[str, Any]:
    import httpx

    headers = {"Content-Type": "text/plain; charset=utf-8"}
    try:
        with client.stream("POST", url, content=note.encode("utf-8"), headers=headers) as response:
            body = b""
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise SourceError(
            f"expected an answer of the witness, found: {type(error).__name__}", reason="unreachable"
        ) from None
    if response.status_code != 202:
        from auditlog.verify.wording import printable

        return {
            "status": response.status_code,
            "error": printable(body[:200].decode("utf-8", "replace").strip()),
        }
    try:
        said = json.loads(body)
        return {"status": 202, "promise": str(said["promise"]), "state": str(said["state"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SourceError("expected a witness's answer, found another", reason="unreachable") from None

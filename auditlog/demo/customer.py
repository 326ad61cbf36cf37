"""The customers of the demo: they send applications, keep what comes back, and collect their receipts.

A promise comes with the answer (a header, or a comment in its event stream); one that did not make it in time
is fetched from the log, where its producer leaves it.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from auditlog.core.disclosure import Disclosures, disclose_whole, format_disclosures
from auditlog.core.entry import parse_entry
from auditlog.core.receipt import parse_receipt
from auditlog.core.sse import without_promise_comment
from auditlog.demo.cosigning import WITNESSES
from auditlog.errors import AuditLogError

_PATIENCE_S = 60.0
_RECEIPT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Answer:
    """One decision as its subject holds it: the bytes both ways, their key, and where the receipt is."""

    id: str
    request: bytes
    response: bytes
    key: bytes
    receipt_url: str
    promise: str | None = None
    """The note that came with the answer."""

    def disclosures(self, receipt: bytes) -> bytes:
        """The disclosure file that shows both bodies whole; the receipt's entry says how fields were read."""
        body = parse_entry(parse_receipt(receipt).entry).body
        shown = tuple(
            disclose_whole(self.key, name, data, body[name].get("fields", {}).get("form"))
            for name, data in (("request", self.request), ("response", self.response))
        )
        return format_disclosures(Disclosures(self.id, shown))


def ask(client: httpx.Client, url: str, body: dict[str, Any]) -> Answer:
    """Send one request the way any client would, asking for the key; read the answer to its end."""
    request = json.dumps(body).encode()
    response = client.post(
        url, content=request, headers={"Content-Type": "application/json", "Audit-Want": "key"}, timeout=300.0
    )
    response.raise_for_status()
    # The comment is no part of what the application answered, and not of what was committed to.
    content, promise = without_promise_comment(response.content)
    if promise is None and (given := response.headers.get("Audit-Promise")):
        promise = base64.b64decode(given).decode()
    try:
        return Answer(
            id=response.headers["Audit-Id"],
            request=request,
            response=content,
            key=base64.b64decode(response.headers["Audit-Key"]),
            receipt_url=response.headers["Audit-Receipt"],
            promise=promise,
        )
    except KeyError as missing:
        raise AuditLogError(
            f"expected the header {missing.args[0]} on the answer of {url}, found none"
        ) from None


def wait_until_recording(client: httpx.Client, url: str, body: dict[str, Any]) -> Answer:
    """Ask until the server is enrolled at the log and so can say where the receipt will be."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask(client, url, body)
        except httpx.ConnectError:  # it served before it was asked, so it has ended
            raise
        except (AuditLogError, httpx.TransportError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def collect_receipts(
    client: httpx.Client, answers: Iterable[Answer], folder: Path, *, tick: Callable[[], None] = lambda: None
) -> list[Path]:
    """Fetch every receipt once it is in the log and anchored, and keep it as `folder/ID.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for answer in answers:
        path = folder / f"{answer.id}.json"
        path.write_bytes(_anchored_receipt(client, answer.receipt_url))
        paths.append(path)
        tick()
    return paths


def _anchored_receipt(client: httpx.Client, url: str) -> bytes:
    deadline = time.monotonic() + _PATIENCE_S
    last = "no answer"
    while time.monotonic() < deadline:
        response = client.get(url, timeout=_RECEIPT_TIMEOUT_S)
        if response.status_code == 200 and _is_complete(json.loads(response.content)):
            return response.content
        last = f"status {response.status_code}"
        time.sleep(0.1)
    raise AuditLogError(f"expected a cosigned and anchored receipt within {_PATIENCE_S:.0f} s, found {last}")


def _is_complete(receipt: dict[str, Any]) -> bool:
    """Whether the log's checkpoint in it has a line of every witness beside its own, and a block holds it."""
    return bool(receipt.get("anchors")) and str(receipt.get("proof")).count("\n\u2014 ") > len(WITNESSES)


def keep_promises(client: httpx.Client, answers: Iterable[Answer], folder: Path) -> list[Path]:
    """Write every promise as `folder/ID.promise`, in order; an answer that got none anywhere has no file."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for answer in answers:
        note = answer.promise or _left_at_the_log(client, answer)
        if note is not None:
            path = folder / f"{answer.id}.promise"
            # Whole or not at all: a monitor reads this folder at any moment.
            written = path.with_suffix(".new")
            written.write_text(note, encoding="utf-8")
            written.rename(path)
            paths.append(path)
    return paths


def _left_at_the_log(client: httpx.Client, answer: Answer) -> str | None:
    log = answer.receipt_url.partition("/receipts/")[0]
    response = client.get(f"{log}/promises/{answer.id}", timeout=_RECEIPT_TIMEOUT_S)
    return response.text if response.status_code == 200 else None

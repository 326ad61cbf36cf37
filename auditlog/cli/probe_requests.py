"""Sending what a customer would send, and keeping what comes with the answer.

Spec: auditlog/spec/promise.md, "Probing". Promises: unless the key is wanted, a request carries no header of
ours, so that an operator cannot tell a probe from a customer by it. What comes back is attacker-controlled.
Must never: follow an address that an answer names, but for its receipt at the log.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from auditlog.cli.probe_store import Probe, ProbeFolder, Sent
from auditlog.cli.promise_files import promise_note
from auditlog.core.scalars import format_time
from auditlog.core.sse import without_promise_comment
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    import httpx

DIALECTS: Final = ("openai.chat", "openai.completions", "openai.responses", "anthropic.messages", "predict")
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
_ID: Final = re.compile(r"[0-9a-f-]{36}")
_TIMEOUT_S: Final = 120.0
_FETCH_TRIES: Final = 6
_FETCH_EVERY_S: Final = 0.5
_QUESTIONS: Final = (
    "Which is larger, {a} or {b}?",
    "What is {a} plus {b}?",
    "Write the number {a} in words.",
    "How many days are there in {a} weeks?",
    "Is {a} divisible by 3?",
    "How many hours are {a} minutes?",
    "Name a number between {a} and {b}.",
)
RANDOM: Final = b"{random}"
"""In a body of one's own: a number drawn for each request."""
_NUMBERS: Final = 1_000_000


def now_us() -> int:
    """This machine's clock, in microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Asking:
    """How to ask. `body` is one for all requests, but for `RANDOM` in it; else each dialect has ordinary
    questions. They differ from one another, so that one answer cannot stand for several.
    """

    dialect: str = "openai.chat"
    model: str = "default"
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wants_key: bool = False
    draw: Callable[[int], int] = secrets.randbelow
    """A number below the one given."""

    @property
    def is_one_for_all(self) -> bool:
        """Whether every request has the same body."""
        return self.body is not None and RANDOM not in self.body

    def bodies(self) -> Iterator[bytes]:
        """One body after another, for ever."""
        given: set[bytes] = set()
        while True:
            for question in _QUESTIONS:
                body = self._next(question)
                while body in given and not self.is_one_for_all:
                    body = self._next(question)
                given.add(body)
                yield body

    def _next(self, question: str) -> bytes:
        if self.body is not None:
            return self.body.replace(RANDOM, b"%d" % self.draw(_NUMBERS * _NUMBERS))
        text = question.format(a=self.draw(_NUMBERS), b=self.draw(_NUMBERS))
        return _body(self.dialect, self.model, text)


def _body(dialect: str, model: str, question: str) -> bytes:
    message = [{"role": "user", "content": question}]
    bodies: dict[str, dict[str, Any]] = {
        "openai.chat": {"model": model, "messages": message, "max_tokens": 16},
        "openai.completions": {"model": model, "prompt": question, "max_tokens": 16},
        "openai.responses": {"model": model, "input": question, "max_output_tokens": 16},
        "anthropic.messages": {"model": model, "max_tokens": 16, "messages": message},
        "predict": {"instances": [question]},
    }
    if dialect not in bodies:
        raise ConfigurationError(f"expected a dialect of {', '.join(DIALECTS)}, found {dialect[:40]!a}")
    return json.dumps(bodies[dialect]).encode()


def send_all(
    probe: Probe, folder: ProbeFolder, asking: Asking, count: int, progress: Callable[[int, int], None]
) -> None:
    """Send so many requests, one after the other, and keep each as soon as it is answered."""
    import httpx

    bodies = asking.bodies()
    with httpx.Client(timeout=_TIMEOUT_S) as client:
        for number in range(1, count + 1):
            body = next(bodies)
            folder.keep(number, "request", body)
            sent = _send(client, probe, folder, asking, number)
            probe.sent.append(sent)
            folder.write(probe)
            progress(number, count)


def _send(client: httpx.Client, probe: Probe, folder: ProbeFolder, asking: Asking, number: int) -> Sent:
    import httpx

    body = folder.kept(number, "request")
    sent = Sent(number, format_time(now_us()))
    headers = {"Content-Type": "application/json", **asking.headers}
    if asking.wants_key:
        headers["Audit-Want"] = "key"
    try:
        with client.stream("POST", probe.url, content=body, headers=headers) as response:
            answer = _read(response)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        sent.error = type(error).__name__
        return sent
    _take(sent, response, answer, folder, number)
    if not sent.promise and sent.id:
        _fetch_promise(client, probe, folder, sent)
    sent.answered_at = format_time(now_us())
    return sent


def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    # As it came: the commitment is over the coded bytes, where the application coded them.
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            break
    return bytes(content)


def _take(sent: Sent, response: httpx.Response, answer: bytes, folder: ProbeFolder, number: int) -> None:
    sent.status = response.status_code
    found = _ID.fullmatch(response.headers.get("Audit-Id", ""))
    sent.id = found[0] if found else ""
    sent.receipt_url = response.headers.get("Audit-Receipt", "")[:2048]
    sent.is_deferred = response.headers.get("Audit-Status", "") == "deferred"
    sent.key = _key(response.headers.get("Audit-Key", ""))
    folder.keep(number, "response", answer)
    for where, text in (
        ("header", response.headers.get("Audit-Promise", "").encode("ascii", "replace")),
        ("comment", (without_promise_comment(answer)[1] or "").encode("utf-8")),
    ):
        if text and _keep_promise(folder, sent, text):
            sent.promise = where
            return


def _key(text: str) -> str:
    try:
        return text if len(base64.b64decode(text, validate=True)) == 32 else ""
    except (binascii.Error, ValueError):
        return ""


def _keep_promise(folder: ProbeFolder, sent: Sent, data: bytes) -> bool:
    from auditlog.verify.promise_verdict import read_promise

    note = promise_note(data)
    if note is None:
        return False
    folder.keep(sent.number, "promise", note.encode("utf-8"))
    sent.merge_by = read_promise(note).merge_by
    return True


def _fetch_promise(client: httpx.Client, probe: Probe, folder: ProbeFolder, sent: Sent) -> None:
    """The promise of a stream is at the log within a second; a log in a folder cannot be asked."""
    import httpx

    if not probe.log.lower().startswith(("http://", "https://")):
        return
    for attempt in range(_FETCH_TRIES):
        try:
            answer = client.get(f"{probe.log.rstrip('/')}/promises/{sent.id}", timeout=10.0)
        except (httpx.HTTPError, OSError, ValueError):
            return
        if answer.status_code == 200 and _keep_promise(folder, sent, answer.content):
            sent.promise = "log"
            return
        if answer.status_code != 404:
            return
        if attempt + 1 < _FETCH_TRIES:
            time.sleep(_FETCH_EVERY_S)

"""Telling people: a webhook that gets JSON, and mail. Each bounded in time; what fails is tried again.

Spec: auditlog/spec/monitor.md, "Telling". Promises: an attempt is over after one deadline, whatever the
receiver does; of its answer nothing but the status is read; after a failure it is left alone for a while that
doubles. Must never: put an evidence file, a token or a URL with a password into a message or an error.
"""

from __future__ import annotations

import contextlib
import logging
import smtplib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import EmailMessage
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar, cast

from auditlog.verify.wording import printable

logger = logging.getLogger("auditlog.monitor")

TIMEOUT_S: Final = 10.0
"""Seconds for one POST, all of it; and for one read of a mail server."""
MAIL_S: Final = 30.0
"""Seconds for handing in one message, all of it."""
FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 3600.0
ALARM_VERSION: Final = "auditlog/alarm@v1"


T = TypeVar("T")


def within(limit_s: float, work: Callable[[], T], cut: Callable[[], object]) -> T:
    """What `work` returns, or raises; TimeoutError after `limit_s`, once `cut` has ended its waiting.

    A time-out of a socket is one of each read: a byte every few seconds never meets it.
    """
    answers: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((work(), None))
        except Exception as error:  # noqa: BLE001  the boundary of the thread: raised again below
            answers.put((None, error))

    Thread(target=run, name="auditlog-tell", daemon=True).start()
    try:
        found, error = answers.get(timeout=limit_s)
    except Empty:
        with contextlib.suppress(Exception):
            cut()
        raise TimeoutError from None
    if error is not None:
        raise error
    return cast("T", found)


class Patience:
    """When to try again after a failure."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic, self._wait_s, self._until = monotonic, 0.0, 0.0

    @property
    def is_due(self) -> bool:
        """Whether it may be tried now."""
        return self._monotonic() >= self._until

    def failed(self) -> None:
        """It failed: wait longer than the last time."""
        self._wait_s = min(LONGEST_WAIT_S, max(FIRST_WAIT_S, 2 * self._wait_s))
        self._until = self._monotonic() + self._wait_s

    def went_well(self) -> None:
        """It went well."""
        self._wait_s = self._until = 0.0


class Webhook:
    """POSTs one JSON object an alarm; any 2xx is a receipt."""

    def __init__(self, url: str, monotonic: Callable[[], float]) -> None:
        self._url, self._patience = url, Patience(monotonic)

    def send(self, line: dict[str, Any], evidence: bytes | None) -> bool:  # noqa: ARG002  the file stays here
        """Whether it was taken."""
        import httpx

        if not self._patience.is_due:
            return False
        body = {"v": ALARM_VERSION, **line}
        # Told twice after a kill: the receiver knows it by its id.
        headers = {"Idempotency-Key": f"{line['origin']}#{line['id']}"}
        client = httpx.Client(timeout=TIMEOUT_S, follow_redirects=False)

        def post() -> int:
            # The body of the answer is a stranger's, and may be without end.
            with client.stream("POST", self._url, json=body, headers=headers) as answer:
                return answer.status_code

        try:
            status = within(TIMEOUT_S, post, client.close)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RuntimeError) as error:
            logger.warning("webhook: expected an answer, found %s", type(error).__name__)
            self._patience.failed()
            return False
        finally:
            client.close()
        if not 200 <= status < 300:
            logger.warning("webhook: expected a status of 2xx, found %d", status)
            self._patience.failed()
            return False
        self._patience.went_well()
        return True


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in: host and port, and whom it is from and to."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]


class Mail:
    """One message an alarm, by SMTP; STARTTLS where the server offers it."""

    def __init__(self, server: MailServer, monotonic: Callable[[], float]) -> None:
        self._server, self._patience = server, Patience(monotonic)

    def send(self, line: dict[str, Any], evidence: bytes | None) -> bool:
        """Whether the server took it."""
        if not self._patience.is_due:
            return False
        message, opened = _message(self._server, line, has_file=evidence is not None), ExitStack()

        def hand_in() -> None:
            with smtplib.SMTP(self._server.host, self._server.port, timeout=TIMEOUT_S) as smtp:
                opened.callback(smtp.close)
                smtp.ehlo_or_helo_if_needed()
                if smtp.has_extn("starttls"):
                    smtp.starttls()
                smtp.send_message(message)

        try:
            within(MAIL_S, hand_in, opened.close)
        except (smtplib.SMTPException, OSError, ValueError) as error:
            logger.warning("mail: expected to hand it in, found %s", type(error).__name__)
            self._patience.failed()
            return False
        self._patience.went_well()
        return True


def _message(server: MailServer, line: dict[str, Any], *, has_file: bool) -> EmailMessage:
    # A log's own words are in some of these: no control character of theirs makes a line or a header of ours.
    line = {name: printable(str(value), 2000) for name, value in line.items()}
    message = EmailMessage()
    message["From"], message["To"] = server.sender, ", ".join(server.to)
    message["Subject"] = f"[auditlog] {line['alarm']}: {line['origin']}"
    domain = server.sender.rpartition("@")[2] or "localhost"
    message["Message-ID"] = f"<alarm-{line['id']}@{domain}>"
    where = "is in the monitor's folder, under alarms/" if has_file else "could not be made"
    message.set_content(
        f"{line['says']}\n\n{line['detail']}\n\nLog: {line['origin']}\nRaised: {line['time']}\n"
        f"Class: {line['class']}; grade: {line['grade']}\nThe evidence file {where}.\n"
    )
    return message

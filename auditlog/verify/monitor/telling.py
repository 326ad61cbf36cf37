"""Telling people: a webhook that gets JSON, and mail. Each bounded in time; what fails is tried again.

Spec: auditlog/spec/monitor.md, "Telling". Promises: one receiver that hangs costs at most `TIMEOUT_S` a look;
after a failure it is left alone for a while that doubles. Must never: put an evidence file, a token or a URL
with a password into a message or an error.
"""

from __future__ import annotations

import logging
import smtplib
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, Final

logger = logging.getLogger("auditlog.monitor")

TIMEOUT_S: Final = 10.0
FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 3600.0
ALARM_VERSION: Final = "auditlog/alarm@v1"


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
        try:
            answer = httpx.post(
                self._url, json=body, headers=headers, timeout=TIMEOUT_S, follow_redirects=False
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            logger.warning("webhook: expected an answer, found %s", type(error).__name__)
            self._patience.failed()
            return False
        if not answer.is_success:
            logger.warning("webhook: expected a status of 2xx, found %d", answer.status_code)
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
        try:
            with smtplib.SMTP(self._server.host, self._server.port, timeout=TIMEOUT_S) as smtp:
                smtp.ehlo_or_helo_if_needed()
                if smtp.has_extn("starttls"):
                    smtp.starttls()
                smtp.send_message(_message(self._server, line, has_file=evidence is not None))
        except (smtplib.SMTPException, OSError) as error:
            logger.warning("mail: expected to hand it in, found %s", type(error).__name__)
            self._patience.failed()
            return False
        self._patience.went_well()
        return True


def _message(server: MailServer, line: dict[str, Any], *, has_file: bool) -> EmailMessage:
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

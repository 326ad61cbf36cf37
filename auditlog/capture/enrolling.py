"""Asking the log to enrol a slot's key (entry.md, "Producer chain"; api.md).

A name belongs to the first key that enrolled with it. A second state directory, or a second host of the same
name, therefore meets a refusal; it then asks once more under a name that carries the hash of its own key,
which is durable before it is asked for. Must never: be enrolled under two names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from auditlog.capture.client import LogClient
from auditlog.capture.enrolment import Enrolment, check_enrolment, enrolment_note
from auditlog.capture.slots import Slot
from auditlog.core.keys import Ed25519Signer
from auditlog.core.statements import producer_key_name
from auditlog.errors import AuthenticationError, NotFoundError, SubmissionRefused, TooLargeError


def enrol(
    slot: Slot, client: LogClient, *, origin: str | None, rng: Callable[[int], bytes]
) -> tuple[Enrolment, Ed25519Signer]:
    """Enrol the slot and keep the answer. Without an `origin` the log is believed about its own.

    Raises:
        SubmissionRefused: the log wants neither name. MalformedError: its answer is not about us.
        ConfigurationError, OSError: the slot cannot be used. Pushback, LogUnreachable: ask again.
    """
    origin = origin or client.origin()
    signer = slot.signer(origin, rng)
    try:
        enrolment = _ask(client, signer, origin)
    except (AuthenticationError, NotFoundError, TooLargeError):
        raise
    except SubmissionRefused:
        # Dying after the renaming: the next start asks under the new name at once.
        renamed = slot.rename_key(signer, origin)
        if renamed.name == signer.name:
            raise
        signer = renamed
        enrolment = _ask(client, signer, origin)
    # Dying before this line: the same note is sent again at the next start and gets the same answer.
    slot.save_enrolment(enrolment)
    return enrolment, signer


def _ask(client: LogClient, signer: Ed25519Signer, origin: str) -> Enrolment:
    name = signer.name.removeprefix(producer_key_name(origin, "x")[:-1])
    note = enrolment_note(signer, origin=origin, name=name)
    mark = client.token_mark()
    answer = client.enrol(name, note, signer.vkey)
    return replace(check_enrolment(answer, signer=signer, origin=origin, name=name), token_mark=mark)

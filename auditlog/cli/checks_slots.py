"""`auditlog doctor`, the slots of a recording host: can each be used, what does it owe the log, does it live.

Read from the slots' files alone, while their processes write them. What those processes found wrong
themselves (settings, the order of the application's layers) they leave in `pulse.json`. Must never: change a
file, or print a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from auditlog.cli.findings import Finding, ok, problem, warning

if TYPE_CHECKING:
    from auditlog.capture.backlog import Backlog
    from auditlog.capture.enrolment import Enrolment
    from auditlog.capture.settings import CaptureSettings
    from auditlog.capture.slots import SlotReport

_LONGEST_ON_THE_WAY_S = 60
_BEATS_MISSED = 3
_MANY_ROTATIONS = 50
_EXPIRES_SOON_S = 7 * 86_400


def check_slots(settings: CaptureSettings) -> Iterator[Finding]:
    """Every slot of the state directory."""
    from auditlog.capture.slots import list_slots

    for slot in list_slots(settings.state_dir, origin=settings.origin):
        yield from _slot(slot, settings)


def check_expiry(settings: CaptureSettings) -> Iterator[Finding]:
    """How long the token is good, as it says itself, or the log said when a slot was enrolled with it."""
    from time import time

    from auditlog.capture.vitals import key_expiry_s
    from auditlog.core.scalars import format_time

    try:
        token = settings.read_token()
    except OSError:
        return
    enrolments = [None, *_enrolments(settings)]
    known = [end for each in enrolments if (end := key_expiry_s(token, each)) is not None]
    if not known:
        return
    left_s = min(known) - time()
    when = f"{format_time(min(known) * 1_000_000)[:19]}Z"
    if left_s <= 0:
        yield problem("token", f"expected a token that has not expired, found one that was good until {when}")
    elif left_s < _EXPIRES_SOON_S:
        yield warning("token", f"it expires within {_EXPIRES_SOON_S // 86_400} days, at {when}: replace it")
    else:
        yield ok("token", f"it is good until {when}")


def _enrolments(settings: CaptureSettings) -> Iterator[Enrolment]:
    """What the log answered, of each slot that can be read."""
    from auditlog.capture.enrolment import decode_enrolment
    from auditlog.errors import MalformedError

    for path in sorted((settings.state_dir / "slots").glob("*/enrolment.json")):
        try:
            yield decode_enrolment(path.read_bytes())
        except (OSError, MalformedError):
            continue  # told by the check of the slot


def _slot(slot: SlotReport, settings: CaptureSettings) -> Iterator[Finding]:
    """One slot: whether it can be used, and whether what it holds is on its way to the log."""
    from auditlog.capture.backlog import REFUSED, STOPPED, read_backlog

    try:
        backlog = read_backlog(slot.directory)
    except OSError as error:
        yield problem("slot", f"{slot.name}: expected to read its spool, found: {error.strerror}")
        return
    where = "in use" if slot.is_held else "free"
    if slot.is_conflicted:
        yield problem(
            "slot", f"{slot.name}: the log contradicts its chain, see {slot.directory}/conflict.json"
        )
    elif slot.is_retired:
        unsent = f" and declares {backlog.waiting} unsent entries" if backlog.waiting else ""
        told = f"{slot.name}: its producer has ended; the next start enrols anew{unsent}"
        yield problem("slot", told) if slot.is_held or backlog.waiting else ok("slot", told)
        return
    elif slot.flaw is not None:
        yield problem("slot", f"{slot.name}: cannot be used: {slot.flaw}")
    elif backlog.note.state in (REFUSED, STOPPED):
        yield problem(
            "slot", f"{slot.name}: the log refused it ({backlog.note.state}): {backlog.note.detail}"
        )
    else:
        yield ok("slot", f"{slot.name}: {'enrolled' if slot.is_enrolled else 'not enrolled yet'}, {where}")
    if backlog.waiting:
        yield _waiting(slot, backlog)
        yield from _promises(slot, backlog, settings)
    yield from _rotations(slot)
    yield from _pulse(slot)


def _rotations(slot: SlotReport) -> Iterator[Finding]:
    """How many more times the slot's producer can change its key, where they become few."""
    from auditlog.capture.enrolment import decode_enrolment
    from auditlog.capture.rotation import refusal_of
    from auditlog.core.statements import MAX_ROTATIONS
    from auditlog.errors import MalformedError

    refusal = refusal_of(slot.directory)
    if refusal is not None:
        yield problem("rotation", f"{slot.name}: its new key was refused: {_printable(refusal)}")
    try:
        turned = decode_enrolment((slot.directory / "enrolment.json").read_bytes()).rotations
    except (OSError, MalformedError):
        return  # told by the check of the slot
    if turned >= _MANY_ROTATIONS:
        text = f"{slot.name}: its key changed {turned} times of at most {MAX_ROTATIONS}"
        yield warning("rotation", f"{text}: retire this producer and enrol anew")


def _waiting(slot: SlotReport, backlog: Backlog) -> Finding:
    """What the log does not have yet: normal for a moment in a slot that is in use, else a problem."""
    from time import time

    oldest_s = max(0, round(time() - (backlog.oldest_us or 0) / 1e6))
    text = f"{slot.name}: {backlog.waiting} entries not in the log, the oldest for {oldest_s} s"
    if slot.is_held and oldest_s <= _LONGEST_ON_THE_WAY_S:
        return ok("unsent", text)
    met = backlog.note.detail or ("the sender says nothing" if slot.is_held else "no process holds the slot")
    return problem("unsent", f"{text}: {met}")


def _promises(slot: SlotReport, backlog: Backlog, settings: CaptureSettings) -> Iterator[Finding]:
    """Entries whose merge-by has passed: any of them may have been promised to a caller."""
    from time import time

    oldest_s = time() - (backlog.oldest_us or 0) / 1e6
    if oldest_s > settings.merge_by_s:
        yield problem(
            "promises",
            f"{slot.name}: expected every entry in the log within {settings.merge_by_s} s, found the oldest "
            f"after {oldest_s:.0f} s: its promise, if one was given, is past due",
        )


def _pulse(slot: SlotReport) -> Iterator[Finding]:
    """Whether the process that holds the slot lives, and what it has to complain about."""
    from time import time

    from auditlog.capture.pulse import read_pulse

    note = read_pulse(slot.directory) if slot.is_held else None
    if note is None:
        return
    age_s = max(0, round(time() - note.at_us / 1e6))
    text = f"{slot.name}: last heartbeat {age_s} s ago, one every {note.interval_s} s"
    is_late = note.interval_s > 0 and age_s > _BEATS_MISSED * note.interval_s
    yield (
        problem("heartbeat", f"{text}: the process hangs, or its disk does")
        if is_late
        else ok("heartbeat", text)
    )
    for found in note.problems:
        yield warning("process", f"{slot.name}: {_printable(found)}")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:500])

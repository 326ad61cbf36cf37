"""`auditlog producer ...`: the keys and the ends of producers, on their host and at the log.

On the host that records (settings from AUDITLOG_*, `--state` names its state directory): `rotate`, `retire`,
`drain`. At the log (`--log URL --token-file FILE`): `list`, `retire PRODUCER`, `lost PRODUCER`.
Spec: auditlog/spec/api.md, "Producers"; entry.md, "Keys of a producer". Exit 3: asked for, but not in the log
yet. Must never: take a slot that a process holds, or print a token.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlog.cli.output import say, say_json, say_note
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditlog.capture.slots import Slot

EXIT_WAITING = 3
_POLL_S = 0.2
_LATELY_S = 3600
_UNSENT = (
    "Warning: entries that the host has not sent yet can never get into the log once it ends the producer, "
    "and promises given for them will be broken. End it on its host (auditlog producer retire --slot NAME, "
    "which sends what is left), or declare what is unsent lost (--unsent-is-lost)."
)

app = typer.Typer(
    help="Rotate, retire, drain and list producers.", no_args_is_help=True, rich_markup_mode=None
)
StateOption = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="State directory (or AUDITLOG_STATE).")
]
SlotOption = Annotated[str | None, typer.Option("--slot", help="This slot only, such as host-0.")]
LogOption = Annotated[str | None, typer.Option("--log", metavar="URL", help="https://host/logs/name.")]
TokenOption = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="A token with scope admin (list: or read)."),
]
ProducerArgument = Annotated[str, typer.Argument(metavar="PRODUCER", help="Its id or its name.")]


@app.command("rotate")
def rotate(state: StateOption = None, slot: SlotOption = None) -> None:
    """Give this host's producers new keys: at once where nothing runs, else within a second."""
    from auditlog.capture.rotation import request_rotation

    waiting, refusals = False, list[str]()
    for directory in _slots(state, slot):
        refusal = _refusal(directory)
        if refusal is not None:
            refusals.append(refusal)
            continue
        # The request first: dying anywhere behind it, the next start carries it out.
        request_rotation(directory)
        waiting |= _tend(state, directory, rotates=True, done="has a new key, in the log")
    if refusals:
        raise ConfigurationError("; ".join(refusals))
    if waiting:
        raise typer.Exit(EXIT_WAITING)


@app.command("retire")
def retire(  # noqa: PLR0917  options of a command line, each given by name
    producer: Annotated[
        str | None, typer.Argument(metavar="[PRODUCER]", help="At the log: its id or its name.")
    ] = None,
    state: StateOption = None,
    slot: SlotOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every slot of the state directory.")] = False,
    log: LogOption = None,
    token_file: TokenOption = None,
    unsent_is_lost: Annotated[
        bool, typer.Option("--unsent-is-lost", help="At the log: declare what the host has not sent as lost.")
    ] = False,
) -> None:
    """End a producer for ever: on its host (--slot or --all; what is unsent is sent first), or at the log.

    A slot in use ends with its process: what it records until then is still sent. Ended at the log, what the
    host has not sent never gets in, and promises of it are broken unless it is declared lost.
    """
    if producer is not None or log is not None:
        _retire_at_log(producer, log, token_file, unsent_is_lost=unsent_is_lost)
        return
    if unsent_is_lost:
        raise ConfigurationError("--unsent-is-lost: expected a producer at the log (--log URL), found none")
    if (slot is None) != every:
        raise ConfigurationError("expected one of --slot NAME and --all, found none or both")
    from auditlog.capture.retiring import request_retirement

    waiting = False
    for directory in _slots(state, slot):
        request_retirement(directory)
        waiting |= _tend(state, directory, rotates=False, done="has ended, in the log")
    if waiting:
        raise typer.Exit(EXIT_WAITING)


@app.command("drain")
def drain(
    state: StateOption = None,
    slot: SlotOption = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait at most.")] = 30.0,
) -> None:
    """Wait until the log has everything this host recorded: before it is shut down."""
    from auditlog.capture.backlog import read_backlog

    deadline = time.monotonic() + wait
    directories = _slots(state, slot)
    while (
        waiting := sum(read_backlog(each).waiting for each in directories)
    ) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    say(f"{waiting} entries wait for the log" if waiting else "the log has everything")
    if waiting:
        raise typer.Exit(EXIT_WAITING)


@app.command("list")
def list_producers(
    log: LogOption = None,
    token_file: TokenOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the producers of a log with their state."""
    found = list(_listed(log, token_file))
    if json:
        say_json(found)
        return
    for each in found:
        turns = f", key changed {each['rotations']} times" if each["rotations"] else ""
        say(f"{each['name']}: {each['state']}, number {each['last']['seq']}{turns} ({each['producer']})")


@app.command("lost")
def lost(
    producer: ProducerArgument,
    log: LogOption = None,
    token_file: TokenOption = None,
    instance: Annotated[
        str | None, typer.Option("--instance", help="The life that is lost, if the log knows an earlier one.")
    ] = None,
) -> None:
    """Declare that a producer's host is gone with what it had not sent, and end it."""
    body = {} if instance is None else {"instance": instance}
    _declare_lost(_id_of(producer, log, token_file), log, token_file, body)


def _declare_lost(producer: str, log: str | None, token_file: Path | None, body: dict[str, Any]) -> None:
    answer = _ask(log, token_file, "POST", f"/producers/{producer}/lost", body)
    if answer["notice"] is None:
        say("nothing was there to lose")
    else:
        say(f"declared in entry {answer['notice']}: {answer['instance']} above number {answer['after_seq']}")
    say(f"ended in entry {answer['retirement']['index']}")


def _refusal(directory: Path) -> str | None:
    """Why the slot's producer can change its key no more; None if it can. Raises MalformedError, OSError."""
    from auditlog.capture.enrolment import decode_enrolment
    from auditlog.capture.retiring import is_retired
    from auditlog.capture.rotation import RotationsUsedUp, check_rotations

    path = directory / "enrolment.json"
    if is_retired(directory) or not path.exists():
        return None
    try:
        check_rotations(decode_enrolment(path.read_bytes()))
    except RotationsUsedUp as refusal:
        ends = f"auditlog producer retire --slot {directory.name}"
        return f"{directory.name}: {refusal} ({ends})"
    return None


def _retire_at_log(
    producer: str | None, log: str | None, token_file: Path | None, *, unsent_is_lost: bool
) -> None:
    if producer is None:
        raise ConfigurationError("expected the id or the name of a producer, found none")
    found = _id_of(producer, log, token_file)
    if unsent_is_lost:
        _declare_lost(found, log, token_file, {})
        return
    known = next((each for each in _listed(log, token_file) if each["producer"] == found), None)
    if known is not None and known["state"] == "active":
        say_note(_UNSENT)
        if _wrote_lately(known):
            raise ConfigurationError(
                f"{known['name']}: expected no entry within the last hour, found one of "
                f"{known.get('wrote')}: end it on its host, which sends what is left; or add "
                "--unsent-is-lost, to declare that loss"
            )
    answer = _ask(log, token_file, "POST", f"/producers/{found}/retirement")
    last = answer["last"]
    say(f"ended in entry {answer['index']}: its last number is {last['seq']} of {last['instance']}")


def _wrote_lately(known: dict[str, Any]) -> bool:
    """Whether the host may still record: its newest entry, or its enrolment, is younger than an hour."""
    from datetime import UTC, datetime

    try:
        wrote = datetime.fromisoformat(str(known.get("wrote")))
    except ValueError:
        return True  # a log of an older version does not say
    return (datetime.now(UTC) - wrote.astimezone(UTC)).total_seconds() < _LATELY_S


def _listed(log: str | None, token_file: Path | None) -> Iterator[dict[str, Any]]:
    """Every producer as the log lists it."""
    after: int | None = None
    while True:
        page = _ask(log, token_file, "GET", "/producers" + ("" if after is None else f"?after={after}"))
        yield from page["producers"]
        after = page["next"]
        if after is None:
            return


def _id_of(producer: str, log: str | None, token_file: Path | None) -> str:
    """The id behind a name. Raises ConfigurationError: the log has nobody of that name."""
    if len(producer) == 64 and all(each in "0123456789abcdef" for each in producer):
        return producer
    from urllib.parse import quote

    listed = _ask(log, token_file, "GET", f"/producers?name={quote(producer, safe='')}")["producers"]
    if len(listed) != 1:
        raise ConfigurationError(f"expected one producer named {producer[:100]}, found {len(listed)}")
    return str(listed[0]["producer"])


def _ask(
    log: str | None, token_file: Path | None, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One request to the log. Raises ConfigurationError, or what `LogClient` raises."""
    from auditlog.capture.client import LogClient
    from auditlog.cli.reading import read_text_line

    if not log or token_file is None:
        raise ConfigurationError("expected --log URL and --token-file FILE, found one of them or none")
    token = read_text_line(token_file, "the token")
    client = LogClient(log, lambda: token)
    try:
        return client.ask(method, path, body)
    finally:
        client.close()


def _slots(state: Path | None, slot: str | None) -> list[Path]:
    """The directories of the slots asked for. Raises ConfigurationError: there are none."""
    root = _state_dir(state) / "slots"
    found = sorted(path.parent for path in root.glob("*/lock")) if root.is_dir() else []
    wanted = [path for path in found if slot is None or path.name == slot]
    if not wanted:
        raise ConfigurationError(f"expected {slot or 'a slot'} in {root}, found none")
    return wanted


def _state_dir(state: Path | None) -> Path:
    import os

    from auditlog.capture.settings import CaptureSettings

    return state or CaptureSettings.from_environ(os.environ).state_dir


def _tend(state: Path | None, directory: Path, *, rotates: bool, done: str) -> bool:
    """Do it now if nobody holds the slot; return whether it still waits for something."""
    from auditlog.capture.retiring import is_retired
    from auditlog.capture.slots import take_slot

    if is_retired(directory):
        say(f"{directory.name} has ended already")
        return False
    slot = take_slot(directory)
    if slot is None:
        say(f"{directory.name} is in use: asked its process")
        return False
    try:
        if slot.load_enrolment() is None:
            say(f"{directory.name} was never enrolled: nothing to do")
            return False
        outcome = _tended(state, slot, rotates=rotates)
    finally:
        slot.release()
    say(f"{directory.name} {done}" if outcome == "sent" else f"{directory.name} waits for the log: {outcome}")
    return outcome != "sent"


def _tended(state: Path | None, slot: Slot, *, rotates: bool) -> str:
    import logging
    import os
    from dataclasses import replace

    from auditlog.capture.recorder import SOFTWARE
    from auditlog.capture.settings import CaptureSettings
    from auditlog.capture.tending import tend_slot

    settings = replace(CaptureSettings.from_environ(os.environ), state_dir=_state_dir(state))
    if not settings.log_url:
        raise ConfigurationError("expected AUDITLOG_LOG and a token, found no log to send to")
    logger = logging.getLogger("auditlog.capture")
    return tend_slot(
        settings,
        slot,
        rotates=rotates,
        clock=lambda: time.time_ns() // 1000,
        rng=os.urandom,
        software=SOFTWARE,
        logger=logger,
    )

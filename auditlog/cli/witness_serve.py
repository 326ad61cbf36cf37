"""Puts a running witness together from its configuration, and serves it until a signal.

Spec: auditlog/spec/witness.md, "Configuration". Promises: what cannot start is one line and an exit code, and
everything opened before is closed. Must never: sign before the store was compared with its high-water mark.
"""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import stat
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from auditlog.cli.witness_files import read_signer, split_log
from auditlog.cli.witness_judge import PromiseJudge, own_trust
from auditlog.core.cosignature import CosignatureSigner
from auditlog.errors import ConfigurationError, StorageError
from auditlog.witness.boxstore import BoxStore
from auditlog.witness.config import BoxConfig, WitnessConfig, load_config
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.dropbox import DropBox
from auditlog.witness.events import configure_logging
from auditlog.witness.followed import FollowedLog, follow
from auditlog.witness.judging import Judging
from auditlog.witness.server import WitnessServer
from auditlog.witness.states import States

if TYPE_CHECKING:
    from auditlog.core.trust import Trust

logger = logging.getLogger("auditlog.witness")


@dataclass(frozen=True)
class Overrides:
    """What a command line says beside the file."""

    logs: tuple[str, ...] = ()
    host: str | None = None
    port: int | None = None
    accept_restored: bool = False


@dataclass
class Running:
    """A witness that listens, and what closes it."""

    server: WitnessServer
    vkey: str
    judging: Judging | None
    stack: contextlib.ExitStack
    warnings: list[tuple[str, dict[str, str]]]
    """What its owner should know: events and what belongs to them, said once it serves."""

    def close(self) -> None:
        """Stop judging, let go of address, store and mark. Twice is once."""
        self.stack.close()


def build(path: Path, overrides: Overrides) -> Running:
    """A listening witness.

    Raises:
        ConfigurationError: a setting, a key that is none, a port that is taken.
        StorageError: no store, a damaged one, or one older than what was signed.
    """
    config = load_config(path)
    extra = tuple(follow([vkey], url=url) for vkey, url in map(split_log, overrides.logs))
    host = config.host if overrides.host is None else overrides.host
    port = config.port if overrides.port is None else overrides.port
    config = replace(config, logs=config.logs + extra, host=host, port=port)
    with contextlib.ExitStack() as stack:
        running = _build(config, stack, accept_restored=overrides.accept_restored)
        running.stack = stack.pop_all()
        return running


def _build(config: WitnessConfig, stack: contextlib.ExitStack, *, accept_restored: bool) -> Running:
    signer = read_signer(config)
    states = States(
        config.state_dir,
        signer.verifier,
        mark=config.high_water_file,
        may_create=False,
        accept_restored=accept_restored,
    )
    stack.callback(states.close)
    cosigner = Cosigner(config.logs, signer, states, _unix_s)
    box, judging = None, None
    if config.box is not None:
        box = _box(config, config.box, stack)
        judging = _judging(config.box, cosigner, signer, box)
    try:
        server = WitnessServer(
            (config.host, config.port),
            cosigner,
            states,
            box=box,
            limits=config.limits,
            behind_proxy=config.behind_proxy,
        )
    except OSError as error:
        address = f"{config.host}:{config.port}"
        raise ConfigurationError(f"expected to listen on {address}, found {error.strerror}") from error
    stack.callback(server.server_close)
    return Running(server, signer.vkey, judging, stack, _warnings(config))


def _warnings(config: WitnessConfig) -> list[tuple[str, dict[str, str]]]:
    found = [
        ("key_not_checked", {"log": log.origin, "key": vkey.partition("+")[0]})
        for log in config.logs
        for vkey in log.unchecked
    ]
    with contextlib.suppress(OSError):  # it was read: what it may be now is not what started
        if stat.S_IMODE(config.key_file.stat().st_mode) & 0o077:
            said = f"expected {config.key_file.name} for its owner alone, found it open to others"
            found.append(("key_file_open", {"error": said}))
    if config.box is not None and not any(log.url for log in config.logs):
        said = "expected a log with a url for [promises], found none: every deposit is refused"
        found.append(("promises_of_no_log", {"error": said}))
    if config.box is not None and config.box.trust_file is None:
        said = "no trust_file: no promise is found late or absent, only what needs no date"
        found.append(("promises_not_dated", {"error": said}))
    return found


def _box(config: WitnessConfig, given: BoxConfig, stack: contextlib.ExitStack) -> DropBox:
    store = BoxStore(config.state_dir, grace_s=math.ceil(given.grace_s))
    stack.callback(store.close)
    origins = {log.origin: log.url for log in config.logs if log.url}
    return DropBox(store, origins, given.limits, unix_s=_unix_s)


def _judging(given: BoxConfig, cosigner: Cosigner, signer: CosignatureSigner, box: DropBox) -> Judging:
    trust = None
    if given.trust_file is not None:
        from auditlog.cli.verify import read_trust

        trust = read_trust(given.trust_file)

    def trust_of(log: FollowedLog) -> Trust:
        return own_trust(log, signer.vkey) if trust is None else trust

    def newest(origin: str) -> str | None:
        try:
            cosigned = cosigner.newest(origin)
        except StorageError:
            return None
        return None if cosigned is None else cosigned.note

    judge = PromiseJudge(cosigner.logs, trust_of, newest, lambda: time.time_ns() // 1000)
    return Judging(box, judge, _unix_s, poll_s=given.poll_s)


def _unix_s() -> int:
    return int(time.time())


def serve_until_told(running: Running) -> None:
    """Serve in this thread until SIGTERM or SIGINT; what has arrived is answered."""
    configure_logging()

    def stop(*_: object) -> None:
        running.server.shutdown()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    if running.judging is not None:
        running.judging.start()
    for event, about in running.warnings:
        logger.warning(event, extra=about)
    logger.info("serving", extra={"url": running.server.url})
    try:
        running.server.serve_forever()
    finally:
        if running.judging is not None:
            running.judging.stop()

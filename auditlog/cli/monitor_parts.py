"""Putting a monitor together from what was asked for on the command line.

Spec: auditlog/spec/monitor.md, "Starting". Promises: whatever is not asked for and would be needed to check
something becomes a reservation of the report.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from auditlog.cli.monitor_tokens import Tokens
from auditlog.cli.reading import read_text_line
from auditlog.cli.secretfile import write_secret
from auditlog.errors import AuditLogError, ConfigurationError, EvidenceError, MalformedError, SourceError

if TYPE_CHECKING:
    from auditlog.core.keys import Ed25519Signer
    from auditlog.core.trust import Trust
    from auditlog.verify.monitor.beside import Beside
    from auditlog.verify.monitor.outbox import Channel
    from auditlog.verify.monitor.prove import Prover
    from auditlog.verify.monitor.running import Monitor, Watch
    from auditlog.verify.monitor.store import Store

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was asked for."""

    logs: tuple[str, ...]
    trust: Path | None
    vkey: str | None
    state: Path
    token_files: tuple[str, ...] = ()
    """`[ORIGIN=]FILE` each."""
    witness_urls: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    promises: Path | None = None
    anchors: Path | None = None
    interval_s: float = 10.0
    stale_s: float = 3600.0
    anchor_s: float = 86_400.0
    behind_s: float = 3600.0
    webhook: str | None = None
    mail_to: tuple[str, ...] = ()
    mail_from: str = "auditlog@localhost"
    smtp: str = "127.0.0.1:25"


def build(wanted: Wanted, progress: Callable[[str], Progress]) -> Monitor:
    """Open everything. `progress` makes a bar for the log of a name.

    Raises:
        ConfigurationError: something that was asked for cannot be had.
    """
    from auditlog.verify.monitor.outbox import Outbox
    from auditlog.verify.monitor.prove import Prover
    from auditlog.verify.monitor.running import Monitor
    from auditlog.verify.monitor.store import Store

    trust = read_trust_of(wanted)
    targets = wanted.logs or tuple(log.url for log in trust.policy.logs if log.url)
    if not targets:
        raise ConfigurationError("expected a LOG, or a trust file with a log's URL, found neither")
    origins_known = [log.verifier.name for log in trust.policy.logs]
    tokens = Tokens(wanted.token_files, origins_known, len(targets))
    channels = _channels(wanted)
    store = Store(wanted.state)
    try:
        prover = Prover(trust, monitor_key(wanted.state), clock_us)
        watches = [
            _watch(wanted, target, trust, tokens=tokens, store=store, prover=prover, progress=progress)
            for target in targets
        ]
        origins = [watch.follower.log.origin for watch in watches]
        if len(set(origins)) != len(origins):
            raise ConfigurationError("expected different logs, found one twice")
        return Monitor(store, watches, Outbox(store, channels))
    except BaseException:
        store.close()
        raise


def clock_us() -> int:
    """This machine's clock in microseconds since 1970."""
    return time.time_ns() // 1000


def read_trust_of(wanted: Wanted) -> Trust:
    """The trust file, or one that holds nothing but a key."""
    from auditlog.cli.trust import policy_text, trust_text
    from auditlog.cli.verify import read_trust
    from auditlog.core.trust import parse_trust

    if wanted.trust is not None:
        return read_trust(wanted.trust)
    given = str(wanted.vkey)
    vkey = given if "+" in given else read_text_line(Path(given), "--vkey")
    issuer = {"name": "the key given", "role": "self"}
    try:
        text = trust_text(policy_text([vkey], [], 0), devnet=None, require=[], issuer=issuer)
        return parse_trust(text.encode("utf-8"))
    except AuditLogError as error:
        raise ConfigurationError(
            f"--vkey: expected a log's key (NAME+ID+KEY), or a file with one; of the text given: {error}"
        ) from error


def monitor_key(folder: Path) -> Ed25519Signer:
    """The key with which this monitor says what only it saw; made at the first start."""
    from auditlog.core.keys import Ed25519Signer

    path = folder / "monitor.key"
    if not path.exists():
        seed = os.urandom(32)
        name = f"monitor/{os.urandom(4).hex()}"
        signer = Ed25519Signer.from_seed(name, seed)
        write_secret(path, signer.private_key)
        return signer
    try:
        return Ed25519Signer.from_private_key(read_text_line(path, "the monitor's key"))
    except MalformedError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _watch(
    wanted: Wanted,
    target: str,
    trust: Trust,
    *,
    tokens: Tokens,
    store: Store,
    prover: Prover,
    progress: Callable[[str], Progress],
) -> Watch:
    from auditlog.verify.monitor.alarms import CHANNELS
    from auditlog.verify.monitor.anchors import DevnetNotes
    from auditlog.verify.monitor.clocks import Limits
    from auditlog.verify.monitor.following import Follower
    from auditlog.verify.monitor.promised import Promised
    from auditlog.verify.monitor.reading import Readers
    from auditlog.verify.monitor.running import Watch
    from auditlog.verify.sources import open_source
    from auditlog.verify.steps import LogTrust

    if target.lower().startswith(("s3://", "gs://", "az://")):
        raise ConfigurationError(
            "expected a folder or an http(s) URL: this version cannot read buckets; most offer an https URL"
        )
    origin, is_named = _origin(target, trust)
    token = tokens.of(origin, is_named=is_named)
    keys = tuple(log.verifier for log in trust.policy.logs if log.verifier.name == origin)
    follower = Follower(
        LogTrust(origin, keys, trust),
        open_source(target, token),
        store,
        prover,
        clock_us=clock_us,
        channels=",".join([CHANNELS, *_channels(wanted)]),
        progress=progress(origin),
        readers=Readers(target, token),
        reopen=lambda: open_source(target, token),
        pause=time.sleep,
    )
    url = target if target.lower().startswith(("http://", "https://")) else None
    anchors = []
    if wanted.anchors is not None:
        if trust.devnet is None:
            raise ConfigurationError("expected a devnet key in the trust file for --anchors, found none")
        anchors.append(DevnetNotes(wanted.anchors, trust.devnet))
    return Watch(
        follower,
        beside=_beside(wanted, trust),
        promised=None if wanted.promises is None else Promised(wanted.promises, url),
        anchors=list(anchors),
        reservations=tuple(_reservations(wanted, trust)),
        limits=Limits(stale_s=wanted.stale_s, anchor_s=wanted.anchor_s),
    )


def _origin(target: str, trust: Trust) -> tuple[str, bool]:
    """Which log of the trust file this is, and whether the user says so: by its URL, else the only one; else
    the log itself does, by its checkpoint, which is asked for without a token.
    """
    from auditlog.verify.sources import CHECKPOINT_PATH, HttpSource, open_source
    from auditlog.verify.steps import find_log

    origins = list(dict.fromkeys(log.verifier.name for log in trust.policy.logs))
    by_url = [log.verifier.name for log in trust.policy.logs if log.url.rstrip("/") == target.rstrip("/")]
    if len(origins) == 1 or by_url:
        return (by_url or origins)[0], True
    source = open_source(target)
    try:
        note = source.fetch(CHECKPOINT_PATH).decode("utf-8", "replace")
        return find_log(note, trust).value.origin, False
    except (SourceError, EvidenceError) as error:
        raise ConfigurationError(
            f"expected {target} to be a log of the trust file, found: {error}"
        ) from error
    finally:
        if isinstance(source, HttpSource):
            source.close()


def _beside(wanted: Wanted, trust: Trust) -> Beside:
    from auditlog.verify.monitor.beside import Beside, Other

    given = {}
    for pair in wanted.witness_urls:
        name, equals, url = pair.partition("=")
        if not equals or name not in {witness.name for witness in trust.policy.witnesses}:
            known = ", ".join(witness.name for witness in trust.policy.witnesses) or "none"
            raise ConfigurationError(
                f"--witness-url: expected NAME=URL of a witness ({known}), found another"
            )
        given[name] = url
    others = [
        Other(witness.name, given.get(witness.name, witness.url), witness.verifier)
        for witness in trust.policy.witnesses
        if given.get(witness.name, witness.url)
    ]
    others += [Other(url, url) for url in wanted.peers]
    return Beside(others, behind_s=wanted.behind_s)


def _reservations(wanted: Wanted, trust: Trust) -> list[str]:
    """What nobody here can check, before anything was read."""
    found = ["a call that left no trace and no promise cannot be seen by anyone"]
    asked = len([witness for witness in trust.policy.witnesses if witness.url]) + len(wanted.witness_urls)
    if not asked:
        found.append("no witness was asked for its checkpoint: none is named with a URL")
    if not wanted.peers:
        found.append("no other monitor was asked: a log could show this one and others two histories")
    if wanted.promises is None:
        found.append("no promises were given: whether one was broken was not checked")
    if trust.issuer.role == "operator":
        found.append(f"the trust file came from the operator ({trust.issuer.name})")
    return found


def _channels(wanted: Wanted) -> dict[str, Channel]:
    from auditlog.verify.monitor.telling import Mail, MailServer, Webhook

    found: dict[str, Channel] = {}
    if wanted.webhook is not None:
        if not wanted.webhook.lower().startswith(("http://", "https://")):
            raise ConfigurationError("--webhook: expected an http(s) URL, found another")
        found["webhook"] = Webhook(wanted.webhook, time.monotonic)
    if wanted.mail_to:
        host, colon, port = wanted.smtp.rpartition(":")
        if not colon or not port.isdigit() or not 0 < int(port) < 65536:
            raise ConfigurationError("--smtp: expected HOST:PORT, found another")
        server = MailServer(host, int(port), wanted.mail_from, wanted.mail_to)
        found["mail"] = Mail(server, time.monotonic)
    return found

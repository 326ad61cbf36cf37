"""`auditlog witness init|serve`: run a witness that cosigns the checkpoints of some logs.

Spec: auditlog/spec/log.md, "Witnesses". Promises: the private key goes to a file only its owner can read;
SIGTERM and SIGINT answer what is being answered and end with 0. Must never: listen beyond this machine
unless told to (put TLS in front), or print the private key.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.output import say, say_json
from auditlog.cli.reading import read_text_line
from auditlog.cli.secretfile import write_new, write_secret
from auditlog.errors import ConfigurationError, MalformedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditlog.core.keys import Ed25519Verifier
    from auditlog.witness.server import WitnessServer

app = typer.Typer(help="Run a witness of other people's logs.", no_args_is_help=True, rich_markup_mode=None)
_JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DirArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the witness.")]
_LogOption = Annotated[
    list[str] | None, typer.Option("--log", metavar="VKEY", help="Key of a log, or a file; repeatable.")
]
KEY, VKEY, LOGS, STATES = "witness.key", "witness.vkey", "logs", "states"


@app.command("init")
def init(
    directory: _DirArgument,
    *,
    name: Annotated[str, typer.Option("--name", help="Key name, such as witness.example.org/w1.")],
    log: _LogOption = None,
    json: _JsonOption = False,
) -> None:
    """Make a witness: its key, and the list of the logs that it follows."""
    from auditlog.core.cosignature import CosignatureSigner

    keys = [_log_key(each).vkey for each in log or []]
    try:
        signer = CosignatureSigner.from_seed(name, os.urandom(32))
    except MalformedError as error:
        raise ConfigurationError(str(error)) from error
    write_secret(directory / KEY, signer.private_key)
    write_new(directory / VKEY, f"{signer.vkey}\n")
    lines = ["# Logs that this witness follows: one vkey a line. A restart reads it again.", *keys]
    write_new(directory / LOGS, "".join(f"{line}\n" for line in lines))
    if json:
        say_json({"name": signer.name, "vkey": signer.vkey, "logs": str(directory / LOGS)})
        return
    say(signer.vkey)


@app.command("serve")
def serve(
    directory: _DirArgument,
    *,
    log: _LogOption = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any.")] = 8710,
    json: _JsonOption = False,
) -> None:
    """Cosign until stopped; says where it listens on standard output, what it does on standard error."""
    server, close = build(directory, extra=log or [], address=(host, port))
    try:
        shown = {"url": server.url, "vkey": read_text_line(directory / VKEY, "a vkey")}
        say_json(shown) if json else say(f"{shown['url']}  {shown['vkey']}")
        _flush()
        _serve_until_told(server)
    finally:
        close()


def build(
    directory: Path, *, extra: list[str], address: tuple[str, int]
) -> tuple[WitnessServer, Callable[[], None]]:
    """A listening witness of a folder that `init` made, and what closes it.

    Raises:
        ConfigurationError: no such folder, a key that is none, a port that is taken. StorageError.
    """
    import time

    from auditlog.core.cosignature import CosignatureSigner
    from auditlog.witness.cosigner import Cosigner
    from auditlog.witness.server import WitnessServer
    from auditlog.witness.states import States

    try:
        signer = CosignatureSigner.from_private_key(read_text_line(directory / KEY, "a private key"))
    except MalformedError:
        # Not from the error: it may hold a piece of the key.
        raise ConfigurationError(f"expected a witness's private key in {directory / KEY}") from None
    logs = [_log_key(each) for each in [*_listed(directory / LOGS), *extra]]
    states = States(directory / STATES, signer.verifier)
    try:
        cosigner = Cosigner(logs, signer, states, lambda: int(time.time()))
        server = WitnessServer(address, cosigner)
    except OSError as error:
        states.close()
        raise ConfigurationError(f"expected to listen on {address}, found {error.strerror}") from error
    except BaseException:
        states.close()
        raise

    def close() -> None:
        server.server_close()
        states.close()

    return server, close


def _serve_until_told(server: WitnessServer) -> None:
    """Serve in this thread; a signal asks another one to stop us, since the loop cannot stop itself."""
    import logging
    import signal
    import threading

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown, name="auditlog-witness-stop").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.serve_forever(poll_interval=0.1)


def _listed(path: Path) -> list[str]:
    """The vkeys of a file, one a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"expected the vkeys of logs in {path}, found none") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _log_key(text: str) -> Ed25519Verifier:
    """A log's key, or that in a file."""
    from auditlog.core.keys import Ed25519Verifier

    vkey = text if "+" in text else read_text_line(Path(text), "a vkey")
    try:
        return Ed25519Verifier.from_vkey(vkey)
    except MalformedError as error:
        raise ConfigurationError(f"expected the vkey of a log: {error}") from error


def _flush() -> None:
    import sys

    sys.stdout.flush()

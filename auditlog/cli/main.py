"""The command line: `auditlog COMMAND`. Registers the commands and turns errors into one line and an exit
code.

Promises: exit codes 0 done or verified, 1 failed, 2 usage, 3 something required could not be checked; no
traceback for any input. Must never: import an optional part (service, torch, web3) before the command that
needs it runs, or print a secret.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

import typer

from auditlog.cli import (
    anchor,
    disclose,
    doctor,
    fsck,
    initialise,
    keys,
    log,
    registry,
    serve,
    token,
    trust,
    verify,
)
from auditlog.cli.output import say_error
from auditlog.errors import AuditLogError, ConfigurationError, EvidenceError, SubmissionRefused

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_CHECKED = 3
EXIT_INTERRUPTED = 130
_EXPECTED = (AuditLogError, OSError, ImportError, MemoryError)

app = typer.Typer(
    name="auditlog",
    help="A transparent record of AI decisions: signed logs, receipts anyone can check.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("init")(initialise.init)
app.command("doctor")(doctor.doctor)
app.command("serve")(serve.serve)
app.command("verify")(verify.verify)
app.command("fsck")(fsck.fsck)
app.command("disclose")(disclose.disclose)
app.add_typer(anchor.app, name="anchor")
app.add_typer(log.app, name="log")
app.add_typer(keys.app, name="keys")
app.add_typer(token.app, name="token")
app.add_typer(trust.app, name="trust")
registry.add_demo(app)


@app.callback(invoke_without_command=True)
def options(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """Hold the options that belong to no command."""
    if version:
        import auditlog

        typer.echo(f"auditlog {auditlog.__version__}")
        raise typer.Exit


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="auditlog")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nothing is left to tell it, nor to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if not isinstance(error, _EXPECTED) and os.environ.get("AUDITLOG_DEBUG"):
            raise
        say_error(_line_of(error))
        return _code_of(error)
    return 0


def _code_of(error: Exception) -> int:
    if isinstance(error, EvidenceError):
        return EXIT_FAILED
    if isinstance(error, ConfigurationError | SubmissionRefused | OSError | ImportError):
        return EXIT_USAGE
    return EXIT_NOT_CHECKED


def _line_of(error: Exception) -> str:
    if isinstance(error, AuditLogError):
        return str(error)
    if isinstance(error, _EXPECTED):
        return _plain(error)
    # Nothing was checked, and whoever ran the command is told so in one line.
    return f"a defect of this program, please report it: {_plain(error)} (AUDITLOG_DEBUG=1 shows where)"


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ModuleNotFoundError):
        return f"this command needs the package {error.name}: install auditlog[all]"
    return f"{type(error).__name__}: {error}"


def main() -> None:
    """Entry point of the `auditlog` program."""
    for stream in (sys.stdout, sys.stderr):
        # A stranger's text may not fit the terminal's encoding; it is shown escaped rather than not at all.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run())


if __name__ == "__main__":
    main()

"""The command line: `auditlog COMMAND`. Registers the commands and turns errors into one line and an exit
code.

Promises: exit codes 0 done or verified, 1 failed, 2 usage, 3 something required could not be checked; no
traceback for any input. Must never: import an optional part (service, torch, web3) before the command that
needs it runs, or print a secret.
"""

from __future__ import annotations

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
    except AuditLogError as error:
        say_error(str(error))
        return _code_of(error)
    except (OSError, ImportError, MemoryError, RecursionError) as error:
        say_error(_plain(error))
        return EXIT_USAGE
    return 0


def _code_of(error: AuditLogError) -> int:
    if isinstance(error, EvidenceError):
        return EXIT_FAILED
    return EXIT_USAGE if isinstance(error, ConfigurationError | SubmissionRefused) else EXIT_NOT_CHECKED


def _plain(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, ModuleNotFoundError):
        return f"this command needs the package {error.name}: install auditlog[all]"
    return f"{type(error).__name__}: {error}"


def main() -> None:
    """Entry point of the `auditlog` program."""
    sys.exit(run())


if __name__ == "__main__":
    main()

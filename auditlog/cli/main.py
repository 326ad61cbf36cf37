"""The command line: `auditlog COMMAND`. Registers the
commands and turns errors into one line and an exit code.

Promises: exit codes 0 done or verified, 1 failed, 2 usage, 3 something required could not be checked; no
traceback for any input; with `--json` one JSON value on standard output, whatever happens. Must never: import
an optional part (service, torch, web3) before the command that needs it runs, or print a secret.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache

import typer

from auditlog.cli import (
    anchor,
    attack,
    backup,
    completeness,
    disclose,
    doctor,
    find,
    fsck,
    hammer,
    initialise,
    keys,
    log,
    migrate,
    mirror,
    monitor,
    probe,
    producer,
    promise,
    prune,
    receipt,
    registry,
    reindex,
    routes,
    serve,
    token,
    trust,
    verify,
    witness,
)
from auditlog.cli.output import say_error, say_json
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
app.command("mirror")(mirror.mirror)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("completeness")(completeness.completeness)
app.command("probe")(probe.probe)
app.command("monitor")(monitor.monitor)
app.command("attack")(attack.attack)
app.command("disclose")(disclose.disclose)
app.command("find")(find.find)
app.command("hammer")(hammer.hammer)
app.command("routes")(routes.routes)
app.command("reindex")(reindex.reindex)
app.command("migrate")(migrate.migrate)
app.command("prune")(prune.prune)
app.add_typer(anchor.app, name="anchor")
app.add_typer(log.app, name="log")
app.add_typer(keys.app, name="keys")
app.add_typer(promise.app, name="promise")
app.add_typer(producer.app, name="producer")
app.add_typer(receipt.app, name="receipt")
app.add_typer(token.app, name="token")
app.add_typer(trust.app, name="trust")
app.add_typer(witness.app, name="witness")
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


@cache
def _commands() -> Callable[..., object]:
    """The parser of every command: a tenth of a second to make, and the same for each call of `run`."""
    return typer.main.get_command(app)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _commands()(args=given, prog_name="auditlog", standalone_mode=False)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nothing is left to tell it, nor to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return _fail(given, EXIT_INTERRUPTED, "interrupted")
    except Exception as error:
        if _is_usage(error):
            error.show()  # type: ignore[attr-defined]
            return _fail(given, EXIT_USAGE, error.format_message())  # type: ignore[attr-defined]
        if not isinstance(error, _EXPECTED) and os.environ.get("AUDITLOG_DEBUG"):
            raise
        say_error(_line_of(error))
        return _fail(given, _code_of(error), _line_of(error))
    return code if isinstance(code, int) else 0


def _fail(arguments: list[str], code: int, error: str) -> int:
    """Say an error in JSON where that was asked for: commands print theirs last, so nothing was said yet."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--json" in arguments[:end]:
        say_json(
            verify.no_verdict(code, error)
            if arguments[0] == "verify"
            else {"exit_code": code, "error": error}
        )
    return code


def _is_usage(error: Exception) -> bool:
    """Whether the command line itself could not be read; the parser's own classes are not ours to name."""
    return hasattr(error, "format_message") and hasattr(error, "show")


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

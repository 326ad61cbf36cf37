"""`auditlog backup DIR` and `auditlog restore DIR`: a log out of its stores, and into an empty place.

Spec: auditlog/spec/log.md, "Backups". A backup is taken beside the running service. Exit 0 done, 1 the stores
or the backup are not what was signed, 2 usage, 3 a store cannot be read now, or another run has DIR: nothing
was changed there, run it again later. Must never: write a key unless
told to, or restore over anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditlog.cli.configured import ConfigOption, find_log, load_settings
from auditlog.cli.output import say, say_json
from auditlog.cli.progress import Bar
from auditlog.cli.served import JsonOption

_LogOption = Annotated[str | None, typer.Option("--log", metavar="NAME", help="Name of a configured log.")]


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an older backup.")],
    log: _LogOption = None,
    config: ConfigOption = None,
    with_keys: Annotated[
        bool,
        typer.Option("--with-keys", help="Put the keys of the log into the backup as well."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Back up one log while it runs; an older backup of it in DIR is brought up to date.

    One run at a time has DIR: a second one, or a restore from it, ends at once with exit code 3 and changes
    nothing.
    """
    settings = load_settings(config)
    from auditlog.service.backup import back_up, shown

    bar = Bar("backing up", with_rate=True)
    try:
        done = back_up(settings, find_log(settings, log), folder, with_keys=with_keys, progress=bar)
    finally:
        bar.close()
    if json:
        say_json(shown(done))
        return
    say(f"{done.origin}: {done.size} entries and {done.rows} rows are in {folder}")
    if not done.keys:
        say("without keys: keep log.key and receipt.secret elsewhere (--with-keys puts them in)")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A backup.")],
    log: _LogOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Put a backup where the configuration says that the log is, and nothing is yet.

    The log then starts only if its rollback guards have seen nothing newer, and says in an entry that it was
    restored. Exit code 3 if the backup cannot be read whole, or another run has DIR.
    """
    settings = load_settings(config)
    from auditlog.service.backup import shown
    from auditlog.service.restore import restore as put_back

    bar = Bar("restoring", with_rate=True)
    try:
        done = put_back(settings, find_log(settings, log), folder, progress=bar)
    finally:
        bar.close()
    if json:
        say_json(shown(done))
        return
    say(f"{done.origin}: {done.size} entries are back; the first start asks the rollback guards")

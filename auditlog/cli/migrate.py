"""`auditlog migrate --to REVISION`: take the schema of the database to another revision, forth or back.

Spec: auditlog/spec/api.md, "Configuration". Every start brings the schema up by itself; this is for the way
back, before an older release runs again. Promises: a step that would drop what cannot be built again is
refused, and changes nothing. Must never: run beside a service of this release, which would bring it up again.
"""

from __future__ import annotations

from typing import Annotated

import typer

from auditlog.cli.configured import ConfigOption, load_settings
from auditlog.cli.output import say, say_json
from auditlog.cli.served import JsonOption

RevisionOption = Annotated[
    str, typer.Option("--to", metavar="REVISION", help="four digits, as an older release's message names it")
]


def migrate(to: RevisionOption, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Take the schema of the database to a revision, for an older release; stop the service first."""
    from auditlog.storage.owned import FolderLock
    from auditlog.storage.sql.database import at_revision

    settings = load_settings(config)
    is_ours = settings.database_url.startswith("sqlite")
    held = FolderLock(settings.service.data_dir) if is_ours else None
    try:
        was = at_revision(settings.database_url, to)
    finally:
        if held is not None:
            held.release()
    if json:
        say_json({"was": was, "revision": to})
        return
    say(f"schema: {was or 'none'} before, {to} now")

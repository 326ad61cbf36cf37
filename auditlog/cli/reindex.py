"""`auditlog reindex [LOG]`: drop the index of a log and build it again from its entries.

Spec: auditlog/spec/api.md, "Entries". The index answers look-ups and proves nothing; while it is built the
log goes on. Exit 0 when it has caught up. Must never: touch what the log committed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditlog.cli.configured import ConfigOption, find_log, load_settings
from auditlog.cli.output import say, say_json
from auditlog.cli.progress import Bar
from auditlog.cli.served import AdminTokenOption, JsonOption, NameArgument, running_service, with_log

if TYPE_CHECKING:
    from auditlog.capture.client import LogClient
    from auditlog.log.log import Log
    from auditlog.service.settings import LogSettings, Settings

_POLL_S = 0.2


def reindex(
    name: NameArgument = None,
    config: ConfigOption = None,
    token_file: AdminTokenOption = None,
    json: JsonOption = False,
) -> None:
    """Build the index of a log again from its entries; works beside the running service."""
    settings = load_settings(config)
    log = find_log(settings, name)
    found = _rebuild(settings, log, token_file, Bar("indexing", with_rate=True))
    if json:
        say_json(found)
        return
    say(f"log {log.name}: {found['index_size']} of {found['size']} entries are in the index")


def _rebuild(settings: Settings, log: LogSettings, token_file: Path | None, bar: Bar) -> dict[str, Any]:
    with running_service(settings, log, token_file) as client:
        if client is not None:
            return _follow(client, bar)

    def work(opened: Log) -> dict[str, Any]:
        opened.index.rebuild(bar)
        return {"index_size": opened.index.size, "size": opened.tree_size}

    try:
        return with_log(settings, log, work)
    finally:
        bar.close()


def _follow(client: LogClient, bar: Bar) -> dict[str, Any]:
    """Ask the service to do it, and watch until it has what there was at the beginning."""
    found = client.ask("POST", "/reindex")
    target = found["size"]
    while found["index_size"] < target:
        time.sleep(_POLL_S)
        found = client.ask("GET", "/index")
        bar(min(found["index_size"], target), target)
    bar.close()
    return found

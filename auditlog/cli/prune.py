"""`auditlog prune [LOG]`: let go what the log's retention policy no longer keeps.

Spec: auditlog/spec/log.md, "Retention". Says what would go, and does it with `--yes`; on the running service,
or on the stores where none runs. Whole bundles of 256 entries go; hashes, proofs and receipts that were
issued stay. Exit 0. Must never: prune a log without a policy, or anything its published minimum does not say.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlog.cli.configured import ConfigOption, find_log, load_settings
from auditlog.cli.output import say, say_json
from auditlog.cli.progress import Bar
from auditlog.cli.served import AdminTokenOption, JsonOption, NameArgument, running_service, with_log

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditlog.service.settings import LogSettings, Settings

    Step = Callable[[bool], dict[str, Any]]

_REASONS = {
    "policy": "its policy, which must have been public for so long",
    "age": "promises and receipts that may still be asked about",
    "published": "what is not published yet",
    "index": "what is not in the index yet",
    "staged": "the newest commit, which a start writes again",
    "anchored": "decisions that wait for an anchor",
}


def prune(
    name: NameArgument = None,
    config: ConfigOption = None,
    token_file: AdminTokenOption = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Delete; without it, only say what would go. It cannot be undone.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Delete entries that the log's retention no longer keeps; hashes and proofs stay."""
    settings = load_settings(config)
    log = find_log(settings, name)
    found = _prune(settings, log, token_file, yes=yes)
    found["pruned"] = found["minimum_index"] - found.pop("began")
    if json:
        say_json({**found, "dry_run": not yes})
        return
    if yes:
        say(f"log {found['origin']}: {found['pruned']} entries pruned, {found['deleted']} objects deleted")
        say(f"its published minimum index is {found['minimum_index']}")
    else:
        going = found["target"] - found["minimum_index"]
        say(f"log {found['origin']}: {going} entries would be pruned, up to index {found['target']}")
        if going:
            say("nothing was deleted: --yes does it")
    for reason, index in sorted(found["bounds"].items(), key=lambda each: each[1]):
        if index < found["target"] + 256:
            say(f"held at {index} by {_REASONS.get(reason, reason)}")


def _prune(settings: Settings, log: LogSettings, token_file: Path | None, *, yes: bool) -> dict[str, Any]:
    with running_service(settings, log, token_file) as client:
        if client is not None:
            return _in_steps(lambda do: client.ask("POST", "/prune", {"yes": do}), yes=yes)
    from auditlog.service.standing import prune_step

    return with_log(settings, log, lambda opened: _in_steps(lambda do: prune_step(opened, yes=do), yes=yes))


def _in_steps(step: Step, *, yes: bool) -> dict[str, Any]:
    """Step by step, each durable: whoever stops this goes on with the same command."""
    found = step(False)
    began = found["minimum_index"]
    deleted, bar = 0, Bar("pruning", with_rate=True)
    try:
        while yes:
            found = step(True)
            deleted += found["deleted"]
            bar(found["minimum_index"] - began, max(found["target"] - began, 1))
            if found["done"]:
                break
    finally:
        bar.close()
    return {**found, "deleted": deleted, "began": began}

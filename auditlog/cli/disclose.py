"""`auditlog disclose ID --fields a,b`: open parts of one decision from the operator's own disclosure store.

Spec: auditlog/spec/commitment.md, "Disclosures". Promises: only what is named is opened, each field with its
own salt. Must never: write a key, or open a body that was not asked for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.output import say
from auditlog.cli.secretfile import write_secret
from auditlog.errors import ConfigurationError, DisclosureError

if TYPE_CHECKING:
    from auditlog.capture.disclosures import KeptRecord


def disclose(
    decision: Annotated[str, typer.Argument(metavar="ID", help="Id of the decision (Audit-Id).")],
    *,
    fields: Annotated[
        str, typer.Option("--fields", metavar="A,B", help="Fields: amount, /a/0/b, request:/a, facts:label.")
    ] = "",
    whole: Annotated[
        str, typer.Option("--whole", metavar="BODY,..", help="Whole bodies: request, response, facts.")
    ] = "",
    kind: Annotated[str, typer.Option("--kind", help="decision or outcome.")] = "decision",
    item: Annotated[str | None, typer.Option("--item", help="Item of an outcome, as instances/17.")] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="State of the capture layer (or AUDITLOG_STATE)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="New file; else standard output.")
    ] = None,
) -> None:
    """Write a disclosure file that opens what is named of one decision; name nothing to list the fields."""
    from auditlog.capture.disclose import build_disclosures, disclosable_fields

    record = _find(decision, kind, item, _state_dir(state))
    if not fields and not whole:
        for name in disclosable_fields(record):
            say(name)
        return
    try:
        text = build_disclosures(record, _names(fields), _names(whole)).decode("utf-8")
    except DisclosureError as error:  # here it is the request that does not fit, not evidence that fails
        raise ConfigurationError(str(error)) from error
    if out is None:
        sys.stdout.write(text)
        return
    # What it opens may be personal: only the owner of the file reads it until somebody decides otherwise.
    write_secret(out, text.removesuffix("\n"))
    say(f"disclosures of {decision} are in {out}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _state_dir(given: Path | None) -> Path:
    from auditlog.capture.settings import CaptureSettings

    return given or CaptureSettings.from_environ(os.environ).state_dir


def _find(decision: str, kind: str, item: str | None, state: Path) -> KeptRecord:
    """The newest record of that decision, kind and item in any slot of this host.

    Raises:
        NotFoundError, StorageError: no record of the decision, or an unreadable store.
        ConfigurationError: none of that kind and item.
    """
    from auditlog.capture.disclose import find_kept

    found = [each for each in find_kept(state, decision) if each.kind == kind and item in (None, each.item)]
    if not found:
        raise ConfigurationError(f"expected a kept {kind} of this decision under {state}, found none")
    return found[-1]

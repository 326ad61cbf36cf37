"""`auditlog disclose`: open parts of one decision, from the operator's store or from a caller's own copy.

    auditlog disclose ID --fields a,b                                     the operator's disclosure store
    auditlog disclose --receipt R --key-file K --request F --response F   a receipt, its key and the bytes

Spec: auditlog/spec/commitment.md, "Disclosures". Promises: only what is named is opened, each field with its
own salt; what a caller opens was checked against the receipt's entry first. Must never: write a key, or open
a body that was not asked for.
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
    decision: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of the decision (Audit-Id); or give --receipt.")
    ] = None,
    *,
    receipt: Annotated[
        Path | None, typer.Option("--receipt", metavar="FILE", help="Show what you hold yourself.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", metavar="FILE", help="The header Audit-Key of the answer.")
    ] = None,
    request: Annotated[
        Path | None, typer.Option("--request", metavar="FILE", help="The request's body as it was sent.")
    ] = None,
    response: Annotated[
        Path | None, typer.Option("--response", metavar="FILE", help="The answer's body as it came.")
    ] = None,
    fields: Annotated[
        str, typer.Option("--fields", metavar="A,B", help="Fields: amount, /a/0/b, request:/a, facts:label.")
    ] = "",
    whole: Annotated[
        str, typer.Option("--whole", metavar="BODY,..", help="Whole bodies: request, response, facts.")
    ] = "",
    kind: Annotated[str, typer.Option("--kind", help="decision or outcome.")] = "decision",
    item: Annotated[
        str | None, typer.Option("--item", help="One item of several: choices/1, data/3, instances/17.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="State of the capture layer (or AUDITLOG_STATE)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="New file; else standard output.")
    ] = None,
) -> None:
    """Write a disclosure file that opens what is named of one decision.

    By ID: name nothing to list the fields. With --receipt: name nothing to open the bodies given whole.
    --item opens what one item of a batch is made of, and of the others nothing; of an outcome it says which.
    """
    if receipt is not None:
        from auditlog.cli.disclose_held import disclose_held

        if decision is not None or state is not None or key_file is None:
            raise ConfigurationError("expected --key-file beside --receipt, and neither ID nor --state")
        files = {"request": request, "response": response}
        data = disclose_held(receipt, key_file, files, fields=_names(fields), whole=_names(whole), item=item)
        _write(data, out, f"disclosures of {receipt}")
        return
    if decision is None or key_file is not None or request is not None or response is not None:
        raise ConfigurationError("expected an ID; or --receipt with --key-file, --request and --response")
    is_outcome = kind == "outcome"
    record = _find(decision, kind, item if is_outcome else None, _state_dir(state))
    _disclose_kept(record, _names(fields), _names(whole), None if is_outcome else item, out)


def _disclose_kept(
    record: KeptRecord, fields: list[str], whole: list[str], item: str | None, out: Path | None
) -> None:
    from auditlog.capture.disclose import build_disclosures, disclosable_fields

    if not fields and not whole and item is None:
        for name in disclosable_fields(record):
            say(name)
        return
    try:
        data = build_disclosures(record, fields, whole, item=item)
    except DisclosureError as error:  # here it is the request that does not fit, not evidence that fails
        raise ConfigurationError(str(error)) from error
    _write(data, out, f"disclosures of {record.id}")


def _write(data: bytes, out: Path | None, what: str) -> None:
    text = data.decode("utf-8")
    if out is None:
        sys.stdout.write(text)
        return
    # What it opens may be personal: only the owner of the file reads it until somebody decides otherwise.
    write_secret(out, text.removesuffix("\n"))
    say(f"{what} are in {out}")


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

"""`auditlog disclose ID --fields a,b`: open parts of one decision from the operator's own disclosure store.

Spec: auditlog/spec/commitment.md, "Disclosures". Promises: only the fields named are opened, each with its
own salt. Must never: write a key, or open a body that was not asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.output import say
from auditlog.cli.secretfile import write_secret
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.capture.disclosures import KeptRecord
    from auditlog.core.disclosure import Disclosure

_BODIES = ("facts", "request", "response")


def disclose(
    decision: Annotated[str, typer.Argument(metavar="ID", help="Id of the decision (Audit-Id).")],
    *,
    fields: Annotated[
        str,
        typer.Option(
            "--fields", metavar="A,B", help="Fields: amount, /a/0/b, or request:/a to name the body."
        ),
    ] = "",
    whole: Annotated[
        str, typer.Option("--whole", metavar="BODY,..", help="Whole bodies: request, response, facts.")
    ] = "",
    kind: Annotated[str, typer.Option("--kind", help="decision or outcome.")] = "decision",
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="State of the capture layer (or AUDITLOG_STATE)."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="New file; else standard output.")
    ] = None,
) -> None:
    """Write a disclosure file that opens some fields of one decision, and nothing else of it."""
    from auditlog.core.disclosure import Disclosures, format_disclosures

    record = _find(decision, kind, _state_dir(state))
    items = (*_wholes(record, _names(whole)), *_fields(record, _names(fields)))
    if not items:
        raise ConfigurationError("expected --fields or --whole, found neither")
    text = format_disclosures(Disclosures(decision, items)).decode("utf-8")
    if out is None:
        sys.stdout.write(text)
        return
    # What it opens may be personal: only the owner of the file reads it until somebody decides otherwise.
    write_secret(out, text.removesuffix("\n"))
    say(f"{len(items)} disclosure(s) in {out}")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _state_dir(given: Path | None) -> Path:
    from auditlog.capture.settings import CaptureSettings

    return given or CaptureSettings.from_environ(os.environ).state_dir


def _find(decision: str, kind: str, state: Path) -> KeptRecord:
    """The newest record of that decision and kind in any slot.

    Raises:
        ConfigurationError: there is none: never recorded with values here, expired, or erased.
    """
    found = [record for record in _records(decision, state) if record.kind == kind]
    if not found:
        raise ConfigurationError(f"expected a kept {kind} with this id under {state}, found none")
    return found[-1]


def _records(decision: str, state: Path) -> Iterator[KeptRecord]:
    from auditlog.capture.disclosures import load_store_key
    from auditlog.capture.sqlite_store import SqliteDisclosureStore

    for folder in sorted((state / "slots").glob("*")):
        path, key = folder / "disclosures.sqlite3", folder / "store.key"
        if not path.exists() or not key.exists():
            continue
        store = SqliteDisclosureStore(
            path, load_store_key(key, os.urandom), os.urandom, keep_s=2**40, max_bytes=2**62
        )
        try:
            yield from store.find(decision)
        finally:
            store.close()


def _wholes(record: KeptRecord, names: list[str]) -> Iterator[Disclosure]:
    from auditlog.core.disclosure import disclose_whole

    for name in names:
        key, data, form = _body(record, name)
        yield disclose_whole(key, name, data, form)


def _fields(record: KeptRecord, names: list[str]) -> Iterator[Disclosure]:
    for name in names:
        body, separator, pointer = name.partition(":")
        if separator and body in _BODIES:
            yield _field(record, [body], pointer)
        else:
            yield _field(record, list(_BODIES), name)


def _field(record: KeptRecord, bodies: list[str], pointer: str) -> Disclosure:
    """Open the field in the first of the bodies that has it."""
    from auditlog.core.content import field_text
    from auditlog.core.disclosure import disclose_field
    from auditlog.errors import DisclosureError

    pointer = pointer if pointer.startswith("/") or not pointer else f"/{pointer}"
    for body in bodies:
        try:
            key, data, form = _body(record, body)
            text = field_text(data, form)
            if text is not None:
                return disclose_field(key, body, text, pointer)
        except (ConfigurationError, DisclosureError):
            continue
    raise ConfigurationError(f"expected a field {pointer} in {' or '.join(bodies)}, found none")


def _body(record: KeptRecord, name: str) -> tuple[bytes, bytes, str]:
    """(key, bytes, form) of one kept body.

    Raises:
        ConfigurationError: that body was not kept.
    """
    from auditlog.core.content import FORM_JSON, fold_form

    if name == "facts" and record.facts is not None and record.facts_key is not None:
        return record.facts_key, record.facts, FORM_JSON
    kept = {"request": record.request, "response": record.response}.get(name)
    if kept is None or record.exchange_key is None:
        raise ConfigurationError(f"expected a kept {name} of this decision, found none")
    return record.exchange_key, kept.data, fold_form(kept.dialect) if kept.dialect else FORM_JSON

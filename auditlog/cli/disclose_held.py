"""`auditlog disclose --receipt`: disclosures from what a caller holds: receipt, key, bytes both ways.

Spec: auditlog/spec/commitment.md, "Disclosures". Promises: needs no service and no network; a disclosure that
the receipt's entry would refuse is not written. Must never: write the key, or show it in an error.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from auditlog.cli.reading import MAX_DISCLOSURES_BYTES, MAX_RECEIPT_BYTES, read_bounded, read_text_line
from auditlog.errors import ConfigurationError, DisclosureError

if TYPE_CHECKING:
    from auditlog.core.entry import Entry

_KEY_BYTES = 32


def disclose_held(
    receipt: Path,
    key_file: Path,
    files: Mapping[str, Path | None],
    *,
    fields: Sequence[str],
    whole: Sequence[str],
    item: str | None = None,
) -> bytes:
    """The disclosure file that opens `fields`, `whole` bodies and an `item` of a decision; all bodies given
    if none of these.

    `files` are the caller's own copies of `request` and `response`.

    Raises:
        ConfigurationError: a file that cannot be read, a key of another form, a receipt of no decision, or a
        name of nothing that is there.
        EvidenceError: not a receipt; or the key or the bytes are not those of its decision.
    """
    from auditlog.core.disclosure import Disclosures, format_disclosures
    from auditlog.core.holder import check_opened, open_held

    entry, key = _read_decision(receipt), _read_key(key_file)
    bodies = {name: _read_body(path, f"--{name}") for name, path in files.items() if path is not None}
    if not bodies:
        raise ConfigurationError("expected --request or --response to show something of, found neither")
    if not fields and not whole and item is None:
        whole = tuple(bodies)
    try:
        opened = open_held(entry, key, bodies, fields=fields, whole=whole, item=item)
    except DisclosureError as error:  # it is the names that do not fit, not evidence that fails
        raise ConfigurationError(str(error)) from error
    try:
        check_opened(entry, opened)
    except DisclosureError as error:
        raise DisclosureError(f"{error}; nothing was written{_advice(error)}") from error
    data = format_disclosures(Disclosures(entry.body["id"], opened))
    if len(data) > MAX_DISCLOSURES_BYTES:
        raise ConfigurationError(
            f"expected at most {MAX_DISCLOSURES_BYTES} bytes of disclosures, found {len(data)}"
        )
    return data


def _advice(error: DisclosureError) -> str:
    from auditlog.core.opening import SAME_TEXT

    if SAME_TEXT in str(error):
        return ": show its --fields instead of the whole"
    return ": the key and the bytes must be those of this decision"


def _read_decision(path: Path) -> Entry:
    from auditlog.core.bodies import check_body
    from auditlog.core.entry import parse_entry
    from auditlog.core.receipt import parse_receipt

    entry = parse_entry(parse_receipt(read_bounded(path, MAX_RECEIPT_BYTES, "--receipt")).entry)
    if entry.kind != "decision" or not entry.understood:
        raise ConfigurationError(f"expected a receipt of a decision, found one of a {entry.kind}")
    check_body(entry.kind, entry.body)
    return entry


def _read_key(path: Path) -> bytes:
    text = read_text_line(path, "--key-file")
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigurationError(
            f"expected base64 of {_KEY_BYTES} bytes (Audit-Key) in {path}, found another"
        )
    return key


def _read_body(path: Path, option: str) -> bytes:
    data = read_bounded(path, MAX_DISCLOSURES_BYTES, option)
    if len(data) > MAX_DISCLOSURES_BYTES:
        raise ConfigurationError(
            f"expected at most {MAX_DISCLOSURES_BYTES} bytes for {option}, found more in {path}"
        )
    return data

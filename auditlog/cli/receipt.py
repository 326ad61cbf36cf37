"""`auditlog receipt export`: a receipt's proof in the forms other tools read.

Spec: auditlog/spec/log.md, "tlog-proof", and auditlog/spec/cose.md. Promises: a tlog-proof is what stands in
the receipt, byte for byte; a COSE receipt is signed only over a checkpoint that the same key has signed, and
only where the entry is proven to be in it. Must never: print a private key.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.cli.output import say, say_json
from auditlog.cli.reading import MAX_RECEIPT_BYTES, read_bounded, read_text_line
from auditlog.cli.secretfile import write_new_bytes
from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.core.tlogproof import TlogProof

app = typer.Typer(help="Hand a receipt's proof to other tools.", no_args_is_help=True, rich_markup_mode=None)

_FORMATS = ("tlog-proof", "cose")


@app.callback()
def _group() -> None:
    """Keep `export` a command of its own while it is the only one."""


@app.command("export")
def export(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="A receipt file; - is standard input.")],
    *,
    form: Annotated[str, typer.Option("--format", help="tlog-proof or cose.")] = "tlog-proof",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="New file; else standard output.")
    ] = None,
    entry: Annotated[
        Path | None, typer.Option("--entry", metavar="FILE", help="New file for the entry's bytes.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="For cose: the log's private key.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; needs --out.")] = False,
) -> None:
    """Write a receipt's inclusion proof as a C2SP tlog-proof or, with the log's key, as a COSE receipt.

    A COSE receipt needs a signature of its own, so only the operator can make one: here, or by its service.
    Check either with: auditlog verify PROOF --entry FILE --trust FILE
    """
    from auditlog.core.receipt import parse_receipt

    if form not in _FORMATS or (form == "cose") != (key is not None) or (json and out is None):
        raise ConfigurationError(
            "expected --format tlog-proof, or cose with --key, and --out beside --json, found otherwise"
        )
    parsed = parse_receipt(read_bounded(receipt, MAX_RECEIPT_BYTES, "a receipt"))
    data = _text(parsed.proof) if key is None else _signed(parsed.entry, parsed.proof, key)
    if entry is not None:
        write_new_bytes(entry, parsed.entry)
    _write(data, out)
    if json:
        say_json({"format": form, "file": str(out), "entry": None if entry is None else str(entry)})
    elif out is not None:
        say(f"{form} of entry {parsed.proof.index} is in {out}")


def _text(proof: TlogProof) -> bytes:
    from auditlog.core.tlogproof import format_tlog_proof

    return format_tlog_proof(proof).encode("utf-8")


def _signed(entry: bytes, proof: TlogProof, key: Path) -> bytes:
    """A COSE receipt of a proof that was checked first: a receipt is anybody's word until then."""
    from auditlog.core.checkpoint import open_checkpoint
    from auditlog.core.cose import sign_cose_receipt
    from auditlog.core.keys import Ed25519Signer
    from auditlog.core.merkle import hash_leaf, verify_inclusion

    signer = Ed25519Signer.from_private_key(read_text_line(key, "--key"))
    checkpoint, _ = open_checkpoint(proof.checkpoint, [signer.verifier], signer.name)
    path = list(proof.hashes)
    verify_inclusion(hash_leaf(entry), proof.index, checkpoint.tree_size, path, checkpoint.root_hash)
    return sign_cose_receipt(proof, checkpoint, signer)


def _write(data: bytes, out: Path | None) -> None:
    if out is not None:
        write_new_bytes(out, data)
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

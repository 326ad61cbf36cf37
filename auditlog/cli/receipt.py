"""`auditlog receipt export|upgrade`: a receipt's proof for other tools; what a later one adds.

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

app = typer.Typer(
    help="Hand a receipt's proof to other tools; bring it up to date.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_FORMATS = ("tlog-proof", "cose")


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


@app.command("upgrade")
def upgrade(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The receipt that is kept.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A later receipt of the same entry.")],
    *,
    trust: Annotated[Path, typer.Option("--trust", metavar="FILE", help="Whose quorum counts.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Add a later receipt's anchors and cosignatures to the one you keep.

    Its checkpoint changes only if it has no witness quorum by the trust file and the later one has, and never
    where less would be shown then. Anchors are added only if the trust file can check them. Exit code 1 if
    either does not verify, or they are not of one entry: nothing is written then. 3 if what is written
    cannot be checked in full.
    """
    from auditlog.cli.verify import read_trust
    from auditlog.core.receipt import format_receipt, parse_receipt
    from auditlog.verify.upgrading import upgrade_verified

    kept, later = (parse_receipt(read_bounded(each, MAX_RECEIPT_BYTES, "a receipt")) for each in (old, new))
    done = upgrade_verified(kept, later, read_trust(trust))
    found = done.receipt
    write_new_bytes(out, format_receipt(found))
    texts = [each.proof.checkpoint.partition("\n\n")[0] for each in (kept, found)]
    changed = {
        "file": str(out),
        "checkpoint_replaced": texts[0] != texts[1],
        "anchors_added": len(found.anchors) - len(kept.anchors),
        "changed": found is not kept,
        "not_taken": list(done.not_taken),
    }
    if json:
        say_json(changed)
    else:
        say(f"receipt   {out}{'' if found is not kept else ' (nothing was added)'}")
        for each in done.not_taken:
            say(f"not taken {each}")
        say(f"verdict   {done.report.headline}")
    if done.report.exit_code:
        raise typer.Exit(done.report.exit_code)


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

"""`auditlog keys generate|show|cose`: Ed25519 keys for logs and the development chain.

Spec: auditlog/spec/log.md, "Keys". Promises: the private key goes to a file only its owner can read; what is
printed is the public vkey. Must never: print a private key.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from auditlog.cli.output import say, say_json
from auditlog.cli.reading import read_text_line
from auditlog.cli.secretfile import write_new_bytes, write_secret

app = typer.Typer(help="Make and show keys.", no_args_is_help=True, rich_markup_mode=None)


@app.command("generate")
def generate(
    name: Annotated[str, typer.Argument(help="Name of the key; for a log its origin.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the private key.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a private key in a new file and print its vkey."""
    from auditlog.core.keys import Ed25519Signer

    signer = Ed25519Signer.generate(name, os.urandom(32))
    write_secret(out, signer.private_key)
    if json:
        say_json({"name": signer.name, "vkey": signer.vkey, "file": str(out)})
        return
    say(signer.vkey)


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A private key, or a vkey.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the public side of a key file: its vkey and, for a log, the id it has on a chain."""
    from auditlog.core.anchor import log_id
    from auditlog.core.cosignature import parse_vkey
    from auditlog.core.keys import Ed25519Signer

    text = read_text_line(file, "a key")
    is_private = text.startswith("PRIVATE+KEY+")
    vkey = Ed25519Signer.from_private_key(text).vkey if is_private else parse_vkey(text).vkey
    key = parse_vkey(vkey)
    shown = {
        "name": key.name,
        "vkey": vkey,
        "key_id": key.key_id.hex(),
        "algorithm": key.algorithm,
        "log_id": log_id(key.name).hex(),
        "private": is_private,
    }
    if json:
        say_json(shown)
        return
    say(vkey)
    say(f"log id on a chain, if this is a log's key: {shown['log_id']}")


@app.command("cose")
def cose(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A log's private key, or its vkey.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the COSE_Key (CBOR).")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a log's public key as a COSE_Key: what another tool needs to check its COSE receipts."""
    from auditlog.core.cose import cose_key, kid_of
    from auditlog.core.keys import Ed25519Signer, Ed25519Verifier

    text = read_text_line(file, "a key")
    is_private = text.startswith("PRIVATE+KEY+")
    key = Ed25519Signer.from_private_key(text).verifier if is_private else Ed25519Verifier.from_vkey(text)
    write_new_bytes(out, cose_key(key))
    if json:
        say_json({"name": key.name, "vkey": key.vkey, "kid": kid_of(key).hex(), "file": str(out)})
        return
    say(f"the COSE_Key of {key.name} is in {out}; its kid is {kid_of(key).hex()}")

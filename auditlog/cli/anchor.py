"""`auditlog anchor address|deploy`: the contract that checkpoints are anchored in.

Spec: auditlog/spec/decisions/0003-anchor-registry.md. Promises: the node's
URL and the key come from files and are not printed; deploying twice is
deploying once. Must never: run beside a service that sends with the same key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditlog.cli.output import say, say_json
from auditlog.cli.reading import read_text_line

app = typer.Typer(help="Find and deploy the anchoring contract.", no_args_is_help=True, rich_markup_mode=None)
_POLL_S = 2.0


@app.command("address")
def address(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print where the contract lies on every chain, and the hash of the code found there."""
    from auditlog.anchoring.artefact import load_artefact
    from auditlog.anchoring.connect import registry_address
    from auditlog.anchoring.evm import format_address, keccak256

    shown = {
        "contract": format_address(registry_address()),
        "code_hash": "0x" + keccak256(load_artefact().runtime).hex(),
    }
    if json:
        say_json(shown)
        return
    say(shown["contract"])
    say(f"code hash {shown['code_hash']}")


@app.command("deploy")
def deploy(
    rpc_url_file: Annotated[Path, typer.Option("--rpc-url-file", metavar="FILE", help="URL of a node.")],
    key_file: Annotated[Path, typer.Option("--key-file", metavar="FILE", help="Key that pays.")],
    chain_id: Annotated[int, typer.Option("--chain-id", min=1, help="The chain the node must follow.")],
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="For a keystore.")
    ] = None,
) -> None:
    """Put the contract on a chain unless it is there, and print its address."""
    import time

    from auditlog.anchoring.account import load_account
    from auditlog.anchoring.connect import deploy_registry
    from auditlog.anchoring.evm import format_address
    from auditlog.anchoring.fees import FeePolicy
    from auditlog.anchoring.jsonrpc import over_http
    from auditlog.anchoring.node import Node

    where = deploy_registry(
        Node(over_http(read_text_line(rpc_url_file, "the URL of a node"))),
        load_account(key_file, password_file),
        chain_id=chain_id,
        wait=lambda: time.sleep(_POLL_S),
        fees=FeePolicy(),
    )
    say(format_address(where))

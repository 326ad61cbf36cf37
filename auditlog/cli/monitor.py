"""`auditlog monitor LOG...`: follow logs and raise an alarm for whatever is wrong with them.

Spec: auditlog/spec/monitor.md. Promises: it needs no more than a URL and a key, and says what it could not
check for want of more. Exit 0 nothing wrong and all checked, 1 something is wrong, 3 not all could be
checked. Must never: listen on anything but this machine's own address.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auditlog.cli.promise import TrustOption
from auditlog.errors import ConfigurationError

DEFAULT_PORT = 8790

StateOption = Annotated[
    Path, typer.Option("--state", metavar="DIR", help="Where it remembers, and leaves alarms.")
]
VkeyOption = Annotated[
    str | None, typer.Option("--vkey", metavar="KEY", help="Instead: the log's key, or a file with it.")
]
TokenOption = Annotated[
    list[str] | None,
    typer.Option("--token-file", metavar="[ORIGIN=]FILE", help="Token of one log, for entries."),
]
WitnessOption = Annotated[
    list[str] | None,
    typer.Option("--witness-url", metavar="NAME=URL", help="Where a witness of the trust file is."),
]
PeerOption = Annotated[
    list[str] | None, typer.Option("--peer", metavar="URL", help="Another monitor, to compare with.")
]
PromisesOption = Annotated[
    Path | None, typer.Option("--promises", metavar="DIR", help="Promises to keep an eye on.")
]
AnchorsOption = Annotated[
    Path | None, typer.Option("--anchors", metavar="DIR", help="Anchor notes of a development chain.")
]
PortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="Of the status page, on 127.0.0.1; 0 takes any.")
]
WebhookOption = Annotated[str | None, typer.Option("--webhook", metavar="URL", help="POST each alarm there.")]
MailOption = Annotated[
    list[str] | None, typer.Option("--mail-to", metavar="ADDRESS", help="Mail each alarm there.")
]
LogsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[LOG]...", help="URL or folder of each log (else those of the trust file)."),
]


def monitor(
    logs: LogsArgument = None,
    *,
    trust: TrustOption = None,
    vkey: VkeyOption = None,
    state: StateOption = Path("auditlog-monitor"),
    once: Annotated[bool, typer.Option("--once", help="Catch up, report and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Report, and tell alarms, as JSON.")] = False,
    token_file: TokenOption = None,
    witness_url: WitnessOption = None,
    peer: PeerOption = None,
    promises: PromisesOption = None,
    anchors: AnchorsOption = None,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 10.0,
    stale_after: Annotated[float, typer.Option(min=1, help="Seconds without anything new.")] = 3600.0,
    anchor_after: Annotated[float, typer.Option(min=1, help="Seconds without an anchor.")] = 86_400.0,
    behind_after: Annotated[float, typer.Option(min=1, help="Seconds a witness may lag.")] = 3600.0,
    port: PortOption = DEFAULT_PORT,
    webhook: WebhookOption = None,
    mail_to: MailOption = None,
    mail_from: Annotated[str, typer.Option(metavar="ADDRESS", help="Sender.")] = "auditlog@localhost",
    smtp: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where mail is handed in.")] = "127.0.0.1:25",
) -> None:
    """Keep logs honest: follow them, compare, and raise alarms with evidence. Stop with Ctrl-C."""
    from auditlog.cli.monitor_parts import Wanted
    from auditlog.cli.monitor_run import run

    if (trust is None) == (vkey is None):
        raise ConfigurationError("expected --trust or --vkey, found both or neither")
    wanted = Wanted(
        logs=tuple(logs or ()),
        trust=trust,
        vkey=vkey,
        state=state,
        token_files=tuple(token_file or ()),
        witness_urls=tuple(witness_url or ()),
        peers=tuple(peer or ()),
        promises=promises,
        anchors=anchors,
        interval_s=interval,
        stale_s=stale_after,
        anchor_s=anchor_after,
        behind_s=behind_after,
        webhook=webhook,
        mail_to=tuple(mail_to or ()),
        mail_from=mail_from,
        smtp=smtp,
    )
    raise typer.Exit(run(wanted, once=once, as_json=json, port=port))

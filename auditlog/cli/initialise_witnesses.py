"""The part of `auditlog init` that is about witnesses: its options, and their lines in the configuration.

Spec: auditlog/spec/api.md, "Configuration". Promises: what the trust file asks for is what the log goes by.
Must never: take a key of another kind for a witness's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditlog.errors import ConfigurationError, MalformedError

if TYPE_CHECKING:
    from auditlog.core.policy import Policy

WitnessOption = Annotated[
    list[str] | None,
    typer.Option("--witness", metavar="VKEY=URL", help="Ask this witness to cosign; repeatable."),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--witness-policy",
        metavar="FILE",
        help="Instead of --witness: a C2SP tlog-policy with groups; each witness line ends in its URL.",
    ),
]
NoQuorumOption = Annotated[
    str,
    typer.Option(
        "--when-no-quorum",
        metavar="publish|hold",
        help="Too few cosigned: publish all the same, or keep the old checkpoint until enough have.",
    ),
]


def read_witness(text: str) -> tuple[str, str]:
    """The vkey and the URL of `VKEY=URL`; base64 may end in '=' itself."""
    from auditlog.core.cosignature import CosignatureVerifier

    found = re.fullmatch(r"(.+?)=(https?://.+)", text)
    if found is None:
        raise ConfigurationError("expected VKEY=URL for --witness, with an http(s) URL, found another text")
    try:
        return CosignatureVerifier.from_vkey(found[1]).vkey, found[2]
    except MalformedError as error:
        raise ConfigurationError(f"--witness: {error}") from error


def read_new_policy(path: Path, origin: str) -> Policy:
    """The policy in a file. It is written before the log has a key, so it can name no log."""
    from auditlog.cli.trust import read_policy

    policy = read_policy(path)
    if policy.logs:
        raise ConfigurationError(f"{path}: expected no log line before {origin} has a key, found one")
    return policy


def witness_lines(
    witnesses: Sequence[tuple[str, str]], quorum: int, policy: Policy | None, when_no_quorum: str
) -> list[str]:
    """Lines of the log's table: (vkey, URL) of each witness and how many are enough, or the whole policy."""
    if policy is not None:
        lines = ["# Asked to cosign each checkpoint; groups and quorum as in trust.json."]
        lines.append(f"witness_policy = {json.dumps(policy.text, ensure_ascii=False)}")
    elif witnesses:
        listed = [f"  {{ vkey = {json.dumps(vkey)}, url = {json.dumps(url)} }}," for vkey, url in witnesses]
        lines = ["witnesses = [  # asked to cosign each checkpoint", *listed, "]"]
        lines.append(f"witness_quorum = {quorum}  # how many are enough")
    else:
        return []
    said = "publish: show it all the same; hold: keep the old one until enough have"
    return [*lines, f"when_no_quorum = {json.dumps(when_no_quorum)}  # too few cosigned. {said}"]

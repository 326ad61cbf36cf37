"""`auditlog trust show|pin|diff`: the file that says whom a verifier believes.

Spec: auditlog/spec/trust.md. Promises: a trust file made from what the log's own service says is marked as
coming from the operator, and every report repeats it. Must never: overwrite a trust file.
"""

from __future__ import annotations

import json as json_module
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlog.cli.output import say, say_json, say_note
from auditlog.cli.reading import MAX_TRUST_BYTES, read_text_line
from auditlog.cli.secretfile import write_new
from auditlog.cli.verify import read_trust
from auditlog.errors import ConfigurationError, MalformedError, SourceError

if TYPE_CHECKING:
    from auditlog.core.policy import Policy
    from auditlog.core.trust import Trust

_MAX_WITNESSES = 32

app = typer.Typer(help="Show, make and compare trust files.", no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say in words whom this file believes, and for what."""
    trust = read_trust(file)
    if json:
        say_json(_described(trust))
        return
    for line in _sentences(trust):
        say(line)
    for warning in quorum_warnings(trust.policy):
        say_note(f"warning: {warning}")


@app.command("diff")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD")],
    new: Annotated[Path, typer.Argument(metavar="NEW")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what NEW believes that OLD does not, and the other way round. Exit 1 if they differ."""
    before, after = _sentences(read_trust(old)), _sentences(read_trust(new))
    gone = [line for line in before if line not in after]
    added = [line for line in after if line not in before]
    if json:
        say_json({"removed": gone, "added": added})
    else:
        for mark, lines in (("-", gone), ("+", added)):
            for line in lines:
                say(f"{mark} {line}")
        if not gone and not added:
            say("both files believe the same")
    raise typer.Exit(1 if gone or added else 0)


@app.command("pin")
def pin(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New trust file.")],
    source: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="Ask a log for its key, such as http://127.0.0.1:8700/logs/main."),
    ] = None,
    vkey: Annotated[list[str] | None, typer.Option("--vkey", help="Key of a log; repeatable.")] = None,
    witness: Annotated[
        list[str] | None, typer.Option("--witness", metavar="NAME=VKEY", help="Key of a witness; repeatable.")
    ] = None,
    quorum: Annotated[
        int,
        typer.Option(
            "--quorum", min=0, help="How many witnesses must cosign; without --witness those the log names."
        ),
    ] = 0,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", metavar="FILE", help="A C2SP tlog-policy: witnesses, groups of groups, quorum."
        ),
    ] = None,
    devnet: Annotated[str | None, typer.Option("--devnet", metavar="VKEY", help="Key of a devnet.")] = None,
    require: Annotated[
        list[str] | None,
        typer.Option("--require", help="quorum, anchor or devnet; repeatable; 'nothing' for none."),
    ] = None,
    issuer: Annotated[str, typer.Option("--issuer", help="Who made this file.")] = "me",
    role: Annotated[str, typer.Option("--role", help="operator, self, regulator or other.")] = "self",
) -> None:
    """Make a trust file from keys you have, or from what a log says of itself (trust on first use)."""
    keys = list(vkey or [])
    if source is not None:
        said = _ask_log(source)
        keys.append(said["vkey"])
        devnet = devnet or said["devnet_vkey"]
        # The key came over the wire from the operator: whoever reads a report must learn that.
        issuer, role = (said["origin"], "operator") if role == "self" else (issuer, role)
        if quorum and not witness:
            witness = said["witnesses"]
    if policy is not None and (witness or quorum):
        raise ConfigurationError("expected --policy or --witness with --quorum, found both")
    given = None if policy is None else read_policy(policy)
    if not keys and not (given and given.logs):
        raise ConfigurationError("expected a URL or --vkey of the log to trust, found neither")
    text = trust_text(
        policy_text(keys, witness or [], quorum) if given is None else with_logs(given, keys),
        devnet=devnet,
        require=require,
        issuer={"name": issuer, "role": role},
    )
    write_new(out, text)
    for line in _sentences(read_trust(out)):
        say(line)
    for warning in quorum_warnings(read_trust(out).policy):
        say_note(f"warning: {warning}")
    if source is not None and not witness and policy is None:
        _offer(said["witnesses"])


def _offer(witnesses: list[str]) -> None:
    """Say whom the log names, to who has chosen nobody."""
    if witnesses:
        say(
            f"the log says that {len(witnesses)} witness(es) cosign it; believe N of them with --quorum N, "
            "if you know whose they are:"
        )
    for item in witnesses:
        say(f"  {item.partition('=')[2]}")


def quorum_warnings(policy: Policy) -> list[str]:
    """What whoever makes or uses this policy should hear at once."""
    from auditlog.core.quorum import can_part, counted, majority_of

    if not can_part(policy):
        return []
    number = len(counted(policy))
    group = next((each for each in policy.groups if each.name == policy.quorum), None)
    if group is not None and len(group.members) == number:
        rule = f"{group.threshold} of {number} witnesses is no majority (that would be {majority_of(number)})"
    else:
        rule = f"these groups of {number} witnesses have no majority"
    why = "two quorums may have no witness in common: they could cosign two histories"
    return [f"{rule}, so {why}, and a quorum alone will not date a broken promise"]


def trust_text(policy: str, *, devnet: str | None, require: list[str] | None, issuer: dict[str, str]) -> str:
    """The text of a trust file; `require` None leaves the format's default, [quorum, anchor].

    Raises:
        ConfigurationError: a key or word that no trust file may hold.
    """
    from auditlog.core import canonical
    from auditlog.core.trust import format_trust, parse_trust

    value: dict[str, Any] = {
        "v": "auditlog/trust@v1",
        "policy": policy,
        "issuer": issuer,
    }
    if devnet is not None:
        value["devnet"] = _vkey(devnet)
    if require is not None:
        value["require"] = sorted(set(require) - {"nothing"})
    try:
        return format_trust(parse_trust(canonical.encode(value))).decode("utf-8")
    except MalformedError as error:
        raise ConfigurationError(str(error)) from error


def policy_text(keys: list[str], witnesses: list[str], quorum: int) -> str:
    """A C2SP tlog-policy with these logs, and `quorum` of
    these NAME=VKEY witnesses; raises ConfigurationError.
    """
    lines = [f"log {_vkey(key)}" for key in keys]
    names = []
    for item in witnesses:
        name, separator, key = item.partition("=")
        if not separator:
            raise ConfigurationError("expected NAME=VKEY for --witness, found no '='")
        names.append(name)
        lines.append(f"witness {name} {_vkey(key)}")
    if quorum > len(names):
        raise ConfigurationError(f"expected a quorum of at most {len(names)} witnesses, found {quorum}")
    if quorum:
        lines.append(f"group witnesses {quorum} {' '.join(names)}")
    lines.append("quorum witnesses" if quorum else "quorum none")
    return "".join(f"{line}\n" for line in lines)


def read_policy(path: Path) -> Policy:
    """A tlog-policy in a file.

    Raises:
        ConfigurationError: it cannot be read, or is none.
    """
    from auditlog.core.policy import parse_policy

    try:
        return parse_policy(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"expected a policy in {path}, found {type(error).__name__}") from error
    except MalformedError as error:
        raise ConfigurationError(f"{path}: {error}") from error


def with_logs(policy: Policy, keys: list[str]) -> str:
    """The text of a policy, before it a line for each of these keys that it does not name."""
    named = {log.verifier.vkey for log in policy.logs}
    missing = [vkey for vkey in map(_vkey, keys) if vkey not in named]
    return "".join(f"log {vkey}\n" for vkey in missing) + policy.text


def _vkey(text: str) -> str:
    """A vkey itself, or the name of a file that holds one."""
    return text if _is_vkey(text) else read_text_line(Path(text), "a vkey")


def _is_vkey(value: object) -> bool:
    return isinstance(value, str) and "+" in value


def pinned_trust(source: str) -> Trust:
    """The trust that follows from what a log says of itself: marked as the operator's, no witnesses.

    Raises:
        ConfigurationError: no log answers at that URL.
    """
    from auditlog.core.trust import parse_trust

    said = _ask_log(source)
    issuer = {"name": said["origin"], "role": "operator"}
    text = trust_text(policy_text([said["vkey"]], [], 0), devnet=None, require=[], issuer=issuer)
    return parse_trust(text.encode("utf-8"))


def _ask_log(source: str) -> dict[str, Any]:
    """Read what a log says of itself: attacker-controlled, and marked so in the trust file."""
    from auditlog.verify.sources import HttpSource

    if not source.lower().startswith(("http://", "https://")):
        raise ConfigurationError("expected an http(s) URL of a log, found another text")
    prefix, _, last = source.rstrip("/").rpartition("/")
    try:
        with HttpSource(prefix) as asked:
            said = json_module.loads(asked.fetch(last)[:MAX_TRUST_BYTES])
    except (SourceError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"expected a log at {source}, found {type(error).__name__}") from error
    if not isinstance(said, dict) or not isinstance(said.get("origin"), str):
        raise ConfigurationError(f"expected a log at {source}, found another answer")
    found = {key: said.get(key) for key in ("origin", "vkey", "devnet_vkey")}
    # Keys themselves: what names a file when we are told it must not name one when the wire tells it.
    if not _is_plain_vkey(found["vkey"]) or not (
        found["devnet_vkey"] is None or _is_vkey(found["devnet_vkey"])
    ):
        raise ConfigurationError(f"expected the keys of a log at {source}, found another answer")
    return {**found, "witnesses": _offered(said.get("witnesses"), source)}


def _offered(said: object, source: str) -> list[str]:
    """The witnesses a log names, as NAME=VKEY: attacker-controlled. Older services name none."""
    items = [] if said is None else said if isinstance(said, list) else [said]
    keys = [each.get("vkey") if isinstance(each, dict) else None for each in items]
    if len(keys) > _MAX_WITNESSES or not all(map(_is_plain_vkey, keys)):
        raise ConfigurationError(f"expected the witnesses of a log at {source}, found another answer")
    return [f"{str(key).partition('+')[0]}={key}" for key in keys]


def _is_plain_vkey(value: object) -> bool:
    """Whether it can stand in a line of a policy, and is no more than one word of it."""
    return _is_vkey(value) and re.fullmatch(r"[!-~]{1,2048}", str(value)) is not None


def _described(trust: Any) -> dict[str, Any]:
    policy = trust.policy
    return {
        "logs": [log.verifier.vkey for log in policy.logs],
        "witnesses": {witness.name: witness.verifier.vkey for witness in policy.witnesses},
        "quorum": policy.quorum,
        "devnet": None if trust.devnet is None else trust.devnet.vkey,
        "anchors": [
            {"chain_id": pin.chain_id, "contract": f"0x{pin.contract.hex()}"} for pin in trust.anchors
        ],
        "retired": [{"origin": final.origin, "size": final.size} for final in trust.retired],
        "require": list(trust.require),
        "warnings": quorum_warnings(policy),
        "issuer": {"name": trust.issuer.name, "role": trust.issuer.role},
    }


def _sentences(trust: Any) -> list[str]:
    """One line for each thing the file believes; equal files give equal lines."""
    from auditlog.verify.wording import printable

    said = _described(trust)
    lines = [f"log {vkey}" for vkey in said["logs"]]
    lines += [f"witness {name} {vkey}" for name, vkey in said["witnesses"].items()]
    lines += [
        f"group {group.name} {group.threshold} of {' '.join(group.members)}" for group in trust.policy.groups
    ]
    lines.append(f"quorum {said['quorum'] or 'none: nobody but the log vouches for its history'}")
    lines += [f"anchor contract {each['contract']} on chain {each['chain_id']}" for each in said["anchors"]]
    lines += [f"retired log {each['origin']} at size {each['size']}" for each in said["retired"]]
    if said["devnet"]:
        lines.append(f"devnet {said['devnet']} (development only: proves nothing to an outsider)")
    lines.append(f"requires {', '.join(said['require']) or 'nothing beyond the log signature'}")
    lines.append(f"made by {printable(said['issuer']['name'])} ({said['issuer']['role']})")
    return lines

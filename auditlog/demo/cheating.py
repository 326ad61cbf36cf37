"""The cheats, and who notices: each runs on copies, and a separate process judges what an outsider can see.

A check names the evidence the verifier was given. It never has the operator's database, and the forged logs
are perfect inside themselves (see `auditlog.attack.forging`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from auditlog.demo import cheats, loan_model
from auditlog.demo.customer import collect_receipts, wait_until_recording
from auditlog.demo.operator import ORIGIN, Operator
from auditlog.demo.processes import Servers, run_auditlog

CUT = 20
"""How many of the newest entries the operator cuts off."""


@dataclass(frozen=True)
class Check:
    """One run of the verifier and what it should have said."""

    name: str
    expected_exit: int
    exit_code: int
    said: str

    @property
    def is_as_expected(self) -> bool:
        """Whether the verifier said what an honest verifier must."""
        return self.exit_code == self.expected_exit

    def to_json(self) -> dict[str, Any]:
        """The check as a JSON object."""
        return {
            "name": self.name,
            "expected_exit": self.expected_exit,
            "exit_code": self.exit_code,
            "said": self.said,
            "as_expected": self.is_as_expected,
        }


def judge(name: str, expected_exit: int, folder: Path, arguments: Sequence[str]) -> Check:
    """Run `auditlog verify ARGUMENTS --json` in another process and keep its headline."""
    outcome = run_auditlog(["verify", *arguments, "--json"], folder=folder)
    return Check(name, expected_exit, outcome.exit_code, _headline(outcome.output))


def _headline(output: str) -> str:
    try:
        receipts = json.loads(output)["receipts"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return output.strip()[-200:]
    worst = max(receipts, key=lambda receipt: receipt["exit_code"] == 1)
    return str(worst.get("headline") or worst.get("error"))


def honest_control(operator: Operator, receipts: Sequence[Path], model: str) -> Check:
    """Everything an honest operator did must pass, with every check the cheats are caught by switched on."""
    arguments = [
        *map(str, receipts),
        "--trust",
        str(operator.folder / "trust.json"),
        "--log",
        str(operator.public_log),
    ]
    arguments += ["--expect", f"model={model}"]
    return judge(f"honest control, {len(receipts)} receipts", 0, operator.folder, arguments)


def honest_promises(operator: Operator, promises: Sequence[Path]) -> Check:
    """Every promise an honest operator gave is in the log."""
    name = f"honest control, {len(promises)} promises"
    arguments = ["promise", "check", *map(str, promises), "--trust", str(operator.folder / "trust.json")]
    outcome = run_auditlog([*arguments, "--log", str(operator.public_log)], folder=operator.folder)
    # The text ends with a count of each verdict and what holds for all of them.
    return Check(name, 0, outcome.exit_code, " ".join(outcome.output[-300:].split()))


def edited_log(operator: Operator, scratch: Path, receipt: Path) -> Check:
    """Rewrite an old decision, rebuild and re-sign the whole log; a receipt issued before shows it."""
    entries = cheats.read_entries(operator.public_log)
    victim = cheats.first_decision(entries)
    entries[victim] = cheats.edit_decision(entries[victim])
    return _judge_forged_log(f"edits old entry {victim}", operator, scratch / "edited", entries, receipt)


def truncated_log(operator: Operator, scratch: Path, receipt: Path) -> Check:
    """Cut off the newest entries and re-sign; a receipt into the longer log shows it."""
    entries = cheats.read_entries(operator.public_log)[:-CUT]
    return _judge_forged_log(f"cuts off the newest {CUT}", operator, scratch / "cut", entries, receipt)


def _judge_forged_log(
    name: str, operator: Operator, forged: Path, entries: list[bytes], receipt: Path
) -> Check:
    cheats.write_log(forged, entries, origin=ORIGIN, signer=operator.signer())
    trust = str(operator.folder / "trust.json")
    return judge(name, 1, operator.folder, [str(receipt), "--trust", trust, "--log", str(forged)])


def forged_receipt(operator: Operator, scratch: Path, receipt: Path) -> Check:
    """Change what a receipt says and hand it on; the receipt alone shows it, offline."""
    forged = scratch / "forged.json"
    forged.write_bytes(cheats.forge_receipt(receipt.read_bytes()))
    return judge(
        "forges a receipt", 1, operator.folder, [str(forged), "--trust", str(operator.folder / "trust.json")]
    )


class SwappedModel:
    """Another model file behind the same name, on a copy of the operator, with the servers restarted.

    Starting is separate from judging, so that the servers load while other cheats are judged.
    """

    def __init__(self, operator: Operator, scratch: Path, servers: Servers) -> None:
        self._honest = operator
        self._servers = servers
        self._copy = operator.copy(scratch / "swapped")
        self._receipts = scratch / "swapped-receipts"
        cheats.swap_weights(self._copy.loan_model / loan_model.WEIGHTS_FILE)
        self._copy.witnesses.start(servers)
        self._copy.start_loan_api(servers)
        self._copy.witnesses.wait(servers)
        self._copy.start_log(servers)

    def judge(self, application: dict[str, float], model: str) -> Check:
        """One decision by the swapped model; its receipt is genuine, but names another fingerprint."""
        self._servers.wait("log", f"http://127.0.0.1:{self._copy.log_port}/health")
        self._servers.wait("loan", f"http://127.0.0.1:{self._copy.loan_port}/health")
        with httpx.Client() as client:
            url = f"http://127.0.0.1:{self._copy.loan_port}/decide"
            answer = wait_until_recording(client, url, application)
            (receipt,) = collect_receipts(client, [answer], self._receipts)
        arguments = [
            str(receipt),
            "--trust",
            str(self._honest.folder / "trust.json"),
            "--expect",
            f"model={model}",
        ]
        return judge("swaps the model file", 1, self._honest.folder, arguments)

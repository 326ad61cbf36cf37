"""The demo, act by act: decide, record, anchor, verify,
then cheat. Prints under 25 lines and a progress line.

Everything shown comes from what the servers and the verifier processes said in this run.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from auditlog.demo import cheating, loan_model
from auditlog.demo.cheating import Check
from auditlog.demo.customer import Answer, ask, collect_receipts, wait_until_recording
from auditlog.demo.operator import Operator
from auditlog.demo.processes import Servers, run_auditlog
from auditlog.errors import AuditLogError, ConfigurationError

MARKER = ".auditlog-demo"
"""Says that a folder was made by a demo, so that the next one may replace it."""

_SHOWN_FACTS = (
    "index",
    "request",
    "response",
    "producer",
    "start",
    "model",
    "devnet_anchor",
    "model_ran",
    "fair",
)
_PROMPT = "Write two sentences about why records of automated decisions should be open to check."


@dataclass
class Result:
    """What happened, for `--json` and for the closing lines."""

    folder: Path
    decisions: int = 0
    entries: int = 0
    model: str = ""
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_as_expected(self) -> bool:
        """Whether every honest thing passed and every cheat was caught."""
        return bool(self.checks) and all(check.is_as_expected for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON object."""
        return {
            "folder": str(self.folder),
            "decisions": self.decisions,
            "entries": self.entries,
            "model": self.model,
            "checks": [check.to_json() for check in self.checks],
            "as_expected": self.is_as_expected,
            "seconds": round(self.seconds, 1),
        }


class Story:
    """One run of the demo. `say` prints a line, `doing` replaces the progress text."""

    def __init__(
        self,
        folder: Path,
        *,
        decisions: int,
        with_llm: bool,
        say: Callable[[str], None],
        doing: Callable[[str], None],
    ) -> None:
        self._operator = Operator.at(folder)
        self._decisions = decisions
        self._with_llm = with_llm
        self._say = say
        self._doing = doing
        self._result = Result(folder)
        self._receipts: list[Path] = []

    def run(self) -> Result:
        """Play all acts. Leaves the honest end state in the folder."""
        started = time.monotonic()
        folder = self._operator.folder
        _take(folder)
        with (
            tempfile.TemporaryDirectory(prefix="auditlog-demo-") as scratch,
            ThreadPoolExecutor(1) as background,
        ):
            # The weights are converted while the mortgages are decided: the first verdict need not wait for
            # them.
            assistant = background.submit(_convert) if self._with_llm else None
            with Servers(self._operator.home / "output") as servers:
                self._act_mortgages(servers)
                if assistant is not None:
                    self._act_assistant(servers, assistant)
            self._act_cheating(Path(scratch))
        self._result.decisions = len(self._receipts)
        self._result.seconds = time.monotonic() - started
        return self._result

    def _act_mortgages(self, servers: Servers) -> None:
        operator = self._operator
        self._doing("making keys, starting the log and the mortgage API (torch)")
        operator.prepare()
        operator.start_log(servers)
        loan_model.train(operator.loan_model)
        operator.start_loan_api(servers)
        servers.wait("log", f"http://127.0.0.1:{operator.log_port}/health")
        servers.wait("loan", f"http://127.0.0.1:{operator.loan_port}/health")
        with httpx.Client() as client:
            applications, answers, p50_ms = self._decide(client)
            self._doing("anchoring and collecting receipts")
            self._receipts += collect_receipts(client, answers, operator.folder / "receipts")
        entries = _tree_size(operator)
        self._result.entries = entries
        self._say(
            f"1  {len(answers)} real applications decided behind the middleware (median {p50_ms:.1f} ms)"
        )
        self._say(f"   {entries} entries in the public log, anchored on an in-process devnet")
        self._show_one(applications, answers)

    def _decide(self, client: httpx.Client) -> tuple[list[dict[str, float]], list[Answer], float]:
        url = f"http://127.0.0.1:{self._operator.loan_port}/decide"
        real = loan_model.held_out()
        applications = [real[i % len(real)] for i in range(self._decisions)]
        answers, seconds = [wait_until_recording(client, url, applications[0])], []
        for number, application in enumerate(applications[1:], 2):
            began = time.perf_counter()
            answers.append(ask(client, url, application))
            seconds.append(time.perf_counter() - began)
            self._doing(f"deciding application {number} of {self._decisions}")
        return applications, answers, 1000 * statistics.median(seconds or [0.0])

    def _show_one(self, applications: list[dict[str, float]], answers: list[Answer]) -> None:
        refused = next((i for i, a in enumerate(answers) if not json.loads(a.response)["approved"]), 0)
        answer, application = answers[refused], applications[refused]
        disclosed = self._operator.home / "output" / "applicant.disclosures.json"
        disclosed.write_bytes(answer.disclosures(self._receipts[refused].read_bytes()))
        arguments = [
            "verify",
            str(self._receipts[refused]),
            "--trust",
            str(self._operator.folder / "trust.json"),
        ]
        outcome = run_auditlog(
            [*arguments, "--disclosures", str(disclosed), "--json"], folder=self._operator.folder
        )
        report = json.loads(outcome.output)["receipts"][0]
        self._result.checks.append(
            Check("one applicant's receipt, with their bytes", 0, outcome.exit_code, report["headline"])
        )
        self._result.model = _model_of(report)
        verdict = json.loads(answer.response)
        self._say(
            f"2  one applicant ({application['loan_thousands']:.0f}k at {application['loan_to_price']:.0%} "
            f"of the price): {'approved' if verdict['approved'] else 'refused'} at {verdict['probability']}. "
            "Their receipt, checked offline:"
        )
        for line in _graded_lines(report):
            self._say(line)
        self._say(f"   {report['headline'].partition('. ')[0]}.")

    def _act_assistant(self, servers: Servers, converted: Future[tuple[Path, str]]) -> None:
        self._doing("preparing SmolLM2-135M (once, about 20 s)")
        folder, name = converted.result()
        operator = self._operator
        self._doing("loading SmolLM2-135M")
        operator.start_assistant(servers, folder, name)
        servers.wait("assistant", f"http://127.0.0.1:{operator.assistant_port}/health")
        base = f"http://127.0.0.1:{operator.assistant_port}/v1"
        body: dict[str, Any] = {"model": name, "max_tokens": 40, "stream": True}
        body["messages"] = [{"role": "user", "content": _PROMPT}]
        with httpx.Client() as client:
            self._doing("SmolLM2-135M is writing")
            wait_until_recording(
                client, f"{base}/completions", {"model": name, "prompt": "Open", "max_tokens": 1}
            )
            streamed = ask(client, f"{base}/chat/completions", body)
            plain = ask(
                client, f"{base}/completions", {"model": name, "prompt": "A receipt is", "max_tokens": 16}
            )
            self._doing("collecting the assistant's receipts")
            self._receipts += collect_receipts(client, [streamed, plain], operator.folder / "receipts")
        self._result.entries = _tree_size(operator)
        self._say(f'3  {name} writes: "{_shorten(_streamed_text(streamed.response))}" (streamed; 2 receipts)')

    def _act_cheating(self, scratch: Path) -> None:
        operator, model = self._operator, self._result.model
        loans = self._receipts[: self._decisions]
        self._say(
            "4  now the operator cheats, on copies; another process judges from receipts and public files:"
        )
        with Servers(scratch / "output") as servers:
            swapped = cheating.SwappedModel(operator, scratch, servers)
            judgements: tuple[tuple[str, Callable[[], Check]], ...] = (
                ("the honest control", lambda: cheating.honest_control(operator, loans, model)),
                ("an edited log", lambda: cheating.edited_log(operator, scratch, loans[-1])),
                ("a cut log", lambda: cheating.truncated_log(operator, scratch, self._receipts[-1])),
                ("a forged receipt", lambda: cheating.forged_receipt(operator, scratch, loans[0])),
                ("a swapped model", lambda: swapped.judge(loan_model.held_out()[0], model)),
            )
            for name, check in judgements:
                self._doing(f"judging {name}")
                self._tell(check())

    def _tell(self, check: Check) -> None:
        self._result.checks.append(check)
        right = "passes" if check.expected_exit == 0 else "caught"
        mark = right if check.is_as_expected else f"WRONG (exit {check.exit_code})"
        detail = "" if check.expected_exit == 0 and check.is_as_expected else f": {_shorten(check.said, 74)}"
        self._say(f"   {check.name:<30} {mark}{detail}")


def _take(folder: Path) -> None:
    """Make the folder empty; refuse to empty one that no demo made."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise ConfigurationError(
                f"expected {folder} to be empty or made by an earlier demo, found other files"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


def _convert() -> tuple[Path, str]:
    """Convert in a process of its own: it takes gigabytes for a moment, and prints."""
    import subprocess
    import sys

    from auditlog.demo import assistant_model

    if not assistant_model.is_converted():
        code = "from auditlog.demo.assistant_model import convert; convert()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise AuditLogError(
                f"expected the language model to convert, found: {done.stderr.strip()[-300:]}"
            )
    return assistant_model.cache_folder(), assistant_model.MODEL_NAME


def _tree_size(operator: Operator) -> int:
    return int((operator.public_log / "checkpoint").read_text(encoding="utf-8").split("\n")[1])


def _model_of(report: dict[str, Any]) -> str:
    return next((str(f["value"]) for f in report["facts"] if f["name"] == "model"), "")


def _graded_lines(report: dict[str, Any]) -> list[str]:
    """The facts a person asks about first, each with its grade; `auditlog verify` prints all of them."""
    facts = {fact["name"]: fact for fact in report["facts"]}
    chosen = [facts[name] for name in _SHOWN_FACTS if name in facts]
    return [f"   {fact['grade'].upper():<12} {_shorten(fact['text'], 100)}" for fact in chosen]


def _streamed_text(stream: bytes) -> str:
    text = ""
    for line in stream.decode("utf-8").splitlines():
        if line.startswith("data: {"):
            text += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    return text


def _shorten(text: str, most: int = 90) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"

"""The demo, act by act: decide, record, anchor, verify, then cheat. Prints 32 lines and a progress line.

Everything shown comes from what the servers and the verifier processes said in this run.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from auditlog.demo import cheating, loan_model
from auditlog.demo.cheating import Check
from auditlog.demo.cosigning import DemoWitness
from auditlog.demo.customer import Answer, ask, collect_receipts, keep_promises, wait_until_recording
from auditlog.demo.omission import Omissions
from auditlog.demo.operator import Operator
from auditlog.demo.processes import Servers, run_auditlog
from auditlog.demo.telling import graded_lines, model_of, said, shorten, streamed_text
from auditlog.errors import AuditLogError, ConfigurationError

MARKER = ".auditlog-demo"
"""Says that a folder was made by a demo, so that the next one may replace it."""

_YOUNG = 2
"""At least so many decisions come after the witness is copied: one in the middle, one at the end."""
_PATIENCE_S = 60.0
_JUDGES = 2
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
        self._promises: list[Path] = []
        self._earlier_witness: DemoWitness | None = None

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
                self._act_mortgages(servers, Path(scratch))
                if assistant is not None:
                    self._act_assistant(servers, assistant)
            self._act_cheating(Path(scratch))
        self._result.decisions = len(self._receipts)
        self._result.seconds = time.monotonic() - started
        return self._result

    def _act_mortgages(self, servers: Servers, scratch: Path) -> None:
        operator = self._operator
        self._doing("making keys, starting a witness, the log and the mortgage API (torch)")
        operator.prepare()
        operator.witness.start(servers)
        operator.witness.wait(servers)
        operator.start_log(servers)
        loan_model.train(operator.loan_model)
        operator.start_loan_api(servers)
        servers.wait("log", f"http://127.0.0.1:{operator.log_port}/health")
        servers.wait("loan", f"http://127.0.0.1:{operator.loan_port}/health")
        with httpx.Client() as client:
            applications, answers, p50_ms = self._decide(client, scratch)
            self._doing("anchoring and collecting receipts")
            self._receipts += collect_receipts(client, answers, operator.folder / "receipts")
            self._promises += keep_promises(client, answers, operator.folder / "promises")
        entries = _tree_size(operator)
        self._result.entries = entries
        self._say(
            f"1  {len(answers)} real applications decided behind the middleware (median {p50_ms:.1f} ms), "
            f"{sum(answer.promise is not None for answer in answers)} answers came with a promise"
        )
        self._say(
            f"   {entries} entries in the public log, cosigned by a witness, anchored on an in-process devnet"
        )
        self._show_one(applications, answers)

    def _decide(
        self, client: httpx.Client, scratch: Path
    ) -> tuple[list[dict[str, float]], list[Answer], float]:
        url = f"http://127.0.0.1:{self._operator.loan_port}/decide"
        real = loan_model.held_out()
        applications = [real[i % len(real)] for i in range(self._decisions)]
        answers: list[Answer] = []
        seconds: list[float] = []
        late = max(0, self._decisions - max(_YOUNG, self._decisions // 4))
        for number, application in enumerate(applications):
            if number == late:
                self._copy_witness(scratch, at_least=number + 1)
            self._doing(f"deciding application {number + 1} of {self._decisions}")
            if not answers:
                answers.append(wait_until_recording(client, url, application))
                continue
            began = time.perf_counter()
            answers.append(ask(client, url, application))
            seconds.append(time.perf_counter() - began)
        return applications, answers, 1000 * statistics.median(seconds or [0.0])

    def _copy_witness(self, scratch: Path, *, at_least: int) -> None:
        """Keep the witness as it is before the last decisions: for the worlds where these are dropped."""
        self._doing("waiting for a cosignature")
        deadline = time.monotonic() + _PATIENCE_S
        while self._operator.witness.known_size() < at_least:
            if time.monotonic() > deadline:
                raise AuditLogError(f"expected the witness to cosign {at_least} entries, found fewer")
            time.sleep(0.05)
        self._earlier_witness = self._operator.witness.copy(scratch / "witness")

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
        self._result.model = model_of(report)
        verdict = json.loads(answer.response)
        self._say(
            f"2  one applicant ({application['loan_thousands']:.0f}k at {application['loan_to_price']:.0%} "
            f"of the price): {'approved' if verdict['approved'] else 'refused'} at {verdict['probability']}. "
            "Their receipt, checked offline:"
        )
        for line in graded_lines(report):
            self._say(line)
        self._say(f"   {report['headline'].partition('. ')[0]}.")
        self._say(
            "   Witness and devnet run on the operator's own machine here, so neither of them binds it."
        )

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
            self._promises += keep_promises(client, [streamed, plain], operator.folder / "promises")
        self._result.entries = _tree_size(operator)
        promised = "its promise is a comment in the stream" if streamed.promise else "no promise in time"
        text = shorten(streamed_text(streamed.response), 70)
        self._say(f'3  {name} writes: "{text}" (streamed; {promised}; 2 receipts)')

    def _act_cheating(self, scratch: Path) -> None:
        operator, model = self._operator, self._result.model
        loans = self._receipts[: self._decisions]
        self._say(
            "4  now the operator cheats, on copies; another process judges from receipts and public files:"
        )
        with Servers(scratch / "output") as servers, ThreadPoolExecutor(_JUDGES) as judges:
            swapped = cheating.SwappedModel(operator, scratch, servers)
            judgements: tuple[Callable[[], Check], ...] = (
                lambda: cheating.honest_control(operator, loans, model),
                lambda: cheating.honest_promises(operator, self._promises),
                lambda: cheating.edited_log(operator, scratch, loans[-1]),
                lambda: cheating.truncated_log(operator, scratch, self._receipts[-1]),
                lambda: cheating.forged_receipt(operator, scratch, loans[0]),
                lambda: swapped.judge(loan_model.held_out()[0], model),
            )
            checks = [judges.submit(judgement) for judgement in judgements]
            omissions = self._omissions(scratch, servers)
            dropped = [judges.submit(omissions.judge, cause) for cause in omissions.causes]
            self._tell_all(checks)
            self._say(
                "5  it drops one promised decision before the witness sees it, and signs everything after it "
                "anew:"
            )
            self._tell_all(dropped)

    def _omissions(self, scratch: Path, servers: Servers) -> Omissions:
        if self._earlier_witness is None:
            raise AuditLogError("expected a witness from before the last decisions, found none")
        loans = {path.stem for path in self._receipts[: self._decisions]}
        promises = [path for path in self._promises if path.stem in loans]
        return Omissions(self._operator, scratch, servers, self._earlier_witness, promises)

    def _tell_all(self, checks: Sequence[Future[Any]]) -> None:
        for number, check in enumerate(checks, 1):
            self._doing(f"judging, {number} of {len(checks)}")
            self._tell(check.result())

    def _tell(self, check: Check) -> None:
        self._result.checks.append(check)
        right = "passes" if check.expected_exit == 0 else "caught"
        mark = right if check.is_as_expected else f"WRONG (exit {check.exit_code})"
        detail = "" if check.expected_exit == 0 and check.is_as_expected else f": {shorten(said(check), 74)}"
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

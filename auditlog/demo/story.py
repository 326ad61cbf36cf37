"""The demo, act by act: decide, record, anchor, verify, then cheat. Prints 37 lines and a progress line.

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
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from auditlog.demo import loan_model, telling, watching
from auditlog.demo.cheating import Check
from auditlog.demo.cosigning import WITNESSES, DemoWitnesses
from auditlog.demo.customer import Answer, ask, collect_receipts, keep_promises, wait_until_recording
from auditlog.demo.operator import Operator
from auditlog.demo.processes import Servers, run_auditlog, threads
from auditlog.demo.telling import model_of, shorten, streamed_text
from auditlog.demo.trial import Held, Trial
from auditlog.demo.watching import DemoMonitor, Seen
from auditlog.errors import AuditLogError, ConfigurationError

MARKER = ".auditlog-demo"
"""Says that a folder was made by a demo, so that the next one may replace it."""

_YOUNG = 2
"""At least so many decisions come after the witnesses are copied: one in the middle, one at the end."""
_PATIENCE_S = 60.0
_JUDGES, _LOADERS = 2, 2
_PROMPT = "Write two sentences about why records of automated decisions should be open to check."


@dataclass
class Result:
    """What happened, for `--json` and for the closing lines."""

    folder: Path
    decisions: int = 0
    entries: int = 0
    model: str = ""
    monitor: Seen | None = None
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
            "witnesses": len(WITNESSES),
            "monitor": None if self.monitor is None else asdict(self.monitor),
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
        width: int = telling.WIDTH,
    ) -> None:
        self._operator = Operator.at(folder)
        self._decisions = decisions
        self._with_llm = with_llm
        self._say = say
        self._doing = doing
        self._width = width
        self._result = Result(folder)
        self._receipts: list[Path] = []
        self._promises: list[Path] = []
        self._earlier: DemoWitnesses | None = None
        self._monitor = DemoMonitor(self._operator)
        self._promised = 0

    def run(self) -> Result:
        """Play all acts. Leaves the honest end state in the folder."""
        started = time.monotonic()
        _take(self._operator.folder)
        # Left in the reverse order: servers end first, so that no thread waits for them.
        with ExitStack() as stack:
            # A thread that was interrupted may still write there.
            temporary = tempfile.TemporaryDirectory(prefix="auditlog-demo-", ignore_cleanup_errors=True)
            scratch = Path(stack.enter_context(temporary))
            background, judges = stack.enter_context(threads(_LOADERS)), stack.enter_context(threads(_JUDGES))
            copies = stack.enter_context(Servers(scratch / "output", drains=False))
            servers = stack.enter_context(Servers(self._operator.home / "output"))
            # The weights are converted while the mortgages are decided: the first verdict need not wait for
            # them.
            assistant = background.submit(_convert) if self._with_llm else None
            self._start(servers, background)
            loading = self._act_mortgages(servers, scratch, background, assistant)
            trial = self._trial(scratch, copies, judges)
            if loading is not None:
                self._act_assistant(servers, loading)
            self._end_honest(servers)
            self._act_cheating(trial)
        self._result.decisions = len(self._receipts)
        self._result.seconds = time.monotonic() - started
        return self._result

    def _start(self, servers: Servers, background: ThreadPoolExecutor) -> None:
        operator = self._operator
        self._doing("starting two witnesses, a log, a monitor and the mortgage API (torch)")
        trained = background.submit(loan_model.train, operator.loan_model)
        operator.prepare()
        operator.witnesses.start(servers)
        trained.result()
        operator.start_loan_api(servers)
        # The log asks them, before it signs anything, what they have cosigned.
        operator.witnesses.wait(servers)
        operator.start_log(servers)
        servers.wait("log", f"http://127.0.0.1:{operator.log_port}/health")
        self._monitor.start(servers)
        servers.wait("loan", f"http://127.0.0.1:{operator.loan_port}/health")

    def _act_mortgages(
        self,
        servers: Servers,
        scratch: Path,
        background: ThreadPoolExecutor,
        assistant: Future[tuple[Path, str]] | None,
    ) -> Future[str] | None:
        """Returns the name of the language model, which is loading from the last decision on."""
        operator = self._operator
        with httpx.Client() as client:
            applications, answers, p50_ms = self._decide(client, scratch)
            loading = None
            if assistant is not None:
                loading = background.submit(_start_assistant, operator, servers, assistant)
            self._doing("anchoring and collecting receipts")
            self._promises += keep_promises(client, answers, operator.folder / "promises")
            self._receipts += collect_receipts(client, answers, operator.folder / "receipts")
        entries = operator.published_size()
        self._result.entries = entries
        self._say(
            f"1  {len(answers)} real applications decided behind the middleware (median {p50_ms:.1f} ms), "
            f"{sum(answer.promise is not None for answer in answers)} answers came with a promise"
        )
        self._say(
            f"   {entries} entries in the public log, cosigned by two witnesses, "
            "anchored on an in-process devnet"
        )
        self._show_one(applications, answers)
        return loading

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
                self._copy_witnesses(scratch, at_least=number + 1)
            self._doing(f"deciding application {number + 1} of {self._decisions}")
            if not answers:
                answers.append(wait_until_recording(client, url, application))
                continue
            began = time.perf_counter()
            answers.append(ask(client, url, application))
            seconds.append(time.perf_counter() - began)
        return applications, answers, 1000 * statistics.median(seconds or [0.0])

    def _copy_witnesses(self, scratch: Path, *, at_least: int) -> None:
        """Keep them as they are before the last decisions: for the worlds where these are dropped."""
        self._doing("waiting for cosignatures")
        deadline = time.monotonic() + _PATIENCE_S
        while min(self._operator.witnesses.known_sizes()) < at_least:
            if time.monotonic() > deadline:
                raise AuditLogError(f"expected the witnesses to cosign {at_least} entries, found fewer")
            time.sleep(0.05)
        self._earlier = self._operator.witnesses.copy(scratch / "witnesses")

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
        for line in telling.graded_lines(report, self._width):
            self._say(line)
        self._say(f"   {report['headline'].partition('. ')[0]}.")
        self._say(
            "   Witnesses, monitor and devnet run on the operator's own machine here: none of them binds it."
        )

    def _act_assistant(self, servers: Servers, loading: Future[str]) -> None:
        self._doing("loading SmolLM2-135M (the first time it is converted, about 20 s)")
        name, operator = loading.result(), self._operator
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
        self._result.entries = operator.published_size()
        promised = "its promise is a comment in the stream" if streamed.promise else "no promise in time"
        text = shorten(streamed_text(streamed.response), 70)
        self._say(f'3  {name} writes: "{text}" (streamed; {promised}; 2 receipts)')

    def _trial(self, scratch: Path, copies: Servers, judges: ThreadPoolExecutor) -> Trial:
        if self._earlier is None:
            raise AuditLogError("expected witnesses from before the last decisions, found none")
        loans = Held(tuple(self._receipts), tuple(self._promises), self._result.model)
        trial = Trial(self._operator, scratch, copies, judges, loans)
        trial.begin(self._earlier)
        self._promised = len(self._promises)
        return trial

    def _end_honest(self, servers: Servers) -> None:
        """Models stop and say their last word, the log publishes it and stops, the monitor reads it."""
        self._doing("stopping the models and the log")
        servers.stop(*(name for name in ("assistant", "loan") if name in servers.names()))
        servers.stop("log")
        self._doing("the monitor reads the end of the log")
        seen = self._monitor.wait_until_seen(promises=self._promised)
        (code,) = servers.stop(watching.NAME)
        servers.stop(*servers.names())
        self._result.monitor, check = seen, watching.honest_control(seen, code)
        self._result.checks.append(check)
        wrong = "" if check.is_as_expected else f": WRONG (exit {code})"
        self._say(
            f"   A monitor, another process, checked {seen.entries} entries and {seen.promises} promises: "
            f"{seen.alarms} alarms{wrong}"
        )

    def _act_cheating(self, trial: Trial) -> None:
        self._say(
            "4  now the operator cheats, on copies; another process judges from receipts and public files:"
        )
        self._doing("forging logs, starting another model")
        checks, dropped = trial.cheats(self._receipts, self._promises, self._monitor.state)
        self._tell_all(checks)
        self._say(
            "5  it drops a promised decision before the witnesses see it, and signs everything after it anew:"
        )
        self._tell_all(dropped)

    def _tell_all(self, checks: Sequence[Future[Any]]) -> None:
        for number, check in enumerate(checks, 1):
            self._doing(f"judging, {number} of {len(checks)}")
            self._tell(check.result())

    def _tell(self, check: Check) -> None:
        self._result.checks.append(check)
        self._say(telling.verdict_line(check, self._width))


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


def _start_assistant(operator: Operator, servers: Servers, converted: Future[tuple[Path, str]]) -> str:
    folder, name = converted.result()
    operator.start_assistant(servers, folder, name)
    return name

"""The demo as a user runs it, and the official OpenAI client against its language model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from auditlog.attack import resealing
from auditlog.cli.main import run
from auditlog.core.merkle import hash_leaf
from auditlog.demo import cheats
from auditlog.demo.assistant_model import MODEL_NAME, convert
from auditlog.demo.cosigning import WITNESSES
from auditlog.demo.customer import ask, collect_receipts, keep_promises, wait_until_recording
from auditlog.demo.operator import ORIGIN, Operator
from auditlog.demo.processes import Servers, run_auditlog
from auditlog.errors import AuditLogError
from tests.support import readme


def auditlog(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "auditlog.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One headless run without the language model."""
    folder = tmp_path_factory.mktemp("demo")
    done = auditlog("demo", "--dir", str(folder), "--decisions", "40", "--json", "--no-llm")
    assert done.returncode == 0, done.stderr
    return folder, {**json.loads(done.stdout), "story": done.stderr}


def test_demo_leaves_the_honest_end_state(demo: tuple[Path, dict[str, Any]]) -> None:
    """A receipt and a promise a decision, a trust file that demands both witnesses and devnet and says that
    the operator made it, the log as tiles, its vkey.
    """
    folder, result = demo
    assert len(list((folder / "receipts").glob("*.json"))) == result["decisions"] == 40
    assert len(list((folder / "promises").glob("*.promise"))) == 40
    trust = json.loads((folder / "trust.json").read_text())
    assert f"group witnesses 2 {' '.join(WITNESSES)}" in trust["policy"]
    assert sorted(trust["require"]) == ["devnet", "quorum"]
    assert trust["issuer"]["role"] == "operator"
    assert (folder / "log" / "checkpoint").exists()
    assert {path.name for path in (folder / "log").iterdir()} == {"checkpoint", "tile"}
    assert (folder / "log.vkey").read_text().startswith("demo.example/decisions+")


def test_the_readme_opens_with_what_the_demo_prints(demo: tuple[Path, dict[str, Any]]) -> None:
    """Every line of the story has a line of its shape in the README, in the README's 37 lines."""
    _, result = demo
    printed = [readme.shape(line) for line in result["story"].splitlines() if line.strip()]
    shown = readme.demo_output().splitlines()
    assert set(printed) <= {readme.shape(line) for line in shown}
    assert len(shown) <= 37


def test_demo_catches_every_cheat(demo: tuple[Path, dict[str, Any]]) -> None:
    """The controls pass, each of the four cheats makes the verifier exit 1, and so do the four omissions; the
    monitor exits 1 for what it is shown.
    """
    _, result = demo
    codes = {check["name"]: check["exit_code"] for check in result["checks"]}
    assert result["as_expected"] is True
    assert sorted(codes.values()) == [0] * 4 + [1] * 11


def test_the_headline_says_that_both_witnesses_cosigned(demo: tuple[Path, dict[str, Any]]) -> None:
    """In the verdict on one applicant's receipt, which the story prints; and that nobody is bound by it."""
    _, result = demo
    (headline,) = [check["said"] for check in result["checks"] if check["name"].startswith("one applicant")]
    assert "cosigned by 2 of 2 independent witnesses" in headline
    assert headline.partition(". ")[0] in result["story"]
    assert "none of them binds it" in result["story"]


def test_the_monitor_saw_all_of_the_honest_log_and_raised_nothing(
    demo: tuple[Path, dict[str, Any]],
) -> None:
    """It checked every entry that was ever published, and every promise, beside both witnesses."""
    folder, result = demo
    entries = len(cheats.read_entries(folder / "log"))
    assert result["monitor"] == {"entries": entries, "promises": 40, "alarms": 0}
    assert not (folder / "monitor" / "alarms.jsonl").exists()
    report = json.loads((folder / "operator" / "output" / "monitor.log").read_text().partition("\n")[2])
    assert report["exit_code"] == 0
    (log,) = report["logs"]
    assert {other["name"] for other in log["others"]} == set(WITNESSES) == set(log["cosigned"])


def test_the_monitor_catches_what_it_is_shown(demo: tuple[Path, dict[str, Any]]) -> None:
    """A fork is proven to a third process; that entries are gone is the monitor's word, and said to be."""
    _, result = demo
    told = [(check["alarm"], check["evidence_exit_code"]) for check in result["checks"] if "alarm" in check]
    assert told == [("fork", 0), ("rewind", 3), ("fork", 0)]
    assert "REWIND, its word alone" in result["story"]


def test_a_dropped_decision_is_caught_in_each_of_the_four_ways(demo: tuple[Path, dict[str, Any]]) -> None:
    """Each with its own cause, and with evidence that a third process finds to hold."""
    _, result = demo
    causes = {check["cause"]: check["evidence_exit_code"] for check in result["checks"] if "cause" in check}
    assert causes == dict.fromkeys(("CONFLICT", "SKIPPED", "LATE", "ABSENT"), 0)


def test_only_the_promise_shows_what_was_dropped(demo: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """A log without the entry passes fsck and completeness: these cheats are as good as cheats get."""
    folder, _ = demo
    operator = Operator.at(folder)
    entries = cheats.read_entries(operator.public_log)
    at = cheats.first_decision(entries) + 20
    rest, held = resealing.hold_back(entries, at)
    forged = {
        "conflict": resealing.give_number_away(entries, at),
        "skipped": resealing.pretend_crash(entries, at, operator.producer_signer()),
        "late": [*rest, *held],
    }
    vkey = (folder / "log.vkey").read_text().strip()
    for name, log in forged.items():
        cheats.write_log(tmp_path / name, log, origin=ORIGIN, signer=operator.signer())
        assert run(["fsck", str(tmp_path / name), "--vkey", vkey]) == 0
    for name in ("conflict", "late"):
        where = ["--log", str(tmp_path / name), "--trust", str(folder / "trust.json")]
        assert run(["completeness", *where]) == 0


def test_the_witnesses_refuse_what_they_have_seen_otherwise(
    demo: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Once the entry was cosigned, no log without it is: of the same size, smaller or larger."""
    folder, _ = demo
    operator = Operator.at(folder)
    entries = cheats.read_entries(operator.public_log)
    edited = [*entries[:8], cheats.edit_decision(entries[8]), *entries[9:]]
    dropped = resealing.give_number_away(entries, 8)
    witnesses = operator.witnesses.copy(tmp_path)
    with Servers(tmp_path / "output", drains=False) as servers:
        witnesses.start(servers)
        witnesses.wait(servers)
        for forged in (edited, dropped, [*dropped, *entries[-3:]]):
            cheats.write_log(tmp_path / "log", forged, origin=ORIGIN, signer=operator.signer())
            note = (tmp_path / "log" / "checkpoint").read_text()
            for witness in witnesses.each:
                with pytest.raises(AuditLogError, match="expected a cosignature, found status 4"):
                    witness.cosign(note, [hash_leaf(entry) for entry in forged])


def test_every_receipt_verifies_and_the_log_passes_fsck(demo: tuple[Path, dict[str, Any]]) -> None:
    """A stranger with the receipts, the trust file and the folder gets exit 0 from verify and fsck."""
    folder, _ = demo
    receipts = map(str, sorted((folder / "receipts").glob("*.json")))
    verified = auditlog(
        "verify", *receipts, "--trust", str(folder / "trust.json"), "--log", str(folder / "log")
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    vkey = (folder / "log.vkey").read_text().strip()
    checked = auditlog("fsck", str(folder / "log"), "--vkey", vkey)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_demo_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    """A folder with other files is left as it is, with one line and exit 2."""
    (tmp_path / "precious").write_text("mine")
    done = auditlog("demo", "--dir", str(tmp_path), "--no-llm")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, or a kill, while its servers run: all of them end with it."""
    # A shell's background job, as this suite may be, has SIGINT ignored, and children inherit that.
    heeding = "import os, signal, sys; signal.signal(2, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", heeding, sys.executable, "-m", "auditlog.cli.main", "demo", "--no-llm"]
    command += ["--dir", str(tmp_path / "demo")]
    with (tmp_path / "said").open("wb") as said:
        demo = subprocess.Popen(command, stdout=said, stderr=said)
    output = tmp_path / "demo" / "operator" / "output"
    try:
        # The monitor starts last but for the cheats.
        while demo.poll() is None and not (output / "monitor.log").exists():
            time.sleep(0.05)
        assert len(_processes_of(tmp_path)) >= 4
        demo.send_signal(number)
        assert demo.wait(timeout=60) == 130
    finally:
        demo.terminate()
        demo.wait(timeout=60)
    assert _processes_of(tmp_path) == []
    assert "Traceback" not in (tmp_path / "said").read_text()


def _processes_of(folder: Path) -> list[str]:
    """Command lines of live processes that name something in the folder."""
    lines = subprocess.run(
        ["ps", "-eww", "-o", "stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    return [line for line in lines.splitlines() if str(folder) in line and not line.startswith("Z")]


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """SmolLM2 behind the middleware, with a real log service."""
    operator = Operator.at(tmp_path_factory.mktemp("assistant"))
    operator.prepare()
    model = convert()
    environment = dict(os.environ)
    with Servers(operator.home / "output") as servers:
        operator.witnesses.start(servers)
        operator.witnesses.wait(servers)
        operator.start_log(servers)
        servers.wait("log", f"http://127.0.0.1:{operator.log_port}/health")
        operator.start_assistant(servers, model, MODEL_NAME)
        servers.wait("assistant", f"http://127.0.0.1:{operator.assistant_port}/health")
        yield operator
    os.environ.clear()
    os.environ.update(environment)


def test_the_official_client_streams_through_the_middleware(assistant: Operator) -> None:
    """The `openai` client gets the same text streamed and whole, and finds the decision's id."""
    base = f"http://127.0.0.1:{assistant.assistant_port}/v1"
    asked: dict[str, Any] = {"model": MODEL_NAME, "max_tokens": 8}
    asked["messages"] = [{"role": "user", "content": "Name a colour."}]
    with OpenAI(base_url=base, api_key="none") as client:
        whole = client.chat.completions.create(**asked)
        with client.chat.completions.create(**asked, stream=True) as stream:
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        raw = client.completions.with_raw_response.create(model=MODEL_NAME, prompt="Blue is", max_tokens=4)
    assert streamed == whole.choices[0].message.content != ""
    assert raw.headers["Audit-Id"]


def test_a_streamed_answer_has_a_receipt_that_opens_to_its_bytes(assistant: Operator, tmp_path: Path) -> None:
    """Who kept the stream and its key proves every byte of it, and its fold's fields, offline; its promise,
    from the comment in it or from the log, is kept.
    """
    url = f"http://127.0.0.1:{assistant.assistant_port}/v1/chat/completions"
    body = {"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 5, "stream": True}
    with httpx.Client() as http:
        wait_until_recording(http, url, body)
        answer = ask(http, url, body)
        (receipt,) = collect_receipts(http, [answer], tmp_path / "receipts")
        promises = keep_promises(http, [answer], tmp_path / "promises")
    (tmp_path / "shown.json").write_bytes(answer.disclosures(receipt.read_bytes()))
    arguments = ["verify", str(receipt), "--trust", str(assistant.folder / "trust.json"), "--json"]
    done = run_auditlog([*arguments, "--disclosures", str(tmp_path / "shown.json")], folder=tmp_path)
    assert done.exit_code == 0, done.output
    facts = {fact["name"]: fact for fact in json.loads(done.output)["receipts"][0]["facts"]}
    assert facts["response"]["grade"] == "proven"
    assert f"exactly these {len(answer.response)} bytes" in facts["response"]["text"]
    arguments = ["promise", "check", *map(str, promises), "--trust", str(assistant.folder / "trust.json")]
    checked = run_auditlog([*arguments, "--log", assistant.log_url], folder=tmp_path)
    assert (len(promises), checked.exit_code) == (1, 0), checked.output

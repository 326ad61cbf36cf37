"""The demo as a user runs it, and the official OpenAI client against its language model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import OpenAI

from auditlog.demo.assistant_model import MODEL_NAME, convert
from auditlog.demo.customer import ask, collect_receipts, wait_until_recording
from auditlog.demo.operator import Operator
from auditlog.demo.processes import Servers, run_auditlog
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
    """One receipt a decision, a trust file that demands the devnet, the log as tiles, its vkey."""
    folder, result = demo
    assert len(list((folder / "receipts").glob("*.json"))) == result["decisions"] == 40
    trust = json.loads((folder / "trust.json").read_text())
    assert "quorum none" in trust["policy"]
    assert trust["require"] == ["devnet"]
    assert (folder / "log" / "checkpoint").exists()
    assert {path.name for path in (folder / "log").iterdir()} == {"checkpoint", "tile"}
    assert (folder / "log.vkey").read_text().startswith("demo.example/decisions+")


def test_the_readme_opens_with_what_the_demo_prints(demo: tuple[Path, dict[str, Any]]) -> None:
    """Every line of the story has a line of its shape in the README, in the README's 25 lines."""
    _, result = demo
    printed = [readme.shape(line) for line in result["story"].splitlines() if line.strip()]
    shown = readme.demo_output().splitlines()
    assert set(printed) <= {readme.shape(line) for line in shown}
    assert len(shown) <= 25


def test_demo_catches_every_cheat(demo: tuple[Path, dict[str, Any]]) -> None:
    """The control passes and each of the four cheats makes the verifier exit 1."""
    _, result = demo
    codes = {check["name"]: check["exit_code"] for check in result["checks"]}
    assert result["as_expected"] is True
    assert sorted(codes.values()) == [0, 0, 1, 1, 1, 1]


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


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """SmolLM2 behind the middleware, with a real log service."""
    operator = Operator.at(tmp_path_factory.mktemp("assistant"))
    operator.prepare()
    model = convert()
    environment = dict(os.environ)
    with Servers(operator.home / "output") as servers:
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
    """Who kept the stream and its key proves every byte of it, and its fold's fields, offline."""
    url = f"http://127.0.0.1:{assistant.assistant_port}/v1/chat/completions"
    body = {"messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 5, "stream": True}
    with httpx.Client() as http:
        wait_until_recording(http, url, body)
        answer = ask(http, url, body)
        (receipt,) = collect_receipts(http, [answer], tmp_path / "receipts")
    (tmp_path / "shown.json").write_bytes(answer.disclosures(receipt.read_bytes()))
    arguments = ["verify", str(receipt), "--trust", str(assistant.folder / "trust.json"), "--json"]
    done = run_auditlog([*arguments, "--disclosures", str(tmp_path / "shown.json")], folder=tmp_path)
    assert done.exit_code == 0, done.output
    facts = {fact["name"]: fact for fact in json.loads(done.output)["receipts"][0]["facts"]}
    assert facts["response"]["grade"] == "proven"
    assert f"exactly these {len(answer.response)} bytes" in facts["response"]["text"]

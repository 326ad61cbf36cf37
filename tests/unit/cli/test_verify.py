"""`auditlog verify`: exit codes, several receipts, the current log, disclosures, and inputs of every bad
kind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.main import run
from auditlog.core.disclosure import Disclosures, format_disclosures
from auditlog.core.merkle import hash_leaf
from tests.support.receipts_factory import MODEL_ROOT, Factory, decision_id, shown_field
from tests.support.tlog_writer import write_log

FACTORY = Factory(decisions=5, anchored=(8,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five receipts, a trust file and the log of now."""
    for number, index in enumerate(FACTORY.decisions):
        (tmp_path / f"{number}.json").write_bytes(FACTORY.receipt_bytes(index))
    (tmp_path / "trust.json").write_bytes(FACTORY.trust_bytes(require=["devnet"]))
    write_log(tmp_path / "log", FACTORY.entries, FACTORY.log_key)
    return tmp_path


class Call:
    """One call of the command line in this process, in JSON."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        self.code = run(["verify", *map(str, arguments), "--json"])
        captured = capsys.readouterr()
        self.error = captured.err
        self.json: Any = json.loads(captured.out) if captured.out else None


def test_an_honest_receipt_is_exit_0_as_text(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text names the verdict first and shows the three grades."""
    monkeypatch.chdir(folder)  # a long path would take a second line
    assert run(["verify", "0.json", "--trust", "trust.json"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].startswith("VERIFIED: entry ")
    assert all(word in text for word in ("PROVEN", "STATED by producer gpu-0", "NOT CHECKED", "STEPS"))


def test_the_json_of_several_receipts_is_one_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object, one report a receipt, each with its file."""
    files = [folder / f"{number}.json" for number in range(4)]
    call = Call(capsys, *files, "--trust", folder / "trust.json")
    assert call.code == 0
    assert (call.json["v"], call.json["exit_code"]) == ("auditlog/verify@v1", 0)
    assert [each["file"] for each in call.json["receipts"]] == [str(file) for file in files]
    assert {each["verdict"] for each in call.json["receipts"]} == {"verified"}


def test_over_several_receipts_1_beats_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last receipt is later than the anchor (3); a broken one makes it 1."""
    last, good, bad = folder / "4.json", folder / "0.json", folder / "bad.json"
    bad.write_bytes(good.read_bytes()[:-2])
    assert Call(capsys, last, "--trust", folder / "trust.json").code == 3
    assert Call(capsys, good, last, "--trust", folder / "trust.json").code == 3
    assert Call(capsys, bad, last, good, "--trust", folder / "trust.json").code == 1


def test_several_receipts_as_text_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, and a count."""
    files = [str(folder / f"{number}.json") for number in (0, 1, 4)]
    assert run(["verify", *files, "--trust", str(folder / "trust.json")]) == 3
    assert "2 verified, 0 failed, 1 not fully checked" in capsys.readouterr().out


def test_the_current_log_is_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same log passes, a cut one fails and leaves both notes as evidence, an absent one is exit 3."""
    arguments = (folder / "0.json", "--trust", folder / "trust.json", "--log")
    assert Call(capsys, *arguments, folder / "log").code == 0
    write_log(folder / "cut", FACTORY.entries[:-1], FACTORY.log_key)
    cut = Call(capsys, *arguments, folder / "cut", "--evidence", folder / "evidence")
    assert cut.code == 1
    assert cut.json["receipts"][0]["evidence"]["larger"] == FACTORY.checkpoint()
    notes = {path.read_text() for path in (folder / "evidence").iterdir()}
    assert notes == {FACTORY.checkpoint(), (folder / "cut" / "checkpoint").read_text()}
    assert Call(capsys, *arguments, folder / "nowhere").code == 3
    assert Call(capsys, *arguments, "http://127.0.0.1:9/log").code == 3
    assert Call(capsys, *arguments, "http://[").code in (2, 3)


def test_receipts_of_two_histories_fail_together(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each verifies alone; side by side they convict the log, and both notes are kept."""
    other = Factory(decisions=5, anchored=(8,))
    other.leaves[-1] = hash_leaf(b"what others are shown")
    (folder / "other.json").write_bytes(other.receipt_bytes(other.decisions[1]))
    files, trust = [folder / "0.json", folder / "other.json"], folder / "trust.json"
    assert [Call(capsys, file, "--trust", trust).code for file in files] == [0, 0]
    both = Call(capsys, *files, "--trust", trust, "--evidence", folder / "evidence")
    assert both.code == 1
    assert [each["verdict"] for each in both.json["receipts"]] == ["failed", "failed"]
    notes = {path.read_text() for path in (folder / "evidence").iterdir()}
    assert notes == {FACTORY.checkpoint(), other.checkpoint()}
    assert run(["verify", *map(str, files), "--trust", str(trust)]) == 1
    assert "0 verified, 2 failed" in capsys.readouterr().out


def test_expectations_are_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The approved model passes, another fails, a word that is no key is usage."""
    arguments = (folder / "0.json", "--trust", folder / "trust.json", "--expect")
    assert Call(capsys, *arguments, f"model={MODEL_ROOT}", "--expect", "status=200").code == 0
    assert Call(capsys, *arguments, f"model={'0' * 64}").code == 1
    wrong = Call(capsys, *arguments, "colour=blue")
    assert wrong.code == 2
    assert wrong.json["exit_code"] == 2
    assert "colour" in wrong.json["error"]


def test_disclosures_go_to_the_receipt_they_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside several receipts the file is checked where it belongs; beside another alone it fails."""
    shown = folder / "shown.json"
    shown.write_bytes(format_disclosures(Disclosures(decision_id(1), (shown_field(1),))))
    arguments = ("--trust", folder / "trust.json", "--disclosures", shown)
    both = Call(capsys, folder / "0.json", folder / "1.json", *arguments)
    assert both.code == 0
    named = [[fact["name"] for fact in each["facts"]] for each in both.json["receipts"]]
    assert ["field" in names for names in named] == [False, True]
    assert Call(capsys, folder / "0.json", *arguments).code == 1


def test_disclosures_that_fit_no_receipt_are_not_passed_over(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values that belong to none of the receipts given are a failure, not silence."""
    shown = folder / "shown.json"
    shown.write_bytes(format_disclosures(Disclosures(decision_id(3), (shown_field(3),))))
    files = (folder / "0.json", folder / "1.json")
    assert Call(capsys, *files, "--trust", folder / "trust.json", "--disclosures", shown).code == 1


BAD = {
    "empty": b"",
    "newline": b"\n",
    "binary": bytes(range(256)) * 10,
    "huge": b"a" * (17 << 20),
    "other version": b'{"v":"auditlog/receipt@v9"}\n',
    "duplicate keys": b'{"v":"auditlog/receipt@v1","v":"auditlog/receipt@v1"}\n',
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 50_000,
    "number": b"9" * 10_000,
    "not UTF-8": b'{"v":"\xff"}\n',
    "surrogate": b'{"v":"\\ud800"}\n',
    "null": b"null\n",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_any_file_gives_a_verdict_or_one_line(
    data: bytes, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As receipt exit 1, as disclosures exit 1, as trust file exit 2: never a traceback."""
    bad, good, trust = folder / "bad", folder / "0.json", folder / "trust.json"
    bad.write_bytes(data)
    assert Call(capsys, bad, "--trust", trust).code == 1
    assert Call(capsys, good, "--trust", trust, "--disclosures", bad).code == 1
    usage = Call(capsys, good, "--trust", bad)
    assert usage.code == 2
    assert usage.error.count("\n") == 1
    assert usage.error.startswith("auditlog: ")


def test_what_cannot_be_read_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folders, absent files and odd names are exit 2; other receipts of the call are still checked."""
    good, trust = folder / "0.json", folder / "trust.json"
    for odd in (folder, folder / "absent", folder / "0.json" / "inside", "x" * 5000):
        for arguments in (
            (odd, "--trust", trust),
            (good, "--trust", odd),
            (good, "--trust", trust, "--disclosures", odd),
            (good, "--trust", trust, "--log", folder / "log", "--token-file", odd),
        ):
            call = Call(capsys, *arguments)
            assert call.code == 2, arguments
            assert call.json["exit_code"] == 2
    several = Call(capsys, folder / "absent", good, "--trust", trust)
    assert several.code == 2
    assert [each["exit_code"] for each in several.json["receipts"]] == [2, 0]


def test_a_pipe_among_the_files_is_not_waited_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe nobody writes to is one clear line wherever a file is named; what the shell pipes in is read."""
    pipe, good, trust = folder / "pipe.json", folder / "0.json", folder / "trust.json"
    os.mkfifo(pipe)
    for arguments in (
        (pipe, "--trust", trust),
        (good, "--trust", pipe),
        (good, "--trust", trust, "--log", folder / "log", "--token-file", pipe),
    ):
        assert Call(capsys, *arguments).code == 2
    mixed = Call(capsys, pipe, good, "--trust", trust)
    assert [each["exit_code"] for each in mixed.json["receipts"]] == [2, 0]
    command = f"{sys.executable} -m auditlog.cli.main verify <(cat {good}) --trust {trust} --json"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without permission is exit 2."""
    (folder / "0.json").chmod(0)
    assert Call(capsys, folder / "0.json", "--trust", folder / "trust.json").code == 2


def test_usage_errors_are_exit_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing argument, option or value is the command line's own error."""
    for arguments in (
        [],
        ["verify"],
        ["verify", "x"],
        ["verify", "--trust", "x"],
        ["nothing"],
        ["verify", "--no"],
    ):
        assert run(arguments) == 2
        assert "Traceback" not in capsys.readouterr().err


def test_a_receipt_may_come_from_standard_input(folder: Path) -> None:
    """`-` reads standard input, through the installed program."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "auditlog.cli.main",
            "verify",
            "-",
            "--trust",
            str(folder / "trust.json"),
            "--json",
        ],
        input=(folder / "0.json").read_bytes(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["receipts"][0]["file"] == "-"
    assert done.stderr == b""


def test_text_that_does_not_fit_the_terminal_is_escaped(tmp_path: Path) -> None:
    """A report prints on a terminal that knows ASCII only, whatever language a name is in."""
    factory = Factory(decisions=0, batch=1)
    body = factory.decision_body(1, "unregistered") | {"route": "/\u5224\u65ad/\u00e9"}
    place = factory.add(factory.chains[0], "decision", body)
    (tmp_path / "r.json").write_bytes(factory.receipt_bytes(place))
    (tmp_path / "trust.json").write_bytes(factory.trust_bytes())
    arguments = ["verify", str(tmp_path / "r.json"), "--trust", str(tmp_path / "trust.json")]
    done = subprocess.run(
        [sys.executable, "-m", "auditlog.cli.main", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"/\\u5224\\u65ad/\\xe9" in done.stdout


def test_verify_loads_nothing_heavy(folder: Path) -> None:
    """Neither the service, nor models, nor a chain, nor even an HTTP client is imported to check receipts."""
    arguments = ["verify", str(folder / "0.json"), "--trust", str(folder / "trust.json"), "--json"]
    heavy = ["torch", "transformers", "sqlalchemy", "fastapi", "web3", "httpx", "uvicorn", "rich.console"]
    ours = ["auditlog.service", "auditlog.capture", "auditlog.log", "auditlog.storage", "auditlog.demo"]
    code = f"""if True:
        import sys
        from auditlog.cli.main import run
        code = run({arguments!r})
        sys.stderr.write(f"{{code}} {{sorted(set({heavy + ours!r}) & set(sys.modules))}}")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "0 []"


def test_a_closed_pipe_is_no_error(folder: Path) -> None:
    """`auditlog verify ... | head -1` ends quietly."""
    command = (
        f"{sys.executable} -m auditlog.cli.main verify {folder}/*.json --trust {folder}/trust.json | true"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""

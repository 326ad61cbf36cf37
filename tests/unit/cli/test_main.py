"""The program itself: version, help, demo, fsck, and errors as one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import auditlog
from auditlog.cli import main
from auditlog.cli.main import app, run
from auditlog.errors import ConfigurationError, LedgerError, MalformedError, NotFoundError, RollbackError
from tests.support.receipts_factory import Factory
from tests.support.tlog_writer import log_signer, numbered_entries, write_log

Capture = pytest.CaptureFixture[str]


def test_the_version_and_the_help_are_printed(capsys: Capture) -> None:
    """`--version` and `--help` are exit 0; no command at all shows the help and is usage."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"auditlog {auditlog.__version__}\n"
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    for command in (
        "init",
        "doctor",
        "serve",
        "verify",
        "fsck",
        "disclose",
        "demo",
        "log",
        "keys",
        "token",
        "trust",
    ):
        assert f"\n  {command} " in text
    assert run([]) == 2


def test_every_command_has_a_help(capsys: Capture) -> None:
    """Each command and group explains itself in 80 columns."""
    groups = {"log": 3, "keys": 2, "token": 3, "trust": 3}
    for info in [*app.registered_commands, *app.registered_groups]:
        assert run([str(info.name), "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith("Usage: auditlog ")
        assert max(map(len, text.splitlines())) <= 80
        groups.pop(str(info.name), None)
    assert not groups


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("bad setting"), 2),
        (NotFoundError("no such log"), 2),
        (MalformedError("bad bytes"), 1),
        (RollbackError("seen more"), 3),
        (LedgerError("no node"), 3),
        (FileNotFoundError(2, "No such file", "x"), 2),
        (OSError("odd"), 2),
        (ModuleNotFoundError("no fastapi", name="fastapi"), 2),
        (MemoryError("large"), 3),
        (ZeroDivisionError("ours"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """No traceback for anything a user can cause."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(main, "_commands", lambda: fail)
    assert run(["x"]) == code
    assert capsys.readouterr().err.count("\n") == (code != 130)


def test_a_defect_can_be_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AUDITLOG_DEBUG set, a defect of ours is raised as it is."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "_commands", lambda: fail)
    monkeypatch.setenv("AUDITLOG_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run(["x"])


def test_an_error_line_shows_no_control_characters(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Whatever a message quotes, the terminal stays as it was."""

    def fail(**_: object) -> None:
        raise ConfigurationError("found \x1b[31m\nred")

    monkeypatch.setattr(main, "_commands", lambda: fail)
    run(["x"])
    assert capsys.readouterr().err == "auditlog: found \\x1b[31m red\n"


def test_the_demo_is_handed_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`auditlog demo` passes folder, count, form and models on, and its code back."""
    from auditlog.cli import demo

    seen: dict[str, object] = {}

    def play(**options: object) -> int:
        seen.update(options)
        return 1

    monkeypatch.setattr(demo, "run_demo", play)
    assert run(["demo", "--dir", str(tmp_path), "--decisions", "7", "--json", "--no-llm"]) == 1
    assert seen == {"directory": tmp_path, "decisions": 7, "as_json": True, "with_llm": False}
    assert run(["demo", "--decisions", "0"]) == 2


def test_fsck_checks_any_log(tmp_path: Path, capsys: Capture) -> None:
    """A log of other entries is clean; a damaged one is exit 1; one without its entries exit 3."""
    write_log(tmp_path / "log", numbered_entries(300))
    write_log(tmp_path / "hashes", numbered_entries(300), bundles=False)
    key = tmp_path / "log.vkey"
    key.write_text(log_signer().vkey + "\n")
    assert run(["fsck", str(tmp_path / "log"), "--vkey", str(key)]) == 0
    assert "300 of other kinds" in capsys.readouterr().out
    assert run(["fsck", str(tmp_path / "hashes"), "--vkey", log_signer().vkey, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["exit_code"] == 3
    assert run(["fsck", str(tmp_path / "hashes"), "--vkey", log_signer().vkey]) == 3
    assert "entries: none counted by kind; 300 were not counted" in capsys.readouterr().out
    bundle = tmp_path / "log" / "tile" / "entries" / "000"
    bundle.write_bytes(bundle.read_bytes().replace(b"entry 7", b"entry 8", 1))
    assert run(["fsck", str(tmp_path / "log"), "--vkey", str(key)]) == 1


def test_the_package_is_the_command() -> None:
    """`python -m auditlog` is the program under its own name, exit codes and all."""
    for arguments, code, says in (
        (["--version"], 0, f"auditlog {auditlog.__version__}\n"),
        (["nonsense"], 2, "Usage: auditlog "),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "auditlog", *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == code
        assert (done.stdout + done.stderr).startswith(says)


def test_fsck_of_a_log_of_ours_counts_kinds(tmp_path: Path, capsys: Capture) -> None:
    """Entries of ours are counted by kind."""
    factory = Factory(decisions=4)
    write_log(tmp_path, factory.entries, factory.log_key)
    assert run(["fsck", str(tmp_path), "--vkey", factory.log_key.vkey]) == 0
    assert "4 decision" in capsys.readouterr().out


def test_fsck_with_a_wrong_key_is_usage_and_with_another_key_a_failure(
    tmp_path: Path, capsys: Capture
) -> None:
    """What is no key is exit 2; a key that did not sign is exit 1."""
    factory = Factory(decisions=1)
    write_log(tmp_path, factory.entries, factory.log_key)
    assert run(["fsck", str(tmp_path), "--vkey", "not+a+key"]) == 2
    assert run(["fsck", str(tmp_path), "--vkey", str(tmp_path / "absent")]) == 2
    assert run(["fsck", str(tmp_path), "--vkey", log_signer().vkey]) == 1
    assert run(["fsck", str(tmp_path / "nowhere"), "--vkey", factory.log_key.vkey]) == 3
    capsys.readouterr()


COMMANDS = [
    *(["verify"], ["verify", "x"], ["verify", "x", "--trust", "absent"], ["verify", "--no"]),
    *(
        ["verify", "x", "--trust", "TRUST", "--log", ""],
        ["verify", "x", "--trust", "TRUST", "--log", "ftp://x/"],
    ),
    ["verify", "x", "--trust", "TRUST", "--log", "HTTP://127.0.0.1:1", "--token-file", "TOKEN"],
    ["verify", "x", "--trust", "TRUST", "--evidence", "TRUST/folder"],
    *(["fsck"], ["fsck", "."], ["fsck", ".", "--vkey", "a+b+c"], ["fsck", "", "--vkey", "VKEY"]),
    *(
        ["fsck", "http://a..b/", "--vkey", "absent"],
        ["fsck", "http://127.0.0.1:1", "--vkey", "VKEY", "--token-file", "TOKEN"],
    ),
    *(["trust", "show", "absent"], ["trust", "diff", "TRUST"], ["trust", "diff", "TRUST", "TOKEN"]),
    *(["keys", "show", "TOKEN"], ["keys", "generate", "a b", "--out", "new"], ["keys", "generate"]),
    *(["init", "x", "--origin", "a b"], ["init", "x", "--port", "0"], ["init", "TRUST"]),
    *(["log", "create", "--config", "absent"], ["log", "list"], ["log", "show", "--config", "TRUST"]),
    *(["token", "list", "--config", "TRUST"], ["doctor", "--port"], ["demo", "--decisions", "0"]),
    *(["anchor", "address", "more"], ["nothing"]),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_with_json_every_failure_is_one_object(
    command: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with a call: one object with the exit code and why, and no defect of ours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "TRUST").write_bytes(Factory(decisions=1).trust_bytes())
    (tmp_path / "TOKEN").write_text("gehe\u00efm\n")
    (tmp_path / "VKEY").write_text(log_signer().vkey)
    code = run([*command, "--json"])
    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert said["exit_code"] == code
    assert code in (1, 2)
    assert "Traceback" not in captured.err
    assert "defect" not in captured.err
    if command[0] == "verify":
        assert said["v"] == "auditlog/verify@v1"


@pytest.mark.parametrize("url", ["http://a..b/", "http://[", "http://127.0.0.1:99999", "HTTP://127.0.0.1:1"])
def test_a_url_that_leads_nowhere_is_exit_3(url: str, tmp_path: Path, capsys: Capture) -> None:
    """It was not checked; one object, no defect."""
    (tmp_path / "r.json").write_bytes((factory := Factory(decisions=1)).receipt_bytes(3))
    (tmp_path / "t.json").write_bytes(factory.trust_bytes())
    code = run(
        ["verify", str(tmp_path / "r.json"), "--trust", str(tmp_path / "t.json"), "--log", url, "--json"]
    )
    captured = capsys.readouterr()
    assert (code, json.loads(captured.out)["exit_code"], captured.err) == (3, 3, "")
    assert run(["fsck", url, "--vkey", log_signer().vkey, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["exit_code"] == 3


def test_doctor_names_a_bad_url_or_token(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host name without a label, a token no header can hold: problems of the host, not defects of ours."""
    (tmp_path / "token").write_text("gehe\u00efm\n")
    monkeypatch.chdir(tmp_path)
    for url, token, check in (
        ("http://a..b/", None, "capture"),
        ("http://127.0.0.1:1", tmp_path / "token", "token"),
    ):
        monkeypatch.setenv("AUDITLOG_LOG", url)
        monkeypatch.setenv("AUDITLOG_ORIGIN", "log.example/a")
        monkeypatch.setenv("AUDITLOG_STATE", str(tmp_path / "state"))
        if token is not None:
            monkeypatch.setenv("AUDITLOG_TOKEN_FILE", str(token))
        assert run(["doctor", "--json"]) == 1
        checks = json.loads(capsys.readouterr().out)["checks"]
        assert check in {each["check"] for each in checks if each["level"] == "problem"}

"""`init`, `log`, `token`, `doctor` and `serve`: a service from nothing, with no secret ever printed."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli import checks_host
from auditlog.cli.main import run
from auditlog.core.trust import parse_trust
from auditlog.errors import ConfigurationError, RollbackError
from auditlog.service.settings import Settings
from auditlog.service.tokens import token_sha256

Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call."""
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of its own, and no settings from outside."""
    for name in [name for name in os.environ if name.startswith("AUDITLOG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def service(tmp_path: Path, capsys: Capture) -> Path:
    """The configuration of a service made by `init`."""
    folder = tmp_path / "service"
    assert call(capsys, "init", folder, "--origin", "log.example/a", "--visibility", "public")[0] == 0
    return folder / "auditlog.toml"


def secrets_of(folder: Path) -> list[str]:
    """Everything in a folder of a service that must never be printed."""
    files = [*folder.glob("keys/*"), *folder.glob("tokens/*"), *folder.rglob("receipt.secret")]
    return [file.read_text().strip().split("+", 4)[-1] for file in files]


def test_init_makes_a_service_that_can_start(tmp_path: Path, capsys: Capture) -> None:
    """Configuration, keys, tokens and the first entry; the line to paste; and no secret on the screen."""
    folder = tmp_path / "service"
    code, out, err = call(capsys, "init", folder, "--origin", "log.example/a", "--port", 8765)
    assert code == 0, err
    settings = Settings.load(folder / "auditlog.toml")
    (log,) = settings.logs
    assert (log.origin, log.visibility, settings.service.port) == ("log.example/a", "hashes", 8765)
    assert settings.paths(log).key_file.exists()
    assert (settings.paths(log).public_dir / "checkpoint").exists()
    for name in ("capture", "reader", "admin"):
        token = (folder / "tokens" / f"{name}.token").read_text().strip()
        assert token_sha256(token).hex() in {each.sha256 for each in settings.tokens}
    assert "AUDITLOG_LOG=http://127.0.0.1:8765/logs/main" in out
    assert "auditlog.capture.asgi.AuditMiddleware" in out
    secrets = secrets_of(folder)
    assert len(secrets) == 6
    assert not [secret for secret in secrets if secret in out + err]


def test_init_keeps_secrets_to_their_owner(service: Path) -> None:
    """Key and token files are 0600, in folders that are 0700."""
    for name in ("keys", "tokens"):
        folder = service.parent / name
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_init_proposes_a_guard_outside_its_folder(service: Path, tmp_path: Path) -> None:
    """The high-water file lies where no backup of the folder takes it along."""
    guard = Settings.load(service).logs[0].high_water_file
    assert guard is not None
    assert not guard.is_relative_to(service.parent)
    assert guard.is_relative_to(tmp_path / "state")
    assert guard.exists()


def test_the_trust_file_of_init_says_whose_it_is(service: Path) -> None:
    """It is the operator's, asks for the devnet, and holds the log's key."""
    trust = parse_trust((service.parent / "trust.json").read_bytes())
    assert (trust.issuer.name, trust.issuer.role) == ("log.example/a", "operator")
    assert trust.require == ("devnet",)
    assert trust.policy.logs[0].verifier.vkey == (service.parent / "log.vkey").read_text().strip()


def test_init_as_json_names_what_to_set(tmp_path: Path, capsys: Capture) -> None:
    """For scripts: paths and environment, no secret; without a devnet nothing is required."""
    code, out, _ = call(capsys, "init", tmp_path / "s", "--anchoring", "off", "--json", "--name", "loans")
    shown = json.loads(out)
    assert code == 0
    assert shown["origin"].endswith("/s/loans")
    assert set(shown["environment"]) == {"AUDITLOG_LOG", "AUDITLOG_ORIGIN", "AUDITLOG_TOKEN_FILE"}
    assert parse_trust(Path(shown["trust"]).read_bytes()).require == ()


def test_init_refuses_before_it_writes(service: Path, tmp_path: Path, capsys: Capture) -> None:
    """A folder in use, an odd name, origin, visibility or chain: one line, nothing written."""
    assert call(capsys, "init", service.parent)[0] == 2
    for arguments in (
        ("--origin", "two words"),
        ("--origin", "12"),
        ("--name", "Up"),
        ("--visibility", "secret"),
        ("--anchoring", "moon"),
        ("--port", "0"),
        ("--high-water", service),
    ):
        code, _, err = call(capsys, "init", tmp_path / "new", *arguments)
        assert code == 2
        assert "Traceback" not in err
        assert not (tmp_path / "new").exists()


def test_a_log_made_anew_in_the_same_place_is_another_log(service: Path, capsys: Capture) -> None:
    """A deleted folder leaves its guard behind; a new log there has a key and a guard of its own."""
    import shutil

    old = Settings.load(service).logs[0].high_water_file
    shutil.rmtree(service.parent)
    code, _, err = call(capsys, "init", service.parent, "--origin", "log.example/a")
    assert code == 0, err
    assert Settings.load(service).logs[0].high_water_file != old


def test_logs_are_listed_shown_and_created_again(service: Path, capsys: Capture) -> None:
    """Creating a log that exists is harmless; list and show say where it is and how large."""
    assert call(capsys, "log", "create", "--config", service)[0] == 0
    assert (
        json.loads(call(capsys, "log", "create", "main", "--config", service, "--json")[1])["name"] == "main"
    )
    listed = json.loads(call(capsys, "log", "list", "--config", service, "--json")[1])
    assert [(each["origin"], each["size"]) for each in listed] == [("log.example/a", 1)]
    assert "log.example/a, public, 1 entries" in call(capsys, "log", "list", "--config", service)[1]
    assert "vkey: log.example/a+" in call(capsys, "log", "show", "--config", service)[1]
    assert call(capsys, "log", "show", "other", "--config", service)[0] == 2
    assert call(capsys, "log", "list", "--config", service.parent / "absent.toml")[0] == 2


def test_a_second_log_is_made_from_the_configuration(service: Path, tmp_path: Path, capsys: Capture) -> None:
    """A log added to the file has no key until it is created, and then one of its own."""
    more = f'\n[[logs]]\nname = "two"\norigin = "log.example/b"\nhigh_water_file = "{tmp_path}/guard-two"\n'
    service.write_text(service.read_text() + more)
    assert call(capsys, "log", "show", "--config", service)[0] == 2
    shown = json.loads(call(capsys, "log", "show", "two", "--config", service, "--json")[1])
    assert (shown["vkey"], shown["size"]) == ("not created yet", 0)
    assert call(capsys, "log", "create", "two", "--config", service)[0] == 0
    shown = json.loads(call(capsys, "log", "show", "two", "--config", service, "--json")[1])
    assert shown["vkey"].startswith("log.example/b+")


def test_tokens_are_made_listed_and_revoked(service: Path, tmp_path: Path, capsys: Capture) -> None:
    """The token is in its file only; the service keeps its hash; a name is used once."""
    make = ("token", "create", "auditor", "--scope", "read", "--log", "main", "--config", service, "--out")
    code, out, err = call(capsys, *make, tmp_path / "auditor.token")
    assert code == 0
    token = (tmp_path / "auditor.token").read_text().strip()
    assert stat.S_IMODE((tmp_path / "auditor.token").stat().st_mode) == 0o600
    assert token not in out + err
    assert call(capsys, *make, tmp_path / "second.token")[0] == 2
    listed: list[dict[str, Any]] = json.loads(call(capsys, "token", "list", "--config", service, "--json")[1])
    assert [each["name"] for each in listed] == ["capture", "reader", "admin", "auditor"]
    limits = {"expires": None, "producers": None}
    wanted = {"name": "auditor", "scopes": ["read"], "logs": ["main"], "kept_in": "store", **limits}
    assert listed[-1] == wanted
    limited = (*make[:2], "gpus", *make[3:-1], "--expires", "30d", "--producers", "gpu-*", "--out")
    assert call(capsys, *limited, tmp_path / "gpus.token")[0] == 0
    line = next(x for x in call(capsys, "token", "list", "--config", service)[1].splitlines() if "gpus" in x)
    assert re.fullmatch(r"gpus: read on main for gpu-\* until 20\S+Z \(store\)", line)
    for odd in (("--expires", "1999-01-01T00:00:00Z"), ("--expires", "30"), ("--producers", "a b")):
        wrong = (*make[:2], "odd", *make[3:-1], *odd, "--out", tmp_path / "odd.token")
        assert call(capsys, *wrong)[0] == 2
    assert "auditor: read on main (store)" in call(capsys, "token", "list", "--config", service)[1]
    assert call(capsys, "token", "revoke", "auditor", "--config", service)[0] == 0
    assert call(capsys, "token", "revoke", "auditor", "--config", service)[0] == 2
    assert call(capsys, *make[:4], "everything", *make[5:], tmp_path / "x.token")[0] == 2


def test_the_doctor_finds_a_new_service_healthy(service: Path, capsys: Capture) -> None:
    """Every check is ok or a warning; nothing is left behind."""
    before = {path for path in service.parent.rglob("*") if "sqlite" not in path.name}
    code, out, _ = call(capsys, "doctor", "--config", service, "--json")
    checks = {each["check"]: each["level"] for each in json.loads(out)["checks"]}
    assert code == 0, out
    assert {"config", "clock", "fsync", "key", "log", "guard", "anchoring", "capture"} <= set(checks)
    assert checks["anchoring"] == "ok"
    assert (checks["config"], checks["log"], checks["capture"]) == ("ok", "ok", "skipped")
    assert {path for path in service.parent.rglob("*") if "sqlite" not in path.name} == before
    assert call(capsys, "doctor", "--config", service)[0] == 0


def test_the_doctor_names_what_is_wrong(service: Path, capsys: Capture) -> None:
    """An open key file, another key, a damaged checkpoint, a missing log: each a problem and exit 1."""
    key = service.parent / "keys" / "main.key"
    key.chmod(0o644)
    code, out, _ = call(capsys, "doctor", "--config", service)
    assert code == 1
    assert "problem  key        log main: expected a key only its owner can read, found mode 644" in out
    key.chmod(0o600)
    checkpoint = next(service.parent.rglob("checkpoint"))
    checkpoint.write_text(checkpoint.read_text().replace("\n1\n", "\n2\n"))
    assert call(capsys, "doctor", "--config", service)[0] == 1
    checkpoint.unlink()
    assert "found none (auditlog log create)" in call(capsys, "doctor", "--config", service)[1]
    key.write_text((service.parent / "keys" / "devnet.key").read_text())
    assert "expected a key named log.example/a" in call(capsys, "doctor", "--config", service)[1]
    key.unlink()
    assert call(capsys, "doctor", "--config", service)[0] == 1
    service.write_text("[service]\n")
    assert "problem  config" in call(capsys, "doctor", "--config", service)[1]


def test_the_doctor_without_anything_to_check_says_so(capsys: Capture) -> None:
    """No configuration and no environment: skipped, exit 0."""
    code, out, _ = call(capsys, "doctor")
    assert code == 0
    assert out.count("skipped") == 2


def test_the_doctor_checks_the_capture_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Bad routes, a missing model and an unreachable log are problems, and the token is not printed."""
    monkeypatch.setenv("AUDITLOG_LOG", "http://127.0.0.1:9/logs/main")
    monkeypatch.setenv("AUDITLOG_TOKEN", "alt_secret-of-this-test")
    monkeypatch.setenv("AUDITLOG_STATE", str(tmp_path / "capture"))
    monkeypatch.setenv("AUDITLOG_MODEL", str(tmp_path / "no-model"))
    monkeypatch.setenv("AUDITLOG_ROUTES", "POST /score=values, nonsense")
    code, out, err = call(capsys, "doctor", "--json")
    found = [(each["check"], each["level"]) for each in json.loads(out)["checks"]]
    assert code == 1
    assert {("capture", "problem"), ("routes", "ok"), ("model", "problem"), ("log", "problem")} <= set(found)
    assert "alt_secret-of-this-test" not in out + err


def test_a_clock_before_the_release_or_before_our_files_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time nobody can have is noticed before it is sealed into anything."""
    assert checks_host.check_clock([tmp_path]).level == "ok"
    (tmp_path / "file").touch()
    monkeypatch.setattr(checks_host.time, "time", lambda: 1_000_000_000.0)
    assert checks_host.check_clock([tmp_path]).level == "problem"
    monkeypatch.setattr(checks_host.time, "time", lambda: 1_770_000_000.0)
    os.utime(tmp_path / "file", (1_780_000_000, 1_780_000_000))
    assert checks_host.check_clock([tmp_path]).level == "problem"
    assert checks_host.check_clock([tmp_path / "absent"]).level == "ok"


@pytest.mark.parametrize(
    ("kind", "free", "level"),
    [
        ("ext4", 1 << 40, "ok"),
        ("tmpfs", 1 << 40, "problem"),
        ("nfs4", 1 << 40, "warning"),
        ("ext4", 1000, "problem"),
    ],
)
def test_a_disk_that_is_full_volatile_or_remote_is_named(
    kind: str, free: int, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room, and a file system whose fsync means something."""
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checks_host, "filesystem_of", lambda _: kind)
    monkeypatch.setattr(checks_host.shutil, "disk_usage", lambda _: usage(0, 0, free))
    assert checks_host.check_space(tmp_path / "not" / "there" / "yet").level == level


def test_a_slow_or_refused_sync_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every acknowledgement waits for a sync, so its time is shown; a refused one is a problem."""
    monkeypatch.setattr(checks_host, "_timed_sync", lambda _: 0.2)
    assert checks_host.check_fsync(tmp_path).level == "warning"

    def refuse(_: int) -> float:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(checks_host, "_timed_sync", refuse)
    assert checks_host.check_fsync(tmp_path).level == "problem"
    assert list(tmp_path.glob(".auditlog-doctor-*")) == []


def test_a_port_that_is_taken_is_named_by_init_and_by_serve(tmp_path: Path, capsys: Capture) -> None:
    """`init` warns; `serve` ends with one line before it opens a log, and never says that it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, _ = call(capsys, "init", tmp_path / "s", "--origin", "log.example/a", "--port", port)
        assert (code, f"warning  port {port} cannot be listened on now (Address already in use)" in out) == (
            0,
            True,
        )
        code, out, _ = call(
            capsys, "init", tmp_path / "t", "--origin", "log.example/b", "--port", port, "--json"
        )
        assert (code, len(json.loads(out)["warnings"])) == (0, 1)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "auditlog.cli.main",
                "serve",
                "--config",
                str(tmp_path / "s/auditlog.toml"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"auditlog: expected to listen on 127.0.0.1 port {port}, found: Address already in use\n"
    )


def test_listening_takes_every_address_of_a_name_or_none() -> None:
    """An address this host lacks is passed over; without any, or with one taken, nothing is held."""
    from auditlog.service.run import listen

    for each in listen("localhost", 0):
        each.close()
    for host in ("192.0.2.1", "a..b"):
        with pytest.raises(ConfigurationError, match="expected to listen"):
            listen(host, 0)


def test_serve_hands_the_checked_settings_on(
    service: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Host and port go through the same checks as the file; a failed start is one line and exit 3."""
    from auditlog.service import run as runner

    served: list[Settings] = []
    monkeypatch.setattr(runner, "run", served.append)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert call(capsys, "serve", "--config", service, "--port", 9123)[0] == 0
    assert served[0].service.port == 9123
    code, _, err = call(capsys, "serve", "--config", service, "--host", "0.0.0.0")
    assert code == 2
    assert "https://" in err

    def fail(_: Settings) -> None:
        raise RollbackError("expected a log of at least 9 entries, found 1")

    monkeypatch.setattr(runner, "run", fail)
    monkeypatch.setattr(os, "environ", {**os.environ, "AUDITLOG_SERVE_HOST": "127.0.0.1"})
    code, _, err = call(capsys, "serve", "--config", service)
    assert (code, err.count("\n")) == (3, 1)

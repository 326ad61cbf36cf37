"""`init` and `trust` with witnesses: groups, what is written into both files, and who is warned at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.main import run
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.note import Ed25519Signer
from auditlog.service.settings import Settings
from auditlog.service.witnessing import witnessing_of

Captured = pytest.CaptureFixture[str]
KEYS = [CosignatureSigner.from_seed(f"w{n}.example", bytes([n + 1]) * 32).vkey for n in range(4)]
LOG = Ed25519Signer.from_seed("log.example/one", bytes(32)).vkey
URL = "http://127.0.0.1:9/w"
GROUPS = (
    "".join(f"witness w{n} {key} {URL}{n}\n" for n, key in enumerate(KEYS))
    + "group some any w0 w1\ngroup most 1 w2 w3\ngroup all-of-it all some most\nquorum all-of-it\n"
)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """High-water files of these logs go into the test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def made(folder: Path, capsys: Captured, *options: str) -> tuple[dict[str, Any], dict[str, Any], Settings]:
    """What `init` says, its trust file, and its settings."""
    capsys.readouterr()
    assert run(["init", str(folder), "--anchoring", "off", "--json", *options]) == 0
    said = json.loads(capsys.readouterr().out)
    trust = json.loads((folder / "trust.json").read_text())
    return said, trust, Settings.load(folder / "auditlog.toml", environ={})


@pytest.mark.parametrize(("quorum", "warned"), [(1, True), (2, True), (3, False), (4, False), (None, False)])
def test_init_warns_of_a_quorum_below_a_majority(
    tmp_path: Path, capsys: Captured, quorum: int | None, warned: bool
) -> None:
    """At once, in words and in JSON; the settings and the trust file agree on the number."""
    options = [part for key in KEYS for part in ("--witness", f"{key}={URL}")]
    options += [] if quorum is None else ["--quorum", str(quorum)]
    said, trust, settings = made(tmp_path / "log", capsys, *options)
    assert any("is no majority (that would be 3)" in warning for warning in said["warnings"]) is warned
    assert f"group witnesses {quorum or 3} " in trust["policy"]
    witnessing = witnessing_of(settings.logs[0])
    assert witnessing is not None
    assert witnessing.policy.groups[0].threshold == (quorum or 3)
    assert witnessing.may_part is warned
    assert settings.logs[0].when_no_quorum == "publish"


def test_init_takes_a_whole_policy(tmp_path: Path, capsys: Captured) -> None:
    """Groups within groups go word for word into both files; the trust file gets the log's line too."""
    file = tmp_path / "policy.txt"
    file.write_text(f"# ours, größer\n{GROUPS}", encoding="utf-8")
    _, trust, settings = made(
        tmp_path / "log", capsys, "--witness-policy", str(file), "--when-no-quorum", "hold"
    )
    assert settings.logs[0].witness_policy == file.read_text(encoding="utf-8")
    assert settings.logs[0].when_no_quorum == "hold"
    vkey = (tmp_path / "log" / "log.vkey").read_text().strip()
    assert trust["policy"] == f"log {vkey}\n" + file.read_text(encoding="utf-8")
    assert trust["require"] == ["quorum"]


@pytest.mark.parametrize(
    "options",
    [
        ("--witness-policy", "POLICY", "--witness", f"{KEYS[0]}={URL}"),
        ("--witness-policy", "WITH-LOG"),
        ("--witness-policy", "missing"),
        ("--witness-policy", "BAD"),
        ("--when-no-quorum", "hold"),
        ("--when-no-quorum", "maybe", "--witness", f"{KEYS[0]}={URL}"),
    ],
)
def test_init_refuses_what_does_not_go_together(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Two sources of a policy, one that is none, and holding for a quorum that nobody asked for."""
    (tmp_path / "POLICY").write_text(GROUPS)
    (tmp_path / "WITH-LOG").write_text(f"log {LOG}\n{GROUPS}")
    (tmp_path / "BAD").write_text("quorum x\n")
    paths = [
        str(tmp_path / each) if each in {"POLICY", "WITH-LOG", "missing", "BAD"} else each for each in options
    ]
    assert run(["init", str(tmp_path / "log"), "--anchoring", "off", *paths]) == 2


def test_trust_pin_takes_a_whole_policy(tmp_path: Path, capsys: Captured) -> None:
    """With a log line or with --vkey; not beside --witness or --quorum, nor without a log."""
    (tmp_path / "p").write_text(GROUPS)
    (tmp_path / "l").write_text(f"log {LOG}\n{GROUPS}")
    pin = ["trust", "pin", "--policy"]
    assert run([*pin, str(tmp_path / "p"), "--vkey", LOG, "--out", str(tmp_path / "a.json")]) == 0
    assert run([*pin, str(tmp_path / "l"), "--out", str(tmp_path / "b.json")]) == 0
    texts = [json.loads((tmp_path / name).read_text())["policy"] for name in ("a.json", "b.json")]
    assert texts == [f"log {LOG}\n{GROUPS}"] * 2
    assert "no witness in common" in capsys.readouterr().err
    for more in (["--quorum", "1"], ["--witness", f"w={KEYS[0]}"]):
        assert run([*pin, str(tmp_path / "l"), *more, "--out", str(tmp_path / "c.json")]) == 2
    assert run([*pin, str(tmp_path / "p"), "--out", str(tmp_path / "d.json")]) == 2


def test_trust_show_repeats_the_warning(tmp_path: Path, capsys: Captured) -> None:
    """Whoever is handed such a file hears of it as well."""
    file = tmp_path / "t.json"
    pin = ["trust", "pin", "--vkey", LOG, "--out", str(file), "--quorum", "1"]
    assert run([*pin, "--witness", f"a={KEYS[0]}", "--witness", f"b={KEYS[1]}"]) == 0
    capsys.readouterr()
    assert run(["trust", "show", str(file)]) == 0
    assert "1 of 2 witnesses is no majority" in capsys.readouterr().err
    assert run(["trust", "show", str(file), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 1

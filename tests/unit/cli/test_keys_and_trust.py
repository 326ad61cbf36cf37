"""`auditlog keys` and `auditlog trust`: secrets stay in their files, and a trust file says where it came
from.
"""

from __future__ import annotations

import http.server
import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli.main import run
from auditlog.core.keys import Ed25519Signer
from auditlog.core.trust import parse_trust
from tests.support.receipts_factory import Factory

FACTORY = Factory(decisions=1)
WITNESSES = FACTORY.witnesses
Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call."""
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_new_key_is_in_its_file_and_only_its_vkey_is_printed(tmp_path: Path, capsys: Capture) -> None:
    """0600, never over another file, and the private part appears nowhere else."""
    file = tmp_path / "keys" / "log.key"
    code, out, _ = call(capsys, "keys", "generate", "log.example/a", "--out", file)
    assert code == 0
    private = file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert Ed25519Signer.from_private_key(private).vkey == out.strip()
    assert private.split("+", 4)[-1] not in out
    assert call(capsys, "keys", "generate", "log.example/a", "--out", file)[0] == 2
    assert file.read_text().strip() == private


def test_showing_a_key_shows_its_public_side(tmp_path: Path, capsys: Capture) -> None:
    """A private key file and a vkey file show the same vkey; the private part is not printed."""
    signer = FACTORY.log_key
    (tmp_path / "private").write_text(signer.private_key + "\n")
    (tmp_path / "public").write_text(signer.vkey + "\n")
    for name, is_private in (("private", True), ("public", False)):
        code, out, _ = call(capsys, "keys", "show", tmp_path / name, "--json")
        shown = json.loads(out)
        assert (code, shown["vkey"], shown["private"]) == (0, signer.vkey, is_private)
        assert signer.private_key.split("+", 4)[-1] not in out
    assert call(capsys, "keys", "show", tmp_path / "public")[1].splitlines()[0] == signer.vkey


def test_a_broken_key_file_is_one_line_without_its_text(tmp_path: Path, capsys: Capture) -> None:
    """An error never quotes what may be a secret."""
    broken = tmp_path / "broken"
    broken.write_text(FACTORY.log_key.private_key[:-8] + "\n")
    code, out, err = call(capsys, "keys", "show", broken)
    assert code == 1
    assert out == ""
    assert FACTORY.log_key.private_key[-20:-8] not in err
    broken.write_text("two\nlines\n")
    assert call(capsys, "keys", "show", broken)[0] == 2
    broken.write_bytes(b"\xff\n")
    assert call(capsys, "keys", "show", broken)[0] == 2


def test_a_trust_file_is_pinned_from_keys(tmp_path: Path, capsys: Capture) -> None:
    """Keys, witnesses, quorum, devnet and demands end up in a file that parses."""
    out = tmp_path / "trust.json"
    (tmp_path / "log.vkey").write_text(FACTORY.log_key.vkey + "\n")
    witnesses = [f"w{number}={key.vkey}" for number, key in enumerate(FACTORY.witnesses, 1)]
    code, text, _ = call(
        capsys,
        *("trust", "pin", "--out", out, "--vkey", tmp_path / "log.vkey", "--devnet", FACTORY.devnet_key.vkey),
        *("--witness", witnesses[0], "--witness", witnesses[1], "--quorum", 2, "--require", "quorum"),
    )
    assert code == 0, text
    trust = parse_trust(out.read_bytes())
    assert trust.policy.quorum == "witnesses"
    assert trust.require == ("quorum",)
    assert trust.devnet is not None
    assert trust.issuer.role == "self"
    assert f"log {FACTORY.log_key.vkey}" in text
    receipt = tmp_path / "r.json"
    receipt.write_bytes(FACTORY.receipt_bytes(FACTORY.decisions[0]))
    assert call(capsys, "verify", receipt, "--trust", out)[0] == 0
    assert call(capsys, "trust", "pin", "--out", out, "--vkey", FACTORY.log_key.vkey)[0] == 2


@pytest.mark.parametrize(("quorum", "warned"), [(0, False), (1, True), (2, False)])
def test_pinning_warns_of_a_quorum_below_a_majority(
    quorum: int, warned: bool, tmp_path: Path, capsys: Capture
) -> None:
    """Such a quorum dates nothing by itself; the file is written all the same."""
    out = tmp_path / "trust.json"
    names = [item for n, key in enumerate(FACTORY.witnesses) for item in ("--witness", f"w{n}={key.vkey}")]
    code, _, err = call(
        capsys, "trust", "pin", "--out", out, "--vkey", FACTORY.log_key.vkey, *names, "--quorum", quorum
    )
    assert (code, out.exists()) == (0, True)
    assert ("is no majority" in err) is warned


def test_pinning_refuses_what_no_trust_file_can_say(tmp_path: Path, capsys: Capture) -> None:
    """Each mistake is one line and leaves no file."""
    key, out = FACTORY.log_key.vkey, tmp_path / "trust.json"
    for arguments in (
        (),
        ("--vkey", "broken+key"),
        ("--vkey", key, "--quorum", 1),
        ("--vkey", key, "--witness", "noequals"),
        ("--vkey", key, "--require", "luck"),
        ("--vkey", key, "--role", "king"),
        ("--vkey", key, "--devnet", FACTORY.witnesses[0].vkey),
        ("ftp://example",),
        ("http://127.0.0.1:9/logs/main",),
    ):
        code, _, err = call(capsys, "trust", "pin", "--out", out, *arguments)
        assert code == 2, arguments
        assert err.count("\n") == 1
        assert not out.exists()


def test_nothing_may_be_required(tmp_path: Path, capsys: Capture) -> None:
    """`--require nothing` says so in the file; leaving the option out keeps the strict default."""
    key, first, second = FACTORY.log_key.vkey, tmp_path / "1.json", tmp_path / "2.json"
    assert call(capsys, "trust", "pin", "--out", first, "--vkey", key, "--require", "nothing")[0] == 0
    assert call(capsys, "trust", "pin", "--out", second, "--vkey", key)[0] == 0
    assert parse_trust(first.read_bytes()).require == ()
    assert parse_trust(second.read_bytes()).require == ("quorum", "anchor")


@pytest.fixture
def log_url() -> Iterator[str]:
    """A service that says what its log is, or something else below /odd/."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said: Any = {"origin": FACTORY.origin, "vkey": FACTORY.log_key.vkey}
            # What names files on the command line must not when it comes over the wire.
            said |= {
                "/odd/file": {"vkey": "/etc/hostname"},
                "/odd/devnet-file": {"devnet_vkey": "/etc/hostname"},
                "/odd/number": {"devnet_vkey": 5},
                "/logs/none": {"devnet_vkey": None},
                "/logs/devnet": {"devnet_vkey": FACTORY.devnet_key.vkey},
                "/logs/witnessed": {
                    "witnesses": [{"name": each.name, "vkey": each.vkey} for each in WITNESSES]
                },
                "/odd/witness": {"witnesses": [{"name": "w", "vkey": "a+b\nwitness x y"}]},
                "/odd/witnesses": {"witnesses": {"w": "a+b"}},
                "/odd/nameless": {"witnesses": ["a+b"]},
            }.get(self.path, {})
            body = {"/odd/list": b"[]", "/odd/text": b"<html>", "/odd/deep": b"[" * 100_000}.get(self.path)
            body = json.dumps(said).encode() if body is None else body
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_key_from_the_wire_is_marked_as_the_operators(
    log_url: str, tmp_path: Path, capsys: Capture
) -> None:
    """Trust on first use: the file says it came from the operator, and so does every report."""
    out = tmp_path / "trust.json"
    assert call(capsys, "trust", "pin", f"{log_url}/logs/main", "--out", out, "--require", "nothing")[0] == 0
    issuer = parse_trust(out.read_bytes()).issuer
    assert (issuer.name, issuer.role) == (FACTORY.origin, "operator")
    receipt = tmp_path / "r.json"
    receipt.write_bytes(FACTORY.receipt_bytes(FACTORY.decisions[0]))
    _, text, _ = call(capsys, "verify", receipt, "--trust", out)
    assert "The trust file came from the operator" in text
    for odd in (
        "list", "text", "deep", "file", "devnet-file", "number", "witness", "witnesses", "nameless",
    ):  # fmt: skip
        code, _, err = call(capsys, "trust", "pin", f"{log_url}/odd/{odd}", "--out", tmp_path / odd)
        assert (code, err.count("\n"), "a log at" in err) == (2, 1, True), odd
        assert not (tmp_path / odd).exists()


def test_the_devnet_key_is_pinned_with_the_logs(log_url: str, tmp_path: Path, capsys: Capture) -> None:
    """A service that says it has a devnet is believed for it, unless another key is given by hand."""
    given, other = FACTORY.devnet_key.vkey, Ed25519Signer.from_seed("devnet.other", b"\x05" * 32).vkey
    for name, more, expected in (
        ("devnet", (), given),
        ("none", (), None),
        ("devnet", ("--devnet", other), other),
    ):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.json"
        assert call(capsys, "trust", "pin", f"{log_url}/logs/{name}", "--out", out, *more)[0] == 0
        devnet = parse_trust(out.read_bytes()).devnet
        assert (None if devnet is None else devnet.vkey) == expected


def test_witnesses_a_log_names_are_offered(log_url: str, tmp_path: Path, capsys: Capture) -> None:
    """They are believed only if a quorum is asked for, and then by the operator's word; own ones go first."""
    url, vkeys = f"{log_url}/logs/witnessed", [each.vkey for each in WITNESSES]
    code, text, _ = call(capsys, "trust", "pin", url, "--out", tmp_path / "none")
    assert (code, parse_trust((tmp_path / "none").read_bytes()).policy.witnesses) == (0, ())
    assert "2 witness(es) cosign it" in text
    assert all(vkey in text for vkey in vkeys)
    assert call(capsys, "trust", "pin", url, "--quorum", 2, "--out", tmp_path / "both")[0] == 0
    both = parse_trust((tmp_path / "both").read_bytes())
    assert [each.verifier.vkey for each in both.policy.witnesses] == vkeys
    assert both.issuer.role == "operator"
    own = f"mine={vkeys[0]}"
    arguments = ("trust", "pin", url, "--quorum", 1, "--witness", own, "--out", tmp_path / "own")
    assert call(capsys, *arguments)[0] == 0
    assert [each.name for each in parse_trust((tmp_path / "own").read_bytes()).policy.witnesses] == ["mine"]
    assert call(capsys, "trust", "pin", url, "--quorum", 3, "--out", tmp_path / "three")[0] == 2


def test_showing_and_comparing_trust_files(tmp_path: Path, capsys: Capture) -> None:
    """`show` says in words what is believed, `diff` what changed, with exit 1 if anything did."""
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    pins = [
        {"chain_id": 1, "contract": "0x" + "1" * 40, "code_hash": "0x" + "2" * 64, "owner": "0x" + "3" * 40}
    ]
    retired = [{"origin": "old.example", "size": 7, "root": "0" * 64}]
    old.write_bytes(FACTORY.trust_bytes(quorum=1, require=["quorum"]))
    new.write_bytes(FACTORY.trust_bytes(quorum=2, require=["quorum"], anchors=pins, retired=retired))
    code, shown, _ = call(capsys, "trust", "show", new)
    assert code == 0
    assert "anchor contract 0x1111111111111111111111111111111111111111 on chain 1" in shown
    assert "retired log old.example at size 7" in shown
    assert "made by the tests (self)" in shown
    assert json.loads(call(capsys, "trust", "show", new, "--json")[1])["quorum"] == "both"
    code, text, _ = call(capsys, "trust", "diff", old, new)
    assert code == 1
    assert "- group both 1 of w1 w2" in text
    assert "+ group both 2 of w1 w2" in text
    assert call(capsys, "trust", "diff", old, old)[:2] == (0, "both files believe the same\n")
    assert json.loads(call(capsys, "trust", "diff", old, new, "--json")[1])["removed"] == [
        "group both 1 of w1 w2"
    ]
    assert call(capsys, "trust", "show", tmp_path / "absent")[0] == 2


def test_names_in_a_trust_file_reach_the_terminal_escaped(tmp_path: Path, capsys: Capture) -> None:
    """Witnesses, groups and the issuer may be called anything; show and diff print plain characters only."""
    value = json.loads(FACTORY.trust_bytes(quorum=1))
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(value))
    value["policy"] = value["policy"].replace(" w1", " w\u009b31m").replace(" both", " g\u202e\u200b")
    value["issuer"]["name"] = "op\u202e\u009b2J"
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(value))
    for arguments in (("show", odd), ("diff", plain, odd), ("show", odd, "--json")):
        _, out, err = call(capsys, "trust", *arguments)
        assert "9b31m" in out
        assert all(character.isprintable() for character in (out + err).replace("\n", ""))

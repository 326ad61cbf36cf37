"""`auditlog monitor --token-file [ORIGIN=]FILE`: a token goes to the log it was given for alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from auditlog.cli.monitor_parts import Wanted, build
from auditlog.cli.monitor_tokens import Tokens
from auditlog.cli.trust import policy_text, trust_text
from auditlog.core.keys import Ed25519Signer
from auditlog.errors import ConfigurationError
from tests.support.monitor_world import HostWorld
from tests.support.tlog_writer import ORIGIN, log_signer

OTHER = "log.example/other"


class Recorder(BaseHTTPRequestHandler):
    """Serves files of a dictionary, and keeps what authorization came."""

    def do_GET(self) -> None:
        """One object."""
        self.server.came.append(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        body = self.server.files.get(self.path[1:])  # type: ignore[attr-defined]
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silence."""


@pytest.fixture
def servers() -> Iterator[list[ThreadingHTTPServer]]:
    """Two, that serve one log."""
    world = HostWorld(witnesses=0)
    world.answer()
    world.beat()
    world.publish()
    made, threads = [], []
    for _ in range(2):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        server.came, server.files = [], world.source().files  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made.append(server)
        threads.append(thread)
    yield made
    for server, thread in zip(made, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


def trust_file(folder: Path, urls: list[str]) -> Path:
    """Two logs, the second one of another operator."""
    keys = [log_signer().vkey, Ed25519Signer.from_seed(OTHER, b"\x22" * 32).vkey]
    policy = policy_text(keys, [], 0).splitlines()
    policy[:2] = [f"{line} {url}".strip() for line, url in zip(policy, urls, strict=False)]
    issuer = {"name": "tests", "role": "self"}
    path = folder / "trust.json"
    text = trust_text("".join(f"{line}\n" for line in policy), devnet=None, require=[], issuer=issuer)
    path.write_text(text)
    return path


def urls_of(servers: list[ThreadingHTTPServer]) -> list[str]:
    """Where they are."""
    return [f"http://127.0.0.1:{server.server_port}" for server in servers]


def wanted(folder: Path, trust: Path, *tokens: str, logs: tuple[str, ...] = ()) -> Wanted:
    """A monitor of those logs."""
    return Wanted(logs=logs, trust=trust, vkey=None, state=folder / "s", token_files=tokens)


def test_a_token_goes_to_its_own_log_alone(servers: list[ThreadingHTTPServer], tmp_path: Path) -> None:
    """The log of the other operator sees no authorization at all."""
    token = tmp_path / "t"
    token.write_text("secret-a\n")
    trust = trust_file(tmp_path, urls_of(servers))
    monitor = build(wanted(tmp_path, trust, f"{ORIGIN}={token}"), lambda _origin: lambda _a, _b: None)
    monitor.once()
    monitor.close()
    assert set(servers[0].came) == {"Bearer secret-a"}  # type: ignore[attr-defined]
    assert set(servers[1].came) == {None}  # type: ignore[attr-defined]


def test_a_bare_token_with_several_logs_is_refused(tmp_path: Path) -> None:
    """Nobody guesses whose it is."""
    token = tmp_path / "t"
    token.write_text("secret-a\n")
    trust = trust_file(tmp_path, ["http://127.0.0.1:9", "http://127.0.0.1:10"])
    with pytest.raises(ConfigurationError, match="expected ORIGIN=FILE"):
        build(wanted(tmp_path, trust, str(token)), lambda _origin: lambda _a, _b: None)


def test_a_log_that_only_says_which_it_is_gets_no_token(
    servers: list[ThreadingHTTPServer], tmp_path: Path
) -> None:
    """A copy of that log's checkpoint at another's URL does not fetch its token."""
    token = tmp_path / "t"
    token.write_text("secret-a\n")
    urls = urls_of(servers)
    trust = trust_file(tmp_path, [urls[0], "http://127.0.0.1:9"])
    with pytest.raises(ConfigurationError, match="only the log itself says"):
        build(
            wanted(tmp_path, trust, f"{ORIGIN}={token}", logs=(urls[1],)),
            lambda _origin: lambda _a, _b: None,
        )
    assert set(servers[1].came) == {None}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("log.example/unknown=t",), "found another origin"),
        (("t", f"{ORIGIN}=t"), "one token a log"),
        (("t", "t"), "found two"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    given: tuple[str, ...], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An origin nobody knows, and two tokens for one log."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t").write_text("secret\n")
    with pytest.raises(ConfigurationError, match=found):
        Tokens(given, [ORIGIN], 1)


def test_one_log_takes_a_bare_token(tmp_path: Path) -> None:
    """As it was."""
    (tmp_path / "t").write_text("secret\n")
    assert Tokens((str(tmp_path / "t"),), [ORIGIN], 1).of(ORIGIN, is_named=True) == "secret"

"""A real EVM node for tests: the anvil binary of tests/anvil, on a free loopback port, ended with the test.

The binary itself is started, not npm's wrapper: it is there in 40 ms, and ending it leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog.demo.processes import free_port

ANVIL = (
    Path(__file__).parents[1]
    / "anvil"
    / "node_modules"
    / "@foundry-rs"
    / "anvil-linux-amd64"
    / "bin"
    / "anvil"
)
MISSING = f"no EVM node: run `npm ci` in {ANVIL.parents[4].name} (make test does, where npm is)"
KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""The first of the node's well-known development keys."""
CHAIN_ID = 31337


@dataclass
class Anvil:
    """A running node."""

    url: str

    def rpc(self, method: str, *params: Any) -> Any:
        """Ask the node, outside the code under test."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.load(response)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def mine(self, count: int = 1) -> None:
        """Append blocks."""
        self.rpc("anvil_mine", hex(count))


@contextlib.contextmanager
def running_anvil(*options: str) -> Iterator[Anvil]:
    """Start a node that mines only when told; end it at exit."""
    port = free_port()
    command = [
        str(ANVIL),
        "--port",
        str(port),
        "--no-mining",
        "--slots-in-an-epoch",
        "1",
        "--silent",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        node = Anvil(f"http://127.0.0.1:{port}")
        try:
            _await(node, process)
            yield node
        finally:
            process.terminate()


@dataclass
class Gateway:
    """A way to a node that can be closed: whoever asks then is hung up on, as by a node that went away."""

    url: str
    is_open: bool = True


@contextlib.contextmanager
def gateway(node: Anvil) -> Iterator[Gateway]:
    """Hand requests on to the node on a port of its own, so that the node keeps its chain meanwhile."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not way.is_open:
                return
            request = urllib.request.Request(node.url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=10) as response:
                answer = response.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        way = Gateway(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield way
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def mining(node: Anvil, interval_s: float = 0.02) -> Iterator[None]:
    """Mine a block every so often while the body runs: for code that waits for blocks by itself."""
    stop = threading.Event()

    def mine() -> None:
        while not stop.wait(interval_s):
            node.mine()

    thread = threading.Thread(target=mine)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _await(node: Anvil, process: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            node.rpc("eth_chainId")
            return
        if process.poll() is not None:
            raise AssertionError(f"the EVM node ended with {process.returncode}")
        time.sleep(0.01)
    raise AssertionError("the EVM node did not answer in five seconds")

"""What a node may send over HTTP: anything at all, and the answer is a value or our error, never its URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from auditlog.anchoring.jsonrpc import blob, hash32, over_http, quantity
from auditlog.anchoring.node import Node
from auditlog.errors import LedgerError


class Answering(BaseHTTPRequestHandler):
    """Sends whatever the test set, to every request."""

    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b""
    asked: ClassVar[int] = 0

    def do_POST(self) -> None:
        """Answer."""
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[tuple[type[Answering], str]]:
    """A node on loopback, its URL with an access key in it."""

    class Handler(Answering):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield Handler, f"http://127.0.0.1:{http.server_port}/v2/secret-access-key"
        http.shutdown()
        thread.join()


def test_an_answer_is_read(server: tuple[type[Answering], str]) -> None:
    """The ordinary case."""
    handler, url = server
    handler.body = b'{"jsonrpc":"2.0","id":1,"result":"0x7a69"}'
    assert Node(over_http(url)).chain_id() == 31337


@pytest.mark.parametrize("status", [200, 429, 500])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"null",
        b"17",
        b"[]",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"result":' + b"9" * 10_000 + b"}",
        b'{"result":"0x" "0x"}',
        b'{"result":"0xzz"}',
        b'{"error":{"code":-32005,"message":"over its limit"}}',
        b"\xff\xfe\x00",
        b'{"result":"\xff"}',
    ],
    ids=[f"body {number}" for number in range(13)],
)
def test_anything_else_is_our_error(server: tuple[type[Answering], str], body: bytes, status: int) -> None:
    """Whatever comes, whatever the status: LedgerError, and asked once only."""
    handler, url = server
    handler.status, handler.body, handler.asked = status, body, 0
    with pytest.raises(LedgerError) as caught:
        Node(over_http(url)).chain_id()
    assert caught.value.__cause__ is None
    assert "secret-access-key" not in str(caught.value)
    assert handler.asked == 1, "nothing is repeated behind our back"


def test_a_node_that_is_not_there_is_our_error_without_its_url() -> None:
    """A URL often holds an access key; it is in no message and in no cause."""
    with pytest.raises(LedgerError, match="eth_chainId: expected an answer, found ConnectionError") as caught:
        Node(over_http("http://127.0.0.1:9/v2/secret-access-key")).chain_id()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "value", [None, 1, "", "0x", "1", "0xg", "0x+1", "0x_1", "0x 1", "-0x1", "0x" + "1" * 65]
)
def test_numbers_are_read_strictly(value: object) -> None:
    """0x and up to 64 hex digits; Python's own leniency does not leak in."""
    with pytest.raises(LedgerError):
        quantity(value)


@pytest.mark.parametrize("value", [None, b"", "", "00", "0x0", "0x0g", "0x 00", "0x00 "])
def test_bytes_are_read_strictly(value: object) -> None:
    """0x and pairs of hex digits, nothing between."""
    with pytest.raises(LedgerError):
        blob(value)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_hash_is_32_bytes(size: int) -> None:
    """No other length passes."""
    with pytest.raises(LedgerError, match=f"expected 32 bytes, found {size}"):
        hash32("0x" + "00" * size)

"""What a connection may send outside of bodies: bounded in bytes and in time, before anybody is asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from auditlog.service.wire import MAX_HEAD_BYTES, BoundedHttp


class Impatient(BoundedHttp):
    """Waits less, so that the tests do."""

    head_s = 0.5


async def echo(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answer with the length of the body."""
    size, more = 0, scope["type"] == "http"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = str(size).encode()
    headers = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server with these bounds."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(echo, http=Impatient, lifespan="off", log_config=None, timeout_keep_alive=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()
    listening.close()


def answer(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """What comes back until the server closes, or has answered and falls silent."""
    found = b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(3)
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause_s)
            while data := connection.recv(1 << 16):
                found += data
        except ConnectionError:
            return found + b"(cut)"
        except TimeoutError:
            return found + b"(open)"
    return found


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b"a" * 4096
MANY = [LONG] * 512


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET /", *MANY],
        [HEAD + b"X-A: ", *MANY],
        [HEAD, *[b"X-%d: 1\r\n" % number for number in range(100_000)]],
        [CHUNKED + b"1;", *MANY],
        [CHUNKED + b"1\r\nx\r\n0\r\nX-A: ", *MANY],
    ],
    ids=["line", "header", "headers", "chunk", "trailer"],
)
def test_what_has_no_end_is_cut(port: int, parts: list[bytes]) -> None:
    """A request line, headers, a chunk's framing or trailers beyond the limit end the connection."""
    found = answer(port, *parts)
    assert not found.endswith(b"(open)")
    assert b" 200 " not in found


@pytest.mark.parametrize("begun", [b"", b"GET /hea", HEAD + b"X-A: 1\r\n"])
def test_a_head_that_does_not_come_is_cut(port: int, begun: bytes) -> None:
    """Whoever connects and sends nothing, or half a head, is answered 408 and closed."""
    assert answer(port, begun).startswith(b"HTTP/1.1 408 ")


def test_a_head_that_trickles_is_cut(port: int) -> None:
    """A byte now and then does not keep a connection open."""
    assert not answer(port, *(bytes([each]) for each in HEAD), pause_s=0.1).endswith(b"(open)")


def test_what_keeps_to_the_limits_is_answered(port: int) -> None:
    """Large heads, large and slow bodies, chunks, and requests one after the other on a connection."""
    last = HEAD + b"Connection: close\r\n"
    big = last + b"X-A: " + b"a" * (MAX_HEAD_BYTES - 1000) + b"\r\nContent-Length: 0\r\n\r\n"
    assert b" 200 " in answer(port, big)
    body = b"b" * 3_000_000
    request = last + b"Content-Length: 3000000\r\n\r\n"
    assert answer(port, request, body).endswith(b"3000000")
    assert answer(port, request + body[:10], body[10:], pause_s=0.8).endswith(b"3000000")
    chunks = [b"10000\r\n" + b"c" * 0x10000 + b"\r\n"] * 20
    chunked = last + b"Transfer-Encoding: chunked\r\n\r\n"
    assert answer(port, chunked, *chunks, b"0\r\n\r\n").endswith(str(20 * 0x10000).encode())
    one, end = (head + b"Content-Length: 1\r\n\r\nx" for head in (HEAD, last))
    assert answer(port, one, end, pause_s=0.8).count(b" 200 ") == 2
    assert answer(port, one * 4 + end).count(b" 200 ") == 5

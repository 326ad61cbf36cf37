"""What the benchmark of ingest sends, made ahead of the clock, and two lean clients that send it.

Decisions of 1 KB as a capturing host writes them: ids in order of time, the id's time that of the claimed
start, a registered model. Clients write to the socket what was made before and read no more of an answer
than its status and length, so that they take as little as possible of the two cores.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

from auditlog.core.batch import BATCH_MEDIA_TYPE, encode_batch
from auditlog.core.entry import Entry, encode_entry, format_time
from auditlog.core.head import Head, sign_head
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import sign_note
from auditlog.core.statements import instance_text, producer_text

START_US = 1_760_000_000_000_000


class Producer:
    """Builds the batches of one chain."""

    def __init__(self, origin: str, number: int) -> None:
        self.name = f"host-{number}"
        self._origin, self._number = origin, number
        seed = number.to_bytes(2, "big") * 16
        self.signer = Ed25519Signer.generate(f"{origin}/producer/{self.name}", seed)
        self.instance = f"{number:032x}"
        self.id = self.prev = ""
        self.seq = 0

    def enrol(self, port: int, token: str) -> None:
        """Enrol, and take the answer as the start of the chain."""
        note = sign_note(producer_text(self._origin, self.name), [self.signer])
        body = json.dumps({"name": self.name, "vkey": self.signer.vkey, "note": note})
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/logs/main/producers", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        if response.status != 200:
            raise SystemExit(f"expected enrolment, found {answer}")
        self.id = self.prev = answer["producer"]

    def batch(self, size: int) -> bytes:
        """The next `size` entries, sealed, with their head."""
        first, entries = self.seq, [self._next() for _ in range(size)]
        leaf_hashes = [hash_leaf(entry) for entry in entries]
        head = Head(
            origin=self._origin,
            producer=self.id,
            instance=self.instance,
            first_seq=first,
            seq=self.seq - 1,
            leaf_hash=leaf_hashes[-1],
            root=root_hash(leaf_hashes),
        )
        return encode_batch(sign_head(head, self.signer), entries)

    def _next(self) -> bytes:
        at_us = START_US + self.seq * 1000
        if self.seq == 0:
            text = instance_text(self._origin, self.id, self.instance, self.prev)
            note = sign_note(text, [self.signer])
            kind, body = "instance", dict[str, object](note=note, software="bench")
        else:
            kind, body = "decision", _decision(self.seq, self._number, at_us)
        entry = encode_entry(
            Entry(
                kind=kind,
                origin=self._origin,
                producer=self.id,
                instance=self.instance,
                seq=self.seq,
                prev=self.prev,
                time=format_time(at_us),
                body=body,
            )
        )
        self.seq += 1
        self.prev = hash_leaf(entry).hex()
        return entry


def _decision(number: int, host: int, at_us: int) -> dict[str, object]:
    # Commitments are as random as real ones: nothing here is easier to store or to search than in life.
    random = sha256(f"{host} {number}".encode()).hexdigest()
    commitment = {"commitment": random, "fields": {"root": random[::-1], "size": 12, "form": "json"}}
    stamp = f"{at_us // 1000:012x}"
    return {
        "id": f"{stamp[:8]}-{stamp[8:]}-7{random[:3]}-8{random[3:6]}-{random[6:18]}",
        "operation": "chat",
        "capture": "asgi",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "mode": "fail_open",
        "start": format_time(at_us),
        "duration_us": 1234,
        "ended": "ok",
        "model": "ab" * 32,
        "sampling": {"temperature": "0.2", "max_tokens": "64", "top_p": "0.95"},
        "request": commitment,
        "response": commitment,
        "values": "kept",
    }


def request_of(body: bytes, path: str, token: str) -> bytes:
    """One POST as it goes over the wire."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {BATCH_MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def drive(port: int, queues: Sequence[Sequence[bytes]], until: Callable[[], None]) -> float:
    """Send every queue of requests over its own connection, one in flight each.

    Returns the seconds until the last answer, and until `until` returned after it.
    """
    failures: list[str] = []

    def send(queue: Sequence[bytes]) -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in queue:
                connection.sendall(request)
                if (answer := _answer(connection)) is not None:
                    failures.append(answer)
                    return

    threads = [threading.Thread(target=send, args=(queue,)) for queue in queues]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until()
    elapsed = time.perf_counter() - started
    if failures:
        raise SystemExit(f"expected every batch to be acknowledged, found {failures[0]}")
    return elapsed


def _answer(connection: socket.socket) -> str | None:
    """Read one answer; None if it is a 200."""
    data = b""
    while not _is_whole(data):
        piece = connection.recv(65536)
        if not piece:
            return f"a closed connection after {data[:200]!r}"
        data += piece
    return None if data.startswith(b"HTTP/1.1 200") else repr(data[:400])


def _is_whole(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    return bool(found) and at > 0 and len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])


def drive_many(
    port: int, queues: Sequence[Sequence[bytes]], rate: float | None = None
) -> tuple[float, list[float]]:
    """As `drive`, with one thread for all connections: (seconds, latency of each request in seconds).

    With `rate` requests are due at that many a second, whatever the answers do, and their latency counts from
    when they were due. Without, each follows the answer before it.
    """
    return asyncio.run(_drive_many(port, queues, rate))


async def _drive_many(
    port: int, queues: Sequence[Sequence[bytes]], rate: float | None
) -> tuple[float, list[float]]:
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    lines = [(await loop.create_connection(_Line, "127.0.0.1", port))[1] for _ in queues]
    started = time.perf_counter()

    async def send(number: int, line: _Line, queue: Sequence[bytes]) -> None:
        for due, request in zip(_due(number, len(queues), rate), queue, strict=False):
            wait = started + due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            began = started + due if rate is not None else time.perf_counter()
            answer = await line.ask(request)
            latencies.append(time.perf_counter() - began)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"expected every entry to be acknowledged, found {answer[:400]!r}")

    await asyncio.gather(*(send(*each) for each in zip(range(len(queues)), lines, queues, strict=True)))
    elapsed = time.perf_counter() - started
    for line in lines:
        line.close()
    return elapsed, latencies


def _due(number: int, lines: int, rate: float | None) -> Iterator[float]:
    """When the requests of one of `lines` are due, in seconds from the start: evenly spread over all."""
    turn = 0
    while True:
        yield 0.0 if rate is None else (turn * lines + number) / rate
        turn += 1


class _Line(asyncio.Protocol):
    """One connection with one request in flight."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._data = b""

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request; the answer."""
        self._data = b""
        self._waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._waiting

    def data_received(self, data: bytes) -> None:
        self._data += data
        if _is_whole(self._data):
            self._waiting.set_result(self._data)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

"""A log service in memory, for tests of the capture layer: honest, or failing exactly as told.

It speaks the part of the HTTP API a producer uses (spec/api.md) and checks what admission checks: head
signature, framing, origin, producer, seq, prev. `transport()` gives it to httpx without a socket; `serve()`
puts it on a real loopback socket, for tests that kill processes.
"""

from __future__ import annotations

import base64
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from auditlog.core.batch import decode_batch
from auditlog.core.entry import Entry, encode_entry, parse_entry
from auditlog.core.head import open_head
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Verifier, open_note
from auditlog.core.statements import producer_text

TIME = "2026-01-01T00:00:00.000000Z"
RECEIPT_KEY = bytes(range(32))
TAKEN = "producer: expected a new name, or the key and note that it enrolled with, found others"


@dataclass
class Answer:
    """What the service says: status, JSON members, extra headers."""

    status: int
    members: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


class HangupError(Exception):
    """Told to break the connection instead of answering."""


@dataclass
class Chain:
    """What the fake log knows of one producer."""

    producer: str
    name: str
    vkey: str
    entry: bytes
    index: int
    instance: str | None = None
    seq: int | None = None
    leaf_hash: str = ""
    entries: list[bytes] = field(default_factory=list)


class FakeLog:
    """The service. `faults` is a queue: each request to /batches takes one and suffers it; empty
    means honest.
    """

    def __init__(self, origin: str = "log.example/test") -> None:
        self.origin = origin
        self.chains: dict[str, Chain] = {}
        self.requests: list[tuple[str, str]] = []
        self.batches: list[list[bytes]] = []
        self.batch_bytes: list[bytes] = []
        self.enrolments = 0
        self.max_merge_delay_s: int | None = None
        """Said at enrolment, unless None."""
        self.says_delay_s: int | None = None
        """Said at the log's own address, unless None."""
        self.token_expires: str | None = None
        self.promises: dict[str, str] | None = {}
        """Promises shown here, by decision id; None for a log that has no place for them."""
        self.token: str | None = None
        self.is_down = False
        self.max_batch = 1 << 30
        self.faults: deque[str] = deque()
        self.heads_asked = 0
        self.accepted: deque[tuple[int, bytes]] = deque()
        """What was answered with 202 and is on its way, and from which question for a head on it is there."""
        self.in_flight = 0
        self.most_in_flight = 0
        self._lock = threading.RLock()
        self._gauge = threading.Lock()

    def entries(self, producer: str | None = None) -> list[Entry]:
        """All entries it has acknowledged or committed, parsed, in order."""
        with self._lock:
            chains = [c for c in self.chains.values() if producer in (None, c.producer)]
            return [parse_entry(entry) for chain in chains for entry in chain.entries]

    def decisions(self) -> list[Entry]:
        """The decision entries."""
        return [entry for entry in self.entries() if entry.kind == "decision"]

    def chain(self) -> Chain:
        """The only producer's chain."""
        (chain,) = self.chains.values()
        return chain

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request; `path` is relative to the log. Raises HangupError."""
        with self._gauge:
            self.requests.append((method, path))
            self.in_flight += path == "/batches"
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            with self._lock:
                return self._handle(method, path, headers, body)
        finally:
            with self._gauge:
                self.in_flight -= path == "/batches"

    def _handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if self.is_down:
            raise HangupError
        if self.token is not None and headers.get("authorization") != f"Bearer {self.token}":
            return problem(401, "authentication")
        if (method, path) == ("GET", ""):
            delay_s = self.says_delay_s
            return Answer(
                200, {"origin": self.origin} | ({} if delay_s is None else {"max_merge_delay_s": delay_s})
            )
        if (method, path) == ("POST", "/producers"):
            return self._enrol(json.loads(body))
        if method == "GET" and path.startswith("/producers/"):
            return self._head(path.split("/")[2])
        if (method, path) == ("POST", "/promises"):
            return self._keep_promises(json.loads(body)["promises"])
        if (method, path) == ("POST", "/batches"):
            return self._suffer(body)
        return problem(404, "not_found")

    def _keep_promises(self, given: list[dict[str, str]]) -> Answer:
        if self.promises is None:
            return problem(404, "not_found")
        self.promises.update({one["id"]: one["promise"] for one in given})
        return Answer(200, {"kept": len(given)})

    def _enrol(self, asked: dict[str, Any]) -> Answer:
        self.enrolments += 1
        name, note, vkey = asked["name"], asked["note"], asked["vkey"]
        for chain in self.chains.values():
            if chain.name == name:
                return self._enrolled(chain) if chain.vkey == vkey else problem(400, "refused", detail=TAKEN)
        if open_note(note, [Ed25519Verifier.from_vkey(vkey)]).text != producer_text(self.origin, name):
            return problem(422, "malformed")
        seq = len(self.chains) + 1
        entry = encode_entry(
            Entry(
                kind="producer", origin=self.origin, producer="log", instance="log", seq=seq, prev="0" * 64,
                time=TIME, body={"name": name, "vkey": vkey, "note": note},
            )
        )  # fmt: skip
        producer = hash_leaf(entry).hex()
        self.chains[producer] = Chain(producer, name, vkey, entry, seq, leaf_hash=producer)
        return self._enrolled(self.chains[producer])

    def _enrolled(self, chain: Chain) -> Answer:
        members = {
            "producer": chain.producer,
            "index": chain.index,
            "origin": self.origin,
            "entry": base64.b64encode(chain.entry).decode(),
            "receipt_key": base64.b64encode(RECEIPT_KEY).decode(),
        }
        if self.max_merge_delay_s is not None:
            members["max_merge_delay_s"] = self.max_merge_delay_s
        if self.token_expires is not None:
            members["token_expires"] = self.token_expires
        return Answer(200, members)

    def _head(self, producer: str) -> Answer:
        self.heads_asked += 1
        while self.accepted and self.accepted[0][0] < self.heads_asked:
            self._admit(self.accepted.popleft()[1])
        chain = self.chains.get(producer)
        if chain is None:
            return problem(404, "not_found")
        members = {"instance": chain.instance, "seq": chain.seq, "leaf_hash": chain.leaf_hash, "index": 0}
        return Answer(200, members)

    def _suffer(self, body: bytes) -> Answer:
        fault = self.faults.popleft() if self.faults else "honest"
        if fault == "hangup_before":
            raise HangupError
        if fault == "pushback":
            return problem(503, "pushback", headers={"Retry-After": "1"})
        if fault == "error_before":
            return Answer(500, {})
        if fault == "malformed":
            return problem(422, "malformed")
        if fault == "accepted_lost":
            return Answer(202, {})
        if fault == "accepted":
            # Committed after the head was asked for twice.
            self.accepted.append((self.heads_asked + 2, body))
            return Answer(202, {})
        answer = self._admit(body)
        if answer.status == 200 and fault == "hangup_after":
            raise HangupError
        if answer.status == 200 and fault == "error_after":
            return Answer(502, {})
        return Answer(200, {"hello": 1}) if fault == "nonsense_after" else answer

    def _admit(self, body: bytes) -> Answer:
        head_note, entries = decode_batch(body)
        if len(body) > self.max_batch:
            return problem(413, "too_large")
        first = parse_entry(entries[0])
        chain = self.chains.get(first.producer)
        if chain is None or first.origin != self.origin:
            return problem(422, "malformed")
        self._check_head(head_note, entries, first, chain)
        known = {hash_leaf(entry) for entry in chain.entries}
        fresh = [entry for entry in entries if hash_leaf(entry) not in known]
        before = (chain.instance, chain.seq, chain.leaf_hash, len(chain.entries))
        for content in fresh:
            refusal = self._extend(chain, content)
            if refusal is not None:
                chain.instance, chain.seq, chain.leaf_hash, count = before
                del chain.entries[count:]
                return refusal
        self.batches.append(entries)
        self.batch_bytes.append(body)
        skipped = len(entries) - len(fresh)
        return Answer(200, {"first_index": 1, "count": len(fresh), "skipped": skipped, "tree_size": 1})

    def _check_head(self, head_note: str, entries: list[bytes], first: Entry, chain: Chain) -> None:
        head = open_head(head_note, Ed25519Verifier.from_vkey(chain.vkey))
        last = parse_entry(entries[-1])
        hashes = [hash_leaf(entry) for entry in entries]
        assert (head.first_seq, head.seq) == (first.seq, last.seq)
        assert {parse_entry(entry).instance for entry in entries} == {head.instance}
        assert (head.leaf_hash, head.root) == (hashes[-1], root_hash(hashes))

    def _extend(self, chain: Chain, content: bytes) -> Answer | None:
        entry = parse_entry(content)
        is_next = entry.instance == chain.instance and entry.seq == (chain.seq or 0) + 1
        is_new_life = entry.instance != chain.instance and entry.seq == 0 and entry.kind == "instance"
        if entry.prev != chain.leaf_hash or not (is_next or is_new_life):
            expected = {"instance": chain.instance, "seq": chain.seq, "leaf_hash": chain.leaf_hash}
            found = {"instance": entry.instance, "seq": entry.seq, "leaf_hash": hash_leaf(content).hex()}
            return problem(409, "chain_conflict", expected=expected, found=found)
        chain.instance, chain.seq, chain.leaf_hash = entry.instance, entry.seq, hash_leaf(content).hex()
        chain.entries.append(content)
        return None

    def transport(self) -> httpx.MockTransport:
        """The service as an httpx transport; the log's URL is `http://log/logs/main`."""

        def answer(request: httpx.Request) -> httpx.Response:
            path = request.url.path.removeprefix("/logs/main")
            try:
                found = self.handle(request.method, path, dict(request.headers), request.content)
            except HangupError:
                raise httpx.ReadError("connection lost", request=request) from None
            return httpx.Response(found.status, json=found.members, headers=found.headers)

        return httpx.MockTransport(answer)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """The service on a loopback socket; gives the log's URL."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.handle))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/logs/main"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def problem(status: int, code: str, *, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    """An RFC 9457 answer."""
    return Answer(status, {"type": f"urn:auditlog:problem:{code}", "title": code, **more}, headers or {})


def _handler(handle: Callable[[str, str, dict[str, str], bytes], Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            body = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                found = handle(self.command, self.path.removeprefix("/logs/main"), headers, body)
            except HangupError:
                self.close_connection = True
                return
            content = json.dumps(found.members).encode()
            self.send_response(found.status)
            for name, value in {"content-length": str(len(content)), **found.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815  the names http.server looks for

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    return Handler

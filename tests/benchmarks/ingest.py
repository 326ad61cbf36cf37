"""Entries a second over HTTP, durable, integrated and committed, with the client on the same cores.

A real service process (SQLite, index on) takes batches of 500 decisions of 1 KB from four producers, each
with one batch in flight. The ceiling is `ingest_ceiling.py` under the same client in the same run.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import threading
import time
from pathlib import Path

from measure import Result, arguments, ratio_result, report

from auditlog.core.batch import encode_batch
from auditlog.core.entry import Entry, encode_entry, format_time
from auditlog.core.head import Head, sign_head
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import sign_note
from auditlog.core.statements import instance_text, producer_text
from auditlog.demo.processes import Servers, free_port, run_auditlog

ORIGIN = "bench.example/ingest"
BATCH = 500
PRODUCERS = 4
TIME = format_time(1_760_000_000_000_000)


class Producer:
    """Builds one chain's batches ahead of the clock."""

    def __init__(self, number: int) -> None:
        self.name = f"host-{number}"
        self.signer = Ed25519Signer.generate(f"{ORIGIN}/producer/{self.name}", bytes([number + 1]) * 32)
        self.instance = f"{number:032x}"
        self.id = ""
        self.seq = 0
        self.prev = ""

    def enrol(self, connection: http.client.HTTPConnection, token: str) -> None:
        """Enrol, and take the answer as the start of the chain."""
        note = sign_note(producer_text(ORIGIN, self.name), [self.signer])
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        body = json.dumps({"name": self.name, "vkey": self.signer.vkey, "note": note})
        connection.request("POST", "/logs/main/producers", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise SystemExit(f"expected enrolment, found {answer}")
        self.id = self.prev = answer["producer"]

    def batch(self) -> bytes:
        """The next `BATCH` entries, sealed, with their head."""
        first, entries = self.seq, [self._next() for _ in range(BATCH)]
        leaf_hashes = [hash_leaf(entry) for entry in entries]
        head = Head(
            origin=ORIGIN,
            producer=self.id,
            instance=self.instance,
            first_seq=first,
            seq=self.seq - 1,
            leaf_hash=leaf_hashes[-1],
            root=root_hash(leaf_hashes),
        )
        return encode_batch(sign_head(head, self.signer), entries)

    def _next(self) -> bytes:
        if self.seq == 0:
            note = sign_note(instance_text(ORIGIN, self.id, self.instance, self.prev), [self.signer])
            kind, body = "instance", {"note": note, "software": "bench"}
        else:
            kind, body = "decision", _decision(self.seq)
        entry = encode_entry(
            Entry(
                kind=kind,
                origin=ORIGIN,
                producer=self.id,
                instance=self.instance,
                seq=self.seq,
                prev=self.prev,
                time=TIME,
                body=body,
            )
        )
        self.seq += 1
        self.prev = hash_leaf(entry).hex()
        return entry


def _decision(number: int) -> dict[str, object]:
    commitment = {"commitment": "ab" * 32, "fields": {"root": "cd" * 32, "size": 12, "form": "json"}}
    return {
        "id": f"01900000-0000-7000-8000-{number:012x}",
        "operation": "chat",
        "capture": "asgi",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "mode": "fail_open",
        "start": TIME,
        "duration_us": 1234,
        "ended": "ok",
        "model": "unregistered",
        "sampling": {"temperature": "0.2", "max_tokens": "64", "top_p": "0.95"},
        "request": commitment,
        "response": commitment,
        "values": "kept",
    }


def drive(port: int, path: str, queues: list[list[bytes]], token: str) -> float:
    """Send every queue over its own connection; seconds until the last answer."""
    failures: list[str] = []

    def send(queue: list[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/vnd.auditlog.batch"}
        for body in queue:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                failures.append(f"{response.status} {answer[:200]!r}")
                return
        connection.close()

    threads = [threading.Thread(target=send, args=(queue,)) for queue in queues]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    if failures:
        raise SystemExit(f"expected every batch to be acknowledged, found {failures[0]}")
    return elapsed


def main() -> None:
    """Print entries a second and the ratio to the ceiling."""
    options = arguments(__doc__ or "")
    rounds, batches = (3, 4) if options.quick else (7, 16)
    with tempfile.TemporaryDirectory() as scratch, Servers(Path(scratch) / "output") as servers:
        folder, port, ceiling_port = Path(scratch), free_port(), free_port()
        token = _serve(servers, folder, port, ceiling_port)
        producers = [Producer(number) for number in range(PRODUCERS)]
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for producer in producers:
            producer.enrol(connection, token)
        ours, ceiling = [], []
        for number in range(rounds + 1):
            queues = [[producer.batch() for _ in range(batches)] for producer in producers]
            sides = [
                (drive(port, "/logs/main/batches", queues, token), ours),
                (drive(ceiling_port, "/", queues, token), ceiling),
            ]
            for seconds, into in sides if number else []:  # the first round warms up
                into.append(seconds)
        size = int(_get(port, "/logs/main/checkpoint").split("\n")[1])
    against = "read, hash, append, group fdatasync"
    operations = PRODUCERS * batches * BATCH
    result = ratio_result(
        "entries committed over HTTP, index on", ours, ceiling, operations=operations, unit="entries/s",
        against=against,
    )  # fmt: skip
    entry_bytes = len(queues[0][0]) / BATCH
    report(
        [
            result,
            Result("mean entry with framing", round(entry_bytes), "bytes"),
            Result("published tree size at the end", size, "entries"),
        ],
        as_json=options.json,
    )


def _serve(servers: Servers, folder: Path, port: int, ceiling_port: int) -> str:
    home = folder / "service"
    made = run_auditlog(
        ["init", str(home), "--origin", ORIGIN, "--port", str(port), "--anchoring", "off",
         "--high-water", str(folder / "high-water")],
        folder=folder,
    )  # fmt: skip
    if made.exit_code:
        raise SystemExit(made.output)
    config = str(home / "auditlog.toml")
    servers.start("log", ["-m", "auditlog.cli.main", "serve", "--config", config], {})
    environment = {"AUDITLOG_CEILING_FILE": str(folder / "ceiling"), "PYTHONPATH": str(Path(__file__).parent)}
    servers.serve_app("ceiling", "ingest_ceiling:create_app", ceiling_port, {**os.environ, **environment})
    servers.wait("log", f"http://127.0.0.1:{port}/health")
    servers.wait("ceiling", f"http://127.0.0.1:{ceiling_port}/")
    return (home / "tokens" / "capture.token").read_text(encoding="utf-8").strip()


def _get(port: int, path: str) -> str:
    time.sleep(1.5)  # the publisher's interval
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    return connection.getresponse().read().decode()


if __name__ == "__main__":
    main()

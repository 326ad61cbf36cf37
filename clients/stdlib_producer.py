#!/usr/bin/env python3
"""Write to a log with the standard library and the `openssl` command: enrol, start, record one decision.

    python3 clients/stdlib_producer.py URL --token TOKEN --name my-host-0

TOKEN needs the scopes enrol and submit. Shows every byte a producer has to make (auditlog/spec/entry.md,
"Producer chain"; spec/log.md, "Batch framing"), for whoever writes one in another language. It keeps its
key in a temporary folder and forgets it: a real producer keeps key, chain and unsent entries on disk, as
auditlog.capture does.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import secrets
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from stdlib_client import LogClient, Refused, leaf_hash, root_hash

BATCH = "application/vnd.auditlog.batch"


class Key:
    """An Ed25519 key held by openssl; signs C2SP notes under `name`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._file = folder / "key.pem"
        _openssl("genpkey", "-algorithm", "ed25519", "-out", str(self._file))
        der = _openssl("pkey", "-in", str(self._file), "-pubout", "-outform", "DER")
        public = b"\x01" + der[-32:]
        self._id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
        self.vkey = f"{name}+{self._id.hex()}+{base64.b64encode(public).decode()}"

    def note(self, text: str) -> str:
        """The text, an empty line, one signature line."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            signed = _openssl("pkeyutl", "-sign", "-rawin", "-inkey", str(self._file), "-in", file.name)
        return f"{text}\n\u2014 {self.name} {base64.b64encode(self._id + signed).decode()}\n"


class Producer:
    """One producer of one log, one process life of it."""

    def __init__(self, client: LogClient, name: str, folder: Path) -> None:
        self._client = client
        self.origin = client.json("")["origin"]
        self._key = Key(f"{self.origin}/producer/{name}", folder)
        note = self._key.note(f"auditlog/producer@v1\n{self.origin}\n{name}\n")
        wanted = {"name": name, "vkey": self._key.vkey, "note": note}
        enrolled = json.loads(client.request("/producers", json.dumps(wanted).encode()))
        self.id = enrolled["producer"]
        self.receipt_key = base64.b64decode(enrolled["receipt_key"])
        self._instance = secrets.token_hex(16)
        self._seq = -1
        self._prev = self.id  # a producer's first entry follows its enrolment
        if leaf_hash(base64.b64decode(enrolled["entry"])).hex() != self.id:
            raise ValueError("expected the leaf hash of our enrolment as our id, found another")

    def start(self) -> bytes:
        """The `instance` entry every process life begins with."""
        text = f"auditlog/instance@v1\n{self.origin}\n{self.id}\n{self._instance}\n{self._prev}\n"
        return self.seal("instance", {"note": self._key.note(text), "software": "stdlib_producer.py"})

    def seal(self, kind: str, body: dict) -> bytes:
        """The next entry of the chain, as canonical JSON: sorted keys, no spaces, no floats."""
        self._seq += 1
        entry = {"v": 1, "kind": kind, "origin": self.origin, "producer": self.id, "instance": self._instance}
        entry |= {"seq": self._seq, "prev": self._prev, "time": timestamp(), "body": body}
        data = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        self._prev = leaf_hash(data).hex()
        return data

    def send(self, entries: list[bytes]) -> dict:
        """Post the newest entries with the head that signs them; the answer is an acknowledgement."""
        leaves = [leaf_hash(entry) for entry in entries]
        last, root = (base64.b64encode(each).decode() for each in (leaves[-1], root_hash(leaves)))
        first_seq = self._seq - len(entries) + 1
        lines = ("auditlog/head@v1", self.origin, self.id, self._instance, first_seq, self._seq, last, root)
        head = self._key.note("".join(f"{line}\n" for line in lines)).encode()
        framed = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
        return json.loads(
            self._client.request("/batches", len(head).to_bytes(4, "big") + head + framed, BATCH)
        )

    def receipt_path(self, decision: str) -> str:
        """Where the receipt of a decision will be, for whoever is given this address."""
        text = b"auditlog/receipt-capability@v1\x00" + decision.encode()
        mac = hmac.digest(self.receipt_key, text, "sha256")
        capability = base64.urlsafe_b64encode(mac[:16]).decode().rstrip("=")
        return f"/receipts/{self.id[:16]}/{decision}/{capability}"


def decision_body(request: bytes, response: bytes) -> dict:
    """A decision with whole-body commitments under fresh salts (spec/commitment.md), not kept here."""
    now = timestamp()
    body: dict = {"id": uuid7(), "operation": "chat", "capture": "in_process", "mode": "fail_open"}
    body |= {"start": now, "duration_us": 1, "ended": "ok", "model": "unregistered", "values": "not_kept"}
    for name, data in (("request", request), ("response", response)):
        salt = secrets.token_bytes(32)
        text = b"auditlog/body@v1\x00" + name.encode() + b"\x00" + data
        body[name] = {"commitment": hmac.digest(salt, text, "sha256").hex()}
    return body


def uuid7() -> str:
    """A UUIDv7 (RFC 9562) of this moment."""
    value = (time.time_ns() // 1_000_000 << 80) | (7 << 76) | secrets.randbits(76)
    value = value & ~(3 << 62) | (2 << 62)
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def timestamp() -> str:
    """Now, as entries write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _openssl(*arguments: str) -> bytes:
    command = ["openssl", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603  our own arguments


def main() -> int:
    """Exit code 0: acknowledged, and its receipt is there; 1: refused; 2: nobody answers."""
    parser = argparse.ArgumentParser(description="Enrol a producer and record one decision.")
    parser.add_argument("url", help="prefix of the log, such as http://127.0.0.1:8700/logs/main")
    parser.add_argument("--token", required=True, help="bearer token with scopes enrol and submit")
    parser.add_argument("--name", required=True, help="name of the new producer")
    given = parser.parse_args()
    client = LogClient(given.url, given.token)
    try:
        with tempfile.TemporaryDirectory() as folder:
            producer = Producer(client, given.name, Path(folder))
            print(f"enrolled    {given.name} as {producer.id}")
            body = decision_body(b'{"question":"..."}', b'{"answer":"..."}')
            accepted = producer.send([producer.start(), producer.seal("decision", body)])
            print(f"accepted    {accepted['count']} entries from index {accepted['first_index']}")
            path = producer.receipt_path(body["id"])
            print(f"receipt     {client.url}{path}")
            for _ in range(100):
                receipt = client.request(path)
                if receipt:  # an empty answer is 202: not published yet
                    print(f"received    {len(receipt)} bytes, {json.loads(receipt)['v']}")
                    return 0
                time.sleep(0.1)
            print("the receipt is not there after ten seconds", file=sys.stderr)
            return 1
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"no log to write to at {given.url}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""A log, its opener and a way to call the app, for tests of the HTTP layer: no file, no signature."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import httpx
from fastapi import FastAPI

from auditlog.core.merkle import hash_leaf, prove_consistency, prove_inclusion, root_hash
from auditlog.core.tiles import encode_bundle
from auditlog.errors import AuditLogError, NotFoundError, NotYetPublished
from auditlog.log.aside import Beside
from auditlog.service.app import create_app
from auditlog.service.settings import LogSettings, Settings
from auditlog.service.tokens import token_sha256
from auditlog.storage.sql.tokens import TokenRecord

PRODUCER = bytes(range(32))
RECEIPT_KEY = b"k" * 32
SCOPES = ("enrol", "submit", "read", "admin")
TOKENS = {scope: f"token-for-{scope}" for scope in SCOPES}


class FakeLog:
    """Ten entries, `published_size` of them published. `refusal`, once set, is what calls raise."""

    def __init__(self, settings: LogSettings) -> None:
        self.origin = settings.origin
        self.vkey = f"{settings.origin}+00000000+AAAA"
        self.entries = [f"entry {i}".encode() for i in range(10)]
        self.published_size = 8
        self.publication_lag_s = 0.0
        self.lag = 2
        self.flagged = {"id_repeated": 1}
        self.refusal: Exception | None = None
        self.fault: str | None = None
        self.decisions: dict[str, list[int]] = {"decided": [3], "twice": [4, 5], "unpublished": [9]}
        self.batches: list[Any] = []
        self.held: Future[Any] | None = None
        self.closed = False
        self.headless = False
        self.reader = self
        self.index = self
        self.receipts = self
        self.absence = self
        self.witnesses = None
        self.quorum: Any = None
        self.standing = "open"
        self.successor: Any = None
        self.retention = SimpleNamespace(opened=lambda: None)
        self.promises = SimpleNamespace(kept=3, conflicting=1)

    def status(self) -> Any:
        """Sizes; the index is two behind."""
        return SimpleNamespace(index_size=8, tree_size=len(self.entries))

    def published(self) -> str:
        """A checkpoint with a signature nobody checks."""
        import base64

        if not self.published_size:
            raise NotFoundError("expected a published checkpoint, found none yet")
        leaves = [hash_leaf(entry) for entry in self.entries[: self.published_size]]
        root = base64.b64encode(root_hash(leaves)).decode()
        return f"{self.origin}\n{self.published_size}\n{root}\n\n— {self.origin} AAAAAA==\n"

    def submit(self, batch: Any) -> Future[Any]:
        """Accept, or raise the refusal; `held` keeps the answer back."""
        if self.refusal is not None:
            raise self.refusal
        self.batches.append(batch)
        if self.held is not None:
            return self.held
        future: Future[Any] = Future()
        future.set_result(SimpleNamespace(first_index=10, count=len(batch.entries), skipped=0, tree_size=12))
        return future

    def enrol(self, *, name: str, vkey: str, note: str) -> Future[Any]:
        """Everyone is the same producer."""
        if self.refusal is not None:
            raise self.refusal
        future: Future[Any] = Future()
        future.set_result(SimpleNamespace(producer=PRODUCER, index=1, entry=f"{name} {vkey} {note}".encode()))
        return future

    def entry(self, index: int) -> bytes:
        """The bytes of an entry."""
        return self.entries[index]

    def tile(self, level: int, index: int, width: int) -> bytes:
        """Level 0 only."""
        leaves = [hash_leaf(entry) for entry in self.entries]
        return b"".join(leaves[256 * index : 256 * index + width])

    def bundle(self, index: int, width: int) -> bytes:
        """Framed entries."""
        return encode_bundle(self.entries[256 * index : 256 * index + width])

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """A real proof."""
        return prove_inclusion([hash_leaf(entry) for entry in self.entries[:size]], index)

    def consistency(self, older: int, newer: int) -> list[bytes]:
        """A real proof."""
        return prove_consistency([hash_leaf(entry) for entry in self.entries[:newer]], older)

    def by_leaf(self, leaf_hash: bytes) -> list[int]:
        """By comparing all."""
        return [i for i, entry in enumerate(self.entries) if hash_leaf(entry) == leaf_hash]

    def by_decision(self, decision_id: str, producer: bytes | None = None) -> list[int]:
        """From a fixed table; only `PRODUCER` made any."""
        return self.decisions.get(decision_id, []) if producer in {None, PRODUCER} else []

    def by_chain(self, producer: bytes, instance: str, seq: int) -> list[int]:
        """Entry number `seq` + 2 of `PRODUCER`."""
        return [seq + 2] if producer == PRODUCER else []

    def flags(self, index: int) -> list[str]:
        """Entry 5 repeats the id of entry 4."""
        return ["id_repeated"] if index == 5 else []

    def explain(self, decision_id: str, producer: bytes) -> NoReturn:
        """On its way, or what the test says."""
        raise self.refusal or NotYetPublished("expected it, found it not yet", retry_after_s=2)

    def issue(self, index: int) -> bytes:
        """Something like a receipt."""
        return b'{"receipt":%d}\n' % index

    def issue_cose(self, index: int) -> bytes:
        """Something like a COSE receipt."""
        return b"\xd2%d" % index

    def head(self, producer: bytes) -> Any:
        """One known chain; `headless` has none yet."""
        if self.headless:
            return None
        return SimpleNamespace(instance="ab" * 16, seq=5, leaf_hash=b"\x01" * 32, index=7)

    def producers(self) -> list[Any]:
        """One known producer."""
        return [SimpleNamespace(producer=PRODUCER, index=1)]

    def producer(self, producer: bytes) -> Any:
        """One known producer."""
        if producer != PRODUCER:
            raise NotFoundError("expected an enrolled producer, found none")
        return SimpleNamespace(producer=PRODUCER, name="host-0", index=1)

    def producer_state(self, producer: bytes) -> Any:
        """Alive, with the key it enrolled with."""
        known = self.producer(producer)
        return SimpleNamespace(record=known, head=self.head(producer), vkey="host-0+00000000+AAAA")

    def receipt_key(self, producer: bytes) -> bytes:
        """The same for all."""
        return RECEIPT_KEY

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class FakeTokens:
    """A token store in a dictionary."""

    def __init__(self) -> None:
        self.records = {
            token_sha256(secret): TokenRecord(token_sha256(secret), scope, frozenset({scope}))
            for scope, secret in TOKENS.items()
        }
        self.lookups = 0

    def find(self, sha256: bytes) -> TokenRecord | None:
        """By hash."""
        self.lookups += 1
        return self.records.get(sha256)

    def add(self, record: TokenRecord) -> None:
        """Keep it."""
        self.records[record.sha256] = record

    def revoke(self, name: str) -> int:
        """Forget by name."""
        gone = [key for key, record in self.records.items() if record.name == name]
        for key in gone:
            del self.records[key]
        return len(gone)

    def all(self) -> list[TokenRecord]:
        """By name."""
        return sorted(self.records.values(), key=lambda record: record.name)


class FakeOpener:
    """Opens fake logs; `failures` names those that cannot be opened, and why."""

    def __init__(self, failures: dict[str, AuditLogError] | None = None) -> None:
        self.failures = failures or {}
        self.logs: dict[str, FakeLog] = {}
        self.tokens = FakeTokens()
        self.closed = False
        self.anchors: Any = None
        self.block: Any = None
        self.blocks_asked = 0

    def start(self) -> FakeTokens:
        """The tokens."""
        return self.tokens

    def leases(self) -> None:
        """Nobody else is there."""

    def open(self, settings: LogSettings) -> Any:
        """A fake, or the failure."""
        if settings.name in self.failures:
            raise self.failures[settings.name]
        self.logs[settings.name] = FakeLog(settings)
        return self.logs[settings.name]

    def create(self, settings: LogSettings) -> Any:
        """As open."""
        return self.open(settings)

    def anchorer(self, log: Any) -> Any:
        """Whatever the test put here."""
        return self.anchors

    def devnet_vkey(self) -> str | None:
        """Like one."""
        return "devnet.example.org+00000000+AAAA"

    def finalized_block(self) -> Any:
        """Whatever the test put here, counted."""
        self.blocks_asked += 1
        if isinstance(self.block, Exception):
            raise self.block
        return self.block

    def outcomes(self, settings: LogSettings, log: Any) -> NoReturn:
        """No fake of these: tests/unit/log and tests/integration have the real one."""
        raise NotImplementedError

    def beside(self) -> Beside:
        """Two, of which one was replaced."""
        return Beside(running=2, restarts=1)

    def close(self) -> None:
        """Remember it."""
        self.closed = True


class Caller:
    """Calls an app in process, synchronously; `token` names a scope whose token is sent."""

    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        self.app = app
        self.runner = runner
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")

    def __call__(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        """One request, one answer."""
        return self.runner.run(self.send(method, path, token=token, **more))

    async def send(self, method: str, path: str, *, token: str | None = None, **more: Any) -> httpx.Response:
        """As a call, for several at once."""
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {TOKENS.get(token, token)}"
        return await self._http.request(method, path, headers=headers, **more)


def settings_for(tmp_path: Any, **service: Any) -> Settings:
    """Three logs, one of each visibility."""
    logs = [
        {"name": name, "origin": f"example.org/{name}", "visibility": name, "allow_unguarded_start": True}
        for name in ("public", "hashes", "private")
    ]
    raw = {"service": {"data_dir": "data", **service}, "logs": logs, "anchoring": {"mode": "off"}}
    return Settings.build(raw, base=tmp_path)


@contextmanager
def running(settings: Settings, opener: FakeOpener) -> Iterator[Caller]:
    """The app between the start and the end of its lifespan."""
    app = create_app(settings, opener=opener)
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            yield Caller(app, runner)
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


def expect_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check the one shape of a refusal, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["type"] == f"urn:auditlog:problem:{code}"
    assert body["status"] == status
    assert body.keys() <= {"type", "title", "status", "detail", "expected", "found"}
    assert "Traceback" not in answer.text
    return dict(body)

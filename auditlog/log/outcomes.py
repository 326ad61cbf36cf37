"""Outcomes that the service writes for others: what became of a decision, said later and from anywhere.

Spec: `auditlog/spec/entry.md`, "outcome"; `api.md`, "Outcomes". The facts are committed to under a fresh key;
key and facts are sealed in the state store before the log sees the entry, so that no outcome is in the log
that nobody can open. Dying in between leaves a sealed record of an entry that never came, which no look-up
shows. The private index holds keyed digests of names and values; it is not derived from the log and cannot
be rebuilt from it. Must never: put a fact in clear into the log, a column, a message or a metric.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auditlog.core.commitment import commit_body, field_root
from auditlog.core.decimals import decimal_of
from auditlog.core.sealing import RANDOM_BYTES, open_record, seal_record
from auditlog.core.statements import OUTCOMES_PRODUCER
from auditlog.errors import FactsError, Pushback, SubmissionRefused
from auditlog.log.admission import Accepted
from auditlog.log.clock import Clock
from auditlog.log.log import Log
from auditlog.log.own_producer import OwnProducer
from auditlog.storage.ports import OutcomeState
from auditlog.storage.records import OutcomeRow

PRODUCER_NAME = OUTCOMES_PRODUCER
"""The name of the service's own producer in each log; nobody else may enrol under it."""
MAX_FACTS_BYTES = 48 << 10
MAX_INDEXED = 64
"""Facts of one outcome that the private index finds it by."""
MAX_FOUND = 1000
_DOMAIN = b"auditlog/outcome-record@v1\0"


@dataclass(frozen=True, slots=True)
class OutcomeKept:
    """An outcome is in the log, at `index`. `is_known`: its decision was in the log before."""

    index: int
    leaf_hash: bytes
    is_known: bool


@dataclass(frozen=True, slots=True)
class FoundOutcome:
    """An outcome that a fact leads to."""

    decision: str
    item: str | None
    index: int
    leaf_hash: bytes


class OutcomeRecord(msgspec.Struct, frozen=True, array_like=True):
    """What opens one outcome: the facts as they were committed, and their key."""

    facts_key: bytes
    facts: bytes
    item: str | None = None

    def __repr__(self) -> str:
        return f"OutcomeRecord({len(self.facts)} bytes)"


class Outcomes:
    """Outcomes of one log. Safe to use from any thread."""

    def __init__(
        self,
        log: Log,
        state: OutcomeState,
        producer: OwnProducer,
        *,
        store_key: bytes,
        rng: Callable[[int], bytes],
        clock: Clock,
    ) -> None:
        """`store_key` (32 bytes) seals what is kept; the keys of digests are derived from it."""
        self._log = log
        self._state = state
        self._producer = producer
        self._wrapping = AESGCM(store_key)
        self._index_key = hmac.digest(store_key, b"auditlog/private-index@v1", sha256)
        self._request_key = hmac.digest(store_key, b"auditlog/outcome-request@v1", sha256)
        self._rng = rng
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[bytes, tuple[bytes, Future[OutcomeKept]]] = {}
        """Requests under way, by digest: what was asked, and the future of its outcome."""
        self.unknown = 0
        """Outcomes written for decisions that the log did not have then: for metrics."""

    def record(
        self, decision: str, facts: Mapping[str, Any], *, item: str | None = None, request: str | None = None
    ) -> Future[OutcomeKept]:
        """Write an outcome; the future resolves after its commit.

        The same `request` (a key the sender chose) again gives the same outcome. A decision the log does not
        have is no error: it may be on its way, or in another log.

        Raises:
            FactsError: facts that JSON cannot hold, or too many bytes of them.
            SubmissionRefused: this request was another outcome. AuditLogError: the log does not take it now.
        """
        content = _encoded(facts)
        if request is None:
            return self._write(decision, item, facts, content, None)
        asked = self._digest(self._request_key, request)
        body = self._digest(self._request_key, decision, item or "", content.decode("utf-8"))
        with self._lock:
            running = self._running.get(asked)
            if running is not None:
                _check_same(running[0], body)
                return running[1]
            known = self._known(asked, body)
            if known is not None:
                return known
            future = self._write(decision, item, facts, content, (asked, body))
            self._running[asked] = (body, future)
        # After the lock is free: a future that is done already calls back at once.
        future.add_done_callback(lambda _: self._forget(asked))
        return future

    def _forget(self, asked: bytes) -> None:
        with self._lock:
            self._running.pop(asked, None)

    def _known(self, asked: bytes, body: bytes) -> Future[OutcomeKept] | None:
        """What an earlier sending of this request came to; None if its entry is not in the log."""
        row = self._state.outcome_of_request(asked)
        if row is None:
            return None
        _check_same(row.request_body or b"", body)
        self._log.index.follow()
        found = self._log.index.by_leaf(row.leaf_hash)
        if not found:
            return None
        done: Future[OutcomeKept] = Future()
        done.set_result(OutcomeKept(found[0], row.leaf_hash, self._is_known(row.decision)))
        return done

    def _write(
        self,
        decision: str,
        item: str | None,
        facts: Mapping[str, Any],
        content: bytes,
        asked: tuple[bytes, bytes] | None,
    ) -> Future[OutcomeKept]:
        key = self._rng(32)
        committed: dict[str, Any] = {"commitment": commit_body(key, "facts", content).hex()}
        fields = field_root(key, "facts", content)
        if fields is not None:
            committed["fields"] = fields.member()
        body: dict[str, Any] = {"decision": decision, "facts": committed}
        if item is not None:
            body["item"] = item
        record = msgspec.msgpack.encode(OutcomeRecord(key, content, item))
        digests = [self._digest(self._index_key, *pair) for pair in indexed_facts(facts)]
        is_known = self._is_known(decision)

        def keep(leaf_hash: bytes) -> None:
            sealed = seal_record(self._wrapping, record, _DOMAIN + leaf_hash, self._rng(RANDOM_BYTES))
            now_us = self._clock.unix_us()
            self._state.add_outcome(
                OutcomeRow(leaf_hash, decision, now_us, *sealed, *(asked or (None, None))), digests
            )

        leaf_hash, future = self._producer.write("outcome", body, keep)
        self.unknown += not is_known
        return _mapped(
            future, lambda done: OutcomeKept(done.first_index + done.count - 1, leaf_hash, is_known)
        )

    def _is_known(self, decision: str) -> bool:
        return bool(self._log.index.by_decision(decision))

    def find(self, name: str, value: str) -> list[FoundOutcome]:
        """Outcomes in the log with this fact, oldest first, `MAX_FOUND` at most. Raises: StorageError."""
        found = []
        for row in self._state.outcomes_found(self._digest(self._index_key, name, value), MAX_FOUND):
            indices = self._log.index.by_leaf(row.leaf_hash)
            if indices:
                found.append(FoundOutcome(row.decision, self._open(row).item, indices[0], row.leaf_hash))
        return found

    def kept(self, decision: str) -> list[tuple[bytes, OutcomeRecord]]:
        """(leaf hash, what opens it) of every outcome kept for a decision. Secrets. Raises: StorageError."""
        return [(row.leaf_hash, self._open(row)) for row in self._state.outcomes_of(decision)]

    def _open(self, row: OutcomeRow) -> OutcomeRecord:
        content = open_record(self._wrapping, _DOMAIN + row.leaf_hash, row.sealed, row.wrapped)
        return msgspec.msgpack.decode(content, type=OutcomeRecord)

    def _digest(self, key: bytes, *parts: str) -> bytes:
        mac = hmac.new(key, digestmod=sha256)
        for part in parts:
            encoded = part.encode("utf-8")
            mac.update(len(encoded).to_bytes(4, "big") + encoded)
        return mac.digest()


def indexed_facts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, text) of the facts an outcome is found by: strings, numbers, booleans, and lists of these."""
    count = 0
    for name, value in facts.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str | int | float) and count < MAX_INDEXED:
                count += 1
                yield name, each if isinstance(each, str) else json.dumps(each)


def _encoded(facts: Mapping[str, Any]) -> bytes:
    score = facts.get("score")
    if score is not None and decimal_of(score) is None:
        raise FactsError("score: expected a finite decimal number, found something else")
    try:
        text = json.dumps(dict(facts), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        content = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise FactsError("outcome: expected facts that JSON can hold, found others") from None
    if not facts or len(content) > MAX_FACTS_BYTES:
        raise FactsError(
            f"outcome: expected facts of at most {MAX_FACTS_BYTES} bytes, found {len(content)} or none"
        )
    return content


def _check_same(known: bytes, found: bytes) -> None:
    if not hmac.compare_digest(known, found):
        raise SubmissionRefused("outcome: expected a new idempotency key, found one of another outcome")


def _mapped(future: Future[Accepted], turn: Callable[[Accepted], OutcomeKept]) -> Future[OutcomeKept]:
    """The future of what a future's result is turned into."""
    turned: Future[OutcomeKept] = Future()
    # Running from the start: who gives up waiting takes nothing back.
    turned.set_running_or_notify_cancel()

    def done(result: Future[Accepted]) -> None:
        error = result.exception()
        if error is not None:
            turned.set_exception(error)
        elif not result.result().count:
            turned.set_exception(Pushback("expected a new entry, found one that was there; send again"))
        else:
            turned.set_result(turn(result.result()))

    future.add_done_callback(done)
    return turned

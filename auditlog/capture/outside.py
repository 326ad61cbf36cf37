"""What a heartbeat tells of the world outside this layer: a recent finalized block, the engine's totals.

A block hash that nobody could know earlier bounds the heartbeat's time from below (design: "back-date"). Both
are asked for by one thread of their own, and read from memory: a log or an engine that does not answer costs
a heartbeat that member, never its time. Answers are attacker-controlled: bounded, and parsed to three values
or to decimal strings. Must never: hold up a heartbeat for longer than `wait_s`, or raise.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from auditlog.capture.client import tls_context
from auditlog.capture.engine_counters import MAX_PAGE_BYTES, totals_of_page, totals_of_registry
from auditlog.capture.fetching import fetch
from auditlog.capture.forking import ForkGate
from auditlog.capture.metrics import Counters
from auditlog.errors import LogUnreachable

MAX_BLOCK_BYTES = 4096
FETCH_S = 3.0
"""Longest time for one answer."""
_HASH = re.compile(r"0x[0-9a-f]{64}")
_MAX_NATURAL = 2**53 - 1

Fetch = Callable[[str, int], bytes]
"""Gives the body at a URL, at most so many bytes. Raises LogUnreachable."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen last: the members `block` and `engine` of a heartbeat, each absent if not to be had."""

    block: dict[str, Any] | None = None
    engine: dict[str, str] | None = None


class Outside:
    """Looks when asked, on its own thread, and remembers. Any thread may call `look`."""

    def __init__(
        self,
        log_url: str,
        engine_metrics: str,
        *,
        metrics: Counters,
        fetch_body: Fetch | None = None,
        gate: ForkGate | None = None,
    ) -> None:
        """Without an `engine_metrics` URL the totals are those of this process's registry."""
        self._block_url = f"{log_url}/blocks/finalized"
        self._engine_url = engine_metrics
        self._metrics = metrics
        self._gate = gate or ForkGate()
        self._fetch = fetch_body or self._get
        self._client: httpx.Client | None = None
        self._condition = threading.Condition()
        self._asked = 0
        self._answered = 0
        self._is_ended = False
        self._seen = Sighting()

    def look(self, *, wait_s: float) -> Sighting:
        """Ask for a new look; what is known after `wait_s` at the latest. An old block is still a bound."""
        until = time.monotonic() + wait_s
        with self._condition:
            self._asked += 1
            asked = self._asked
            self._condition.notify_all()
            while self._answered < asked and not self._is_ended:
                left_s = until - time.monotonic()
                if left_s <= 0 or not self._condition.wait(left_s):
                    break
            seen, is_fresh = self._seen, self._answered >= asked
        if not self._engine_url:
            return Sighting(seen.block, self.engine_here())
        # Old totals beside new counts would look like a mismatch.
        return seen if is_fresh else Sighting(block=seen.block)

    def engine_here(self) -> dict[str, str] | None:
        """The engine's totals now, where they are in this process and asking takes no time."""
        if self._engine_url:
            return None
        try:
            return totals_of_registry() or None
        except Exception:  # noqa: BLE001  a registry holds other people's collectors
            self._metrics.add("outside.no_engine")
            return None

    def end(self) -> None:
        """Let `run` end after the request in flight, if any; nobody waits for it."""
        with self._condition:
            self._is_ended = True
            self._condition.notify_all()

    def run(self) -> None:
        """The body of the thread."""
        try:
            self._run()
        finally:
            if self._client is not None:
                self._client.close()

    def _run(self) -> None:
        while True:
            with self._condition:
                while self._answered >= self._asked and not self._is_ended:
                    self._condition.wait()
                if self._is_ended:
                    return
                asked = self._asked
            with self._gate:
                block, engine = self._block(), self._engine()
            with self._condition:
                self._seen = Sighting(block or self._seen.block, engine)
                self._answered = asked
                self._condition.notify_all()

    def _block(self) -> dict[str, Any] | None:
        try:
            return parse_block(self._fetch(self._block_url, MAX_BLOCK_BYTES))
        except LogUnreachable:
            self._metrics.add("outside.no_block")
            return None

    def _engine(self) -> dict[str, str] | None:
        if not self._engine_url:
            return None
        try:
            return totals_of_page(self._fetch(self._engine_url, MAX_PAGE_BYTES)) or None
        except LogUnreachable:
            self._metrics.add("outside.no_engine")
            return None

    def _get(self, url: str, max_bytes: int) -> bytes:
        if self._client is None:
            is_secret = "https:" in (self._block_url[:6], self._engine_url[:6])
            self._client = httpx.Client(verify=tls_context("https:" if is_secret else url))
        return fetch(self._client, url, max_bytes=max_bytes, within_s=FETCH_S)


def parse_block(body: bytes) -> dict[str, Any] | None:
    """The member `block` from the log's answer, None if it is not of that form: attacker-controlled."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    chain_id, number, block_hash = said.get("chain_id"), said.get("number"), said.get("hash")
    if not _is_natural(chain_id) or not _is_natural(number):
        return None
    if not isinstance(block_hash, str) or _HASH.fullmatch(block_hash) is None:
        return None
    return {"chain_id": chain_id, "number": number, "hash": block_hash}


def _is_natural(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MAX_NATURAL

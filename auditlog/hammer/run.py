"""A whole run: enrol producers, drive, read and check beside them, wait for the rest, sum up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass

from auditlog.core.keys import Ed25519Verifier
from auditlog.errors import SourceError
from auditlog.hammer.book import Book
from auditlog.hammer.chain import Chain
from auditlog.hammer.driver import Producer, enrol
from auditlog.hammer.link import Link
from auditlog.hammer.reader import Reader
from auditlog.hammer.results import Results, results
from auditlog.verify.trusted_log import LogKeys

_MOST_PATIENCE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What to do to which log."""

    url: str
    """The log's prefix."""
    token: str
    """Scopes enrol and submit."""
    seconds: float
    producers: int
    batch: int
    read_token: str | None = None
    """Scope read, where the log's proofs are not public."""
    vkey: str | None = None
    """The log's key; None: what the log itself says it is."""
    readers: int = 1
    last_proofs: int = 200
    """Entries that are proven when everything is published."""


def hammer(
    load: Load,
    *,
    randomness: Callable[[int], bytes],
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Results:
    """Drive load and check, then sum up. `progress` hears (tenths of seconds done, of).

    Raises:
        SourceError: the log does not answer, or not as a log. SubmissionRefused: it enrols nobody.
        MalformedError: a key that is none.
    """
    with ExitStack() as links:

        def link(token: str | None) -> Link:
            return links.enter_context(closing(Link(load.url, token)))

        said = link(load.read_token).get_json("")
        origin, vkey = said.get("origin"), load.vkey or said.get("vkey")
        if type(origin) is not str or type(vkey) is not str:
            raise SourceError("log: expected its origin and key, found an answer without", reason="refused")
        keys = LogKeys([Ed25519Verifier.from_vkey(vkey)], origin=origin)
        chains, receipt_keys = _enrolled(load, link(load.token), origin, randomness)
        book, stop = Book(), threading.Event()
        readers = [
            # What is proven is drawn by lot; nobody has to be surprised by it.
            Reader(link(load.read_token), keys, book, receipt_keys, random.Random(randomness(16)))  # noqa: S311
            for _ in range(load.readers)
        ]
        drivers = [
            Producer(link(load.token), chain, book, batch=load.batch, stop=stop, unix_us=_unix_us)
            for chain in chains
        ]
        began_s = time.monotonic()
        _drive(drivers, readers, stop, load.seconds, progress)
        ended_s = time.monotonic()
        delay = said.get("max_merge_delay_s")
        patience_s = min(float(delay), _MOST_PATIENCE_S) if type(delay) is int else 60.0
        readers[0].finish(within_s=patience_s, proofs=load.last_proofs)
    gave_up = [each.gave_up for each in drivers if each.gave_up is not None]
    return results(origin, book, began_s=began_s, ended_s=ended_s, gave_up=gave_up)


def _drive(
    drivers: list[Producer],
    readers: list[Reader],
    stop: threading.Event,
    seconds: float,
    progress: Callable[[int, int], None],
) -> None:
    """Everyone on a thread of their own; the readers go on until the last batch is answered."""
    stop_reading = threading.Event()
    sending = [threading.Thread(target=each.run, daemon=True) for each in drivers]
    looking = [threading.Thread(target=each.run, args=(stop_reading,), daemon=True) for each in readers]
    for thread in (*sending, *looking):
        thread.start()
    _wait(seconds, sending, progress)
    stop.set()
    for thread in sending:
        thread.join()
    stop_reading.set()
    for thread in looking:
        thread.join()


def _enrolled(
    load: Load, link: Link, origin: str, randomness: Callable[[int], bytes]
) -> tuple[list[Chain], dict[str, bytes]]:
    """New producers of this run, under names nobody has."""
    mark = randomness(6).hex()
    chains, keys = [], {}
    for number in range(load.producers):
        chain = Chain(origin, f"hammer-{mark}-{number}", randomness(32), randomness(16).hex())
        receipt_key = enrol(link, chain)
        chains.append(chain)
        keys[chain.id] = receipt_key
    return chains, keys


def _wait(seconds: float, threads: list[threading.Thread], progress: Callable[[int, int], None]) -> None:
    """Let it run; no longer than there is a producer left."""
    began_s = time.monotonic()
    while (passed := time.monotonic() - began_s) < seconds and any(each.is_alive() for each in threads):
        progress(int(passed * 10), int(seconds * 10))
        time.sleep(min(0.1, seconds - passed))
    progress(int(seconds * 10), int(seconds * 10))


def _unix_us() -> int:
    return time.time_ns() // 1000

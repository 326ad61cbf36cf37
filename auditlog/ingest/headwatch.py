"""Waiting for committed heads: one look at the database for all who wait, as long as somebody does.

Spec: auditlog/spec/api.md, "Several processes". Must never: make anybody wait longer than asked, whatever the
database does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from auditlog.errors import StorageError
from auditlog.storage.records import ChainHead

logger = logging.getLogger("auditlog.ingest")

LOOK_S = 0.02
Waiting = tuple[ChainHead | None, "asyncio.Future[ChainHead | None]"]


class HeadWatch:
    """Tells waiters when a producer's head is another than they know. Used from one event loop."""

    def __init__(self, heads_of: Callable[[Sequence[bytes]], dict[bytes, ChainHead]]) -> None:
        self._heads_of = heads_of
        self._waiting: dict[bytes, list[Waiting]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def changed(self, producer: bytes, known: ChainHead | None, timeout_s: float) -> ChainHead | None:
        """The head once it is not `known`; `known` after `timeout_s`."""
        future: asyncio.Future[ChainHead | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(producer, []).append((known, future))
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            return await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return known

    async def _look(self) -> None:
        while self._waiting:
            await asyncio.sleep(LOOK_S)
            self._forget_those_who_left()
            try:
                heads = await asyncio.to_thread(self._heads_of, list(self._waiting))
            except StorageError as error:
                logger.warning("expected to read the heads, found: %s", error)
                await asyncio.sleep(10 * LOOK_S)
                continue
            for producer, waiting in self._waiting.items():
                head = heads.get(producer)
                for known, future in waiting:
                    if head is not None and head != known and not future.done():
                        future.set_result(head)

    def _forget_those_who_left(self) -> None:
        """Whoever has an answer, or gave up."""
        kept = {
            producer: [each for each in waiting if not each[1].done()]
            for producer, waiting in self._waiting.items()
        }
        self._waiting = {producer: waiting for producer, waiting in kept.items() if waiting}

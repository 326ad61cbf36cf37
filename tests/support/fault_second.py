"""A second process on the same stores, at any write of the first: it opens the log, commits, publishes.

It may have been open since before (its memory is stale by then), or open at that very moment. Neither may
ever fork the log or lose what either acknowledged: one of them finds the commit point moved, and recovers.
"""

from __future__ import annotations

from contextlib import suppress

from auditlog.errors import AuditLogError, LogHalted, Pushback
from auditlog.log import open_log
from auditlog.log.log import Log
from tests.support.fault_world import World
from tests.support.testlog import ManualWorkers

SECOND_KINDS = ("second-fresh", "second-stale", "second-own")


class Second:
    """Another process with this log open; `strike` is called at a write of the first.

    `second-fresh` opens the log then, `second-stale` did so before; `second-own` opens it then too, and
    appends an entry of the log's own, the chain that both write.
    """

    def __init__(self, world: World, kind: str) -> None:
        self._world = world
        self._kind = kind
        self._workers = ManualWorkers()
        self._log: Log | None = None
        self._producer = world.producers["z"]
        sealed = [self._producer.decide(9000 + n) for n in range(3)]
        self._entries = [] if kind == "second-own" else sealed
        if kind == "second-stale":
            self._open()

    def _open(self) -> None:
        bench = self._world.bench
        self._log = open_log(
            bench.config,
            bench.stores,
            bench.signer,
            bench.clock,
            outside=[bench.outside],
            engine=self._workers,
        )

    def strike(self, operation: str) -> None:
        """Do what a second process does. In the middle of a publication it may not publish: the store's own
        lock keeps it waiting (`replace_unless`).
        """
        if self._log is None:
            with suppress(AuditLogError):
                self._open()
        if self._log is None:
            return
        self._commit(self._log)
        if operation != "public.replace":
            self._workers.run()
            planned, self._workers.planned = self._workers.planned, []
            for _, step in planned:
                step()
            self._workers.run()

    def _commit(self, log: Log) -> None:
        bench = self._world.bench
        for _ in range(3):
            try:
                if self._entries:
                    done = log.submit(self._producer.batch(self._entries))
                    log.run_pending()
                    done.result(timeout=0)
                    for entry in self._entries:
                        bench.acknowledged[len(bench.acknowledged)] = entry
                else:
                    done_own = log.append_own("notice", {"what": "restored"})
                    log.run_pending()
                    done_own.result(timeout=0)
            except (Pushback, LogHalted, TimeoutError):
                continue
            return

"""The second half of the demo: the operator cheats on copies, and other processes judge.

What needs nothing of the honest end state begins early, while the language model loads: two cores are busy
otherwise. Promises: nothing here writes into the folder of the honest operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditlog.demo import cheating, loan_model
from auditlog.demo.cheating import Check
from auditlog.demo.cosigning import DemoWitnesses
from auditlog.demo.omission import Omissions
from auditlog.demo.operator import Operator
from auditlog.demo.processes import Servers
from auditlog.demo.watching import Watched


@dataclass(frozen=True)
class Held:
    """What customers hold of the mortgages, and the model's fingerprint in their receipts."""

    receipts: Sequence[Path]
    promises: Sequence[Path]
    model: str


class Trial:
    """All cheats and controls. `servers` are the copies' and are never asked to drain."""

    def __init__(
        self, operator: Operator, scratch: Path, servers: Servers, judges: ThreadPoolExecutor, loans: Held
    ) -> None:
        self._operator, self._scratch, self._servers = operator, scratch, servers
        self._judges, self._loans = judges, loans
        self._receipts: Future[Check] | None = None
        self._worlds: Future[Omissions] | None = None

    def begin(self, earlier: DemoWitnesses) -> None:
        """Start what can be judged while the honest operator still runs; `earlier` are copies of its
        witnesses from before the last decisions.
        """
        operator, loans = self._operator, self._loans
        self._worlds = self._judges.submit(Omissions, operator, self._scratch, self._servers, earlier)
        self._receipts = self._judges.submit(cheating.honest_control, operator, loans.receipts, loans.model)

    def cheats(
        self, receipts: Sequence[Path], promises: Sequence[Path], monitor: Path
    ) -> tuple[list[Future[Any]], list[Future[Any]]]:
        """Judge everything: controls and what the log's readers see; then the dropped promises.

        `receipts` and `promises` are all there are; `monitor` is the folder of its memory.
        """
        assert self._receipts is not None
        assert self._worlds is not None
        operator, scratch, loans = self._operator, self._scratch, self._loans
        watched = Watched(operator, scratch, monitor)
        judgements: tuple[Callable[[], Check], ...] = (
            lambda: cheating.honest_promises(operator, promises),
            lambda: cheating.edited_log(operator, scratch, loans.receipts[-1]),
            lambda: cheating.truncated_log(operator, scratch, receipts[-1]),
            lambda: cheating.forged_receipt(operator, scratch, loans.receipts[0]),
            watched.edited,
            watched.cut,
            watched.second,
        )
        checks: list[Future[Any]] = [self._receipts, *map(self._judges.submit, judgements)]
        swapped = cheating.SwappedModel(operator, scratch, self._servers)
        last = self._judges.submit(swapped.judge, loan_model.held_out()[0], loans.model)
        worlds = self._worlds.result()
        worlds.take(loans.promises)
        return [*checks, last], [self._judges.submit(worlds.judge, cause) for cause in worlds.causes]

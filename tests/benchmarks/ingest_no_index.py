"""`auditlog serve` with logs that no index follows: what remains is ingest. For the benchmark only."""

from __future__ import annotations

from auditlog.cli.main import main
from auditlog.log import log
from auditlog.log.index import Index


class _Nothing(Index):
    """An index that follows nothing, and so is never behind."""

    backlog = 0

    def request(self) -> None:
        """Plan no step."""

    def step(self) -> None:
        """Do nothing."""


if __name__ == "__main__":
    log.Index = _Nothing  # type: ignore[attr-defined]
    main()

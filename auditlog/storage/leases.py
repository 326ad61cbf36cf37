"""The lease port: one row that says which process does a job just now. Liveness only, never safety.

Spec: design section 6; `auditlog/log/README.md`, "Several processes". A lease keeps two processes from
wasting each other's work; what keeps them from signing two histories is the compare-and-swap of the commit
(`ports.CommitState`). Every change here is a compare-and-swap too: of holder and term (who took it), and to
take it of the beat (how often it was renewed since), so no clock of any machine is believed. `renewed_us` is
for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lease:
    """One row. `holder` is empty when it was given back."""

    name: str
    holder: str
    term: int
    beat: int
    renewed_us: int


class Leases(Protocol):
    """Leases by name. Raises `StorageError` everywhere: what failed may have happened, look again."""

    def look(self, name: str) -> Lease | None:
        """The row as it is committed now; None if nobody ever held it."""

    def take(self, name: str, seen: Lease | None, holder: str, now_us: int) -> Lease | None:
        """Take it if the row is still exactly `seen` (None: no row); None if somebody was faster."""

    def renew(self, held: Lease, now_us: int) -> Lease | None:
        """Count one beat; None if it is no longer ours (another holder or term). A beat that was reported as
        failed and happened, or that a power loss undid, changes nothing about whose it is.
        """

    def give_back(self, held: Lease) -> None:
        """Leave it free for the next; nothing happens if it is no longer ours."""

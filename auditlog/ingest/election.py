"""Who sequences: one candidate at a time holds the lease, and the others stand by.

Spec: auditlog/spec/api.md, "Several processes". A candidate takes the lease when it is free, or when its row
has not changed for `ttl_s` of the candidate's own monotonic clock and over several looks in a row: so no
machine's wall clock is believed, and an outage of the database, in which nobody could renew, is not taken for
a death. Liveness only: two that both believe to hold it waste each other's work and nothing else, since every
commit compares the whole previous note. Must never: be asked whether something may be signed.
"""

from __future__ import annotations

from collections.abc import Callable

from auditlog.storage.leases import Lease, Leases

TTL_S = 3.0
RENEW_S = 1.0
LOOK_S = 0.5
_LOOKS = 3
"""Looks in a row that must find the same beat, so that a holder gets time to renew after an outage."""


class Candidate:
    """One process that would do the job `name`. Used by one thread at a time."""

    def __init__(
        self,
        leases: Leases,
        name: str,
        holder: str,
        *,
        monotonic: Callable[[], float],
        unix_us: Callable[[], int],
        ttl_s: float = TTL_S,
    ) -> None:
        """`holder` names this process for people and is unlike that of any other."""
        self._leases = leases
        self._name = name
        self._holder = holder
        self._monotonic = monotonic
        self._unix_us = unix_us
        self._ttl_s = ttl_s
        self._held: Lease | None = None
        self._seen: Lease | None = None
        self._since = 0.0
        self._looks = 0

    @property
    def is_holder(self) -> bool:
        """Whether this candidate holds the lease as far as it knows."""
        return self._held is not None

    @property
    def other(self) -> Lease | None:
        """The row of whoever else holds it, as last seen."""
        return None if self._held is not None or self._seen is None or not self._seen.holder else self._seen

    def step(self) -> bool:
        """Renew, or look and perhaps take; return whether it is ours now.

        Raises:
            StorageError: the database did not answer. Who held the lease holds it still, as far as anyone
            knows; whoever waits begins to wait anew.
        """
        if self._held is not None:
            self._held = self._leases.renew(self._held, self._unix_us())
            if self._held is None:
                self._forget()
            return self._held is not None
        try:
            seen = self._leases.look(self._name)
        except BaseException:
            self._forget()
            raise
        if seen is None or not seen.holder or self._is_stale(seen):
            self._held = self._leases.take(self._name, seen, self._holder, self._unix_us())
            self._forget()
        return self._held is not None

    def give_back(self) -> None:
        """Leave the lease free, so that another takes it at its next look. Raises: StorageError."""
        held, self._held = self._held, None
        self._forget()
        if held is not None:
            self._leases.give_back(held)

    def _is_stale(self, seen: Lease) -> bool:
        """Whether the holder has not renewed for as long as it takes to call it dead."""
        known, now = self._seen, self._monotonic()
        if known is None or (known.term, known.beat) != (seen.term, seen.beat):
            self._seen, self._since, self._looks = seen, now, 1
            return False
        self._looks += 1
        return self._looks >= _LOOKS and now - self._since >= self._ttl_s

    def _forget(self) -> None:
        self._seen, self._looks = None, 0

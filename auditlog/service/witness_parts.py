"""From the settings of a log to its witnesses as the engine wants them: gatherer and rollback guard.

Spec: auditlog/spec/api.md, "Logs" and "Configuration". One HTTP client a witness serves both. Must never:
let a log be its own witness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditlog.core.keys import split_vkey
from auditlog.errors import ConfigurationError
from auditlog.log.witness_guard import WitnessPanel, WitnessSource
from auditlog.log.witnesses import GRACE_S, Witness, Witnesses
from auditlog.service.witness_client import HttpWitness
from auditlog.service.witnessing import Witnessing, silence_of, witnessing_of

if TYPE_CHECKING:
    from auditlog.core.keys import Ed25519Verifier
    from auditlog.log.clock import Clock
    from auditlog.log.witness_threads import WitnessThreads
    from auditlog.service.settings import LogSettings


class WitnessParts:
    """The witnesses of one log that is about to be opened."""

    def __init__(self, settings: LogSettings, log: Ed25519Verifier, clock: Clock) -> None:
        """Check the policy against the log's own key.

        Raises:
            ConfigurationError: a witness has the log's key, or the policy names another key for this log.
        """
        self._settings = settings
        self._log = log
        self._clock = clock
        self._witnessing = witnessing_of(settings)
        if self._witnessing is None:
            return
        _check_key(settings, log, self._witnessing)
        # Whoever waits gives up first, and calls it late; the exchange under way is cut soon after.
        exchange_s = settings.witness_timeout_s + GRACE_S
        self._clients = [
            HttpWitness(each.url, timeout_s=exchange_s, monitoring_url=each.monitoring_url)
            for each in self._witnessing.witnesses
        ]

    def gatherer(self, threads: WitnessThreads) -> Witnesses | None:
        """Whoever cosigns the log's checkpoints; None if nobody does. It closes the connections."""
        if self._witnessing is None:
            return None
        members = [
            Witness(each.verifier, client)
            for each, client in zip(self._witnessing.witnesses, self._clients, strict=True)
        ]
        return Witnesses(
            members,
            self._clock,
            policy=self._witnessing.policy,
            hold=self._settings.when_no_quorum == "hold",
            timeout_s=self._settings.witness_timeout_s,
            refresh_s=self._settings.witness_refresh_s,
            threads=threads,
        )

    def guard(self, *, is_alone: bool) -> list[WitnessPanel]:
        """The witnesses as a rollback guard, if they are one; `is_alone` if the log has no other."""
        silence = silence_of(self._settings, is_alone=is_alone)
        if self._witnessing is None or silence is None:
            return []
        sources = [
            WitnessSource(each.verifier, client)
            for each, client in zip(self._witnessing.witnesses, self._clients, strict=True)
        ]
        panel = WitnessPanel(
            self._log,
            sources,
            self._witnessing.policy,
            silence,
            is_alone=is_alone,
            timeout_s=self._settings.witness_timeout_s,
        )
        return [panel]


def _check_key(settings: LogSettings, log: Ed25519Verifier, witnessing: Witnessing) -> None:
    own = split_vkey(log.vkey)[2]
    for each in witnessing.witnesses:
        if split_vkey(each.verifier.vkey)[2] == own:
            raise ConfigurationError(
                f"log {settings.name}: expected witnesses with keys of their own, found the log's"
            )
    for known in witnessing.policy.logs:
        if known.verifier.vkey != log.vkey:
            raise ConfigurationError(
                f"log {settings.name}: expected the key {log.vkey} in witness_policy, found another"
            )

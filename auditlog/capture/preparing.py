"""From a message in the queue to the body of its entry: what the request says, which model, the commitments.

Used by the writer's thread alone; holds what this process life knows of models. Must never: touch the disk.
"""

from __future__ import annotations

from collections.abc import Callable

from auditlog.capture.committing import Prepared, prepare_decision, prepare_outcome
from auditlog.capture.field_roots import FieldRoots
from auditlog.capture.messages import Observed, OutcomeKnown
from auditlog.capture.metrics import Counters
from auditlog.capture.models import ModelNames
from auditlog.capture.observation import Observation
from auditlog.capture.request_fields import RequestFields
from auditlog.capture.safety import Guard


class Preparation:
    """Makes bodies of entries."""

    def __init__(
        self,
        *,
        models: ModelNames,
        rng: Callable[[int], bytes],
        max_body_bytes: int,
        field_roots: FieldRoots,
        metrics: Counters,
        guard: Guard,
    ) -> None:
        self.models = models
        self._rng = rng
        self._max_body_bytes = max_body_bytes
        self._field_roots = field_roots
        self._metrics = metrics
        self._guard = guard

    def prepare(self, message: Observed | OutcomeKnown) -> Prepared:
        """The body of the entry. Raises whatever an odd observation makes of it."""
        if isinstance(message, OutcomeKnown):
            return prepare_outcome(message.decision, message.facts, item=message.item, rng=self._rng)
        seen = self._read(message.observation, is_lightened=message.is_lightened)
        return prepare_decision(
            seen,
            model=self.models.reference(seen),
            rng=self._rng,
            max_body_bytes=self._max_body_bytes,
            field_roots=self._field_roots,
        )

    def _read(self, seen: Observation, *, is_lightened: bool) -> Observation:
        """Take model, adapter and sampling from the request, where the hook left that to this thread."""
        if is_lightened:
            self._metrics.add("bodies_let_go")
            return self.models.without_request(seen)
        if seen.read_request is None or seen.request.data is None:
            return seen
        fields = self._guard.call("read_request", RequestFields(), seen.read_request, seen.request.data)
        return self.models.asked_for(seen, fields)

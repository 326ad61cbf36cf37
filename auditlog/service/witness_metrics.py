"""What the metrics say of witnesses: who answers, how far each is, and whether there is a quorum.

Spec: auditlog/spec/api.md, "Metrics"; the rules of deploy/prometheus/alerts.yaml stand on these names. Labels
are names of logs and key names of configured witnesses. Read at scrape time. Must never: ask a witness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from auditlog.log.cosigning import QuorumStanding
from auditlog.service.hosting import HostedLog

_OF_LOGS: Final = (
    (
        "auditlog_checkpoint_cosignatures",
        "Witnesses that cosigned the published checkpoint, of those configured",
    ),
    ("auditlog_witnesses", "Witnesses configured"),
    ("auditlog_quorum_reached", "1 if the published checkpoint has a quorum by the policy of the log"),
    ("auditlog_quorum_size", "Tree size of the newest published checkpoint that had a quorum"),
    ("auditlog_quorum_age_seconds", "Age of the newest cosignature on that checkpoint"),
    ("auditlog_publication_held_seconds", "How long a newer checkpoint is kept back for want of a quorum"),
)
_OF_WITNESSES: Final = (
    ("auditlog_witness_size", "Tree size that the witness cosigned last, as far as the log knows"),
    ("auditlog_witness_seconds", "How long its last cosignature took"),
    ("auditlog_witness_failures", "Asks in a row that gave no cosignature; 0 when the last one did"),
)
METRIC_NAMES: Final = (
    "auditlog_witness_asks_total",
    *(name for name, _ in _OF_LOGS),
    *(name for name, _ in _OF_WITNESSES),
)


def of_witnesses(logs: Sequence[HostedLog]) -> Iterator[Metric]:
    """Everything about witnesses, for all logs."""
    asked = CounterMetricFamily(
        "auditlog_witness_asks",
        "Witnesses asked for a cosignature since the start, by outcome (cosigned is the good one)",
        labels=["log", "witness", "outcome"],
    )
    for each in logs:
        for (witness, outcome), count in sorted(each.witness_asks().items()):
            asked.add_metric([each.name, witness, outcome], count)
    yield asked
    standings = [(each.name, standing) for each in logs if (standing := each.quorum()) is not None]
    yield from _of_logs(standings)
    yield from _of_members(standings)


def _of_logs(standings: Sequence[tuple[str, QuorumStanding]]) -> Iterator[Metric]:
    gauges = [GaugeMetricFamily(name, text, labels=["log"]) for name, text in _OF_LOGS]
    for log, standing in standings:
        values = (
            standing.cosigned,
            standing.witnesses,
            # A log that asks for no quorum has none to miss.
            float(standing.reached) if standing.has_policy else None,
            standing.size,
            standing.age_s,
            standing.held_s,
        )
        for gauge, value in zip(gauges, values, strict=True):
            if value is not None:
                gauge.add_metric([log], value)
    yield from gauges


def _of_members(standings: Sequence[tuple[str, QuorumStanding]]) -> Iterator[Metric]:
    gauges = [GaugeMetricFamily(name, text, labels=["log", "witness"]) for name, text in _OF_WITNESSES]
    for log, standing in standings:
        for member in standing.members:
            for gauge, value in zip(
                gauges, (member.known_size, member.latency_s, member.failures), strict=True
            ):
                if value is not None:
                    gauge.add_metric([log, member.name], value)
    yield from gauges

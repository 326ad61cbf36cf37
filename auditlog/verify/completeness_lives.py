"""The lives of producers as their entries tell them: who spoke, when, what they counted, where they fell
silent.

Spec: auditlog/spec/promise.md, "Completeness"; auditlog/spec/entry.md, "Bodies". All of it is stated by the
producers; what is compared here are their statements with each other and with the entries that are really
there. Must never: raise on an entry of any content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from auditlog.core.entry import Entry
from auditlog.core.scalars import parse_time
from auditlog.core.statements import OUTCOMES_PRODUCER
from auditlog.verify.completeness_counters import Counters
from auditlog.verify.completeness_report import Findings, ProducerSummary, Weight

if TYPE_CHECKING:
    from auditlog.verify.completeness import Period

_NO_CALLS: Final = frozenset({"instance", "outcome", "rotation", "retirement", "notice"})
SILENCE_INTERVALS: Final = 2.5
"""A producer that wrote nothing for so many heartbeat intervals was silent."""


@dataclass(slots=True)
class Life:
    """One instance of a producer."""

    instance: str
    last_time: str
    interval_s: int | None = None
    """Seconds between heartbeats, as stated; 0 for none, None before it was stated."""
    is_stopped: bool = False
    is_outcomes_only: bool = True
    """Whether it recorded nothing but outcomes: it has no calls to count."""
    counters: Counters = field(default_factory=Counters)


class Lives:
    """All producers of a log, entry by entry."""

    def __init__(self, period: Period, findings: Findings) -> None:
        self._period, self._findings = period, findings
        self.summaries: dict[str, ProducerSummary] = {}
        self._lives: dict[str, Life] = {}
        self._retired: set[str] = set()
        self.newest = ""
        self.decisions = 0
        """Decisions of all producers so far."""

    def take_log(self, index: int, leaf_hash: str, entry: Entry, *, is_read: bool) -> None:
        """An entry of the log's own."""
        self.newest = max(self.newest, entry.time)
        if not is_read:
            return
        if entry.kind == "producer":
            self.summaries[leaf_hash] = ProducerSummary(leaf_hash, str(entry.body["name"]))
        elif entry.kind == "notice":
            self._notice(index, "log", entry)
        elif entry.kind == "retirement":
            self._retire(index, entry)

    def take(self, index: int, entry: Entry, *, is_read: bool) -> None:
        """An entry of a producer."""
        self.newest = max(self.newest, entry.time)
        summary = self.summaries.get(entry.producer)
        if summary is None:
            return  # the chain check has said so
        life = self._lives.get(entry.producer)
        if life is None or life.instance != entry.instance:
            life = self._begin(summary, life, entry)
        else:
            self._silence(summary, life, entry.time, "between two entries")
        life.is_outcomes_only = life.is_outcomes_only and entry.kind in _NO_CALLS
        self._count(summary, entry)
        if is_read:
            self._read(index, summary, life, entry)
        life.last_time = max(life.last_time, entry.time)

    def end(self, until: str) -> None:
        """The end of what is looked at."""
        for identity, life in self._lives.items():
            summary = self.summaries[identity]
            self._settle(summary, life)
            if not life.is_stopped and identity not in self._retired and until > life.last_time:
                self._silence(summary, life, until, "to the end of what was looked at")

    def _begin(self, summary: ProducerSummary, before: Life | None, entry: Entry) -> Life:
        if before is not None:
            self._settle(summary, before)
            if not before.is_stopped:
                self._silence(
                    summary, before, entry.time, "between a life that ended without a word and the next"
                )
                self._found(
                    Weight.NOTE,
                    "no_end",
                    summary,
                    entry.time,
                    f"life {before.instance} ended without saying so (a crash, or a kill)",
                )
        life = Life(entry.instance, entry.time)
        self._lives[summary.identity] = life
        if self._period.holds(entry.time):
            summary.instances += 1
        return life

    def _settle(self, summary: ProducerSummary, life: Life) -> None:
        life.counters.settle(summary, life.is_stopped, self._add)
        is_the_services = summary.name == OUTCOMES_PRODUCER and life.is_outcomes_only
        if life.interval_s is None and not is_the_services and self._period.holds(life.last_time):
            self._add(
                Weight.INCOMPLETE,
                "no_heartbeats",
                summary.name,
                f"life {life.instance} has no heartbeats: silence and counts could not be checked",
            )

    def _silence(self, summary: ProducerSummary, life: Life, time: str, where: str) -> None:
        """Nothing from this producer for longer than its heartbeats allow, unless it had stopped."""
        if not life.interval_s or life.is_stopped:
            return
        begin, end = self._period.clip(life.last_time, time)
        silent_s = (parse_time(end) - parse_time(begin)) / 1_000_000
        if silent_s <= SILENCE_INTERVALS * life.interval_s:
            return
        summary.silent_s += silent_s
        text = (
            f"silent from {begin} to {end}, {where}: {silent_s:.0f} s, where a heartbeat was due "
            f"every {life.interval_s} s"
        )
        self._add(Weight.INCOMPLETE, "silence", summary.name, text, seconds=silent_s)

    def _count(self, summary: ProducerSummary, entry: Entry) -> None:
        self.decisions += entry.kind == "decision"
        if not self._period.holds(entry.time):
            return
        summary.entries += 1
        summary.first = summary.first or entry.time
        summary.last = entry.time
        if entry.kind == "decision":
            summary.decisions += 1
            summary.modes[_word(entry.body.get("mode"))] += 1
        elif entry.kind == "outcome":
            summary.outcomes += 1
        elif entry.kind == "heartbeat":
            summary.heartbeats += 1

    def _read(self, index: int, summary: ProducerSummary, life: Life, entry: Entry) -> None:
        if entry.kind == "heartbeat":
            life.interval_s = entry.body["interval_s"]
            problems = life.counters.take(index, entry.body, all_decisions=self.decisions)
            for kind, text in problems:
                self._found(Weight.CONTRADICTION, kind, summary, entry.time, text)
        elif entry.kind == "coverage":
            if life.interval_s is None or entry.body["heartbeat_s"] == 0:
                life.interval_s = entry.body["heartbeat_s"] or None
            self._cover(index, summary, entry)
        elif entry.kind == "gap":
            self._gap(index, summary, entry)
        elif entry.kind == "notice":
            if entry.body["what"] == "stopped":
                life.is_stopped = True
            self._notice(index, summary.name, entry)
        elif entry.kind == "retirement":
            self._retire(index, entry)

    def _gap(self, index: int, summary: ProducerSummary, entry: Entry) -> None:
        body = entry.body
        if not self._period.holds(entry.time):
            return
        summary.gaps += 1
        if body["count"] != "unknown":
            summary.lost += body["count"]
            lost = f"{body['count']} call(s)"
        elif "at_most" in body:
            summary.at_most += body["at_most"]
            lost = f"at most {body['at_most']} call(s)"
        else:
            summary.unbounded_gaps += 1
            lost = "an unknown number of calls"
        text = f"entry {index}: {lost} lost between {body['from']} and {body['to']}"
        self._add(Weight.INCOMPLETE, "gap", summary.name, text, index=index, count=body["count"])

    def _cover(self, index: int, summary: ProducerSummary, entry: Entry) -> None:
        body = entry.body
        skipped = [
            f"{route['method']} {route['path']}" for route in body["routes"] if route["record"] == "skip"
        ]
        text = (
            f"entry {index}: mode {body['mode']}, durable {body['durability']}, {body['workers']} worker(s), "
            f"ports {', '.join(map(str, body['ports'])) or 'none seen yet'}; {len(body['routes'])} routes"
        )
        if skipped:
            text += f", of which left out: {', '.join(skipped[:10])}" + (" ..." if len(skipped) > 10 else "")
        if body["others"] == "skip":
            text += "; unknown routes are left out"
        self._found(Weight.NOTE, "coverage", summary, entry.time, text, index=index, skipped=len(skipped))

    def _notice(self, index: int, who: str, entry: Entry) -> None:
        if not self._period.holds(entry.time):
            return
        what, detail = entry.body["what"], entry.body.get("detail")
        if what == "disabled":
            span = f" from {detail['from']} to {detail['to']}" if isinstance(detail, dict) else ""
            text = f"entry {index}: capture was switched off{span}"
            self._add(Weight.INCOMPLETE, "disabled", who, text, index=index)
        elif what == "declared_lost":
            text = f"entry {index}: {self._lost(detail)}"
            self._add(Weight.INCOMPLETE, "declared_lost", who, text, index=index)
        elif what in ("restored", "unguarded_start"):
            self._add(Weight.NOTE, what, who, f"entry {index}: the {who} says {what}", index=index)

    def _lost(self, detail: Any) -> str:
        if not isinstance(detail, dict):
            return "a producer's entries are declared lost"
        summary = self.summaries.get(detail["producer"])
        name = detail["producer"][:16] if summary is None else summary.name
        self._retired.add(detail["producer"])
        return (
            f"everything of {name} after number {detail['after_seq']} of life {detail['instance']} is "
            f"declared lost, from {detail['from']} to {detail['to']}"
        )

    def _retire(self, index: int, entry: Entry) -> None:
        identity = entry.body.get("producer", entry.producer)
        summary = self.summaries.get(identity) if isinstance(identity, str) else None
        if summary is None:
            return
        self._retired.add(summary.identity)
        self._found(Weight.NOTE, "retired", summary, entry.time, f"entry {index}: retired", index=index)

    def _found(
        self, weight: Weight, kind: str, summary: ProducerSummary, time: str, text: str, **numbers: Any
    ) -> None:
        if self._period.holds(time):
            self._add(weight, kind, summary.name, text, **numbers)

    def _add(self, weight: Weight, kind: str, producer: str, text: str, **numbers: Any) -> None:
        self._findings.add(weight, kind, producer, text, **numbers)


def _word(value: object) -> str:
    return value if isinstance(value, str) and value in ("fail_open", "fail_closed") else "other"

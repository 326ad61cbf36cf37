"""The lives of producers as their entries tell them: who spoke, when, what they counted, where they fell
silent.

Spec: auditlog/spec/promise.md, "Completeness"; auditlog/spec/entry.md, "Bodies". All of it is stated by the
producers; what is compared here are their statements with each other and with the entries that are really
there. Must never: raise on an entry of any content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from auditlog.core.entry import Entry
from auditlog.core.scalars import parse_time
from auditlog.core.statements import OUTCOMES_PRODUCER
from auditlog.verify.completeness_counters import Counters
from auditlog.verify.completeness_owed import Account
from auditlog.verify.completeness_report import Findings, ProducerSummary, Weight

if TYPE_CHECKING:
    from auditlog.verify.completeness import Period

_WORKER: Final = re.compile(r"(.+)-[0-9]+(?:-[0-9a-f]{8})?", re.DOTALL)
"""The name of a worker's producer: the host's, the place of its slot and, for a second key, its digest."""
_NO_CALLS: Final = frozenset({"instance", "outcome", "rotation", "retirement", "notice"})
SILENCE_INTERVALS: Final = 2.5
"""A producer that wrote nothing for so many heartbeat intervals was silent."""
LONGEST_INTERVAL_S: Final = 86_400
USUAL_INTERVAL_S: Final = 60
"""Of a producer that never stated one (entry.md leaves it to the producer; ours beats so by default)."""
LATE_S, LATE_DELAYS = 3600, 10
"""A spool is late after an hour, or ten times the log's longest delay if that is more."""


@dataclass(slots=True)
class Life:
    """One instance of a producer."""

    instance: str
    last_time: str
    began: str
    account: Account
    interval_s: int | None = None
    """The shortest time between heartbeats it ever stated, in seconds; None before it was stated."""
    is_stopped: bool = False
    said: set[str] = field(default_factory=set)
    """Kinds of findings that are told once a life."""
    is_outcomes_only: bool = True
    """Whether it recorded nothing but outcomes: it has no calls to count."""
    counters: Counters = field(default_factory=Counters)


class Lives:
    """All producers of a log, entry by entry."""

    def __init__(self, period: Period, findings: Findings) -> None:
        self._period, self._findings = period, findings
        self.summaries: dict[str, ProducerSummary] = {}
        self._lives: dict[str, Life] = {}
        self._dead: dict[str, Account] = {}
        """Lives that ended without a word, until the next life has had its say."""
        self._intervals: dict[str, int] = {}
        """The shortest interval that each producer ever stated."""
        self._workers: dict[str, int] = {}
        self._late_ms = LATE_S * 1000
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
        elif entry.kind == "genesis":
            self._late_ms = max(LATE_S, LATE_DELAYS * entry.body["max_merge_delay_s"]) * 1000
        elif entry.kind == "notice":
            self._excuse(entry.body.get("detail"))
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
            self._go_on(index, summary, life, entry)
        life.account.decisions += entry.kind == "decision"
        life.is_outcomes_only = life.is_outcomes_only and entry.kind in _NO_CALLS
        self._count(summary, entry)
        if is_read:
            self._read(index, summary, life, entry)
        life.last_time = max(life.last_time, entry.time)

    def _go_on(self, index: int, summary: ProducerSummary, life: Life, entry: Entry) -> None:
        """Another entry of a life. After its last word only the end of its producer follows."""
        if life.is_stopped and entry.kind != "retirement":
            text = f"entry {index}: life {life.instance} goes on after it said that it had stopped"
            self._found(Weight.CONTRADICTION, "after_stop", summary, entry.time, text, index=index)
            life.is_stopped = False
        self._silence(summary, life, entry.time, "between two entries")

    def end(self, until: str) -> None:
        """The end of what is looked at."""
        for identity, life in self._lives.items():
            summary = self.summaries[identity]
            self._settle(summary, life, until)
            for account in [self._dead.get(identity), None if life.is_stopped else life.account]:
                open_claim = None if account is None else account.unsettled()
                if open_claim is not None and self._period.holds(life.last_time):
                    text, numbers = open_claim
                    self._add(Weight.INCOMPLETE, "unrecorded", summary.name, text, **numbers)
            if not life.is_stopped and identity not in self._retired and until > life.last_time:
                self._silence(summary, life, until, "to the end of what was looked at")
        self._count_workers()

    def _count_workers(self) -> None:
        """Producers of one host have one name but for the number of the slot."""
        wrote = [_host(self.summaries[identity].name) for identity in self._lives]
        for host, workers in self._workers.items():
            found = wrote.count(host)
            if workers > found:
                text = f"{workers} workers were said to write, {found} of that name did"
                self._add(Weight.NOTE, "workers", host, text, workers=workers, producers=found)

    def _begin(self, summary: ProducerSummary, before: Life | None, entry: Entry) -> Life:
        if before is not None:
            self._settle(summary, before, entry.time)
            self._bury(summary, entry.time)
            if not before.is_stopped:
                self._dead[summary.identity] = before.account
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
        life = Life(entry.instance, entry.time, entry.time, Account(entry.instance))
        self._lives[summary.identity] = life
        if self._period.holds(entry.time):
            summary.instances += 1
        return life

    def _bury(self, summary: ProducerSummary, time: str) -> None:
        """The life after a dead one has had its say: its gaps stand at its start."""
        account = self._dead.pop(summary.identity, None)
        if account is not None:
            self._contradict(summary, time, account.bury())

    def _contradict(
        self, summary: ProducerSummary, time: str, problems: list[tuple[str, str, dict[str, int]]]
    ) -> None:
        for kind, text, numbers in problems:
            self._found(Weight.CONTRADICTION, kind, summary, time, text, **numbers)

    def _settle(self, summary: ProducerSummary, life: Life, until: str) -> None:
        """A life is over, or all that was looked at."""
        life.counters.settle(summary, self._add, late_ms=self._late_ms)
        is_the_services = summary.name == OUTCOMES_PRODUCER and life.is_outcomes_only
        is_counted = life.counters.heartbeat is not None or "no_heartbeats" in life.said
        if is_counted or is_the_services or self._is_brief(summary, life, until):
            return
        if self._period.holds(life.last_time):
            self._add(
                Weight.INCOMPLETE,
                "no_heartbeats",
                summary.name,
                f"life {life.instance} has no heartbeats: silence and counts could not be checked",
            )

    def _is_brief(self, summary: ProducerSummary, life: Life, until: str) -> bool:
        """Whether a life was over before a heartbeat was due, and had no decisions to count: one opened to
        change a key, to retire, or to send what another left.
        """
        is_over = life.is_stopped or summary.identity in self._retired
        end = life.last_time if is_over else max(until, life.last_time)
        interval_s = life.interval_s or self._intervals.get(summary.identity, USUAL_INTERVAL_S)
        return (
            not life.account.decisions and parse_time(end) - parse_time(life.began) < interval_s * 1_000_000
        )

    def _silence(self, summary: ProducerSummary, life: Life, time: str, where: str) -> None:
        """Nothing from this producer for longer than its heartbeats allow, unless it had stopped."""
        if life.interval_s is None or life.is_stopped:
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
            self._expect(index, summary, life, entry, entry.body["interval_s"])
            self._bury(summary, entry.time)
            problems = life.counters.take(index, entry.body, all_decisions=self.decisions)
            for kind, text in problems:
                self._found(Weight.CONTRADICTION, kind, summary, entry.time, text)
            owed = life.account.beat(index, parse_time(entry.time), entry.body)
            self._contradict(summary, entry.time, owed)
        elif entry.kind == "coverage":
            self._expect(index, summary, life, entry, entry.body["heartbeat_s"])
            self._cover(index, summary, entry)
        elif entry.kind == "gap":
            self._gap(index, summary, entry)
        elif entry.kind == "notice":
            if entry.body["what"] == "stopped":
                life.is_stopped = True
                self._bury(summary, entry.time)
                self._contradict(summary, entry.time, life.account.stop())
            self._notice(index, summary.name, entry)
        elif entry.kind == "retirement":
            self._retire(index, entry)

    def _expect(self, index: int, summary: ProducerSummary, life: Life, entry: Entry, stated_s: int) -> None:
        """An interval is stated. The shortest counts: none that is stated later excuses a silence."""
        if stated_s == 0:
            text = f"entry {index}: no heartbeats: silence cannot be seen"
            self._once(life, "no_heartbeats", summary, entry.time, text)
            return
        if stated_s > LONGEST_INTERVAL_S:
            text = (
                f"entry {index}: a heartbeat every {stated_s} s is said, over a day: silence cannot be seen"
            )
            self._once(life, "interval", summary, entry.time, text)
        life.interval_s = min(stated_s, life.interval_s or stated_s)
        known = self._intervals.get(summary.identity, stated_s)
        self._intervals[summary.identity] = min(stated_s, known)

    def _once(self, life: Life, kind: str, summary: ProducerSummary, time: str, text: str) -> None:
        if kind not in life.said:
            life.said.add(kind)
            self._found(Weight.INCOMPLETE, kind, summary, time, text)

    def _gap(self, index: int, summary: ProducerSummary, entry: Entry) -> None:
        body = entry.body
        for account in (self._lives[summary.identity].account, self._dead.get(summary.identity)):
            if account is not None and account.instance == body["instance"]:
                account.lose(body)
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
        if self._period.holds(entry.time):
            host = _host(summary.name)
            self._workers[host] = max(body["workers"], self._workers.get(host, 0))
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

    def _excuse(self, detail: Any) -> None:
        """What is declared lost with its host is owed no longer."""
        if not isinstance(detail, dict) or not isinstance(detail.get("producer"), str):
            return
        life = self._lives.get(detail["producer"])
        for account in (life.account if life else None, self._dead.get(detail["producer"])):
            if account is not None and account.instance == detail.get("instance"):
                account.is_unbounded = True

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


def _host(name: str) -> str:
    found = _WORKER.fullmatch(name)
    return name if found is None else found[1]


def _word(value: object) -> str:
    return value if isinstance(value, str) and value in ("fail_open", "fail_closed") else "other"

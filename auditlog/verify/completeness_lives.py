"""The lives of producers as their entries tell them: who spoke, when, what they counted, where they fell
silent.

Spec: auditlog/spec/promise.md, "Completeness"; auditlog/spec/entry.md, "Bodies". All of it is stated by the
producers; what is compared here are their statements with each other and with the entries that are really
there. Must never: raise on an entry of any content.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

from auditlog.core.entry import Entry
from auditlog.core.scalars import parse_time
from auditlog.core.statements import OUTCOMES_PRODUCER
from auditlog.verify.completeness_owed import Account
from auditlog.verify.completeness_report import Findings, ProducerSummary, Weight
from auditlog.verify.completeness_watched import Life, Watched

if TYPE_CHECKING:
    from auditlog.verify.completeness import Period

_WORKER: Final = re.compile(r"(.+)-[0-9]+(?:-[0-9a-f]{8})?", re.DOTALL)
"""The name of a worker's producer: the host's, the place of its slot and, for a second key, its digest."""
_NO_CALLS: Final = frozenset({"instance", "outcome", "rotation", "retirement", "notice"})
_UNREAD: Final = frozenset({"decision", "outcome", "model", "instance", "rotation"})
"""Kinds whose content says nothing about what is missing."""
SILENCE_INTERVALS: Final = 2.5
"""A producer that wrote nothing for so many heartbeat intervals was silent."""
LONGEST_INTERVAL_S: Final = 86_400
USUAL_INTERVAL_S: Final = 60
"""Of a producer that never stated one (entry.md leaves it to the producer; ours beats so by default)."""
LONGEST_DELAY_S: Final = 86_400
"""A log that allows itself more time to take an entry in is excused for no more."""
LATE_S, LATE_DELAYS = 3600, 10
"""A spool is late after an hour, or ten times the log's longest delay if that is more."""


class Lives:
    """All producers of a log, entry by entry."""

    def __init__(
        self, period: Period, findings: Findings, producers: MutableMapping[str, Watched] | None = None
    ) -> None:
        """`producers` is where their lives are kept, for one who follows a log for months."""
        self._period, self._findings = period, findings
        self.producers: MutableMapping[str, Watched] = {} if producers is None else producers
        self.late_ms = LATE_S * 1000
        self.newest = ""
        self.decisions = 0
        """Decisions of all producers so far."""

    @property
    def summaries(self) -> dict[str, ProducerSummary]:
        """What each producer has in the log, by its identity, in the order they were enrolled."""
        return {identity: watched.summary for identity, watched in self.producers.items()}

    def take_log(self, index: int, leaf_hash: str, entry: Entry, *, is_read: bool) -> None:
        """An entry of the log's own."""
        self.newest = max(self.newest, entry.time)
        if not is_read:
            return
        if entry.kind == "producer":
            self.producers[leaf_hash] = Watched(ProducerSummary(leaf_hash, str(entry.body["name"])))
        elif entry.kind == "genesis":
            delay_s = min(entry.body["max_merge_delay_s"], LONGEST_DELAY_S)
            self.late_ms = max(LATE_S, LATE_DELAYS * delay_s) * 1000
        elif entry.kind == "notice":
            self._excuse(entry.body.get("detail"))
            self._notice(index, "log", entry)
        elif entry.kind == "retirement":
            self._retire(index, entry)

    def take(self, index: int, entry: Entry, *, is_read: bool) -> None:
        """An entry of a producer."""
        kind, time = entry.kind, entry.time
        self.newest = max(self.newest, time)
        watched = self.producers.get(entry.producer)
        if watched is None:
            return  # the chain check has said so
        life = watched.life
        if life is None or life.instance != entry.instance:
            life = self._begin(watched, entry)
        else:
            self._go_on(index, watched.summary, life, entry)
        life.account.decisions += kind == "decision"
        life.is_outcomes_only = life.is_outcomes_only and kind in _NO_CALLS
        self._count(watched.summary, entry)
        if is_read and kind not in _UNREAD:
            self._read(index, watched, life, entry)
        elif kind == "gap" and entry.understood:
            self._gap(index, watched, entry, is_read=False)
        life.last_time = max(life.last_time, time)

    def _go_on(self, index: int, summary: ProducerSummary, life: Life, entry: Entry) -> None:
        """Another entry of a life. After its last word only the end of its producer follows."""
        if life.is_stopped and entry.kind != "retirement":
            text = f"entry {index}: life {life.instance} goes on after it said that it had stopped"
            self._found(Weight.CONTRADICTION, "after_stop", summary, entry.time, text, index=index)
            life.is_stopped = False
        self._silence(summary, life, entry.time, "between two entries")

    def end(self, until: str) -> None:
        """The end of what is looked at."""
        for watched in self.producers.values():
            life, summary = watched.life, watched.summary
            if life is None:
                continue
            self._settle(watched, life, until)
            for account in (watched.dead, life.account):
                self._unfinished(summary, account)
            for account in [watched.dead, None if life.is_stopped else life.account]:
                open_claim = None if account is None else account.unsettled()
                if open_claim is not None and self._period.holds(life.last_time):
                    text, numbers = open_claim
                    self._add(Weight.INCOMPLETE, "unrecorded", summary.name, text, **numbers)
            self.end_silence(watched, until)
        self._count_workers()

    def end_silence(self, watched: Watched, until: str) -> None:
        """Say so if this producer, which should be alive, has been silent up to that instant."""
        life = watched.life
        if life is not None and not life.is_stopped and not watched.is_retired and until > life.last_time:
            self._silence(watched.summary, life, until, "to the end of what was looked at")

    def _count_workers(self) -> None:
        """Producers of one host have one name but for the number of the slot."""
        wrote = Counter(_host(each.summary.name) for each in self.producers.values() if each.life is not None)
        said: Counter[str] = Counter()
        for watched in self.producers.values():
            host = _host(watched.summary.name)
            said[host] = max(said[host], watched.workers)
        for host, workers in said.items():
            found = wrote[host]
            if workers > found:
                text = f"{workers} workers were said to write, {found} of that name did"
                self._add(Weight.NOTE, "workers", host, text, workers=workers, producers=found)

    def _begin(self, watched: Watched, entry: Entry) -> Life:
        before, summary = watched.life, watched.summary
        if before is not None:
            self._settle(watched, before, entry.time)
            if not before.is_stopped:
                self._silence(
                    summary, before, entry.time, "between a life that ended without a word and the next"
                )
                text = f"life {before.instance} ended without saying so (a crash, or a kill)"
                self._found(Weight.NOTE, "no_end", summary, entry.time, text)
            self._succeed(watched, before, entry.time)
        life = Life(entry.instance, entry.time, entry.time, Account(entry.instance))
        watched.life = life
        if self._period.holds(entry.time):
            summary.instances += 1
        return life

    def _succeed(self, watched: Watched, before: Life, time: str) -> None:
        """Another life begins, which may declare what is lost with a dead one, or what one left running."""
        if before.account.decisions:
            self._bury(watched, time)
        if watched.dead is not None:
            # It died before it was heard: what it should declare may still come.
            watched.heir = before.instance
        elif not before.is_stopped or before.account.unfinished() is not None:
            watched.dead = before.account

    def _bury(self, watched: Watched, time: str) -> None:
        """A life after a dead one has had its say: its gaps stand at its start."""
        account, watched.dead, watched.heir = watched.dead, None, ""
        if account is not None:
            self._contradict(watched.summary, time, account.bury())
            self._unfinished(watched.summary, account)

    def _unfinished(self, summary: ProducerSummary, account: Account | None) -> None:
        left = None if account is None else account.unfinished()
        if account is not None and left is not None:
            text, numbers = left
            self._found(Weight.INCOMPLETE, "left_in_flight", summary, account.stopped_at, text, **numbers)

    def _contradict(
        self, summary: ProducerSummary, time: str, problems: list[tuple[str, str, dict[str, int]]]
    ) -> None:
        for kind, text, numbers in problems:
            self._found(Weight.CONTRADICTION, kind, summary, time, text, **numbers)

    def _settle(self, watched: Watched, life: Life, until: str) -> None:
        """A life is over, or all that was looked at."""
        summary = watched.summary
        if not self._period.is_before(life.last_time) and not self._period.is_after(life.began):
            life.counters.settle(summary, self._add, late_ms=self.late_ms)
        is_the_services = summary.name == OUTCOMES_PRODUCER and life.is_outcomes_only
        is_counted = life.counters.heartbeat is not None or "no_heartbeats" in life.said
        if is_counted or is_the_services or self._is_brief(watched, life, until):
            return
        if self._period.holds(life.last_time):
            self._add(
                Weight.INCOMPLETE,
                "no_heartbeats",
                summary.name,
                f"life {life.instance} has no heartbeats: silence and counts could not be checked",
            )

    def _is_brief(self, watched: Watched, life: Life, until: str) -> bool:
        """Whether a life was over before a heartbeat was due, and had no decisions to count: one opened to
        change a key, to retire, or to send what another left.
        """
        is_over = life.is_stopped or watched.is_retired
        end = life.last_time if is_over else max(until, life.last_time)
        interval_s = life.interval_s or watched.interval_s or USUAL_INTERVAL_S
        return (
            not life.account.decisions and parse_time(end) - parse_time(life.began) < interval_s * 1_000_000
        )

    def _silence(self, summary: ProducerSummary, life: Life, time: str, where: str) -> None:
        """Nothing from this producer for longer than its heartbeats allow, unless it had stopped."""
        if life.interval_s is None or life.is_stopped:
            return
        # Within one minute, or ten seconds, of each other: most entries, and no time to be read.
        last = life.last_time
        if (time[:18] == last[:18] and life.interval_s >= 4) or (
            time[:16] == last[:16] and life.interval_s >= 24
        ):
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
        self._add(Weight.INCOMPLETE, "silence", summary.name, text, seconds=silent_s, since=life.last_time)

    def _count(self, summary: ProducerSummary, entry: Entry) -> None:
        kind, time = entry.kind, entry.time
        self.decisions += kind == "decision"
        if not self._period.holds(time):
            return
        summary.entries += 1
        summary.first = summary.first or time
        summary.last = time
        if kind == "decision":
            summary.decisions += 1
            mode = _word(entry.body.get("mode"))
            summary.modes[mode] = summary.modes.get(mode, 0) + 1
        elif kind == "outcome":
            summary.outcomes += 1
        elif kind == "heartbeat":
            summary.heartbeats += 1

    def _read(self, index: int, watched: Watched, life: Life, entry: Entry) -> None:
        summary = watched.summary
        if entry.kind == "heartbeat":
            self._expect(index, watched, life, entry, entry.body["interval_s"])
            self._bury(watched, entry.time)
            problems = life.counters.take(index, entry.body, all_decisions=self.decisions)
            for kind, text in problems:
                self._found(Weight.CONTRADICTION, kind, summary, entry.time, text)
            owed = life.account.beat(index, parse_time(entry.time), entry.body)
            self._contradict(summary, entry.time, owed)
        elif entry.kind == "coverage":
            self._expect(index, watched, life, entry, entry.body["heartbeat_s"])
            self._cover(index, watched, entry)
        elif entry.kind == "gap":
            self._gap(index, watched, entry, is_read=True)
        elif entry.kind == "notice":
            if entry.body["what"] == "stopped":
                life.is_stopped = True
                self._bury(watched, entry.time)
                self._contradict(summary, entry.time, life.account.stop(entry.time))
            self._notice(index, summary.name, entry)
        elif entry.kind == "retirement":
            self._retire(index, entry)

    def _expect(self, index: int, watched: Watched, life: Life, entry: Entry, stated_s: int) -> None:
        """An interval is stated. The shortest counts: none that is stated later excuses a silence."""
        summary = watched.summary
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
        watched.interval_s = min(stated_s, watched.interval_s or stated_s)

    def _once(self, life: Life, kind: str, summary: ProducerSummary, time: str, text: str) -> None:
        if kind not in life.said:
            life.said.add(kind)
            self._found(Weight.INCOMPLETE, kind, summary, time, text)

    def _gap(self, index: int, watched: Watched, entry: Entry, *, is_read: bool) -> None:
        """A declared loss; in a body that is none its number is unknown, and it is a loss all the same."""
        body, summary = entry.body if is_read else {}, watched.summary
        account = watched.account_of(entry.body.get("instance"))
        if account is not None:
            account.lose(body)
        if self._period.holds(entry.time):
            text = f"entry {index}: {summary.lose(body)}"
            count = body.get("count", "unknown")
            self._add(Weight.INCOMPLETE, "gap", summary.name, text, index=index, count=count)

    def not_judged(self, index: int, error: Exception) -> None:
        """An entry on which this code failed: said, and never the end of what is looked at."""
        text = f"entry {index}: it could not be judged, by a fault of this program ({type(error).__name__})"
        self._add(Weight.INCOMPLETE, "not_judged", "", text, index=index)

    def _cover(self, index: int, watched: Watched, entry: Entry) -> None:
        body, summary = entry.body, watched.summary
        if self._period.holds(entry.time):
            watched.workers = max(body["workers"], watched.workers)
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
        watched = self.producers.get(detail["producer"])
        account = None if watched is None else watched.account_of(detail.get("instance"))
        if account is not None:
            account.is_unbounded = True

    def _lost(self, detail: Any) -> str:
        if not isinstance(detail, dict):
            return "a producer's entries are declared lost"
        watched = self.producers.get(detail["producer"])
        name = detail["producer"][:16] if watched is None else watched.summary.name
        if watched is not None:
            watched.is_retired = True
        return (
            f"everything of {name} after number {detail['after_seq']} of life {detail['instance']} is "
            f"declared lost, from {detail['from']} to {detail['to']}"
        )

    def _retire(self, index: int, entry: Entry) -> None:
        identity = entry.body.get("producer", entry.producer)
        watched = self.producers.get(identity) if isinstance(identity, str) else None
        if watched is None:
            return
        watched.is_retired = True
        text = f"entry {index}: retired"
        self._found(Weight.NOTE, "retired", watched.summary, entry.time, text, index=index)

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

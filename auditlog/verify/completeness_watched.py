"""What is remembered of one producer between entries: its present life, a dead one before it, its totals.

Spec: auditlog/spec/promise.md, "Completeness". Plain records of bounded size, so that one who follows a log
for months can keep them. Must never: decide anything (`auditlog.verify.completeness_lives` does).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from auditlog.verify.completeness_counters import Counters
from auditlog.verify.completeness_owed import Account
from auditlog.verify.completeness_report import ProducerSummary


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


@dataclass(slots=True)
class Watched:
    """One producer, from its enrolment on."""

    summary: ProducerSummary
    life: Life | None = None
    dead: Account | None = None
    """A life that ended without a word, until a later one has had its say."""
    interval_s: int | None = None
    """The shortest interval it ever stated."""
    workers: int = 0
    """Workers of its host, the most it ever stated."""
    is_retired: bool = False
    heir: str = ""
    """The newest life that ended behind the dead one, and had no say either."""

    def account_of(self, instance: object) -> Account | None:
        """The account of an instance, if it is the current one or the dead one before it; what is lost behind
        the newest life that died unheard is lost behind that dead one.
        """
        if not isinstance(instance, str):
            return None
        if self.life is not None and self.life.instance == instance:
            return self.life.account
        dead = self.dead
        return dead if dead is not None and instance in {dead.instance, self.heir or dead.instance} else None

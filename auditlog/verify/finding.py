"""What a watcher of a log may raise: a finding, with an evidence file where there can be one.

Spec: auditlog/spec/registry.md, "Alarms"; the files are auditlog/spec/evidence.md. A monitor, a witness and
the attack suite raise the same words. Promises: every alarm has exactly one class. Must never: let a word
out that is not in the table, or call proven what only its finder saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from auditlog.verify.report import Grade


class AlarmClass(StrEnum):
    """The most that a file about such an alarm can do."""

    CONVICTS = "convicts"
    """It proves to anyone with a trust file that somebody named in it did wrong."""
    STATED = "stated"
    """Only the finder saw it: a note by its key, over what it saw and when."""
    NOTICE = "notice"
    """It proves what it shows, and nothing is wrong by itself."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One word of the table: its class, and what it says in a sentence."""

    word: str
    kind: AlarmClass
    sentence: str


_CONVICTS: Final = {
    "fork": "The log has signed two histories that cannot both be one log.",
    "entry_malformed": "The log holds something that is no entry.",
    "foreign_entry": "The log holds an entry of another log.",
    "duplicate_number": "The log holds two entries with one number of one writer.",
    "broken_chain": "The entries of one writer do not follow one another.",
    "broken_head": "A producer signed for other entries than the log holds.",
    "forged_enrolment": "The log enrolled a producer without that producer's signature.",
    "unknown_producer": "An entry names a producer that was not enrolled before it.",
    "wrong_key": "A producer's start, or the change of its key, is not signed by the key it had.",
    "after_retirement": "A producer that had ended has written again.",
    "counter_mismatch": "The counts of a heartbeat do not fit the entries, or one another.",
    "anchor_fork": "An anchor names a root that the log's tree never had at that size.",
    "anchor_foreign": "An anchor that the log names is of another log, or not of the slot that was pinned.",
    "promise_broken": "An entry that was promised with an answer is not in the log as promised.",
    "witness_disagrees": "A witness has cosigned a history that is not this one.",
}
_STATED: Final = {
    "rewind": "The log shows a smaller tree than it showed before.",
    "tiles_withheld": "The log did not serve a part of the tree it has signed.",
    "tiles_mismatch": "What the log served is not the tree it has signed.",
    "silent": "A producer that was alive has not been heard for longer than it said.",
    "anchor_stale": "The newest anchor is older than was agreed.",
    "witness_behind": "A witness has not followed the log for longer than was agreed.",
    "stale_checkpoint": (
        "The log has shown nothing new here, or less than it signed for others, for longer than was agreed."
    ),
    "quorum_missing": (
        "The newest checkpoint lacks cosignatures that the trust file asks for, or shows one that fails."
    ),
}
_NOTICES: Final = {
    "gap": "A producer declared a loss.",
    "coverage_changed": "A producer says that it captures something else than before.",
    "model_changed": "A producer says that another model answers.",
    "backdated": "An entry claims a time at which the log was shown without it.",
}

ALARMS: Final[dict[str, Alarm]] = {
    word: Alarm(word, kind, sentence)
    for kind, table in (
        (AlarmClass.CONVICTS, _CONVICTS),
        (AlarmClass.STATED, _STATED),
        (AlarmClass.NOTICE, _NOTICES),
    )
    for word, sentence in table.items()
}
"""All alarm words. Words are added, never changed or taken away."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One alarm raised over one log.

    `evidence` is a whole file `auditlog/evidence@v1`, or None where nothing can be shown to others.
    `grade` is that of the file, not of the word: an alarm that could convict is `STATED` where its file is
    too large to make or what shows it is not signed by anyone; without a file it is at most `STATED`.
    `index` is the entry it is about, if it is about one.

    Raises:
        ValueError: a word outside the table, or something proven without a file.
    """

    alarm: str
    origin: str
    detail: str
    evidence: bytes | None
    grade: Grade
    index: int | None = None

    def __post_init__(self) -> None:
        """Hold the words and the grades."""
        if self.alarm not in ALARMS:
            raise ValueError(f"expected an alarm of the registry, found {self.alarm!r}")
        if self.grade is Grade.PROVEN and self.evidence is None:
            raise ValueError(f"{self.alarm}: expected evidence for what is proven, found none")

    @property
    def kind(self) -> AlarmClass:
        """The class of the alarm: convicts, stated or notice."""
        return ALARMS[self.alarm].kind

    @property
    def sentence(self) -> str:
        """What the alarm says, for people; `detail` says it of this case."""
        return ALARMS[self.alarm].sentence

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values; the evidence itself is a file beside it."""
        return {
            "alarm": self.alarm,
            "class": self.kind.value,
            "origin": self.origin,
            "detail": self.detail,
            "grade": self.grade.value,
            "index": self.index,
            "has_evidence": self.evidence is not None,
        }

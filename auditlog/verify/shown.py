"""What the receipt has shown so far, in the words expectations and the headline use.

Spec: auditlog/spec/verification.md, "Expectations" and "Headline". Promises: a value enters only after the
step that establishes it. Must never: hold a value that a failed step reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from auditlog.core.scalars import is_hash_hex
from auditlog.core.trust import Trust
from auditlog.verify.report import Fact, Grade
from auditlog.verify.steps import Quorum
from auditlog.verify.steps_anchor import Anchored
from auditlog.verify.steps_chain import Content, Standing
from auditlog.verify.steps_order import find_model_doubt

_BODY_KEYS = ("id", "operation", "status", "ended", "mode", "capture", "method", "route", "decision")


class Shown:
    """Collects what later steps compare with. Filled by `Verifier.verify` in the order of the steps."""

    def __init__(self, trust: Trust | None = None) -> None:
        """`trust` names the witnesses that count."""
        self._values: dict[str, tuple[str, ...]] = {}
        self._writers: dict[str, str] = {}
        self.witnesses = {} if trust is None else _witness_names(trust)
        """Every word for a witness of the trust file, its name there or its vkey -> its name there."""
        self.cosigned: frozenset[str] = frozenset()
        self.anchors: tuple[Anchored, ...] = ()
        self.is_bare = False
        """Whether a bare proof was presented, of an entry that somebody else than the log has sealed."""
        self.model_doubt: str | None = None
        """Why none can tell which model a `pending` decision had: no expectation about it is decided then."""
        self.claimed: str | None = None
        self.recorded: str | None = None
        self.devnet: str | None = None
        self.has_quorum = False
        self.has_final_anchor = False

    @property
    def values(self) -> Mapping[str, tuple[str, ...]]:
        """Subject of an expectation -> the values that would satisfy it."""
        return self._values

    def writer(self, subject: str) -> str:
        """Who states a subject of the body; empty if nobody does."""
        return self._writers.get(
            {"model-name": "model_name", "model-leaf": "model"}.get(subject, subject), ""
        )

    def first(self, subject: str) -> str | None:
        """The first value of a subject, or None."""
        return self._values.get(subject, (None,))[0]

    def add_log(self, origin: str, index: int, leaf_hash: bytes, quorum: Quorum) -> None:
        """After step 6: where the entry is, and since when enough witnesses say so."""
        self._values |= {"origin": (origin,), "index": (str(index),), "leaf": (leaf_hash.hex(),)}
        self.has_quorum, self.cosigned = quorum.is_satisfied, quorum.cosigned
        self._add_recorded(quorum.since)

    def add_kind(self, kind: str) -> None:
        """After step 7."""
        self._values["kind"] = (kind,)

    def add_content(self, content: Content, standing: Standing, facts: Iterable[Fact] = ()) -> None:
        """After step 10: what the entry says, and who says it, which the facts about it tell."""
        self._writers |= {fact.name: fact.by for fact in facts if fact.grade is Grade.STATED}
        entry, body = content.entry, content.entry.body
        self._values |= {"instance": (entry.instance,), "seq": (str(entry.seq),)}
        if standing.producer is not None:
            self._values["producer"] = (standing.producer.name, entry.producer)
        if not entry.understood:
            return
        self._values |= {key: (str(body[key]),) for key in _BODY_KEYS if key in body}
        if entry.kind == "decision":
            self.claimed = body["start"]
            self._values["start"] = (body["start"],)
            word = () if is_hash_hex(body["model"]) else (body["model"],)
            self._values |= {"model": word, "model-leaf": word}
        self.model_doubt = find_model_doubt(entry, standing)
        if standing.model is not None:
            model = standing.model.entry.body
            self._values |= {"model": (model["fingerprint"]["root"],), "model-name": (model["name"],)}
            self._values["model-leaf"] = (standing.model.leaf_hash.hex(),)

    def add_anchors(self, anchored: tuple[Anchored, ...] | None) -> None:
        """After step 12: the earliest block time of a final anchor, and of the development chain."""
        self.anchors = anchored or ()
        for anchor in self.anchors:
            if not anchor.is_checked:
                continue
            if anchor.is_devnet:
                self.devnet = min(self.devnet or anchor.time, anchor.time)
            else:
                self.has_final_anchor = True
                self._add_recorded(anchor.time)

    def _add_recorded(self, when: str | None) -> None:
        if when is not None:
            self.recorded = min(self.recorded or when, when)
            self._values["recorded"] = (self.recorded,)


def _witness_names(trust: Trust) -> dict[str, str]:
    witnesses = trust.policy.witnesses
    by_vkey = {witness.verifier.vkey: witness.name for witness in witnesses}
    return by_vkey | {witness.name: witness.name for witness in witnesses}

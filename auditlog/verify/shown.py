"""What the receipt has shown so far, in the words expectations and the headline use.

Spec: auditlog/spec/verification.md, "Expectations" and "Headline". Promises: a value enters only after the
step that establishes it. Must never: hold a value that a failed step reported.
"""

from __future__ import annotations

from collections.abc import Mapping

from auditlog.core.scalars import is_hash_hex
from auditlog.verify.steps import Quorum
from auditlog.verify.steps_anchor import Anchored
from auditlog.verify.steps_chain import Content, Standing

_BODY_KEYS = ("id", "operation", "status", "ended", "mode", "capture", "method", "route", "decision")


class Shown:
    """Collects what later steps compare with. Filled by `Verifier.verify` in the order of the steps."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[str, ...]] = {}
        self.claimed: str | None = None
        self.recorded: str | None = None
        self.devnet: str | None = None
        self.has_quorum = False
        self.has_final_anchor = False

    @property
    def values(self) -> Mapping[str, tuple[str, ...]]:
        """Subject of an expectation -> the values that would satisfy it."""
        return self._values

    def first(self, subject: str) -> str | None:
        """The first value of a subject, or None."""
        return self._values.get(subject, (None,))[0]

    def add_log(self, origin: str, index: int, leaf_hash: bytes, quorum: Quorum) -> None:
        """After step 6: where the entry is, and since when enough witnesses say so."""
        self._values |= {"origin": (origin,), "index": (str(index),), "leaf": (leaf_hash.hex(),)}
        self.has_quorum = quorum.is_satisfied
        self._add_recorded(quorum.since)

    def add_kind(self, kind: str) -> None:
        """After step 7."""
        self._values["kind"] = (kind,)

    def add_content(self, content: Content, standing: Standing) -> None:
        """After step 10: what the entry says, and who says it."""
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
            self._values["model"] = () if is_hash_hex(body["model"]) else (body["model"],)
        if standing.model is not None:
            model = standing.model.entry.body
            self._values |= {"model": (model["fingerprint"]["root"],), "model-name": (model["name"],)}

    def add_anchors(self, anchored: tuple[Anchored, ...] | None) -> None:
        """After step 12: the earliest block time of a final anchor, and of the development chain."""
        for anchor in anchored or ():
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

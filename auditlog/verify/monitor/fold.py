"""The entries of one log, one after another: every rule that entries can break, and what they declare.

Spec: auditlog/spec/monitor.md, "Entries". The rules are those of `auditlog.verify.chains` and
`auditlog.verify.completeness_lives`; added here is only what compares an entry with what this monitor saw
before: changes of coverage and of models, anchors with the tree, times with checkpoints. Bytes are
attacker-controlled; nothing here raises on them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

from auditlog.core import canonical
from auditlog.core.entry import Entry
from auditlog.core.scalars import format_time, parse_time
from auditlog.errors import AuditLogError, StorageError
from auditlog.verify.chains import ChainChecker
from auditlog.verify.completeness import Period, fold_entry, is_well_formed
from auditlog.verify.completeness_lives import Lives
from auditlog.verify.completeness_report import Findings, Weight
from auditlog.verify.lives import Complaint
from auditlog.verify.monitor.kept import Producers, Seen
from auditlog.verify.monitor.raised import Raise, Raised, Remark
from auditlog.verify.wording import printable

MAX_MODELS: Final = 64
"""Names of models remembered of one producer."""

_ALARMS: Final = {
    "balance": "counter_mismatch",
    "fell": "counter_mismatch",
    "unrecorded": "counter_mismatch",
    "undeclared": "counter_mismatch",
    "after_stop": "broken_chain",
    "silence": "silent",
    "gap": "gap",
    "disabled": "gap",
    "declared_lost": "gap",
}
"""Findings about lives that are alarms; the others are remarks."""

_QUICK: Final = frozenset({"decision", "outcome"})


class EntryFold:
    """All entries of one log up to `next_index`. Not for several threads."""

    def __init__(
        self,
        origin: str,
        vkey: str,
        producers: Producers,
        *,
        on_raise: Raise,
        on_remark: Callable[[Remark], None],
        leaf_hash: Callable[[int], bytes],
    ) -> None:
        """`leaf_hash` gives that of any index before the one in hand, checked."""
        self._places = producers.places
        self._producers, self._raise, self._remark = producers, on_raise, on_remark
        self._leaf_hashes = lambda indices: [leaf_hash(index) for index in indices]
        self._chains = ChainChecker(origin, self._complain, vkey=vkey, producers=producers.chains)
        self._lives = Lives(Period(), _Collected(self._found), producers.watched)
        self._index, self._writer = -1, ""
        self._late_before, self._late_mark = "", (0, "", "")
        self.facts: dict[str, Any] = {}
        """What the log's genesis says, and how many heads were checked or could not be."""

    def standing(self) -> dict[str, Any]:
        """Where this stands, producers aside: for `resume`."""
        lives = {name: getattr(self._lives, name) for name in ("late_ms", "newest", "decisions")}
        return {"chains": self._chains.standing(), "lives": lives, "facts": self.facts}

    def resume(self, standing: dict[str, Any]) -> None:
        """Go on where `standing` was taken."""
        self._chains.resume(standing["chains"])
        for name, value in standing["lives"].items():
            setattr(self._lives, name, value)
        self.facts = dict(standing["facts"])

    @property
    def lives(self) -> Lives:
        """The lives of the producers so far."""
        return self._lives

    @property
    def chains(self) -> ChainChecker:
        """Their chains so far."""
        return self._chains

    def expect_after(self, size: int, seen_by: str, note: str) -> None:
        """From index `size` on, entries that claim to be much older than `seen_by` (in the text form of
        entries) claim it late: `note`, a checkpoint without them, was cosigned by then.
        """
        self._late_mark = (size, seen_by, note)
        limit_us = parse_time(seen_by) - 1000 * self._lives.late_ms
        self._late_before = format_time(max(0, limit_us))

    def take(self, index: int, leaf_hash: bytes, data: bytes) -> None:
        """The next entry."""
        self._index, self._writer = index, ""
        entry = self._chained(index, leaf_hash, data)
        self._places.take(index, entry, self._chains.began_after)
        if entry is None:
            return
        self._writer = entry.producer
        fold_entry(self._lives, index, leaf_hash, entry)
        if entry.time < self._late_before:
            self._late(index, entry)
        if entry.kind not in _QUICK:
            self._look(index, entry)

    def _chained(self, index: int, leaf_hash: bytes, data: bytes) -> Entry | None:
        try:
            return self._chains.take(index, leaf_hash, data)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001  no content of one entry ends what is known of the others
            self._lives.not_judged(index, error)
            return None

    def take_plain(self, index: int, leaf_hash: bytes, entry: Entry) -> None:
        """The next entry, where `read_plain` has read it already: a decision or an outcome, well formed."""
        self._index, self._writer = index, entry.producer
        self._chains.take_plain(index, leaf_hash, entry)
        self._places.take(index, entry)
        self._lives.take(index, entry, is_read=True)
        if entry.time < self._late_before:
            self._late(index, entry)

    def _late(self, index: int, entry: Entry) -> None:
        size, seen_by, note = self._late_mark
        # One of a run is enough: what a spool held back comes together.
        run = f"backdated:{entry.producer}:{entry.instance}:{size}"
        text = (
            f"entry {index} says {entry.time}; the log was shown with {size} entries, without this one, "
            f"by {seen_by}"
        )
        self._raise(Raised(alarm="backdated", key=run, detail=text, index=index, notes=(note,)))

    def _look(self, index: int, entry: Entry) -> None:
        """What the rarer kinds say that may differ from before."""
        if not entry.understood or entry.kind not in _LOOKS:
            return
        try:
            _LOOKS[entry.kind](self, index, entry)
        except (KeyError, TypeError, AttributeError):
            # A body of another shape: recorded as it came, by design, and counted among the odd ones.
            return
        except AuditLogError:
            raise  # the log does not serve what it takes, or this memory failed: another look reads it again
        except Exception as error:  # noqa: BLE001  as in `_chained`
            self._lives.not_judged(index, error)

    def _genesis(self, _index: int, entry: Entry) -> None:
        # Only of a body that is one: what is read here decides later what is silent, and what is stale.
        if entry.by_log and entry.seq == 0 and "visibility" not in self.facts and is_well_formed(entry):
            for name in ("visibility", "max_merge_delay_s", "contact"):
                self.facts[name] = entry.body[name]

    def _successor(self, index: int, entry: Entry) -> None:
        if not entry.by_log or not is_well_formed(entry):
            return
        self.facts["successor"] = str(entry.body["origin"])
        text = f"entry {index}: the log ends, and goes on as {entry.body['origin']}"
        self._remark(Remark("successor", "log", text))

    def _heartbeat(self, index: int, entry: Entry) -> None:
        checked = self._chains.check_embedded_head(index, entry, self._leaf_hashes, self._complain)
        if isinstance(entry.body.get("head"), str):
            name = "heads_checked" if checked else "heads_not_checked"
            self.facts[name] = self.facts.get(name, 0) + 1

    def _coverage(self, index: int, entry: Entry) -> None:
        # `model` and `ports` are filled in when they are known; neither changes what is captured.
        body = {
            name: value for name, value in entry.body.items() if name not in ("model", "ports", "version")
        }
        seen = self._seen(entry.producer)
        digest = hashlib.sha256(canonical.encode(body)).hexdigest()
        before, seen.coverage = seen.coverage, digest
        other, seen.coverage_index = seen.coverage_index, index
        if before and before != digest:
            text = (
                f"entry {index}: {self._name(entry.producer)} captures something else than by entry {other}"
            )
            self._notice("coverage_changed", index, text, other)

    def _model(self, index: int, entry: Entry) -> None:
        name, root = entry.body["name"], entry.body["fingerprint"]["root"]
        if not isinstance(name, str) or not isinstance(root, str):
            return
        models = self._seen(entry.producer).models
        before = models.pop(name, None)
        models[name] = (root, index)
        if len(models) > MAX_MODELS:
            del models[next(iter(models))]
        if before is not None and before[0] != root:
            text = (
                f"entry {index}: {printable(name)} of {self._name(entry.producer)} has the fingerprint "
                f"{printable(root[:16])}, and had {printable(before[0][:16])} by entry {before[1]}"
            )
            self._notice("model_changed", index, text, before[1])

    def _seen(self, producer: str) -> Seen:
        seen = self._producers.seen.get(producer)
        if seen is None:
            seen = self._producers.seen[producer] = Seen()
        return seen

    def _name(self, producer: str) -> str:
        watched = self._producers.watched.get(producer)
        return producer[:16] if watched is None else printable(watched.summary.name)

    def _notice(self, alarm: str, index: int, text: str, other: int) -> None:
        self._raise(Raised(alarm=alarm, key=f"{alarm}:{index}", detail=text, index=index, other=other))

    def _complain(self, problem: str) -> None:
        assert isinstance(problem, Complaint)
        key = f"{problem.rule}:{problem.at}:{_digest(problem)}"
        detail = printable(problem, 500)
        self._raise(Raised(alarm=problem.rule, key=key, detail=detail, index=problem.at, other=problem.other))

    def _found(self, weight: Weight, kind: str, producer: str, text: str, numbers: dict[str, Any]) -> None:
        if kind == "not_judged":
            self.facts[kind] = self.facts.get(kind, 0) + 1
        alarm = _ALARMS.get(kind)
        if alarm is None or weight is Weight.NOTE:
            self._remark(Remark(kind, producer, text))
            return
        detail = f"{producer}: {text}" if producer else text
        since = numbers.get("since")
        # A silence is found by the next entry of whoever was silent; names may be those of several.
        key = f"silent:{self._writer}:{since}" if alarm == "silent" else f"{alarm}:{kind}:{_digest(detail)}"
        index = None if alarm == "silent" else self._index
        self._raise(Raised(alarm=alarm, key=key, detail=detail, index=index, other=numbers.get("other")))


_LOOKS: Final[dict[str, Callable[[EntryFold, int, Entry], None]]] = {
    "genesis": EntryFold._genesis,
    "successor": EntryFold._successor,
    "heartbeat": EntryFold._heartbeat,
    "coverage": EntryFold._coverage,
    "model": EntryFold._model,
}


class _Collected(Findings):
    """Hands findings on instead of keeping them: a log of months has no end of them."""

    def __init__(self, found: Callable[[Weight, str, str, str, dict[str, Any]], None]) -> None:
        super().__init__()
        self._hand_on = found

    def add(self, weight: Weight, kind: str, producer: str, text: str, **numbers: Any) -> None:
        """Hand one on, made printable."""
        self._hand_on(weight, kind, printable(producer), printable(text, 500), numbers)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]

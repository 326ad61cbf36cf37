"""What a caller insists on, as objects that combine: `Verifier(trust).verify(receipt, expect=...)`.

>>> not_on_christmas = Not(DecidedBetween(after="2025-12-25", before="2025-12-27"))
>>> expect = AllOf(not_on_christmas, AnyOf(ModelIs(name="loan"), ModelIs(name="loan-2")))
>>> Verifier(trust).verify(receipt, expect=expect).expectation.held.value
'holds'
>>> AllOf()
Traceback (most recent call last):
auditlog.errors.ConfigurationError: expected one expectation or more in AllOf, found none or something else

Spec: auditlog/spec/verification.md, "Expectations". Promises: an impossible value, or a combination of
nothing, is refused when the object is made; something the receipt does not show cannot be checked, and is
never passed. Must never: raise a grade. An expectation that holds about a stated fact stays stated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from auditlog.errors import ConfigurationError
from auditlog.verify.expectation_values import (
    check_decimal,
    check_fingerprint,
    check_hex,
    check_text,
    normal_instant,
)
from auditlog.verify.judgement import Judgement, all_of, any_of, fails, holds, negated, unknown
from auditlog.verify.report import Grade
from auditlog.verify.wording import printable

if TYPE_CHECKING:
    from auditlog.verify.shown import Shown

_NOT_SHOWN: Final = "the receipt does not show it"
_PROVEN: Final = {
    "index": "the index",
    "leaf": "the leaf hash",
    "kind": "the kind",
    "producer": "the producer",
    "instance": "the instance",
    "seq": "the number",
}
_STATED: Final = {
    "id": "the decision id",
    "decision": "the decision it is about",
    "operation": "the operation",
    "status": "the HTTP status",
    "ended": "the end of the call",
    "mode": "the mode of recording",
    "capture": "the hook that recorded it",
    "method": "the request method",
    "route": "the route",
}
MEMBERS: Final = (*_PROVEN, *_STATED)
"""What `EntryIs` compares."""


class Expectation(ABC):
    """One thing, or a combination of things, the caller insists on. Immutable."""

    __slots__ = ()

    @abstractmethod
    def judge(self, shown: Shown) -> Judgement:
        """Compare with what the receipt has shown. Never raises."""


@dataclass(frozen=True, slots=True)
class OperatorIs(Expectation):
    """The record is in the log of this origin: an operator is known by its log. Proven."""

    origin: str

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` on an empty origin."""
        check_text("origin", self.origin)

    def judge(self, shown: Shown) -> Judgement:
        """Compare the origins."""
        return _compare(shown, "origin", self.origin, f"the log is {self.origin}", Grade.PROVEN)


@dataclass(frozen=True, slots=True)
class EntryIs(Expectation):
    """A member of the entry has this value. `member` is one of `MEMBERS`; numbers are given in decimal.

    Position and authorship (index, leaf, kind, producer, instance, seq) are proven, the rest is stated.
    """

    member: str
    value: str

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` on an unknown member or an impossible value."""
        if self.member not in MEMBERS:
            raise ConfigurationError(f"expected one of {', '.join(MEMBERS)}, found {printable(self.member)}")
        value = check_text(self.member, self.value)
        if self.member in ("index", "seq", "status"):
            check_decimal(self.member, value)
        if self.member in ("leaf", "instance"):
            object.__setattr__(self, "value", value.lower())

    def judge(self, shown: Shown) -> Judgement:
        """Compare the values."""
        grade = Grade.PROVEN if self.member in _PROVEN else Grade.STATED
        name = _PROVEN.get(self.member) or _STATED[self.member]
        return _compare(shown, self.member, self.value, f"{name} is {self.value}", grade)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIs(Expectation):
    """The decision names this model, by exactly one of three. Stated: that it ran, nobody has proven.

    `fingerprint`: 64 hex digits, with or without `files-sha256@v1:`, or the word `pending` or `unregistered`;
    `leaf_hash`: of the `model` entry; `name`: as its registration calls it.
    """

    fingerprint: str = ""
    leaf_hash: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` unless exactly one is given and possible."""
        if sum(map(bool, (self.fingerprint, self.leaf_hash, self.name))) != 1:
            raise ConfigurationError(
                "expected one of fingerprint, leaf_hash and name of a model, found none or several"
            )
        if self.fingerprint:
            object.__setattr__(self, "fingerprint", check_fingerprint(self.fingerprint))
        if self.leaf_hash:
            object.__setattr__(self, "leaf_hash", check_hex("model leaf hash", self.leaf_hash))

    def judge(self, shown: Shown) -> Judgement:
        """Compare; of a `pending` decision only where the answer to it is shown to be the first."""
        subject, value, what = next(
            (subject, value, what)
            for subject, value, what in (
                ("model", self.fingerprint, "the model's fingerprint is"),
                ("model-leaf", self.leaf_hash, "the model's entry has the leaf hash"),
                ("model-name", self.name, "the model is called"),
            )
            if value
        )
        if shown.model_doubt is not None:
            # Either way: the entry that would turn it around may be the one that was left out.
            return unknown(f"{what} {value}", shown.model_doubt)
        return _compare(shown, subject, value, f"{what} {value}", Grade.STATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedBetween(Expectation):
    """The decision claims a time in this range, ends included. Stated: it is the producer's clock."""

    after: str = ""
    before: str = ""

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` on no end, an impossible time, or an end before the start."""
        if not self.after and not self.before:
            raise ConfigurationError("expected a start or an end of the range, found neither")
        for name in ("after", "before"):
            if given := getattr(self, name):
                object.__setattr__(self, name, normal_instant(name, given))
        if self.after and self.before and self.after > self.before:
            raise ConfigurationError("expected a range whose end is not before its start, found another")

    def judge(self, shown: Shown) -> Judgement:
        """Compare with the claimed time T."""
        ends = (("from", self.after), ("to", self.before))
        claim = "the decision claims a time " + " ".join(f"{word} {end}" for word, end in ends if end)
        found = shown.claimed
        if found is None:
            return unknown(claim, _NOT_SHOWN)
        by = shown.writer("start")
        if (not self.after or found >= self.after) and (not self.before or found <= self.before):
            return holds(claim, Grade.STATED, by)
        return fails(claim, found, Grade.STATED, by)


@dataclass(frozen=True, slots=True)
class AllOf(Expectation):
    """Every part holds. Of nothing it is refused: it would always hold."""

    parts: tuple[Expectation, ...]

    def __init__(self, *parts: Expectation) -> None:
        """Raises `ConfigurationError` without a part."""
        object.__setattr__(self, "parts", _parts(parts, "AllOf"))

    def judge(self, shown: Shown) -> Judgement:
        """Combine what each part says."""
        return all_of([part.judge(shown) for part in self.parts])


@dataclass(frozen=True, slots=True)
class AnyOf(Expectation):
    """At least one part holds. Of nothing it is refused: it could never hold."""

    parts: tuple[Expectation, ...]

    def __init__(self, *parts: Expectation) -> None:
        """Raises `ConfigurationError` without a part."""
        object.__setattr__(self, "parts", _parts(parts, "AnyOf"))

    def judge(self, shown: Shown) -> Judgement:
        """Combine what each part says."""
        return any_of([part.judge(shown) for part in self.parts])


@dataclass(frozen=True, slots=True)
class Not(Expectation):
    """The part does not hold, and no evidence left out of the receipt could make it hold.

    Of evidence that is merely absent (a cosignature, an anchor, an earlier time on record, the entry that is
    the first to answer a `pending` decision) the opposite cannot be checked, and never passes.
    """

    part: Expectation

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` on what is no expectation."""
        _parts((self.part,), "Not")

    def judge(self, shown: Shown) -> Judgement:
        """The opposite of what the part says."""
        return negated(self.part.judge(shown))


def _parts(parts: tuple[Expectation, ...], what: str) -> tuple[Expectation, ...]:
    if not parts or not all(isinstance(part, Expectation) for part in parts):
        raise ConfigurationError(f"expected one expectation or more in {what}, found none or something else")
    return parts


def _compare(shown: Shown, subject: str, value: str, claim: str, grade: Grade) -> Judgement:
    found = shown.values.get(subject, ())
    if not found:
        return unknown(claim, _NOT_SHOWN)
    by = shown.writer(subject) if grade is Grade.STATED else ""
    if value in found:
        return holds(claim, grade, by)
    return fails(claim, " or ".join(found), grade, by)

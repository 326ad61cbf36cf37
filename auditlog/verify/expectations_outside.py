"""Expectations about those outside: witnesses, chains, and by when they had seen the record.

Spec: auditlog/spec/verification.md, "Expectations". Promises: only keys and pins of the trust file count; a
development chain counts only where it is asked for as one. Must never: take silence for an answer. A
cosignature or an anchor that is not in the receipt may be elsewhere, so without it the expectation cannot be
checked, and a time on record that is too late is never final.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditlog.core.entry import parse_time
from auditlog.core.scalars import MAX_SEQ
from auditlog.errors import ConfigurationError, MalformedError
from auditlog.verify.expectation_values import check_text, normal_instant
from auditlog.verify.expectations import Expectation
from auditlog.verify.judgement import Judgement, fails, holds, unknown
from auditlog.verify.report import Grade
from auditlog.verify.wording import printable

if TYPE_CHECKING:
    from auditlog.verify.shown import Shown

_MICROSECONDS = 1_000_000
_ADDRESS_CHARS = 42


@dataclass(frozen=True, slots=True)
class RecordedBefore(Expectation):
    """Witnesses or a final anchor show the record by this instant. Proven.

    A later time is what this receipt shows; earlier evidence may exist, so it is never final.
    """

    when: str

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` on an impossible time."""
        object.__setattr__(self, "when", normal_instant("recorded-before", self.when))

    def judge(self, shown: Shown) -> Judgement:
        """Compare with the time on record U."""
        claim = f"it was on record by {self.when}"
        if shown.recorded is None:
            return unknown(claim, "no witness quorum and no final anchor of the receipt says by when it was")
        if shown.recorded <= self.when:
            return holds(claim, Grade.PROVEN)
        return fails(claim, f"evidence from {shown.recorded} on", Grade.PROVEN, is_final=False)


@dataclass(frozen=True, slots=True)
class MaxLag(Expectation):
    """The claimed time and the first outside evidence are at most so many seconds apart, either way.

    Stated: one end of it is the producer's clock. A claim later than its record cannot be true, and that is
    final; a record long after the claim is not, for earlier evidence may exist.
    """

    seconds: int

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` on what is no number of seconds."""
        if type(self.seconds) is not int or not 0 <= self.seconds <= MAX_SEQ:
            raise ConfigurationError(
                "expected a whole number of seconds from 0 on for max-lag, found another"
            )

    def judge(self, shown: Shown) -> Judgement:
        """Compare T with U."""
        claim = f"outside evidence is within {self.seconds} s of the claimed time"
        if shown.claimed is None:
            return unknown(claim, "the receipt shows no claimed time")
        if shown.recorded is None:
            return unknown(claim, "no witness quorum and no final anchor of the receipt says by when it was")
        lag = _microseconds(shown.recorded) - _microseconds(shown.claimed)
        by = shown.writer("start")
        if abs(lag) <= self.seconds * _MICROSECONDS:
            # Earlier evidence could show that the claim is later than the record, but not by this one.
            return holds(claim, Grade.STATED, by, is_final=False)
        times = f"{shown.claimed} claimed and {shown.recorded} on record"
        return fails(claim, times, Grade.STATED, by, is_final=lag < 0)


@dataclass(frozen=True, slots=True, init=False)
class CosignedBy(Expectation):
    """Witnesses of the trust file have cosigned the receipt's checkpoint. Proven.

    `witnesses` are names of the policy, or vkeys; of none, all of the trust file. `at_least` says how many of
    them it takes; without it, all that are named.
    """

    witnesses: tuple[str, ...]
    at_least: int

    def __init__(self, *witnesses: str, at_least: int | None = None) -> None:
        """Raises `ConfigurationError` on nobody, on a name twice, or on more than there are."""
        for name in witnesses:
            check_text("a witness", name)
        wanted = len(witnesses) if at_least is None else at_least
        is_number = type(wanted) is int and wanted > 0
        if not is_number or len(set(witnesses)) != len(witnesses) or (witnesses and wanted > len(witnesses)):
            raise ConfigurationError(
                "expected different witnesses, or how many of them at the least, found neither"
            )
        object.__setattr__(self, "witnesses", witnesses)
        object.__setattr__(self, "at_least", wanted)

    def judge(self, shown: Shown) -> Judgement:
        """Count those that have; a name the trust file lacks is nobody's."""
        known = {shown.witnesses[name] for name in self.witnesses if name in shown.witnesses}
        counted = set(shown.cosigned) if not self.witnesses else known & set(shown.cosigned)
        claim = f"{self._who()} cosigned"
        if len(counted) >= self.at_least:
            return holds(claim, Grade.PROVEN)
        strangers = [printable(name) for name in self.witnesses if name not in shown.witnesses]
        if strangers:
            return unknown(claim, f"{' and '.join(strangers)}: no witness of the trust file")
        return unknown(claim, f"the receipt shows {len(counted)} of {self.at_least}")

    def _who(self) -> str:
        names = ", ".join(map(printable, self.witnesses))
        if not names:
            return f"at least {self.at_least} witness(es) of the trust file"
        if self.at_least == len(self.witnesses):
            return names
        return f"at least {self.at_least} of {names}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchoredOn(Expectation):
    """An anchor of the receipt holds on this chain, by this contract if one is named.

    Final anchors by a pin of the trust file are proven. `devnet=True` asks for a development chain instead,
    which is stated by whoever holds its key: it could name any chain, and so counts only where asked for.
    """

    chain_id: int
    contract: str = ""
    devnet: bool = False

    def __post_init__(self) -> None:
        """Raises `ConfigurationError` on what is no chain id or no address."""
        if type(self.chain_id) is not int or not 0 <= self.chain_id <= MAX_SEQ:
            raise ConfigurationError("expected a chain id from 0 to 2^53-1, found another")
        contract = self.contract.lower()
        digits = contract.removeprefix("0x")
        if contract and not (len(contract) == _ADDRESS_CHARS and len(digits) == _ADDRESS_CHARS - 2):
            raise ConfigurationError("expected a contract as 0x and 40 hex digits, found another")
        if any(digit not in "0123456789abcdef" for digit in digits):
            raise ConfigurationError("expected a contract as 0x and 40 hex digits, found another")
        object.__setattr__(self, "contract", contract)

    def judge(self, shown: Shown) -> Judgement:
        """Look for it among the anchors that were checked."""
        kind = "development chain" if self.devnet else "chain"
        claim = f"it is anchored on {kind} {self.chain_id}"
        claim += f", contract {self.contract}" if self.contract else ""
        for anchor in shown.anchors:
            is_here = (anchor.is_devnet, anchor.chain_id) == (self.devnet, self.chain_id)
            if anchor.is_checked and is_here and self.contract in ("", f"0x{anchor.contract.hex()}"):
                grade = Grade.STATED if anchor.is_devnet else Grade.PROVEN
                return holds(claim, grade, "the devnet" if anchor.is_devnet else "")
        return unknown(claim, "the receipt shows no such anchor that could be checked")


def _microseconds(when: str) -> int:
    """A time of a report as a number; those after the year 9999 are written as `@` and POSIX seconds."""
    if when.startswith("@"):
        return int(when[1:]) * _MICROSECONDS
    try:
        return parse_time(when)
    except MalformedError as error:  # a report holds no other time
        raise AssertionError(when) from error

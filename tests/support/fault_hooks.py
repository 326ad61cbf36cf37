"""How a write goes wrong in the fault campaign: one planned injection, by the number of the write it befalls.

A kind says what happens at that write, a mode for how long. Everything is counted in the order of the
engine's own writes, which the memory bench makes the same every time: a case is repeated by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from auditlog.errors import StorageError
from auditlog.storage.memory import Fault
from auditlog.storage.records import Commit
from tests.support.fault_world import World
from tests.support.faulty_store import Killed

WRITE_KINDS = ("refused", "stored", "torn")
MODES = ("once", "thrice", "lasting")
DEATHS = ("kill-before", "kill-torn", "kill-after")
CLOCKS = ("clock-back-hour", "clock-back-years", "clock-on-day")
OUTAGES = ("disk-full", "disk-full-torn", "read-only", "away")
_JUMPS = {"clock-back-hour": -3600.0, "clock-back-years": -20 * 365 * 86400.0, "clock-on-day": 86400.0}
_PUTS = ("put_new", "replace", "commit", "record", "add_index_rows", "add_anchor")


@dataclass
class Injection:
    """A fault hook of the stores: counts writes and does what it was planned for at number `at`.

    `hits` counts what was injected. `mend` ends whatever lasts.
    """

    world: World
    at: int
    kind: str
    mode: str = "once"
    then: Injection | None = None
    """A second one, which goes by the same count."""
    other: Callable[[str], None] | None = None
    """What a second process does at that write, for the kind `other`."""
    late_by: int = 0
    seen: list[str] = field(default_factory=list)
    hits: int = 0
    _left: int = field(default=0, init=False)
    _late: tuple[int, Commit] | None = field(default=None, init=False)
    _is_busy: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._left = {"once": 1, "thrice": 3}.get(self.mode, 1 << 30)

    def __call__(self, operation: str, path: str) -> Fault | None:
        """Before every write."""
        if self._is_busy:
            return None
        number = len(self.seen)
        self.seen.append(operation)
        fault = self._act(number, operation)
        if self.then is not None:
            fault = self.then._act(number, operation) or fault
        return fault

    def mend(self) -> None:
        """Whatever lasts is over; what comes late has come."""
        self._left = 0
        self._arrive()
        for store in _read_by(self.world):
            store.reads = None
        if self.then is not None:
            self.then.mend()

    def _act(self, number: int, operation: str) -> Fault | None:
        if self._late is not None and number >= self._late[0]:
            self._arrive()
        if number < self.at or self._left <= 0:
            return None
        if number > self.at and self.mode == "once":
            return None
        if self.kind.startswith("disk-full") and not operation.endswith(_PUTS):
            return None
        self._left -= 1
        self.hits += 1
        return self._inject(operation)

    def _inject(self, operation: str) -> Fault | None:
        kind = self.kind
        if kind in WRITE_KINDS:
            return Fault(kind)
        if kind in _JUMPS:
            self.world.bench.clock.jump(_JUMPS[kind])
            return None
        if kind in OUTAGES:
            return self._outage(operation)
        if kind == "kill-before":
            raise Killed
        if kind in DEATHS:
            self.world.bench.contract.dies = Killed()
            return Fault.TORN if kind == "kill-torn" else None
        if kind == "late":
            change = self.world.bench.state.late
            assert change is not None
            self._late = (self.at + self.late_by, change)
            return Fault.REFUSED
        assert self.other is not None, kind
        self._is_busy = True
        try:
            self.other(operation)
        finally:
            self._is_busy = False
        return None

    def _outage(self, operation: str) -> Fault:
        if self.kind == "away":
            for store in _read_by(self.world):
                store.reads = _refuse
        return Fault.TORN if self.kind == "disk-full-torn" else Fault.REFUSED

    def _arrive(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            self.world.bench.state.arrive(late[1])


@dataclass
class ReadFault:
    """Spoils the n-th read of the object stores: refused, or with one bit flipped on the way."""

    at: int
    kind: str
    seen: int = 0
    hits: int = 0

    def __call__(self, operation: str, path: str, data: bytes | None) -> bytes | None:
        """Called with what a read found."""
        number, self.seen = self.seen, self.seen + 1
        if number != self.at:
            return data
        self.hits += 1
        if self.kind == "read-refused":
            raise StorageError(f"{operation} {path}: expected success, found an injected fault")
        if not data:
            return data
        bit = (self.at * 7919 + 13) % (8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        return bytes(flipped)


def _read_by(world: World) -> list[Any]:
    bench = world.bench
    return [bench.public, bench.private, bench.staging, bench.state]


def _refuse(*_: object) -> bytes | None:
    raise StorageError("expected an answer, found a store that is away")

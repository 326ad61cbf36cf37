"""Runs: plain entries of one producer that follow each other, summed up so that a chain takes them at once.

Spec: `auditlog/spec/entry.md`, "Producer chain". In a run every entry has the next number and names the leaf
hash of the one before, is of one instance and kind, and nothing else by that producer, or by the log, stands
between them: whatever may be wrong is wrong with its first entry, or with all of them alike. What is no
such entry is handed on as it is. Bytes are attacker-controlled. No I/O; nothing here raises on any bytes.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from auditlog.verify.plain_entries import plain_members
from auditlog.verify.plain_shapes import Shape, Shapes

_MOST_WRITERS: Final = 4096


class Single(msgspec.Struct, array_like=True, tag="one"):
    """An entry that is judged by itself."""

    index: int
    leaf_hash: bytes
    data: bytes


class Run(msgspec.Struct, array_like=True, tag="run"):
    """Entries that follow each other."""

    kind: str
    producer: str
    instance: str
    prev: str
    """What the first one names."""
    time: str
    """That of the first one."""
    places: list[list[int]]
    """[first number, first index, count] of entries that stand side by side in the log."""
    last: str = ""
    """Leaf hash of the last one, in hex."""

    def indices(self) -> Iterator[int]:
        """Where they are in the log."""
        for _, index, count in self.places:
            yield from range(index, index + count)

    def count(self) -> int:
        """How many they are."""
        return sum(place[2] for place in self.places)


@dataclass(slots=True)
class _Writer:
    """One producer in one instance, and the run that its next entry may go on."""

    producer: str
    instance: str
    run: Run | None = None
    seq: int = 0
    prev: bytes = b""
    index: int = 0

    def follow(self, run: Run, index: int, leaf_hash: bytes) -> None:
        """Go on by one entry."""
        self.seq += 1
        if index == self.index + 1:
            run.places[-1][2] += 1
        else:
            run.places.append([self.seq, index, 1])
        self.index, self.prev = index, hexlify(leaf_hash)


class Gathering:
    """Sums up the entries of a log, section by section. For one thread."""

    def __init__(self, origin: str) -> None:
        self._origin, self._shapes = origin, Shapes()
        self._writers: dict[tuple[str, str], _Writer] = {}
        self._open: dict[str, _Writer] = {}
        self._events: list[Run | Single] = []
        self._shape: Shape | None = None
        self._is_stopped = False

    def begin(self) -> list[Run | Single]:
        """A new section: returns what its runs and single entries will be in, once it is closed."""
        self._events, self._is_stopped = [], False
        return self._events

    def take(self, first: int, hashes: list[bytes], entries: list[bytes]) -> None:
        """The next entries, from index `first` on, with their leaf hashes."""
        if self._is_stopped:
            return
        shape, index = self._shape, first - 1
        for data, leaf_hash in zip(entries, hashes, strict=True):
            index += 1
            # The commonest case, the next of the producer that wrote the last, stands here without a detour:
            # what `_goes_on` and `follow` do, in two thirds of the time.
            if shape is not None and shape.length == len(data):
                writer: _Writer = shape.owner
                run = writer.run
                if run is not None and run.kind == shape.kind and index == writer.index + 1:
                    seq = writer.seq + 1
                    if shape.fits(data, seq, writer.prev):
                        run.places[-1][2] += 1
                        writer.seq, writer.index, writer.prev = seq, index, hexlify(leaf_hash)
                        continue
            shape = self._another(index, leaf_hash, data) or shape
        self._shape = shape

    def stop(self) -> None:
        """What comes after is behind a hole, up to the next section."""
        self._is_stopped = True

    def close(self) -> None:
        """Every run has ended."""
        for producer in list(self._open):
            self._end(producer)

    @staticmethod
    def _goes_on(shape: Shape, data: bytes) -> bool:
        writer: _Writer = shape.owner
        run = writer.run
        return run is not None and run.kind == shape.kind and shape.fits(data, writer.seq + 1, writer.prev)

    def _another(self, index: int, leaf_hash: bytes, data: bytes) -> Shape | None:
        """Any entry; returns the shape that the next one may have."""
        shape = self._shapes.find(data)
        is_open = shape is not None and shape.owner.run is not None
        if shape is not None and is_open and self._goes_on(shape, data):
            shape.owner.follow(shape.owner.run, index, leaf_hash)
            return shape
        members = plain_members(data, self._origin)
        if members is None:
            self._single(index, leaf_hash, data)
            return None
        writer = self._place(members, index, leaf_hash)
        if shape is None or is_open:
            shape = self._shapes.learn(data, writer) or shape
        if shape is not None and (shape.owner.producer, shape.owner.instance) == (
            writer.producer,
            writer.instance,
        ):
            # The same names: after much was forgotten, another object for the same.
            shape.owner = writer
        return shape

    def _place(self, members: dict[str, Any], index: int, leaf_hash: bytes) -> _Writer:
        """Put a plain entry into the run it goes on, or into a new one."""
        producer, instance, kind, seq = (members[name] for name in ("producer", "instance", "kind", "seq"))
        writer = self._writers.get((producer, instance))
        if writer is None:
            if len(self._writers) >= _MOST_WRITERS:
                self._writers.clear()
            writer = self._writers[producer, instance] = _Writer(producer, instance)
        run, prev = writer.run, members["prev"]
        known = (run.instance, run.kind, writer.seq + 1, writer.prev) if run is not None else None
        if run is not None and known == (instance, kind, seq, prev.encode()):
            writer.follow(run, index, leaf_hash)
            return writer
        self._end(producer)
        writer.run = Run(kind, producer, instance, prev, members["time"], [[seq, index, 1]])
        writer.seq, writer.index, writer.prev = seq, index, hexlify(leaf_hash)
        self._open[producer] = writer
        self._events.append(writer.run)
        return writer

    def _single(self, index: int, leaf_hash: bytes, data: bytes) -> None:
        """An entry for the judge alone: it ends the run of whoever wrote it."""
        self._events.append(Single(index, leaf_hash, data))
        # In what the core will take for an entry, the last such member is that of the envelope: behind it
        # are only a number, a time and a number. What it will not take changes the state of nobody.
        at = data.rfind(b'"producer":"') + 12
        if at < 12 or data.startswith(b'log"', at):
            self.close()
        else:
            self._end(data[at : at + 64].decode("latin-1"))

    def _end(self, producer: str) -> None:
        writer = self._open.pop(producer, None)
        if writer is not None and writer.run is not None:
            writer.run.last, writer.run = writer.prev.decode("ascii"), None

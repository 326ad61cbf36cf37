"""Producers kept on disk: mappings over the store that the folds of entries use like dictionaries.

Spec: auditlog/spec/monitor.md, "State". Promises: memory holds what the batch in hand touched and a bounded
cache; nothing is written before `save`, and `forget` takes back all that was changed since. Not for several
threads. Must never: hand out two objects for one producer at a time.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterator, MutableMapping
from typing import Generic, TypeVar

import msgspec

from auditlog.core.keys import Ed25519Verifier
from auditlog.verify.completeness_watched import Watched
from auditlog.verify.lives import ProducerLife
from auditlog.verify.monitor.places import Places
from auditlog.verify.monitor.store import Store

CACHED = 4096
"""Producers kept in memory between batches."""

T = TypeVar("T")


class Kept(MutableMapping[str, T], Generic[T]):
    """One record a producer; what was asked for may have been changed by whoever asked, and is saved."""

    def __init__(
        self,
        store: Store,
        origin: str,
        form: str,
        encode: Callable[[T], bytes],
        decode: Callable[[str, bytes], T],
    ) -> None:
        """`form` names the kind of record in the table; `decode` is given the producer's id too."""
        self._store, self._origin, self._form = store, origin, form
        self._encode, self._decode = encode, decode
        self._clean: OrderedDict[str, T] = OrderedDict()
        self._touched: dict[str, T] = {}

    def __getitem__(self, identity: str) -> T:
        found = self._touched.get(identity)
        if found is None:
            found = self._clean.pop(identity, None)
            if found is None:
                found = self._load(identity)
            self._touched[identity] = found
        return found

    def get(self, identity: str, default: T | None = None) -> T | None:  # type: ignore[override]
        """As of any mapping; asked twice an entry, so without a detour for what was asked for before."""
        found = self._touched.get(identity)
        if found is not None:
            return found
        try:
            return self[identity]
        except KeyError:
            return default

    def __setitem__(self, identity: str, value: T) -> None:
        self._clean.pop(identity, None)
        self._touched[identity] = value

    def __delitem__(self, identity: str) -> None:
        raise NotImplementedError("producers are never forgotten")

    def __contains__(self, identity: object) -> bool:
        if identity in self._touched or identity in self._clean:
            return True
        query = "SELECT 1 FROM producer WHERE origin = ? AND form = ? AND id = ?"
        return bool(self._store.read(query, (self._origin, self._form, str(identity))))

    def __iter__(self) -> Iterator[str]:
        query = "SELECT id FROM producer WHERE origin = ? AND form = ?"
        stored = [row[0] for row in self._store.read(query, (self._origin, self._form))]
        return iter(dict.fromkeys([*stored, *self._touched]))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _load(self, identity: str) -> T:
        query = "SELECT content FROM producer WHERE origin = ? AND form = ? AND id = ?"
        rows = self._store.read(query, (self._origin, self._form, identity))
        if not rows:
            raise KeyError(identity)
        return self._decode(identity, rows[0][0])

    def look(self) -> Iterator[tuple[str, int, T]]:
        """(identity, when it was heard last, record) of each as it was saved last, not to be changed."""
        query = "SELECT id, heard_us, content FROM producer WHERE origin = ? AND form = ?"
        for identity, heard_us, content in self._store.read(query, (self._origin, self._form)):
            yield identity, heard_us, self._decode(identity, content)

    def touched(self) -> list[T]:
        """The records that were asked for since the last save."""
        return list(self._touched.values())

    def save(self, connection: sqlite3.Connection, now_us: int) -> None:
        """Write what was touched, in the transaction of `connection`."""
        connection.executemany(
            "INSERT OR REPLACE INTO producer VALUES (?, ?, ?, ?, ?)",
            [
                (self._origin, self._form, identity, now_us, self._encode(value))
                for identity, value in self._touched.items()
            ],
        )

    def saved(self) -> None:
        """The transaction is durable: what was touched is clean."""
        self._clean.update(self._touched)
        self._touched = {}
        while len(self._clean) > CACHED:
            self._clean.popitem(last=False)

    def forget(self) -> None:
        """Take back what was not saved."""
        self._touched = {}
        self._clean.clear()


class PastInstances(MutableMapping[str, int]):
    """The instances a producer ever had, each with its place among them: on disk, for they only grow."""

    def __init__(self, store: Store, origin: str, producer: str) -> None:
        self._store, self._place = store, (origin, producer)
        self._new: dict[str, int] = {}

    def __getitem__(self, instance: str) -> int:
        if instance in self._new:
            return self._new[instance]
        query = "SELECT place FROM instance WHERE origin = ? AND producer = ? AND instance = ?"
        rows = self._store.read(query, (*self._place, instance))
        if not rows:
            raise KeyError(instance)
        return int(rows[0][0])

    def __setitem__(self, instance: str, place: int) -> None:
        self._new[instance] = place

    def __delitem__(self, instance: str) -> None:
        raise NotImplementedError("instances are never forgotten")

    def __iter__(self) -> Iterator[str]:
        rows = self._store.read(
            "SELECT instance FROM instance WHERE origin = ? AND producer = ?", self._place
        )
        return iter(dict.fromkeys([*(row[0] for row in rows), *self._new]))

    def __len__(self) -> int:
        query = "SELECT count(*) FROM instance WHERE origin = ? AND producer = ?"
        return int(self._store.read(query, self._place)[0][0]) + len(self._new)

    def take_new(self) -> list[tuple[str, str, str, int]]:
        """The rows that are not on disk yet."""
        return [(*self._place, instance, place) for instance, place in self._new.items()]

    def saved(self) -> None:
        """They are on disk."""
        self._new = {}


class _Life(msgspec.Struct, array_like=True):
    """`ProducerLife` as it is kept."""

    name: str
    vkeys: list[str]
    leaf_hash: str
    instance: str
    seq: int
    decisions: int
    retired_at: int | None
    rotated: list[tuple[int, int]]
    index: int
    runs: list[list[int]]
    enrolled_at: int
    rotated_at: list[int]


class Producers:
    """All that is kept of a log's producers: the state of their chains, and of their lives."""

    def __init__(self, store: Store, origin: str) -> None:
        """Nothing is read before it is asked for."""
        self._store, self._origin = store, origin
        self.places = Places(store, origin)
        self.chains: Kept[ProducerLife] = Kept(store, origin, "chain", _encode_life, self._decode_life)
        watched, seen = msgspec.msgpack.Decoder(Watched), msgspec.msgpack.Decoder(Seen)
        encode = msgspec.msgpack.Encoder().encode
        self.watched: Kept[Watched] = Kept(
            store, origin, "watched", encode, lambda _, data: watched.decode(data)
        )
        self.seen: Kept[Seen] = Kept(store, origin, "seen", encode, lambda _, data: seen.decode(data))

    def _decode_life(self, identity: str, data: bytes) -> ProducerLife:
        kept = msgspec.msgpack.decode(data, type=_Life)
        return ProducerLife(
            id=identity,
            name=kept.name,
            keys=[Ed25519Verifier.from_vkey(vkey) for vkey in kept.vkeys],
            leaf_hash=kept.leaf_hash,
            instance=kept.instance,
            seq=kept.seq,
            decisions=kept.decisions,
            retired_at=kept.retired_at,
            past=PastInstances(self._store, self._origin, identity),
            rotated=kept.rotated,
            index=kept.index,
            runs=kept.runs,
            enrolled_at=kept.enrolled_at,
            rotated_at=kept.rotated_at,
        )

    def save(self, connection: sqlite3.Connection, now_us: int) -> None:
        """Write everything touched, in the transaction of `connection`."""
        for life in self.chains.touched():
            if not isinstance(life.past, PastInstances):
                # Enrolled in this batch: until now its instances were in memory.
                past = PastInstances(self._store, self._origin, life.id)
                past.update(life.past)
                life.past = past
            connection.executemany("INSERT OR IGNORE INTO instance VALUES (?, ?, ?, ?)", life.past.take_new())
        for kept in (self.chains, self.watched, self.seen):
            kept.save(connection, now_us)
        self.places.save(connection)

    def saved(self) -> None:
        """The transaction is durable."""
        for life in self.chains.touched():
            if isinstance(life.past, PastInstances):
                life.past.saved()
        for kept in (self.chains, self.watched, self.seen):
            kept.saved()
        self.places.saved()

    def forget(self) -> None:
        """Take back what was not saved."""
        for kept in (self.chains, self.watched, self.seen):
            kept.forget()


class Seen(msgspec.Struct):
    """What a producer said last of itself that may change: coverage, models."""

    coverage: str = ""
    """Digest of the body of its newest `coverage` entry, in hex."""
    coverage_index: int = -1
    models: dict[str, tuple[str, int]] = {}
    """Fingerprint root and index of the newest `model` entry of each name; of very many names the newest."""


def _encode_life(life: ProducerLife) -> bytes:
    return msgspec.msgpack.encode(
        _Life(
            name=life.name,
            vkeys=[key.vkey for key in life.keys],
            leaf_hash=life.leaf_hash,
            instance=life.instance,
            seq=life.seq,
            decisions=life.decisions,
            retired_at=life.retired_at,
            rotated=life.rotated,
            index=life.index,
            runs=life.runs,
            enrolled_at=life.enrolled_at,
            rotated_at=life.rotated_at,
        )
    )

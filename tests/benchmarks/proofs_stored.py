"""Inclusion proofs from a stored log, as the reader of the engine makes them: for `proofs.py`.

The tiles of a tree of any size, written to files without the entries below them; hashes are made up, for a
proof is the same whatever they are of.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from measure import Result

sys.path.insert(0, str(Path(__file__).parents[2]))

from auditlog.core.integrate import RightEdge
from auditlog.core.merkle import verify_inclusion
from auditlog.log.reader import Reader
from auditlog.log.tree import Tree
from auditlog.storage.files import FileStore

CHUNK = 1 << 16
HOT = 100
"""Places asked for again and again: their tiles stay in the cache."""


def write_tree(folder: Path, size: int) -> Any:
    """The full tiles of a tree below `folder`; what a `Reader` needs to know of its log."""
    edge, made = RightEdge(), random.Random(size)
    for at in range(0, size, CHUNK):
        count = min(CHUNK, size - at)
        blob = made.randbytes(32 * count)
        for tile in edge.extend([blob[place : place + 32] for place in range(0, len(blob), 32)]):
            target = folder / str(tile.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tile.data)
    store = FileStore(folder)
    tree = Tree(size, edge.root_hash(), edge.levels(), (), None)
    return SimpleNamespace(tree=tree, layout=SimpleNamespace(store_of=lambda _path: store))


def cached_and_cold(scratch: Path, sizes: list[int]) -> list[Result]:
    """What a proof costs at each size, and how the largest compares with the smallest."""
    lives = [write_tree(scratch / str(size), size) for size in sizes]
    readers = [Reader(live) for live in lives]
    for live in lives:
        check(live)
    for reader, live in zip(readers, lives, strict=True):
        _prove(reader, live, HOT)
    rounds = range(9)
    # Size after size in every round: a noisy moment disturbs all of them alike.
    both = list(zip(readers, lives, strict=True))
    hot = [[_each(lambda r=r, v=v: _prove(r, v, 500), 500) for r, v in both] for _ in rounds]
    cold = [[_each(lambda v=v, n=n: _far(v, n), 40) for v in lives] for n in rounds]
    lines: list[Result] = []
    for at, size in enumerate(sizes):
        for name, runs, limit in (("from the cache", hot, 50.0), ("from cold files", cold, 1000.0)):
            taken = sorted(run[at] * 1e6 for run in runs)
            against = f"CPU time; bad end {taken[-2]:.1f} us"
            met = taken[-2] <= limit
            lines.append(
                Result(f"inclusion proof {name}, {size:,} entries", round(taken[len(taken) // 2], 1), "us",
                       against=against, target=f"<= {limit:.0f} us", met=met)
            )  # fmt: skip
    grown = sorted(run[-1] / run[0] for run in hot)
    lines.append(
        Result(f"  {sizes[-1]:,} entries over {sizes[0]:,}", round(grown[len(grown) // 2], 2), "times",
               target="<= 2", met=grown[-2] <= 2)
    )  # fmt: skip
    return lines


def _prove(reader: Reader, live: Any, count: int) -> None:
    size, pick = live.tree.size, random.Random(5)
    places = [pick.randrange(size) for _ in range(HOT)]
    for at in range(count):
        reader.inclusion(places[at % HOT], size)


def _far(live: Any, number: int) -> None:
    """Proofs by readers that have read nothing."""
    pick = random.Random(number)
    for _ in range(40):
        reader, index = Reader(live), pick.randrange(live.tree.size)
        reader.inclusion(index, live.tree.size)


def check(live: Any) -> None:
    """A proof is one: by the verifier."""
    reader, index = Reader(live), live.tree.size // 3
    proof = reader.inclusion(index, live.tree.size)
    verify_inclusion(reader.leaf_hash(index), index, live.tree.size, proof, live.tree.root_hash)


def _each(work: Callable[[], None], count: int) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) / count

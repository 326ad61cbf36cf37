"""Search finds exactly what is asked for, page by page, whatever is indexed so far or appended."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from auditlog.core.entry import format_time, parse_time
from auditlog.core.merkle import hash_leaf
from auditlog.log import search as searching
from auditlog.log.envelope import read_indexed
from auditlog.log.facets import common_places, decode_places, encode_places
from auditlog.log.search import Hit, Place, Query
from tests.support.clock import START_US
from tests.support.testlog import FakeProducer, TestBench, decision_body

MODELS = ["ab" * 32, "cd" * 32, "pending", "unregistered"]
SECONDS = 4000


def fill(bench: TestBench, producers: list[FakeProducer], count: int, seed: int) -> None:
    """Append decisions that differ in everything that can be searched for, an odd body now and then."""
    rng = random.Random(seed)
    for first in range(0, count, 50):
        producer = rng.choice(producers)
        entries = []
        for number in range(first, min(count, first + 50)):
            bench.clock._passed_us = rng.randrange(SECONDS) * 1_000_000
            body = decision_body(rng.randrange(200), model=rng.choice(MODELS))
            body |= {
                "operation": rng.choice(["chat", "embeddings"]),
                "status": rng.choice([200, 200, 200, 503]),
                "ended": rng.choice(["ok", "ok", "error"]),
            }
            if number % 97 == 0:
                body |= {"model": 7, "status": "200", "ended": None, "operation": True}
            kind = "heartbeat" if number % 31 == 0 else "decision"
            entries.append(producer.seal(kind, body))
        bench.send(producer, entries)
    bench.settle()


@pytest.fixture(scope="module")
def filled() -> TestBench:
    """A log of some 1,500 entries by two producers, the last block not full."""
    bench = TestBench()
    bench.create()
    producers = [bench.started("a"), bench.started("b")]
    fill(bench, producers, 1500, seed=1)
    return bench


def pages(bench: TestBench, query: Query, limit: int) -> Iterator[list[Hit]]:
    """Every page of a search."""
    assert bench.log is not None
    after: Place | None = None
    for _ in range(10_000):
        page = bench.log.search.page(query, size=bench.log.tree_size, after=after, limit=limit)
        yield page.hits
        if page.next is None:
            assert page.size == bench.log.tree_size
            return
        after = page.next
    raise AssertionError("expected an end of the pages")


def naive(bench: TestBench, query: Query) -> list[int]:
    """The same, by looking at every entry."""
    assert bench.log is not None
    found = []
    for index, data in enumerate(bench.log.reader.entries(0, bench.log.tree_size)):
        entry = read_indexed(data)
        body, time_us = entry.body, parse_time(entry.time)
        wanted = [
            (query.leaf, hash_leaf(data)),
            (query.producer, entry.producer),
            (query.instance, entry.instance),
            (query.seq, entry.seq),
            (query.kind, entry.kind),
        ]
        decided = entry.kind == "decision"
        wanted += [
            (getattr(query, name), getattr(body, name) if decided else ())
            for name in ("model", "operation", "status", "ended")
        ]
        wanted.append((query.decision, body.id if decided else ()))
        if all(a is None or a == b for a, b in wanted):
            if query.since_us is not None and time_us < query.since_us:
                continue
            if query.before_us is not None and time_us >= query.before_us:
                continue
            found.append((time_us // 60_000_000 if query.is_timed else 0, index))
    return [index for _, index in sorted(found, reverse=query.newest)]


def random_query(rng: random.Random, bench: TestBench, *, newest: bool) -> Query:
    """Some properties, some times."""
    assert bench.log is not None
    asked: dict[str, object] = {}
    choices: dict[str, list[object]] = {
        "kind": ["decision", "heartbeat", "genesis", "never"],
        "producer": [each.producer.hex() for each in bench.log.producers()],
        "model": [*MODELS, "ef" * 32],
        "operation": ["chat", "embeddings"],
        "status": [200, 503, 404],
        "ended": ["ok", "error"],
        "since_us": [START_US + rng.randrange(SECONDS) * 1_000_000 for _ in range(3)],
        "before_us": [START_US + rng.randrange(SECONDS) * 1_000_000 for _ in range(3)],
    }
    for name in rng.sample(sorted(choices), rng.randrange(4)):
        asked[name] = rng.choice(choices[name])
    return Query(newest=newest, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("blocks", [2, 1024])
def test_pages_hold_what_looking_at_everything_finds(
    filled: TestBench, monkeypatch: pytest.MonkeyPatch, newest: bool, blocks: int
) -> None:
    """Each match once and in order, nothing else, for any mix of properties and any length of page."""
    monkeypatch.setattr(searching, "BLOCKS", blocks)
    monkeypatch.setattr(searching, "EXAMINED", 300)
    rng = random.Random(blocks)
    for _ in range(20):
        query = random_query(rng, filled, newest=newest)
        limit = rng.choice([1, 7, 100, 1000]) if blocks > 2 else 40
        found = [hit.index for page in pages(filled, query, limit) for hit in page]
        assert found == naive(filled, query), query


def test_what_is_unique_is_found_directly(filled: TestBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """By id (which may repeat), by leaf hash, by number of a chain."""
    assert filled.log is not None
    monkeypatch.setattr(searching, "BLOCKS", 3)
    entries = filled.log.reader.entries(0, filled.log.tree_size)
    for index in (0, 5, 700, len(entries) - 1):
        entry = read_indexed(entries[index])
        leaf = Query(leaf=hash_leaf(entries[index]))
        assert [hit.index for page in pages(filled, leaf, 10) for hit in page] == [index]
        assert [hit.leaf_hash for page in pages(filled, leaf, 10) for hit in page] == [leaf.leaf]
        if entry.producer != "log":
            place = Query(producer=entry.producer, instance=entry.instance, seq=entry.seq)
            assert [hit.index for page in pages(filled, place, 10) for hit in page] == [index]
        if isinstance(entry.body.id, str):
            by_id = Query(decision=entry.body.id)
            assert [hit.index for page in pages(filled, by_id, 2) for hit in page] == naive(filled, by_id)


def test_pages_are_stable_under_appends() -> None:
    """While entries come in, a search from page to page shows each of those that were there exactly once."""
    bench = TestBench()
    log = bench.create()
    producers = [bench.started("a"), bench.started("b")]
    fill(bench, producers, 700, seed=2)
    for newest in (False, True):
        for timed in (False, True):
            query = Query(ended="ok", newest=newest, since_us=START_US if timed else None)
            before = naive(bench, query)
            seen: list[int] = []
            after: Place | None = None
            for turn in range(100):
                page = log.search.page(query, size=log.tree_size, after=after, limit=90)
                seen += [hit.index for hit in page.hits]
                if page.next is None:
                    break
                after = page.next
                fill(bench, producers, 40, seed=turn)
            assert len(seen) == len(set(seen))
            assert [index for index in seen if index in set(before)] == before


def test_what_is_not_indexed_yet_is_found_in_the_log() -> None:
    """A search does not wait for the index: it reads what is behind it, so far, and says how far."""
    bench = TestBench()
    log = bench.create()
    producer = bench.started("a")
    bench.send(producer, [producer.decide(n) for n in range(300)])
    bench.state.clear_index()
    log.index._size = 0
    for query in (Query(kind="decision"), Query(status=200, since_us=START_US)):
        assert [hit.index for page in pages(bench, query, 1000) for hit in page] == naive(bench, query)
    by_id = Query(decision=decision_body(250)["id"])
    assert [hit.index for page in pages(bench, by_id, 5) for hit in page] == naive(bench, by_id) != []
    page = log.search.page(Query(), size=200, after=None, limit=1000)
    assert ([hit.index for hit in page.hits], page.size) == (list(range(200)), 200)


def test_a_long_lag_is_read_in_part_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a bound nothing is read: the page says up to where it looked."""
    monkeypatch.setattr(searching, "TAIL", 100)
    bench = TestBench()
    log = bench.create()
    producer = bench.started("a")
    bench.send(producer, [producer.decide(n) for n in range(300)])
    bench.state.clear_index()
    log.index._size = 0
    page = log.search.page(Query(kind="decision"), size=log.tree_size, after=None, limit=1000)
    assert (page.size, page.hits[-1].index, page.next) == (100, 99, None)


def test_rebuilding_tells_how_far_it_is_and_refuses_nobody() -> None:
    """The rows are the same afterwards, progress is told, and entries are taken all along."""
    bench = TestBench(settings={"max_index_lag": 10})
    log = bench.create()
    producer = bench.started("a")
    for _ in range(50):
        bench.send(producer, [producer.decide(n) for n in range(100)])
    before = sorted(bench.state._index.facets)
    told: list[tuple[int, int]] = []

    def progress(done: int, of: int) -> None:
        if not told:
            assert log.index.lag > 10
            bench.clock.advance(1)
            taken = log.submit(producer.batch([producer.decide(1)]))
            log.run_pending()
            assert taken.result(timeout=0).count == 1
        told.append((done, of))

    log.index.rebuild(progress)
    assert told[-1] == (log.tree_size, log.tree_size)
    assert len(told) > 1
    assert sorted(bench.state._index.facets) == before
    assert format_time(START_US)


@pytest.mark.parametrize("count", [1, 31, 32, 255, 256])
def test_places_come_back(count: int) -> None:
    """Whatever their number, places in a block are kept in at most 32 bytes."""
    places = sorted(random.Random(count).sample(range(256), count))
    data = encode_places(places)
    assert len(data) <= 32
    assert list(decode_places(data)) == places
    assert common_places(data, [b"", encode_places(places)]) == places
    assert common_places(data, [None]) == []

"""`auditlog hammer` finds nothing wrong with an honest log, and catches one that lies."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from auditlog.cli.main import run as auditlog
from auditlog.core.batch import decode_batch
from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.entry import parse_entry
from auditlog.hammer.chain import Chain
from auditlog.hammer.picture import draw
from auditlog.hammer.results import Results, Step
from auditlog.hammer.run import Load, hammer
from auditlog.service.secretfiles import read_log_key
from auditlog.service.settings import Settings
from auditlog.service.tokens import token_sha256
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.lying_proxy import Answer, Tamper, lying_proxy

TOKEN = "alt_hammer-of-the-tests"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service with a public log and a token that may enrol and submit."""
    folder = tmp_path_factory.mktemp("hammer")
    path = write_config(folder, visibilities=("public",))
    digest = token_sha256(TOKEN).hex()
    path.write_text(
        path.read_text() + f'[[tokens]]\nname = "h"\nscopes = ["enrol", "submit"]\nsha256 = "{digest}"\n'
    )
    settings = Settings.load(path)
    create_logs(settings)
    with live_service(settings) as running:
        yield running


def test_an_honest_log_is_measured(
    service: LiveService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rates, percentiles, a picture, checks of every kind, no violation, exit 0."""
    (tmp_path / "token").write_text(TOKEN)
    picture = tmp_path / "run.svg"
    url = f"{service.url}/logs/public"
    options = ["--seconds", "1.5", "--producers", "2", "--batch", "20", "--picture", str(picture), "--json"]
    code = auditlog(["hammer", url, "--token-file", str(tmp_path / "token"), *options])
    out = capsys.readouterr().out  # the service in this process writes its lines there too
    found = json.loads(out[out.index("{\n") :])
    assert (code, found["exit_code"], found["violations"]) == (0, 0, [])
    assert found["entries"] >= 40
    for what in ("acknowledged_ms", "published_ms"):
        assert 0 < found[what]["p50"] <= found[what]["p90"] <= found[what]["p99"] <= found[what]["max"]
    assert all(found["checks"][f"{what}_checked"] for what in ("checkpoints", "inclusions", "receipts"))
    drawn = ET.parse(picture).getroot()
    assert drawn.tag.endswith("svg")
    assert sum(each.tag.endswith("polyline") for each in drawn.iter()) >= 3


def test_a_token_that_may_not_is_said(
    service: LiveService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was driven or checked: one line, and exit 2."""
    (tmp_path / "token").write_text("alt_nobody")
    code = auditlog(["hammer", f"{service.url}/logs/public", "--token-file", str(tmp_path / "token")])
    assert code == 2
    assert "enrol and submit" in capsys.readouterr().err


def loses(_: LiveService) -> Tamper:
    """Acknowledges batches that it throws away, in places that are taken already."""
    taken = [0]

    def tamper(method: str, path: str, body: bytes, honest: Callable[[], Answer]) -> Answer:
        if path.endswith("/batches"):
            taken[0] += 5
            count = 5
            told = {"first_index": taken[0] % 3, "count": count, "skipped": 0, "tree_size": 9}
            return 200, json.dumps(told).encode()
        return honest()

    return tamper


def forks(service: LiveService) -> Tamper:
    """Signs another tree of the newest size now and then."""
    log = service.settings.logs[0]
    key = read_log_key(service.settings.paths(log).key_file, log.origin)
    asked = [0]

    def tamper(method: str, path: str, body: bytes, honest: Callable[[], Answer]) -> Answer:
        status, found = honest()
        if path.endswith("/checkpoint"):
            asked[0] += 1
            if asked[0] % 3 == 0:
                size = int(found.split(b"\n")[1])
                return 200, sign_checkpoint(Checkpoint(log.origin, size, bytes(32)), key).encode()
        return status, found

    return tamper


def rewinds(_: LiveService) -> Tamper:
    """Shows its first checkpoint again after a later one, every other time."""
    first: list[bytes] = []
    asked = itertools.count()

    def tamper(method: str, path: str, body: bytes, honest: Callable[[], Answer]) -> Answer:
        status, found = honest()
        if path.endswith("/checkpoint"):
            first.append(found)
            return status, first[0] if found != first[0] and next(asked) % 2 else found
        return status, found

    return tamper


def swaps(_: LiveService) -> Tamper:
    """Gives everybody the same receipt."""
    first: list[bytes] = []

    def tamper(method: str, path: str, body: bytes, honest: Callable[[], Answer]) -> Answer:
        status, found = honest()
        if "/receipts/" in path and status == 200:
            first.append(found)
            return status, first[0]
        return status, found

    return tamper


def hides(_: LiveService) -> Tamper:
    """Publishes nothing any more."""
    shown: list[bytes] = []

    def tamper(method: str, path: str, body: bytes, honest: Callable[[], Answer]) -> Answer:
        status, found = honest()
        if path.endswith("/checkpoint"):
            shown.append(found)
            return status, shown[0]
        return status, found

    return tamper


@pytest.mark.parametrize(
    ("double", "told"),
    [
        (loses, "acknowledged entry|given to two batches"),
        (forks, "checkpoint: "),
        (rewinds, "checkpoint: expected a checkpoint of size"),
        (swaps, "receipt of entry"),
        (hides, "not published within 1 s"),
    ],
)
def test_a_log_that_lies_is_caught(
    service: LiveService, double: Callable[[LiveService], Tamper], told: str
) -> None:
    """Entries lost, histories forked or rewound, receipts swapped, publication withheld: exit 1, and why."""
    lie = double(service)

    def tamper(method: str, path: str, body: bytes, honest: Callable[[], Answer]) -> Answer:
        if path.endswith("/logs/public"):
            return 200, json.dumps(json.loads(honest()[1]) | {"max_merge_delay_s": 1}).encode()
        return lie(method, path, body, honest)

    with lying_proxy(service.url, tamper) as url:
        found = hammer(
            Load(url=f"{url}/logs/public", token=TOKEN, seconds=0.8, producers=2, batch=5, last_proofs=10),
            randomness=os.urandom,
        )
    assert found.exit_code == 1
    assert any(re.search(told, each) for each in found.violations), found.violations


def test_every_entry_is_one_the_format_knows() -> None:
    """What is filled into the template is a canonical entry of the chain, and the head covers it."""
    chain = Chain("log.example/x", "hammer-0", bytes(32), "ab" * 16)
    chain.enrolled("cd" * 32)
    prev = "cd" * 32
    for _ in range(2):
        sealed = chain.seal(3, 1_767_225_600_123_456)
        for at, data in enumerate(decode_batch(sealed.body)[1]):
            entry = parse_entry(data)
            assert (entry.seq, entry.prev) == (sealed.first_seq + at, prev)
            assert entry.time == "2026-01-01T00:00:00.123456Z"
            prev = sealed.leaf_hashes[32 * at : 32 * at + 32].hex()
            if entry.seq:
                assert entry.body["id"] == chain.decision_id(sealed.unix_ms, entry.seq)
                assert entry.body["start"] == "2026-01-01T00:00:00.123000Z"


@pytest.mark.parametrize("rate", [0.0, 3.0, 123_456.0])
def test_any_run_can_be_drawn(rate: float) -> None:
    """Idle or fast, with gaps, under a name with markup in it: one well-formed picture inside its frame."""
    rng = random.Random(1)
    steps = [
        Step(
            n / 6, rate * rng.random(), None if n % 7 == 0 else rng.random() * 9, None if n % 7 == 0 else 40.0
        )
        for n in range(1, 61)
    ]
    found = Results("log.example/<b>&amp;" + "x" * 60, 10.0, 9, rate, {}, {}, {}, [], [], steps)
    drawn = ET.fromstring(draw(found))
    for line in drawn.iter("{http://www.w3.org/2000/svg}polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 60 <= x <= 407
            assert 84 <= y <= 493

"""`GET /logs/{log}/search` on a real service: every way to ask, pages, and refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from auditlog.cli.main import run as auditlog
from auditlog.core.merkle import hash_leaf
from auditlog.service.settings import Settings
from tests.support.live_service import LiveService, create_logs, live_service, write_config
from tests.support.testlog import decision_body


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service with a public and a private log."""
    folder = tmp_path_factory.mktemp("search")
    settings = Settings.load(write_config(folder, visibilities=("public", "hashes")))
    create_logs(settings)
    with live_service(settings) as running:
        yield running


@pytest.fixture(scope="module")
def entries(service: LiveService) -> list[bytes]:
    """Three hundred decisions of one producer behind its start, in the log from index 2 on."""
    producer, _ = service.enrol("public", "host")
    sealed = [producer.start()]
    for number in range(300):
        body = decision_body(number) | {"status": 503 if number % 10 == 0 else 200}
        sealed.append(producer.seal("decision", body))
    assert service.post_batch("public", producer, sealed).json["first_index"] == 2
    service.await_published("public", 303)
    return sealed


def found(service: LiveService, query: str) -> list[int]:
    """Indices over all pages."""
    indices: list[int] = []
    cursor = ""
    while True:
        answer = service.get(f"/logs/public/search?{query}{cursor}")
        assert answer.status == 200, answer.body
        indices += [each["index"] for each in answer.json["entries"]]
        if answer.json["next"] is None:
            assert answer.json["size"] == 303
            return indices
        cursor = f"&cursor={quote(answer.json['next'])}"


def test_every_condition_finds_what_it_says(service: LiveService, entries: list[bytes]) -> None:
    """Each alone, some together, and nothing where nothing matches."""
    first = service.get("/logs/public/search?kind=decision&limit=1").json["entries"][0]
    failed = list(range(3, 303, 10))
    writer = f"producer={first['producer']}"
    for query, wanted in (
        ("status=503&limit=7", failed),
        ("status=503&order=newest&limit=7", failed[::-1]),
        (f"{writer}&kind=instance", [2]),
        ("producer=log", [0, 1]),
        ("model=unregistered&operation=chat&ended=ok&status=503", failed),
        ("model=pending", []),
        (f"decision={decision_body(5)['id']}", [8]),
        (f"leaf={hash_leaf(entries[9]).hex()}", [11]),
        (f"{writer}&instance={first['instance']}&seq=4", [6]),
        (f"since={first['time']}&status=503", failed),
        ("before=2026-01-01T00:00:00Z", []),
        ("since=2026-01-01T01:00:00%2B01:00&before=2027-01-01T00:00:00Z&kind=instance", [2]),
        ("order=newest&limit=200", list(range(302, -1, -1))),
    ):
        assert found(service, query) == wanted, query
    assert first["decision"] == decision_body(0)["id"]
    assert (first["status"], first["ended"], first["operation"]) == (503, "ok", "chat")
    assert first["leaf_hash"] == hash_leaf(entries[1]).hex()
    assert first["flags"] == ["unregistered_model"]


@pytest.mark.parametrize(
    "query",
    [
        "colour=red",
        "status=1000",
        "status=0200",
        "limit=0",
        "limit=201",
        "kind=No",
        "since=yesterday",
        "since=2026-01-01T00:00:00",
        "order=best",
        f"producer={'0' * 64}&seq=1",
        f"instance={'0' * 32}&seq=1",
        "producer=log&instance=" + "0" * 32 + "&seq=1",
        f"leaf={'0' * 64}&order=newest",
        "cursor=AAAA",
        "cursor=%F0%9F%99%82",
        "cursor=" + "A" * 201,
    ],
)
def test_odd_searches_say_what_was_expected(service: LiveService, query: str) -> None:
    """422 with what was expected, never a 500 and never an answer to another question."""
    answer = service.get(f"/logs/public/search?{query}")
    assert (answer.status, answer.json["type"]) == (422, "urn:auditlog:problem:request"), answer.body
    assert answer.json["expected"]


def test_a_cursor_belongs_to_its_search(service: LiveService, entries: list[bytes]) -> None:
    """With other conditions, or the other order, it is refused; the length of a page may change."""
    assert entries
    cursor = quote(service.get("/logs/public/search?status=503&limit=2").json["next"])
    for other in ("status=200", "status=503&order=newest", "status=503&ended=ok"):
        assert service.get(f"/logs/public/search?{other}&cursor={cursor}").status == 422
    again = service.get(f"/logs/public/search?status=503&limit=1&cursor={cursor}").json["entries"]
    assert [each["index"] for each in again] == [23]


def test_visibility_decides_who_searches(service: LiveService) -> None:
    """As for entries: a log whose entries are not public asks for a token with scope read."""
    path = "/logs/hashes/search?kind=genesis"
    assert service.get(path).status == 401
    assert service.get(path, token="submit").status == 403
    answer = service.get(path, token="read")
    assert [each["index"] for each in answer.json["entries"]] == [0]
    assert answer.headers["cache-control"] == "no-store"
    assert "auditlog_index_lag_entries" in service.get("/metrics").body.decode()


def test_the_command_line_finds_entries_of_a_log(
    service: LiveService, entries: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`auditlog find --log` shows every page; nothing found is 1, an odd question 2."""
    assert entries
    url = f"{service.url}/logs/public"
    assert auditlog(["find", "--log", url, "status=503", "operation=chat", "--json"]) == 0
    out = capsys.readouterr().out  # the service in this process writes its lines there too
    told = json.loads(out[out.index("{\n") :])
    assert [each["index"] for each in told["entries"]] == list(range(3, 303, 10))
    assert (told["size"], told["all"]) == (303, True)
    assert auditlog(["find", "--log", url, "kind=decision", "--most", "201"]) == 0
    assert "there are more than 201" in capsys.readouterr().err
    assert auditlog(["find", "--log", url, "model=pending"]) == 1
    assert auditlog(["find", "--log", url, "colour=red"]) == 2
    assert auditlog(["find", "--log", url, "status=1000"]) == 2
    (tmp_path / "token").write_text("alt_read-token-of-the-tests")
    private = ["find", "--log", f"{service.url}/logs/hashes", "kind=genesis"]
    assert auditlog(private) == 2
    assert auditlog([*private, "--token-file", str(tmp_path / "token")]) == 0

"""Completeness: what disagrees in a log is found and weighed; an honest, unbroken one is exit 0."""

from __future__ import annotations

from typing import Any

import pytest

from auditlog.core.scalars import format_time
from auditlog.verify.completeness import Period, check_completeness
from auditlog.verify.completeness_render import render_completeness
from auditlog.verify.completeness_report import CompletenessReport, Weight
from tests.support.memory_source import MemorySource
from tests.support.promise_world import World
from tests.support.tlog_writer import log_signer


class Host:
    """A producer that counts like the capture layer."""

    def __init__(self) -> None:
        self.world = World(witnesses=0)
        self.counts = dict.fromkeys(
            ("started", "finished", "failed", "in_flight", "refused", "deferred", "lost", "late_hangups"), 0
        )
        self.recorded = 0

    def cover(self, **changed: Any) -> None:
        """A coverage entry."""
        route = {"method": "POST", "path": "/v1/chat/completions", "record": "values", "operation": "chat"}
        body = {
            "mode": "fail_open",
            "durability": "local",
            "routes": [route],
            "ports": [8000],
            "workers": 1,
            "version": "test",
            "model": "unregistered",
            "wait_ms": 20,
            "heartbeat_s": 10,
            "others": "record",
        }
        self.world.write("coverage", body | changed)

    def beat(self, seconds: int = 10, **changed: Any) -> None:
        """A heartbeat, so many seconds later."""
        self.world.now_s += seconds
        spool = {"entries": 0, "bytes": 0, "oldest_ms": 0}
        body = {"interval_s": 10, **self.counts, "recorded": self.recorded, "spool": spool}
        self.world.write("heartbeat", body | changed)

    def decide(self, times: int = 1) -> None:
        """Answer and record."""
        for _ in range(times):
            self.world.decide()
            self.recorded += 1
            self.counts["started"] += 1
            self.counts["finished"] += 1

    def stop(self) -> None:
        """An orderly end."""
        self.world.write("notice", {"what": "stopped"})

    def restart(self) -> None:
        """A new life counts from nothing."""
        self.world.restart()
        self.counts, self.recorded = dict.fromkeys(self.counts, 0), 0

    def report(self, source: MemorySource | None = None, **options: Any) -> CompletenessReport:
        """What the log shows now."""
        self.world.publish()
        sight = self.world.sight(source, trust=self.world.trust(0))
        opened = sight.newest()
        return check_completeness(
            source or self.world.source(), opened.checkpoint, log_signer().vkey, **options
        )


def busy(beats: int = 5) -> Host:
    """A host that has answered for a while."""
    host = Host()
    host.cover()
    for _ in range(beats):
        host.decide(3)
        host.beat()
    return host


def kinds(report: CompletenessReport, weight: Weight) -> set[str]:
    """The kinds of findings of one weight."""
    return {finding.kind for finding in report.findings if finding.weight is weight}


def test_an_honest_host_has_nothing_missing() -> None:
    """Counts, lives and modes are told; exit 0; the coverage is a note."""
    host = busy()
    host.stop()
    host.world.now_s += 10_000
    host.restart()
    host.cover()
    host.decide()
    host.beat()
    host.stop()
    report = host.report()
    assert (report.exit_code, kinds(report, Weight.NOTE)) == (0, {"coverage"})
    (summary,) = report.producers
    assert (summary.name, summary.decisions, summary.instances, summary.heartbeats) == ("gpu-0", 16, 2, 6)
    assert (dict(summary.modes), summary.gaps, summary.silent_s) == ({"fail_open": 16}, 0, 0.0)
    assert report.headline == "NOTHING MISSING FOUND; 16 decisions by 1 producer(s)."


def test_a_gap_is_listed_with_what_it_says_of_itself() -> None:
    """A count, a bound, or neither: exit 3, added up."""
    host = busy()
    world = host.world
    world.gap(world.instance, world.seq, 4)
    lost, after = world.instance, world.seq
    host.restart()
    now = format_time(world.now_s * 1_000_000)
    body = {"instance": lost, "after_seq": after, "from": now, "to": now, "count": "unknown"}
    world.write("gap", body | {"at_most": 7})
    world.write("gap", body)
    host.beat()
    report = host.report()
    (summary,) = report.producers
    assert report.exit_code == 3
    assert (summary.gaps, summary.lost, summary.at_most, summary.unbounded_gaps) == (3, 4, 7, 1)
    assert kinds(report, Weight.INCOMPLETE) == {"gap"}
    assert "no_end" in kinds(report, Weight.NOTE)


def test_silence_is_found_inside_between_and_after_lives() -> None:
    """Over two and a half intervals without a word, unless the producer said it had stopped."""
    host = busy()
    host.beat(25)
    assert "silence" not in kinds(host.report(), Weight.INCOMPLETE)
    host.beat(26)
    host.restart()
    host.world.now_s += 100
    host.restart()
    host.beat()
    report = host.report(seen_at=format_time((host.world.now_s + 500) * 1_000_000))
    texts = [finding.text for finding in report.findings if finding.kind == "silence"]
    assert len(texts) == 2
    assert "between two entries" in texts[0]
    assert "to the end of what was looked at" in texts[1]
    assert (report.exit_code, report.producers[0].silent_s) == (3, 526.0)


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"recorded": 14}, "chain"),
        ({"recorded": 16}, "chain"),
        ({"finished": 99}, "balance"),
        ({"in_flight": 1}, "balance"),
        ({"started": 3, "finished": 3}, "fell"),
    ],
)
def test_heartbeats_that_disagree_are_contradictions(changed: dict[str, int], kind: str) -> None:
    """A heartbeat against the entries that are there, itself, and the one before: exit 1."""
    host = busy()
    host.beat(**changed)
    report = host.report()
    assert report.exit_code == 1
    assert kind in kinds(report, Weight.CONTRADICTION)


def test_a_decision_taken_out_and_everything_signed_again_shows_in_the_counts() -> None:
    """The chain is whole and the number used again: `recorded` is one too many."""
    host = busy()
    with host.world.drop():
        host.decide()
    host.beat()
    report = host.report()
    assert kinds(report, Weight.CONTRADICTION) == {"chain"}
    text = next(finding.text for finding in report.findings if finding.kind == "chain")
    assert "expected a heartbeat of gpu-0 with 15 recorded, found 16" in text


def test_a_broken_chain_is_a_contradiction() -> None:
    """A number left out, whatever the counters say."""
    host = busy()
    with host.world.drop(number_too=False):
        host.beat()
    host.beat()
    assert "chain" in kinds(host.report(), Weight.CONTRADICTION)


def test_calls_turned_away_are_in_a_count() -> None:
    """Those the application refused had started; those refused for want of room had not."""
    host = busy()
    host.counts["started"] += 3
    host.counts["in_flight"] += 1
    host.counts["refused"] += 2 + 9
    host.beat()
    assert host.report().exit_code == 0


def test_the_services_own_producer_of_outcomes_has_no_heartbeats() -> None:
    """It answers no calls: nothing is missing. The name alone excuses nobody who records decisions."""
    world = World(witnesses=0, producer="outcomes")
    host = busy()
    host.world = world
    facts = {"commitment": "ab" * 32}
    world.write("outcome", {"decision": "019b76da-cf11-7000-8000-000000000001", "facts": facts})
    world.now_s += 100_000
    world.write("outcome", {"decision": "019b76da-cf11-7000-8000-000000000001", "facts": facts})
    assert (host.report().exit_code, host.report().findings) == (0, ())
    world.decide()
    assert kinds(host.report(), Weight.INCOMPLETE) == {"no_heartbeats"}


def test_calls_in_no_count_are_shown_with_numbers() -> None:
    """Started and never heard of again: exit 3. Ended and never recorded in a life that stopped: exit 1."""
    host = busy()
    host.counts["started"] += 5
    host.counts["finished"] += 2
    host.beat()
    host.stop()
    report = host.report()
    assert kinds(report, Weight.INCOMPLETE) == {"unaccounted"}
    assert kinds(report, Weight.CONTRADICTION) == {"unrecorded"}
    numbers = {finding.kind: finding.numbers for finding in report.findings}
    assert numbers["unaccounted"] == {"started": 20, "accounted": 17}
    assert numbers["unrecorded"] == {"ended": 17, "recorded": 15}


@pytest.mark.parametrize(("grown", "weight"), [(6, None), (7, Weight.INCOMPLETE), (106, Weight.INCOMPLETE)])
def test_the_engines_own_count_is_compared(grown: int, weight: Weight | None) -> None:
    """An engine that served more than anyone recorded is shown with what may explain it."""
    host = busy()
    for total in (100, 103, 100 + grown):
        host.beat(engine={"vllm:request_success_total": str(total), "vllm:prompt_tokens_total": "9000"})
        host.decide(3)
    report = host.report()
    found = [finding for finding in report.findings if finding.kind == "engine"]
    assert [finding.weight for finding in found] == ([] if weight is None else [weight])
    if found:
        assert found[0].numbers == {"engine": grown, "recorded": 6, "by_all_producers": 6}
        assert "may explain it" in found[0].text


def test_an_engine_that_was_started_again_is_no_mismatch() -> None:
    """A total that falls begins anew; its growth counts on."""
    host = busy()
    for total in (100, 103, 3):
        host.beat(engine={"vllm:request_success_total": str(total)})
        host.decide(3)
    assert "engine" not in {finding.kind for finding in host.report().findings}


def test_what_is_not_covered_is_said() -> None:
    """Skipped routes, a disabled period, a declared loss, a retirement, deferred answers."""
    host = busy()
    route = {"method": "POST", "path": "/v1/embeddings", "record": "skip"}
    host.cover(routes=[route], others="skip", ports=[])
    now = format_time(host.world.now_s * 1_000_000)
    host.world.write("notice", {"what": "disabled", "detail": {"from": now, "to": now, "starts": 2}})
    host.counts["deferred"] = 3
    host.beat()
    host.world.declare_lost(host.world.instance, host.world.seq)
    last = {"instance": host.world.instance, "seq": host.world.seq, "leaf_hash": host.world.prev}
    host.world.write_log("retirement", {"last": last, "producer": host.world.identity})
    report = host.report(seen_at=format_time((host.world.now_s + 10_000) * 1_000_000))
    assert kinds(report, Weight.INCOMPLETE) == {"disabled", "declared_lost"}
    assert kinds(report, Weight.NOTE) == {"coverage", "retired", "deferred"}
    covered = [finding.text for finding in report.findings if finding.kind == "coverage"]
    assert "left out: POST /v1/embeddings; unknown routes are left out" in covered[1]


def test_a_life_without_heartbeats_could_not_be_checked() -> None:
    """Silence and counts need heartbeats: exit 3."""
    world_only = Host()
    world_only.world.decide()
    report = world_only.report()
    assert (report.exit_code, kinds(report, Weight.INCOMPLETE)) == (3, {"no_heartbeats"})


def test_only_the_period_counts() -> None:
    """Entries before and after are followed, not counted; what began before still is silent inside."""
    host = busy()
    begin = format_time(host.world.now_s * 1_000_000 + 1)
    host.decide(2)
    host.beat(60)
    end = format_time(host.world.now_s * 1_000_000)
    host.world.now_s += 1
    host.decide(4)
    host.beat(200)
    report = host.report(period=Period(begin, end))
    (summary,) = report.producers
    assert (summary.decisions, summary.heartbeats) == (0, 1)
    assert [finding.kind for finding in report.findings] == ["silence"]
    report = host.report(period=Period(until=begin))
    assert (report.exit_code, report.producers[0].decisions) == (0, 17)


def test_what_is_not_served_is_not_checked() -> None:
    """Refused entries are exit 3; entries that are not those of the tree are exit 1."""
    host = busy()
    host.world.publish()
    report = host.report(host.world.source(bundles=False))
    assert (report.exit_code, report.is_read_whole) == (3, False)
    assert report.headline.startswith("NOT CHECKED")
    source = host.world.source()
    path = next(path for path in source.files if path.startswith("tile/entries"))
    source.files[path] = source.files[path].replace(b"fail_open", b"fail_shut")
    assert host.report(source).exit_code == 1


def test_the_report_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Headings, one paragraph a producer, the findings below."""
    host = busy()
    host.world.gap(host.world.instance, host.world.seq, 4)
    render_completeness("a log", host.report())
    text = capsys.readouterr().out
    assert "NOT WHOLE: 1 loss(es)" in text
    assert "PRODUCER gpu-0" in text
    assert "4 call(s) lost between" in text

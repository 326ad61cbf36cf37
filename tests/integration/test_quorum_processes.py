"""Two witnesses and a log as processes under load, each killed with -9 again and again."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.support.quorum_world import LOG, World


def test_kill_any_part_and_one_history_remains(tmp_path: Path) -> None:
    """Held for a quorum of both: nothing without one is ever shown, no two cosignatures contradict each
    other, and in the end everything acknowledged stands in a checkpoint that both have cosigned.
    """
    with World(tmp_path) as world:
        world.load(2)
        for part in (world.parts[0], world.log, world.parts[1]):
            time.sleep(0.7)
            part.kill()
            time.sleep(0.3)
            part.start()
        time.sleep(0.5)
        world.rest()
        counts = world.judge()
        print(counts)
        assert counts["acknowledged"] > 20
        assert counts["cosignatures"] > 4
        metrics = world.service.get("/metrics").body.decode()
        assert f'auditlog_quorum_reached{{log="{LOG}"}} 1.0' in metrics
        assert f'auditlog_publication_held_seconds{{log="{LOG}"}} 0.0' in metrics
        info = world.service.get(f"/logs/{LOG}").json
        assert info["quorum"]["policy"].endswith("group both all w1 w2\nquorum both\n")
        assert "http" not in info["quorum"]["policy"]
        assert (info["quorum"]["cosigned"], info["quorum"]["when_no_quorum"]) == (2, "hold")


@pytest.mark.long
@pytest.mark.parametrize("when_no_quorum", ["hold", "publish"])
def test_kill_any_part_for_minutes(tmp_path: Path, when_no_quorum: str) -> None:
    """As above at random moments, two parts at once among them, under both rules."""
    rng = random.Random(4)
    until = time.monotonic() + 90
    kills = 0
    with World(tmp_path, when_no_quorum) as world:
        world.load(3)
        while time.monotonic() < until:
            time.sleep(rng.uniform(0.05, 2.0))
            parts = rng.sample(world.parts, rng.choice([1, 1, 2]))
            for part in parts:
                part.kill()
                kills += 1
            time.sleep(rng.uniform(0, 1.5))
            # Witnesses first: a log without a quorum of its guards does not start.
            for part in sorted(parts, key=lambda each: each is world.log):
                part.start()
        time.sleep(1)
        world.rest()
        counts = world.judge()
        print(f"{when_no_quorum}: {kills} kills, {counts}")
        assert kills > 15
        assert counts["acknowledged"] > 500

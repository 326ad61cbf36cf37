"""A stream that is missing is made again, after the checks of a start, and told once."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from nats.js import api
from nats.js.errors import NotFoundError, ServiceUnavailableError
from structlog.testing import capture_logs

from auditlog.errors import BrokerError, ConfigurationError
from auditlog.ingest import streams as streams_module
from auditlog.ingest.streams import LOST_AFTER, MADE_AGAIN, NOT_MADE, JetStreamSettings, Streams


class Server:
    """JetStream with no stream; `is_up` and `is_safe` as a test has them."""

    def __init__(self) -> None:
        self.made: dict[str, api.StreamConfig] = {}
        self.asked = self.checked = 0
        self.is_up = self.is_safe = True

    async def stream_info(self, name: str) -> SimpleNamespace:
        """What is there."""
        self.asked += 1
        if not self.is_up:
            raise ServiceUnavailableError
        if name not in self.made:
            raise NotFoundError
        return SimpleNamespace(config=self.made[name], did_create=None)

    async def add_stream(self, config: api.StreamConfig) -> SimpleNamespace:
        """Make it."""
        self.made[str(config.name)] = config
        return SimpleNamespace(config=config, did_create=True)

    def check(self, _: list[str]) -> int:
        """Whether the servers sync."""
        self.checked += 1
        if not self.is_safe:
            raise ConfigurationError("expected servers that sync always, found one that does not")
        return 1


def streams_of(server: Server) -> Streams:
    """Streams on this server."""
    settings = JetStreamSettings(servers=[], monitors=[], replicas=1)
    client = SimpleNamespace(max_payload=settings.max_batch_bytes)
    return Streams(cast("Any", client), cast("Any", server), settings, check=server.check)


def test_all_who_find_a_stream_missing_wait_for_one_that_makes_it() -> None:
    """Made once, as at the start, after the servers were asked, and said once."""

    async def run() -> None:
        server, first = Server(), Server()
        streams = streams_of(server)
        await asyncio.gather(*(streams.mend("main") for _ in range(20)))
        assert (server.asked, server.checked) == (1, 1)
        await streams_of(first).find("main")
        assert server.made == first.made
        assert not streams.is_lost("main")
        await streams.close()

    with capture_logs() as lines:
        asyncio.run(run())
    assert [(each["event"], each["stream"]) for each in lines] == [(MADE_AGAIN, "auditlog-main")]


def test_a_stream_that_is_there_is_left_as_it_is() -> None:
    """Nobody answered for a moment, no more: nothing is made, and nothing said."""

    async def run() -> None:
        server = Server()
        streams = streams_of(server)
        await streams.find("main")
        await streams.mend("main")
        assert server.checked == 0
        await streams.close()

    with capture_logs() as lines:
        asyncio.run(run())
    assert not lines


@pytest.mark.parametrize("fault", ["is_up", "is_safe"])
def test_a_stream_that_cannot_be_made_is_lost_after_the_second_failure_until_it_is_there(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure is what the caller is told; it is tried on without callers, and the line is one."""
    monkeypatch.setattr(streams_module, "AGAIN_S", 0.01)
    monkeypatch.setattr(streams_module, "PATIENCE_S", 0.005)
    server = Server()
    setattr(server, fault, False)

    async def run() -> None:
        streams = streams_of(server)
        lost = []
        while server.asked < LOST_AFTER + 2:
            with pytest.raises(BrokerError):
                await streams.mend("main")
            lost.append(streams.is_lost("main"))
            await asyncio.sleep(0.001)
        assert (lost[0], streams.is_lost("main"), streams.is_lost("other")) == (False, True, False)
        assert not server.made
        setattr(server, fault, True)
        while streams.is_lost("main"):  # noqa: ASYNC110  the event is inside
            await asyncio.sleep(0.001)
        assert list(server.made) == ["auditlog-main"]
        await streams.close()

    with capture_logs() as lines:
        asyncio.run(asyncio.wait_for(run(), 20))
    assert [each["event"] for each in lines] == [NOT_MADE, MADE_AGAIN]

"""How often somebody may ask: a bucket of tokens for each peer, and one for all of them.

Promises: bounded memory; peers are forgotten with the process, and named nowhere else. An IPv6 network of 64
bits is one peer, since whoever has one address there has them all; one of 48 bits has the share of eight.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable

_MAX_PEERS = 10_000
_SITE = 8
"""As many peers' share has an IPv6 network of 48 bits, which holds 65,536 of them."""


class _Bucket:
    __slots__ = ("at", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens, self.at = tokens, at


class Rates:
    """Safe to use from any thread."""

    def __init__(self, per_peer_hour: int, per_hour: int, monotonic: Callable[[], float]) -> None:
        """As many at once as in an hour, then as they come back."""
        self._per_peer, self._total = per_peer_hour, per_hour
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._peers: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(per_hour, monotonic())

    def take(self, peer: str) -> int:
        """0 if it may go on; else the seconds until it may ask again."""
        with self._turn:
            now = self._monotonic()
            asked = [(self._all, self._total)]
            for name, rate in ((_site_of(peer), _SITE * self._per_peer), (network_of(peer), self._per_peer)):
                if name is not None:
                    asked.append((self._bucket(name, rate, now), rate))
            for bucket, rate in asked:
                bucket.tokens = min(float(rate), bucket.tokens + (now - bucket.at) * rate / 3600)
                bucket.at = now
            waits = [(1 - bucket.tokens) * 3600 / rate for bucket, rate in asked if bucket.tokens < 1]
            if waits:
                return int(max(waits)) + 1
            for bucket, _ in asked:
                bucket.tokens -= 1
            return 0

    def _bucket(self, name: str, rate: int, now: float) -> _Bucket:
        found = self._peers.setdefault(name, _Bucket(rate, now))
        self._peers.move_to_end(name)
        if len(self._peers) > _MAX_PEERS:
            self._peers.popitem(last=False)
        return found


def _site_of(peer: str) -> str | None:
    """The IPv6 network of 48 bits, which one subscriber may have; None for any other address."""
    network = network_of(peer)
    return str(ipaddress.ip_network((network[:-3], 48), strict=False)) if network.endswith("/64") else None


def network_of(peer: str) -> str:
    """The network that counts as one peer; anything that is no address is one peer together."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)

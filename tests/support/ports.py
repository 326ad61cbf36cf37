"""Ports for servers that tests start: free, and not among those the system gives to outgoing connections."""

from __future__ import annotations

from auditlog.demo.processes import free_port


def free_ports(count: int) -> list[int]:
    """Different ports that are free now. A server that is killed and started again finds its own free too."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return list(found)

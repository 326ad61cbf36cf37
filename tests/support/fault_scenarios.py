"""Every scenario of the fault campaign, by name."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.fault_ahead import ahead, crowded
from tests.support.fault_world import (
    Scenario,
    World,
    begun,
    edge,
    endings,
    enrolment,
    grouping,
    groups,
    indexing,
    own_entries,
    publication,
    repeats,
    rotation,
    several,
    starts,
    wide,
)

SCENARIOS: dict[str, tuple[Callable[[str], World], Scenario]] = {
    "edge": (begun, edge),
    "enrolment": (several, enrolment),
    "rotation": (several, rotation),
    "endings": (several, endings),
    "own": (several, own_entries),
    "publish": (begun, publication),
    "groups": (grouping, groups),
    "repeats": (begun, repeats),
    "starts": (begun, starts),
    "index": (several, indexing),
    "wide": (begun, wide),
    "ahead": (crowded, ahead),
}
"""By name: how its world is made for a visibility, and what happens in it."""

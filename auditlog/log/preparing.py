"""Preparing a group: growing the tree and staging the commit, before its turn to be signed has come.

Spec: design section 6; the order around it is in `sequencer`. It changes nothing but the staging store, so it
may run while the group before it is being committed; if that fails, the staged object leads to a tree that
the same entries, sent again in other groups, may reach too: each commit names its own. Must never: sign, or
touch what other threads read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from auditlog.log.pool import Pending
from auditlog.log.stager import Stager
from auditlog.log.staging import Staged
from auditlog.log.tree import Tree, grow


@dataclass(slots=True)
class Group:
    """Items that were taken from the pool to be committed together."""

    items: list[Pending]
    life: int
    """Of the order: if another one began since, these items have lost their place."""
    old: Tree
    """What it grows from: the tree of the group before it, committed or not."""
    tree: Tree | None = None
    """What it leads to, not signed; None if it was not staged."""
    name: str = ""
    staged: Staged | None = None
    error: Exception | None = None
    """Why it was not staged."""
    entries: int = field(init=False)

    def __post_init__(self) -> None:
        self.entries = sum(len(item.entries) for item in self.items)


def prepare(group: Group, stager: Stager) -> None:
    """Grow the tree by the entries of the group and stage that commit; what fails is kept in the group."""
    if not group.entries:
        return
    leaf_hashes = [leaf_hash for item in group.items for leaf_hash in item.leaf_hashes]
    try:
        entries = [entry for item in group.items for entry in item.entries]
        tree, full = grow(group.old, entries, leaf_hashes)
        group.name, group.staged = stager.stage(group.old, tree, full, entries, leaf_hashes)
    except Exception as error:  # noqa: BLE001 - raised, or told, when its turn has come
        group.error = error
        return
    group.tree = tree

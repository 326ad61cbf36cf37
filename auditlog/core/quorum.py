"""What follows from a policy's groups: whether two quorums could miss each other, and how far each group is.

Spec: `auditlog/spec/log.md`, "Policy". A name is a member of at most one group, so the groups below a quorum
are a tree with each witness once, and one pass in the order of the text settles them all. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from auditlog.core.policy import Policy


@dataclass(frozen=True, slots=True)
class GroupStanding:
    """How far one group of a policy is: `held` of its `members`, of which it asks for `threshold`."""

    name: str
    held: int
    threshold: int
    members: int

    @property
    def is_satisfied(self) -> bool:
        """Whether enough of its members are."""
        return self.held >= self.threshold


def can_part(policy: Policy) -> bool:
    """Whether two sets of witnesses without a common one could both be a quorum.

    If so, two quorums may cosign two histories, each witness honest: nobody saw both. A member can serve
    both sides only if it is a group that can part itself; any other serves one. So with n members, b of them
    able to part and a threshold k, both sides reach k exactly if 2 max(k - b, 0) <= n - b.
    """
    if policy.quorum is None:
        return False
    parting: set[str] = set()
    for group in policy.groups:
        both = len(parting.intersection(group.members))
        if 2 * max(group.threshold - both, 0) <= len(group.members) - both:
            parting.add(group.name)
    return policy.quorum in parting


def counted(policy: Policy) -> tuple[str, ...]:
    """Names of the witnesses that the quorum depends on, in policy order; of none for `quorum none`."""
    if policy.quorum is None:
        return ()
    groups = {group.name: group.members for group in policy.groups}
    waiting, found = [policy.quorum], set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting += groups.get(name, ())
    return tuple(each.name for each in policy.witnesses if each.name in found)


def group_standings(policy: Policy, names: Collection[str]) -> tuple[GroupStanding, ...]:
    """How far each group below the quorum is, once these witnesses (policy names) have cosigned."""
    below = _groups_below(policy)
    done, found = set(names), []
    for group in policy.groups:
        held = len(done.intersection(group.members))
        if held >= group.threshold:
            done.add(group.name)
        if group.name in below:
            found.append(GroupStanding(group.name, held, group.threshold, len(group.members)))
    return tuple(found)


def _groups_below(policy: Policy) -> set[str]:
    """The quorum's group and every group in it."""
    below = {policy.quorum}
    for group in reversed(policy.groups):  # members stand before their group
        if group.name in below:
            below.update(group.members)
    return {group.name for group in policy.groups if group.name in below}


def majority_of(number: int) -> int:
    """The smallest threshold of so many witnesses at which no two quorums can miss each other."""
    return number // 2 + 1


def witnesses_policy(vkeys: Sequence[str], quorum: int) -> str:
    """A policy text: `quorum` of these witnesses, each called by its key name; 0 for `quorum none`."""
    names = [vkey.partition("+")[0] for vkey in vkeys]
    lines = [f"witness {name} {vkey}" for name, vkey in zip(names, vkeys, strict=True)]
    if quorum:
        # A name with a slash or a dot may be a witness's key name; this one has neither.
        lines.append(f"group witnesses {quorum} {' '.join(names)}")
    lines.append("quorum witnesses" if quorum else "quorum none")
    return "".join(f"{line}\n" for line in lines)

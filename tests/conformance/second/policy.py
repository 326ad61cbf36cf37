"""log.md, "Policy"."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .canonical import need, refuse
from .note import COSIGNATURE, ED25519, Key, known_keys, parse_vkey


@dataclass
class Policy:
    """Whom to believe."""

    logs: list[Key] = field(default_factory=list)
    witnesses: dict[str, Key] = field(default_factory=dict)
    groups: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    quorum: str | None = None

    @property
    def keys(self) -> list[Key]:
        """Every key."""
        return [*self.logs, *self.witnesses.values()]

    def satisfied(self, cosigned: dict[Key, int]) -> bool:
        """Whether the cosignatures satisfy the quorum; `none` never is."""
        holds = {name: key in cosigned for name, key in self.witnesses.items()}
        for name, (k, names) in self.groups.items():
            holds[name] = sum(holds[member] for member in names) >= k
        return self.quorum is not None and holds[self.quorum]

    def can_part(self) -> bool:
        """Whether two sets without a common witness satisfy the quorum: every set is tried."""
        keys = list(self.witnesses.values())
        need(len(keys) <= 16, "too many witnesses to try every set")
        for chosen in range(2 ** len(keys)):
            ours = {key: 1 for place, key in enumerate(keys) if chosen >> place & 1}
            others = {key: 1 for key in keys if key not in ours}
            if self.satisfied(ours) and self.satisfied(others):
                return True
        return False

    def complete_at(self, cosigned: dict[Key, int]) -> int | None:
        """The second at which the quorum was complete, if the cosignatures claim times."""
        at = {name: cosigned.get(key) or None for name, key in self.witnesses.items()}
        for name, (k, names) in self.groups.items():
            times = sorted(time for time in (at[member] for member in names) if time)
            at[name] = times[k - 1] if len(times) >= k else None
        return None if self.quorum is None else at[self.quorum]


def _typed(text: str, kind: int) -> Key:
    key = parse_vkey(text)
    need(key.kind == kind, "a key of the wrong type")
    return key


def parse_policy(data: bytes) -> Policy:
    """Read a policy; refuses what does not follow the rules."""
    need(len(data) <= 1_000_000, "a policy over 1,000,000 bytes")
    need(all(c in {9, 10} or 0x20 <= c <= 0x7E or c >= 0x80 for c in data), "octet not allowed in a policy")
    policy, quorums, grouped = Policy(), 0, set()
    counts: dict[str, int] = {}
    for raw in data.split(b"\n"):
        fields = [part.decode("utf-8", "surrogateescape") for part in re.split(rb"[ \t]+", raw.strip(b" \t"))]
        word, args = fields[0], fields[1:]
        if not word or word.startswith("#"):
            continue
        counts[word] = counts.get(word, 0) + 1
        need(counts[word] <= 1024, "more than 1,024 lines of a kind")
        names = {*policy.witnesses, *policy.groups}
        if word == "log":
            need(len(args) in {1, 2}, "log <vkey> [<url>]")
            policy.logs.append(_typed(args[0], ED25519))
        elif word == "witness":
            need(len(args) in {2, 3}, "witness <name> <vkey> [<url>]")
            need(args[0] not in {*names, "none"}, "name taken")
            policy.witnesses[args[0]] = _typed(args[1], COSIGNATURE)
        elif word == "group":
            need(len(args) >= 3, "group <name> all|any|<k> <member>+")
            name, rule, listed = args[0], args[1], args[2:]
            need(name not in {*names, "none"}, "name taken")
            need(
                all(member in names and member not in grouped for member in listed), "member unknown or taken"
            )
            need(len(set(listed)) == len(listed), "member twice")
            grouped.update(listed)
            if rule in {"all", "any"}:
                k = len(listed) if rule == "all" else 1
            else:
                need(re.fullmatch(r"[1-9][0-9]{0,6}", rule), "not a number of members")
                k = int(rule)
            need(k <= len(listed), "more than there are members")
            policy.groups[name] = (k, listed)
        elif word == "quorum":
            need(len(args) == 1 and (args[0] == "none" or args[0] in names), "quorum <name>|none")
            quorums += 1
            policy.quorum = None if args[0] == "none" else args[0]
        else:
            refuse(f"unknown line: {word[:30]!r}")
    need(quorums == 1, "not exactly one quorum line")
    need(len({key.public for key in policy.keys}) == len(policy.keys), "the same public key twice")
    known_keys(policy.keys)
    return policy

"""Which logs a reader follows and which cosignatures convince it: C2SP tlog-policy.

Spec: `auditlog/spec/log.md`, "Policy". Lines of fields separated by spaces and tabs, `#` begins a comment:

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <member>...
    quorum <name>|none

Names are defined before they are used, a name is a member of at most one group, no public key stands there
twice under whatever name or role (a log that is its own witness would be a quorum of nobody else), and there
is exactly one quorum line. The text is the reader's own; it is kept verbatim. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from auditlog.core.cosignature import CosignatureVerifier, cosignature_timestamp, parse_vkey
from auditlog.core.keys import ED25519, Ed25519Verifier, split_vkey
from auditlog.core.note import NoteVerifier, OpenedNote
from auditlog.core.policy_lines import MAX_POLICY_BYTES, Line, check_name, read_lines
from auditlog.errors import MalformedError

__all__ = [
    "MAX_POLICY_BYTES",
    "Group",
    "Policy",
    "PolicyLog",
    "PolicyWitness",
    "QuorumResult",
    "parse_policy",
]

_MAX_OF_A_KIND = 1024


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log the reader accepts checkpoints of."""

    verifier: Ed25519Verifier
    url: str = ""


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness under the name the policy gives it, which is not its key name."""

    name: str
    verifier: CosignatureVerifier
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Satisfied when `threshold` of its members (witnesses or groups) are."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QuorumResult:
    """What the cosignatures on one checkpoint amount to.

    `satisfied` is False for `quorum none`: nobody but the log vouched for
    it. `cosigners` are (policy name, POSIX seconds) of every witness of the
    policy that cosigned, its earliest time if it did twice, in policy order.
    """

    satisfied: bool
    is_none: bool
    cosigners: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Policy:
    """A parsed policy. `quorum` is None for `quorum none`; `text` is what was parsed."""

    text: str
    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[Group, ...]
    quorum: str | None

    def verifiers(self) -> list[NoteVerifier]:
        """All keys of the policy, for `open_note` and `open_checkpoint`."""
        return [*(log.verifier for log in self.logs), *(witness.verifier for witness in self.witnesses)]

    def log_verifier(self, origin: str) -> Ed25519Verifier | None:
        """The key of the log with this origin, if the policy has one."""
        return next((log.verifier for log in self.logs if log.verifier.name == origin), None)

    def check_quorum(self, checkpoint_text: str, opened: OpenedNote) -> QuorumResult:
        """Count the cosignatures of a checkpoint note that was opened with `verifiers()`.

        Raises:
            MalformedError: `opened` is not the note of this checkpoint text.
        """
        if opened.text != checkpoint_text:
            raise MalformedError("expected the opened note of this checkpoint, found another text")
        times: dict[str, int] = {}
        by_vkey = {witness.verifier.vkey: witness.name for witness in self.witnesses}
        for signature in opened.verified:
            if name := by_vkey.get(signature.vkey):
                time = cosignature_timestamp(signature)
                times[name] = min(time, times.get(name, time))
        cosigners = [
            (witness.name, times[witness.name]) for witness in self.witnesses if witness.name in times
        ]
        return QuorumResult(self.is_quorum(times), self.quorum is None, cosigners)

    def is_decided_by(self, names: Collection[str]) -> bool:
        """Whether these witnesses (policy names) are a quorum, and those that remain could not make another.

        What such witnesses say together, no quorum without them can have contradicted: every quorum has at
        least one of them. Of one in two or two in four this needs more than a quorum; of a majority, and of
        all, a quorum is always enough.
        """
        others = {witness.name for witness in self.witnesses}.difference(names)
        return self.is_quorum(names) and not self.is_quorum(others)

    def is_quorum(self, names: Collection[str]) -> bool:
        """Whether witnesses of these policy names satisfy the quorum; False for `quorum none`."""
        # Members are defined before their group, so one pass in the order of the text settles all groups.
        done = set(names)
        for group in self.groups:
            if len(done.intersection(group.members)) >= group.threshold:
                done.add(group.name)
        return self.quorum is not None and self.quorum in done


def parse_policy(text: str) -> Policy:
    """Read a policy text.

    Raises:
        MalformedError: outside the grammar, a key of a type not read, or a name or key used against the
        rules.
    """
    reader = _Reader()
    for line in read_lines(text):
        reader.take(line)
    if not reader.has_quorum:
        raise MalformedError("expected one quorum line, found none")
    return Policy(text, tuple(reader.logs), tuple(reader.witnesses), tuple(reader.groups), reader.quorum)


class _Reader:
    """Collects the lines of one policy and refuses what contradicts an earlier one."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self.has_quorum = False
        self._names: set[str] = set()
        self._grouped: set[str] = set()
        self._public_keys: set[bytes] = set()
        self._key_names: set[tuple[str, bytes]] = set()

    def take(self, line: Line) -> None:
        """Add one line."""
        take = {"log": self._log, "witness": self._witness, "group": self._group, "quorum": self._quorum}
        if line.keyword not in take:
            raise line.error("expected log, witness, group or quorum, found another word")
        take[line.keyword](line)
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > _MAX_OF_A_KIND:
            raise line.error(f"expected at most {_MAX_OF_A_KIND} lines of a kind, found more")

    def _log(self, line: Line) -> None:
        vkey, url = line.fields(1, 1)
        verifier = self._key(line, vkey)
        if not isinstance(verifier, Ed25519Verifier):
            raise line.error(f"expected a log key of type {ED25519}, found a cosigner's")
        self.logs.append(PolicyLog(verifier, url))

    def _witness(self, line: Line) -> None:
        name, vkey, url = line.fields(2, 1)
        self._define(line, name)
        verifier = self._key(line, vkey)
        if not isinstance(verifier, CosignatureVerifier):
            raise line.error("expected a cosigner's key, found a plain one")
        self.witnesses.append(PolicyWitness(name, verifier, url))

    def _key(self, line: Line, vkey: str) -> NoteVerifier:
        verifier = parse_vkey(vkey)
        public_key = split_vkey(vkey)[2]
        if public_key in self._public_keys:
            raise line.error("expected each public key once, under whatever name or role, found one twice")
        identity = (verifier.name, verifier.key_id)
        if identity in self._key_names:
            raise line.error("expected one key of this name and key ID, found two")
        self._public_keys.add(public_key)
        self._key_names.add(identity)
        return verifier

    def _group(self, line: Line) -> None:
        name, rule, *members = line.all_fields(3)
        threshold = line.threshold(rule, len(members))
        for member in members:
            if member not in self._names:
                raise line.error("expected members defined on earlier lines, found another")
            if member in self._grouped:
                raise line.error("expected a name to be member of one group, once, found it again")
            self._grouped.add(member)
        self._define(line, name)
        self.groups.append(Group(name, threshold, tuple(members)))

    def _quorum(self, line: Line) -> None:
        (name,) = line.fields(1, 0)
        if self.has_quorum:
            raise line.error("expected one quorum line, found another")
        if name != "none" and name not in self._names:
            raise line.error("expected a quorum defined on an earlier line, found another")
        self.has_quorum = True
        self.quorum = None if name == "none" else name

    def _define(self, line: Line, name: str) -> None:
        check_name(line, name)
        if name in self._names:
            raise line.error("expected a new name, found one already defined")
        self._names.add(name)

"""Who cosigns a log, as its settings say it: one tlog-policy, and where each of its witnesses is reached.

Spec: auditlog/spec/api.md, "Configuration"; auditlog/spec/log.md, "Policy". Settings give a list of witnesses
(by default most of them are the quorum) or a whole policy text with groups. Promises: every witness of the
policy has an address, and a log line of the policy names this log. Must never: touch the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditlog.core.cosignature import CosignatureVerifier
from auditlog.core.policy import Policy, parse_policy
from auditlog.core.quorum import can_part, majority_of, witnesses_policy
from auditlog.errors import ConfigurationError, MalformedError
from auditlog.log.witness_guard import Silence

if TYPE_CHECKING:
    from auditlog.service.settings import LogSettings

_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
MAX_WITNESSES = 32


@dataclass(frozen=True, slots=True)
class Reached:
    """A witness and its addresses: prefixes of submission and of monitoring."""

    verifier: CosignatureVerifier
    url: str
    monitoring_url: str


@dataclass(frozen=True, slots=True)
class Witnessing:
    """Who is asked to cosign one log, and which of them are enough."""

    policy: Policy
    witnesses: tuple[Reached, ...]

    @property
    def may_part(self) -> bool:
        """Whether two quorums could have no witness in common, and so see two histories."""
        return can_part(self.policy)


def witnessing_of(log: LogSettings) -> Witnessing | None:
    """What the settings of a log say; None if nobody is asked.

    Raises:
        ConfigurationError: a policy that does not parse, is of another log, or names a witness without an
        address; a quorum that its witnesses can never be.
    """
    if log.witness_policy is not None:
        if log.witnesses or log.witness_quorum is not None:
            raise _error(log, "either witness_policy or witnesses (with witness_quorum)", "both")
        return _of_policy(log, log.witness_policy)
    if not log.witnesses:
        if log.witness_quorum is not None:
            raise _error(log, "witnesses beside witness_quorum", "none")
        return None
    return _of_list(log)


def silence_of(log: LogSettings, *, is_alone: bool) -> Silence | None:
    """What a witness that does not answer at a start means; None if witnesses are not asked then.

    By default the quorum that had to see every checkpoint that counts; all of them where a published
    checkpoint may have been seen by fewer and no other guard remembers it.
    """
    if log.witness_guard == "off":
        return None
    if log.witness_guard is not None:
        return Silence(log.witness_guard)
    return Silence.ALL if is_alone and log.when_no_quorum == "publish" else Silence.QUORUM


def _of_list(log: LogSettings) -> Witnessing:
    quorum = majority_of(len(log.witnesses)) if log.witness_quorum is None else log.witness_quorum
    if quorum > len(log.witnesses):
        raise _error(log, f"witness_quorum of at most {len(log.witnesses)}", str(quorum))
    policy = _parsed(log, witnesses_policy([each.vkey for each in log.witnesses], quorum), "witnesses")
    names = {each.vkey.partition("+")[0] for each in log.witnesses}
    if len(names) < len(log.witnesses):
        raise _error(log, "every witness under a key name of its own", "one twice")
    reached = [
        Reached(known.verifier, each.url, each.monitoring_url or each.url)
        for known, each in zip(policy.witnesses, log.witnesses, strict=True)
    ]
    return Witnessing(policy, tuple(reached))


def _of_policy(log: LogSettings, text: str) -> Witnessing:
    policy = _parsed(log, text, "witness_policy")
    strangers = [each.verifier.name for each in policy.logs if each.verifier.name != log.origin]
    if strangers:
        raise _error(log, "log lines of witness_policy for this log only", strangers[0])
    if not 0 < len(policy.witnesses) <= MAX_WITNESSES:
        raise _error(log, f"1 to {MAX_WITNESSES} witnesses in witness_policy", str(len(policy.witnesses)))
    for each in policy.witnesses:
        if not _URL.fullmatch(each.url):
            raise _error(log, f"an http(s) URL behind witness {each.name} in witness_policy", "none")
    return Witnessing(policy, tuple(Reached(each.verifier, each.url, each.url) for each in policy.witnesses))


def _parsed(log: LogSettings, text: str, what: str) -> Policy:
    try:
        return parse_policy(text)
    except MalformedError as error:
        raise ConfigurationError(f"log {log.name}: {what}: {error}") from None


def _error(log: LogSettings, expected: str, found: str) -> ConfigurationError:
    return ConfigurationError(f"log {log.name}: expected {expected}, found {found}")

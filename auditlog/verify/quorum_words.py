"""How many witnesses cosigned, in words for people. Spec: auditlog/spec/verification.md, "Headline".

Promises: a number is of the witnesses that the trust file's quorum depends on, each counted once. Must never:
say of witnesses more than the file knows: that their keys differ, not that different people hold them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from auditlog.core.note import Signature
from auditlog.core.policy import Policy
from auditlog.core.quorum import can_part, counted, group_standings
from auditlog.verify.wording import printable

MLDSA44_BLOB_BYTES = 8 + 2420
"""Of a line without its key ID; only keys of type 0x06 make lines of this length."""
INDEPENDENT = "independent as far as the trust file can tell: different keys"
ONLY = "of the trust file"
ASKED_FOR = "that the quorum of the trust file asks for"
PARTING = "the witnesses that have not cosigned could be a quorum themselves, of another history"
_MAX_NAMES = 4


def cosigned_words(policy: Policy, cosigned: Collection[str]) -> str:
    """Of a satisfied quorum: by how many of how many."""
    names = counted(policy)
    number = len(set(names).intersection(cosigned))
    if len(names) == 1:
        only = len(policy.witnesses) == 1
        return f"cosigned by the one witness {ONLY if only else ASKED_FOR}"
    return f"cosigned by {number} of {len(names)} independent witnesses ({INDEPENDENT})"


def too_few_words(policy: Policy, cosigned: Collection[str]) -> str:
    """Of a quorum that is not satisfied: how many there are."""
    names = counted(policy)
    number = len(set(names).intersection(cosigned))
    return f"{number} of {len(names)} witnesses of the trust file cosigned, too few for its quorum"


def group_words(policy: Policy, cosigned: Collection[str]) -> str:
    """Where the groups of a policy stand; empty where one group or none says it all."""
    standings = group_standings(policy, cosigned)
    if len(standings) < 2:
        return ""
    return "; " + ", ".join(
        f"group {printable(each.name, 60)}: {each.held} of {each.members}, needs {each.threshold}"
        for each in standings
    )


def parting_words(policy: Policy) -> str:
    """A warning, where two quorums could cosign two histories."""
    return "; two quorums of this trust file may have no witness in common" if can_part(policy) else ""


def ignored_words(unknown: Sequence[Signature]) -> str:
    """Which signature lines nobody checked, since the trust file lacks their keys."""
    if not unknown:
        return ""
    large = [line for line in unknown if len(line.blob) == MLDSA44_BLOB_BYTES]
    plain = [line for line in unknown if len(line.blob) != MLDSA44_BLOB_BYTES]
    said = ""
    if plain:
        said += (
            f"; {len(plain)} signature line(s) by keys that the trust file lacks ignored ({_names(plain)})"
        )
    if large:
        said += f"; {len(large)} line(s) in the form of ML-DSA-44 not checked ({_names(large)})"
    return said


def _names(lines: Sequence[Signature]) -> str:
    names = list(dict.fromkeys(printable(line.name, 60) for line in lines))
    return ", ".join([*names[:_MAX_NAMES], *(["..."] if len(names) > _MAX_NAMES else [])])

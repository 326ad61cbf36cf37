"""Changing the standing of a log, pruning it, and saying where it stands: for the admin API and the commands.

Spec: auditlog/spec/api.md, "Standing" and "Retention". Promises: the line that pins a
retired log in trust files is told only once its last checkpoint is published. Must never: retire without a
successor.
"""

from __future__ import annotations

from typing import Any

from auditlog.core.checkpoint import parse_checkpoint
from auditlog.core.note import split_note
from auditlog.errors import ConfigurationError
from auditlog.log.log import Log
from auditlog.log.retention import STEP_BUNDLES
from auditlog.storage.records import RETIRED


def change_standing(log: Log, standing: str, successor: str | None) -> dict[str, Any]:
    """Bring the log to a standing, `successor` being the key of the log that goes on after a retirement.

    Returns what `described` does.

    Raises:
        ConfigurationError: a retirement without a successor, or a successor of anything else.
        AuditLogError: as `Log.set_standing` and `Log.end`.
    """
    if (standing == RETIRED) != (successor is not None):
        raise ConfigurationError("expected the key of a successor for a retirement, and only there")
    if successor is not None:
        log.end(successor)
    else:
        log.set_standing(standing)
    return described(log)


def prune_step(log: Log, *, yes: bool, bundles: int = STEP_BUNDLES) -> dict[str, Any]:
    """One step of pruning, or without `yes` what would go, as JSON values.

    Raises:
        ConfigurationError: the log has no policy. AuditLogError: as `Retentions.prune`.
    """
    if yes:
        done = log.retention.prune(bundles=bundles)
        plan, minimum, deleted, is_done = done.plan, done.minimum, done.deleted, done.is_done
    else:
        plan = log.retention.plan()
        minimum, deleted, is_done = plan.minimum, 0, plan.target == plan.minimum
    return {
        "origin": log.origin,
        "minimum_index": minimum,
        "target": plan.target,
        "bounds": plan.bounds,
        "deleted": deleted,
        "done": is_done,
    }


def described(log: Log) -> dict[str, Any]:
    """Where a log stands, as JSON values; `retired` is the item for trust files, once it is final."""
    found, quorum = log.successor, log.quorum
    size, published = log.tree_size, log.published_size
    answer: dict[str, Any] = {
        "origin": log.origin,
        "standing": log.standing,
        "size": size,
        "published_size": published,
        "cosigned": None if quorum is None else quorum.cosigned,
        "quorum_reached": quorum.reached if quorum is not None and quorum.has_policy else None,
        "successor": None,
        "retired": None,
    }
    if found is not None:
        answer["successor"] = {"origin": found.origin, "vkey": found.vkey, "index": found.index}
        if published == size:
            root = parse_checkpoint(split_note(log.published())[0]).root_hash
            answer["retired"] = {"origin": log.origin, "size": size, "root": root.hex()}
    return answer

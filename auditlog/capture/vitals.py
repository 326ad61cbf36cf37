"""How this process's recording stands at an instant: what heartbeats, metrics and `auditlog doctor` all tell.

Values only, gathered from memory: reading them costs no disk and no network, so that a writer about to seal a
heartbeat and a server answering a scrape may both ask. What does need the disk (room left, the token's end)
is refreshed by the pulse's thread and remembered here. Names of counters are those of `metrics`.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from auditlog.capture.enrolment import LAST_S, Enrolment, token_mark

_MAX_TOKEN_CHARS = 16_384


@dataclass(frozen=True, slots=True)
class SpoolDepth:
    """What the log has not acknowledged: entries, bytes on disk, and since when (Unix microseconds)."""

    entries: int = 0
    bytes: int = 0
    oldest_us: int | None = None

    def oldest_ms(self, now_us: int) -> int:
        """Age of the oldest of them; 0 if there is none."""
        return 0 if self.oldest_us is None else max(0, now_us - self.oldest_us) // 1000

    def to_body(self, now_us: int) -> dict[str, int]:
        """The member `spool` of a heartbeat."""
        # Of a segment that was acknowledged in part all bytes count: at most so many wait.
        waiting = self.bytes if self.entries else 0
        return {"entries": self.entries, "bytes": waiting, "oldest_ms": self.oldest_ms(now_us)}


@dataclass(frozen=True, slots=True)
class Vitals:
    """One instant of a running capture. `promises_*` are upper bounds: entries that may be promised."""

    depth: SpoolDepth = SpoolDepth()
    promises_outstanding: int = 0
    promises_past_due: int = 0
    sender_state: str = "starting"
    head: str | None = None
    disk_free_bytes: int | None = None
    key_expires_s: int | None = None
    """When the token ends, in Unix seconds, where it says so itself."""


def refused_total(counters: dict[str, int]) -> int:
    """Exchanges turned away before a handler decided anything, of whatever status."""
    return sum(value for name, value in counters.items() if name.startswith("refused."))


def heartbeat_counts(counters: dict[str, int], recorded: int) -> dict[str, int]:
    """The naturals of a heartbeat (entry.md), from the counters of one instant.

    Every call that began is finished, failed, in flight, or was dropped: turned away by the application, and
    so among the refused, which also hold calls turned away before they began (fail_closed).
    """
    started, finished, failed = (counters.get(name, 0) for name in ("started", "finished", "failed"))
    return {
        "started": started,
        "finished": finished,
        "failed": failed,
        "in_flight": max(0, started - finished - failed - counters.get("dropped", 0)),
        "refused": refused_total(counters),
        "deferred": counters.get("deferred", 0),
        "lost": counters.get("lost", 0),
        "late_hangups": counters.get("late_hangups", 0),
        "recorded": recorded,
    }


def key_expiry_s(token: str | None, enrolment: Enrolment | None) -> int | None:
    """When the token ends, in Unix seconds: as it says itself, else as the log said when a slot enrolled with
    it; None if neither did.
    """
    found = token_expiry_s(token)
    if found is None and enrolment is not None and enrolment.token_mark == token_mark(token):
        return enrolment.token_expires_s
    return found


def token_expiry_s(token: str | None) -> int | None:
    """When a token says that it ends, in Unix seconds; None if it says nothing.

    A JWT (as Kubernetes gives service accounts) says so in `exp`; it is only read, never believed. Of a token
    of this service the log says it at enrolment (`key_expiry_s`).
    """
    parts = (token or "").split(".")
    if len(parts) != 3 or len(parts[1]) > _MAX_TOKEN_CHARS:
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    expires = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(expires, bool) or not isinstance(expires, int | float):
        return None
    return int(expires) if 0 <= expires <= LAST_S else None

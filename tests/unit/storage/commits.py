"""Commits for the contracts of the state stores."""

from __future__ import annotations

from typing import Any

from auditlog.storage.records import Commit


def changed(*, previous_note: str | None, note: str, **rest: Any) -> Commit:
    """A commit with the name of a staged object, which a state store keeps and does not read."""
    return Commit(previous_note=previous_note, note=note, staged=f"staged for {note}", **rest)

"""Which staged objects there are, and the removal of those that a commit made superfluous.

Spec: design section 6; crash table: `auditlog/log/README.md`. Must never: remove what a commit that is still
on its way, or the next start, may need.
"""

from __future__ import annotations

import logging

from auditlog.errors import StorageError
from auditlog.log.staging import old_size_of
from auditlog.storage.ports import ObjectStore

logger = logging.getLogger("auditlog.log")


class StagedObjects:
    """The staged objects of one log that this process knows of. For any number of threads."""

    def __init__(self, staging: ObjectStore) -> None:
        """Begin with those that are there. Raises: StorageError."""
        self._staging = staging
        self._names: set[str] = set(staging.list())

    def add(self, name: str) -> None:
        """There is one more, once its name is known here."""
        self._names.add(name)

    def sweep(self, committed: str, size: int) -> None:
        """Remove those that no start can need: a newer commit than theirs is in the database, and was read
        back. `committed` is its object, `size` that of its tree.

        Only after a commit of ours: a commit reported as failed may still be on its way, and needs its object
        until another one has taken its place. What is staged ahead builds on this commit or a later one, and
        stays. It may come late, beside later commits: those make more superfluous, never less. Never raises a
        `StorageError`: what stays is swept after the next commit.
        """
        for name in sorted(self._names - {committed}):
            if _is_ahead(name, size):
                continue
            try:
                self._staging.delete(name)
            except StorageError as error:
                logger.warning("could not remove the superseded %s: %s", name, error)
                continue
            self._names.discard(name)


def _is_ahead(name: str, size: int) -> bool:
    """Whether the staged object of this name builds on a tree of this size, or a larger one."""
    return name.partition("-")[0].isdecimal() and old_size_of(name) >= size

"""What stages a commit and applies it: `Stager`, in this process. `aside` does the same in another one.

Promises, whoever does it: `stage` returns only when the stored bytes were read again and every entry in them
has the hash that admission gave it, and every tile the hash above it; `apply` returns only when all that the
commit finished is durable in the tree. Must never: apply what was not checked.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.log.config import Layout
from auditlog.log.staging import Staged, apply_staged, stage
from auditlog.log.tree import Object, Tree


class Stager:
    """Stages and applies the commits of one log."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def stage(
        self,
        old: Tree,
        tree: Tree,
        full: list[Object],
        entries: Sequence[bytes],  # noqa: ARG002  for who does not bring back what another process read
        leaf_hashes: Sequence[bytes],
    ) -> tuple[str, Staged]:
        """Write the commit from `old` to `tree`, durable and checked; its name and content.

        Raises:
            StorageError: it could not be written, or what came back is not what was written.
        """
        return stage(self._layout.stores.staging, old, tree, full, leaf_hashes)

    def apply(self, name: str, staged: Staged) -> None:  # noqa: ARG002  as above
        """Put what a staged commit finished into the tree. See `staging.apply_staged`.

        Raises:
            StorageError, ImmutableObjectError: as there.
        """
        apply_staged(staged, self._layout)

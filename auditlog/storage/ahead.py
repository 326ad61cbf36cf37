"""Objects that are durable and have no name yet: the last part of `FileStore.put_new_all`.

Contract: `auditlog.storage.ports.ObjectStore`; the order of steps is in `files`. Whoever has time before it
may create objects writes them ahead, and names them when it may: a link for each, and one fsync for each
directory. Must never: name an object twice, or leave a temporary file behind.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.errors import StorageError
from auditlog.storage.temporary import Temporary, sync_dir


class Ahead:
    """Objects written ahead, in the order they will be named."""

    def __init__(self, files: Sequence[tuple[tuple[str, bytes], Temporary]], folders: Sequence[str]) -> None:
        """`files` are paths with their bytes, each beside its file; `folders` those their names go to."""
        self._files, self._folders = files, folders

    def __len__(self) -> int:
        """How many they are."""
        return len(self._files)

    def name(self) -> None:
        """Create the objects, durable on return.

        Raises:
            ImmutableObjectError: one exists with other bytes. StorageError: it failed; some may be there.
        """
        path = ""
        try:
            for (path, data), file in self._files:
                file.link(path, data)
            for path in self._folders:
                sync_dir(path)
        except OSError as error:
            raise failed("creating", path, error) from error
        finally:
            self.drop()

    def drop(self) -> None:
        """Remove what was not named; never raises."""
        for _, file in self._files:
            file.drop()


def failed(doing: str, what: str, error: OSError) -> StorageError:
    """What a file system that does not obey is told as."""
    return StorageError(f"{doing} {what}: expected the file system to obey, found {error.strerror or error}")

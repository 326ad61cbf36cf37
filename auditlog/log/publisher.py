"""The publisher: shows the newest committed checkpoint to the world, at most once per interval.

Spec: design section 6. The order of writes, and what a death after each one leaves:

    1 partial tiles and bundle of exactly this size     extra partials, of a size nobody hears of
    2 `checkpoint` replaced                             published; the next start goes on from it

Full tiles were applied by the commit, so every tile that a checkpoint implies is there before it is. A
committed checkpoint that is passed over is never shown. Superseded partial tiles stay until their full tile
is published, as C2SP tlog-tiles allows. A partial tile with wrong bytes is written again: it follows
from the committed tree in memory, which was checked against the signed root. (A full one is an alarm:
`staging`.) Must never: publish what was not read back from the commit, or put a smaller checkpoint in the
place of a larger one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from auditlog.core.integrate import level_count
from auditlog.core.tiles import TILE_HEIGHT, TilePath
from auditlog.errors import ImmutableObjectError, NotFoundError, RollbackError, StorageError
from auditlog.log.live import Live
from auditlog.log.reader import Reader
from auditlog.log.recover import open_own
from auditlog.log.tree import Object, Tree

logger = logging.getLogger("auditlog.log")

CHECKPOINT = "checkpoint"


class Publisher:
    """Publishes one log. `step` may be called from any thread."""

    def __init__(self, live: Live, later: Callable[[float], None]) -> None:
        """`later(seconds)` runs `step` after that time on some thread."""
        self._live = live
        self._later = later
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._note: str | None = None
        self._size = 0
        self._last = -live.config.publish_interval_s
        self._planned = False
        self._behind_since: float | None = None
        """When the oldest commit that is not published yet was made, on the monotonic clock."""

    @property
    def lag_s(self) -> float:
        """How long the oldest commit that is not published has waited, in seconds; 0 if all are."""
        since = self._behind_since
        return 0.0 if since is None else self._live.clock.monotonic() - since

    @property
    def size(self) -> int:
        """Tree size of the newest published checkpoint; 0 before the first."""
        return self._size

    def published(self) -> str:
        """The newest published checkpoint.

        Raises:
            NotFoundError: nothing was published yet.
        """
        if self._note is None:
            raise NotFoundError("expected a published checkpoint, found none yet")
        return self._note

    def load(self, reader: Reader) -> None:
        """Start from what is published.

        Raises:
            RollbackError: the world was shown a larger or another tree than our stores hold.
            StorageError: a store failed.
        """
        found = self._live.stores.public.get(CHECKPOINT)
        if found is None:
            return
        try:
            note = found.decode("utf-8")
            checkpoint = open_own(note, self._live.signer.verifier)
        except (StorageError, UnicodeDecodeError) as error:
            # Torn by a crash in a store that can tear: it is replaced by the next publication.
            logger.warning("published checkpoint unreadable, publishing again: %s", error)
            return
        tree = self._live.tree
        if checkpoint.tree_size > tree.size or reader.root_at(checkpoint.tree_size) != checkpoint.root_hash:
            raise RollbackError(
                f"expected the published checkpoint of size {checkpoint.tree_size} to be ours up to "
                f"{tree.size}, found another history"
            )
        self._note, self._size = note, checkpoint.tree_size
        if self._size == tree.size:
            store_of = self._live.layout.store_of
            self._put_partials(
                [each for each in tree.partials() if store_of(each[0]).get(str(each[0])) != each[1]]
            )

    def request(self) -> None:
        """Plan a publication as soon as the interval allows; one is enough for any number of commits."""
        live = self._live
        with self._changed:
            if live.tree.size <= self._size:
                return
            if self._behind_since is None:
                self._behind_since = live.clock.monotonic()
            if self._planned or live.halted is not None:
                return
            self._planned = True
        self._later(max(0.0, self._last + live.config.publish_interval_s - live.clock.monotonic()))

    def step(self) -> None:
        """Publish the newest committed checkpoint, if it is newer than the published one."""
        try:
            with self._turn:
                with self._changed:
                    self._planned = False
                tree = self._live.tree
                if self._live.halted is None and tree.note is not None and tree.size > self._size:
                    self._last = self._live.clock.monotonic()
                    self._publish(tree, tree.note)
        except StorageError as error:
            logger.warning("publication failed, trying again: %s", error)
        finally:
            self.request()

    def _publish(self, tree: Tree, note: str) -> None:
        layout, old_size = self._live.layout, self._size
        self._put_partials(tree.partials())
        layout.stores.public.replace_unless(
            CHECKPOINT, note.encode("utf-8"), lambda found: self._is_larger(found, tree.size)
        )
        with self._changed:
            self._note, self._size = note, tree.size
            # What was committed meanwhile is younger than this attempt.
            self._behind_since = self._last if self._live.tree.size > tree.size else None
            self._changed.notify_all()
        self._drop_superseded(old_size, tree.size)

    def _put_partials(self, partials: list[Object]) -> None:
        for path, data in partials:
            store = self._live.layout.store_of(path)
            try:
                store.put_new(str(path), data)
            except ImmutableObjectError:
                # A torn write, or damage: nothing is lost by writing it again, and readers see it whole.
                store.replace(str(path), data)
                logger.warning("repaired %s: it held other bytes than the committed tree", path)

    def _is_larger(self, found: bytes, size: int) -> bool:
        """Whether another process on this log has shown a larger tree; garbage is replaced."""
        try:
            return open_own(found.decode("utf-8"), self._live.signer.verifier).tree_size > size
        except (StorageError, UnicodeDecodeError):
            return False

    def _drop_superseded(self, old_size: int, size: int) -> None:
        """Remove partial tiles whose full tile is now published. Best effort: a leftover harms nobody."""
        wanted = [TilePath(None, old_size // 256)] if size // 256 > old_size // 256 else []
        for level in range(level_count(size)):
            first = old_size >> (TILE_HEIGHT * (level + 1))
            if size >> (TILE_HEIGHT * (level + 1)) > first:
                wanted.append(TilePath(level, first))
        for path in wanted:
            store = self._live.layout.store_of(path)
            try:
                for partial in store.list(f"{path}.p/"):
                    store.delete(partial)
            except StorageError as error:
                logger.warning("could not remove superseded partial tiles of %s: %s", path, error)

    def await_published(self, index: int, timeout_s: float) -> str:
        """Wait until a published checkpoint covers `index`; return it.

        Raises:
            TimeoutError: not within `timeout_s`. LogHalted: the engine stopped itself.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._size > index or self._live.halted is not None, timeout=timeout_s
            )
            if self._size <= index:
                self._live.check_running()
                raise TimeoutError(
                    f"expected entry {index} to be published in {timeout_s} s, found {self._size}"
                )
            return self.published()

    def wake(self) -> None:
        """Let waiters look again: the engine stopped."""
        with self._changed:
            self._changed.notify_all()

"""The publisher: shows the newest committed checkpoint to the world, at most once per interval.

Spec: design section 6. The order of writes, and what a death after each one leaves:

    1 partial tiles and bundle of exactly this size     extra partials, of a size nobody hears of
    2 `checkpoint` replaced                             published; the next start goes on from it

Before the first of them the witnesses are asked (`cosigning`), for a bounded time: what is published carries
the cosignatures that came. Without a quorum it is published all the same, or, where the settings say `hold`,
the old checkpoint stays until there is one. Witnesses that are missing are asked again about the same
checkpoint, and the cosignatures of a quiet log are made anew now and then, so that a date is never much older
than a look.

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
from auditlog.log.cosigning import Cosigning, QuorumStanding
from auditlog.log.live import Live
from auditlog.log.reader import Reader
from auditlog.log.recover import open_own
from auditlog.log.tree import Object, Tree
from auditlog.log.witnesses import Prove, Witnesses

logger = logging.getLogger("auditlog.log")

CHECKPOINT = "checkpoint"


class Publisher:
    """Publishes one log. `step` may be called from any thread."""

    def __init__(
        self,
        live: Live,
        later: Callable[[float, Callable[[], None]], None],
        prove: Prove,
        witnesses: Witnesses | None = None,
    ) -> None:
        """`later(seconds, step)` runs a step of ours after that time on some thread; with `witnesses` one may
        take as long as their time-out. `prove` makes the consistency proofs that they check.
        """
        self._cosigning = None if witnesses is None else Cosigning(live, witnesses, prove)
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

    @property
    def cosignatures(self) -> int:
        """How many witnesses cosigned the newest published checkpoint."""
        return 0 if self._cosigning is None else len(self._cosigning.lines)

    @property
    def quorum(self) -> QuorumStanding | None:
        """How the log stands with its quorum; None for a log without witnesses."""
        return None if self._cosigning is None else self._cosigning.standing()

    def published(self) -> str:
        """The newest published checkpoint.

        Raises:
            NotFoundError: nothing was published yet.
        """
        if self._note is None:
            raise NotFoundError("expected a published checkpoint, found none yet")
        return self._note

    def notes_for(self, index: int) -> list[str]:
        """Published checkpoints that cover an entry, the one to prove it into first: the newest, unless only
        an older one has a quorum. Empty if none covers it.
        """
        with self._changed:
            newest = [self._note] if self._note is not None and index < self._size else []
        older = None if self._cosigning is None else self._cosigning.last_quorum(index)
        return [*([older] if older is not None and older not in newest else []), *newest]

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
        if self._cosigning is not None:
            self._cosigning.load(note, self._size, reader)
            self._plan_recosigning()
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
        wait_s = max(0.0, self._last + live.config.publish_interval_s - live.clock.monotonic())
        self._later(wait_s, self.step)

    def step(self) -> None:
        """Publish the newest committed checkpoint, if it is newer than the published one."""
        try:
            with self._turn:
                with self._changed:
                    self._planned = False
                self._step(self._live.tree)
        except StorageError as error:
            logger.warning("publication failed, trying again: %s", error)
        finally:
            self.request()

    def _step(self, tree: Tree) -> None:
        if self._live.halted is not None or tree.note is None or tree.size <= self._size:
            return
        self._last = self._live.clock.monotonic()
        if self._cosigning is None:
            self._publish(tree, tree.note, {})
            return
        # Dying here leaves witnesses that know a checkpoint nobody was shown: they are asked about the next
        # one from there, and what they know is in the committed tree.
        offer = self._cosigning.offer(tree)
        if offer is not None:
            self._publish(offer.tree, offer.note, offer.lines)

    def recosign(self) -> None:
        """Complete the cosignatures of the published checkpoint, or make them anew, if that is due."""
        with self._turn:
            tree, cosigning = self._live.tree, self._cosigning
            if cosigning is None or not cosigning.is_due or self._live.halted is not None:
                return
            if tree.note is None or tree.size != self._size:
                return  # a newer one is about to be published, and plans its own
            try:
                offer = cosigning.renew(tree)
                if offer is not None:
                    self._show(offer.note, tree.size, offer.lines)
            except StorageError as error:
                logger.warning("new cosignatures could not be published, trying again: %s", error)
            self._plan_recosigning()

    def _plan_recosigning(self) -> None:
        if self._cosigning is not None:
            self._later(self._cosigning.plan(), self.recosign)

    def _publish(self, tree: Tree, note: str, lines: dict[str, str]) -> None:
        old_size = self._size
        self._put_partials(tree.partials())
        self._show(note, tree.size, lines)
        with self._changed:
            # What was committed meanwhile is younger than this attempt.
            self._behind_since = self._last if self._live.tree.size > tree.size else None
            self._changed.notify_all()
        self._plan_recosigning()
        self._drop_superseded(old_size, tree.size)

    def _show(self, note: str, size: int, lines: dict[str, str]) -> None:
        """Replace `checkpoint`; what it implies is there already."""
        if self._cosigning is not None and self._note is not None:
            self._cosigning.keep_quorum(self._note, lines)
        self._live.layout.stores.public.replace_unless(
            CHECKPOINT, note.encode("utf-8"), lambda found: self._is_larger(found, size)
        )
        with self._changed:
            self._note, self._size = note, size
            if self._cosigning is not None:
                self._cosigning.shown(note, size, lines)

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

"""Following one log: its checkpoints against everything seen before, then its tree, then what stands beside.

Spec: auditlog/spec/monitor.md, "A look". One `look` fetches the newest checkpoint, compares, catches up and
asks the sides (witnesses, peers, anchors, promises, clocks). Promises: whatever the log serves or does not,
a look ends, with alarms or with what was not checked; a checkpoint that does not extend the one kept is
never taken as the newest. Must never: forget a history it has seen for one shown later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from auditlog.core.scalars import format_time
from auditlog.errors import ConfigurationError, EvidenceError, SourceError
from auditlog.verify.evidence_build import Exhibits, fork_file
from auditlog.verify.evidence_notes import Cleaned, clean_note, open_signed
from auditlog.verify.monitor.alarms import CHANNELS, AlarmBook
from auditlog.verify.monitor.books import Books
from auditlog.verify.monitor.fold import EntryFold
from auditlog.verify.monitor.kept import Producers
from auditlog.verify.monitor.prefetch import Ahead
from auditlog.verify.monitor.prove import Prover, Sight
from auditlog.verify.monitor.pruned import check_pruned
from auditlog.verify.monitor.raised import Raised
from auditlog.verify.monitor.reading import Readers
from auditlog.verify.monitor.standing import Standing, load_standing
from auditlog.verify.monitor.store import Store
from auditlog.verify.monitor.walking import Progress, Walk, shows_tiles
from auditlog.verify.retention import read_retention
from auditlog.verify.sources import CHECKPOINT_PATH, HttpSource, LogSource
from auditlog.verify.steps import LogTrust, Opened, check_quorum
from auditlog.verify.tlogclient import VerifiedTree

CACHED_TILES = 256
"""A walk goes on and never back; proofs need few more."""

ASKED_AGAIN, ASK_AGAIN_S = 3, 2.0
"""How often, and after how many seconds each, a log is asked again before `rewind` is raised."""

KEPT_CHECKPOINTS = 4096
"""Checkpoints kept of one log, newest first."""


@dataclass(slots=True)
class Look:
    """What came of one look at one log."""

    origin: str
    unread: list[str] = field(default_factory=list)
    """What should have been read and could not be: exit code 3."""
    reservations: list[str] = field(default_factory=list)
    """What was not asked for, or cannot be checked by anybody."""
    is_current: bool = False
    """Whether the newest checkpoint was read to its end."""


class Follower:
    """One log. Not for several threads."""

    def __init__(
        self,
        log: LogTrust,
        source: LogSource,
        store: Store,
        prover: Prover,
        *,
        clock_us: Callable[[], int],
        channels: str = CHANNELS,
        progress: Progress | None = None,
        readers: Readers | None = None,
        reopen: Callable[[], LogSource] | None = None,
        pause: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """Go on where the store stands. `readers` start a second process where there is much to read; `pause`
        waits before a log that shows less than it has shown is asked again;
        `reopen` opens the source anew, once it has given up on a log that was too slow.

        Raises:
            ConfigurationError: the store holds this log under another key.
        """
        self.log, self.store, self.clock_us = log, store, clock_us
        self.source = _ahead(source)
        self._reopen, self._pause = reopen, pause
        self._readers = readers
        self.is_stopped: Callable[[], bool] = lambda: False
        """Asked after each batch: whether to leave the rest for another time."""
        self._progress: Progress = progress or (lambda _done, _size: None)
        self._prover, self._channels = prover, channels
        self._vkeys = "\n".join(sorted(key.vkey for key in log.keys))
        self.tree: VerifiedTree | None = None
        self.opened: Opened | None = None
        """The newest checkpoint shown to extend all before it."""
        self.books = self._load()

    def _load(self) -> Books:
        """The books as they are on disk."""
        known = load_standing(self.store, self.log.origin)
        if known is not None and known[0] != self._vkeys:
            raise ConfigurationError(
                f"expected to follow {self.log.origin} under the key it was followed under, found another: "
                "give another --state, or the trust file of before"
            )
        standing = Standing() if known is None else known[1]
        book = AlarmBook(self.store, self.log.origin, self._prover, self._channels)
        producers = Producers(self.store, self.log.origin)
        fold = EntryFold(
            self.log.origin,
            self.log.keys[0].vkey,
            producers,
            on_raise=book.take,
            on_remark=book.remark,
            leaf_hash=self._leaf_hash,
        )
        if standing.fold is not None:
            fold.resume(standing.fold)
            fold.chains.anchored_again(standing.claims)
        if standing.mark is not None:
            fold.expect_after(*standing.mark)
        if standing.note:
            self.opened = open_signed(standing.note, self.log)
        return Books(self.store, self.log.origin, self._vkeys, standing, producers, fold, book, self.clock_us)

    def _leaf_hash(self, index: int) -> bytes:
        assert self.tree is not None
        return self.tree.leaf_hash(index)

    def look(self) -> Look:
        """One look at the log itself. The sides are asked by whoever runs this."""
        look = Look(self.log.origin)
        self._renew()
        self.books.book.begin()
        self.books.unreached.clear()
        opened = self._newest(look)
        if opened is not None and self._accept(opened, look):
            self._catch_up(look)
        self.books.commit(self.sight())
        if failed := self.books.fold.facts.get("not_judged"):
            look.unread.append(f"{failed} entries could not be judged, by a fault of this program")
        if self.books.standing.entries_why:
            why = self.books.standing.entries_why
            look.unread.append(f"the entries were not checked: {why} (if they are not public: --token-file)")
        return look

    def _renew(self) -> None:
        """A source that gave up once would do so for ever."""
        source = self.source
        if self._reopen is not None and isinstance(source, Ahead) and source.has_given_up:
            source.close()
            self.source = _ahead(self._reopen())
            self.tree = None

    def again(self) -> None:
        """Back to what is on disk, after something went wrong in the middle."""
        self.books = self._load()

    def sight(self) -> Sight | None:
        """The tree that was read last, for evidence."""
        if self.tree is None or self.opened is None:
            return None
        return Sight(self.tree, self.opened.note, self.books.producers.chains)

    def _newest(self, look: Look) -> Opened | None:
        try:
            note = self.source.fetch(CHECKPOINT_PATH).decode("utf-8", "replace")
            cleaned = clean_note(note, self.log)
            self._wrong_lines(cleaned, note)
            return cleaned.opened
        except SourceError as error:
            look.unread.append(f"its checkpoint could not be read: {error}")
        except EvidenceError as error:
            # Nobody signed it, so nothing can be held against the log but that it has nothing newer.
            look.unread.append(f"what it serves as its checkpoint is none that it signed: {error}")
        return None

    def _wrong_lines(self, cleaned: Cleaned, note: str) -> None:
        """Lines that no key of that name made; the log's own signature holds, and it is followed by that."""
        for name in dict.fromkeys(line.name for line in cleaned.wrong):
            detail = (
                f"below the checkpoint of {cleaned.opened.checkpoint.tree_size} entries that the log signed "
                f"stands a line in the name of {name} that this key did not make"
            )
            raised = Raised(alarm="quorum_missing", key=f"wrong_line:{name}", detail=detail, notes=(note,))
            self.books.book.take(raised)

    def _accept(self, new: Opened, look: Look) -> bool:
        """Whether this checkpoint is, or has become, the newest; raises the alarms if it cannot be."""
        old = self.opened
        if old is not None and new.checkpoint == old.checkpoint:
            return self._keep(new, look)
        if old is not None and new.checkpoint.tree_size <= old.checkpoint.tree_size:
            newer = self._behind(old, new, look)
            return newer is not None and self._accept(newer, look)
        try:
            tree = VerifiedTree(self.source, new.checkpoint, cached=CACHED_TILES)
            if old is not None and tree.root_at(old.checkpoint.tree_size) != old.checkpoint.root_hash:
                self._fork(Sight(tree, new.note), old, new)
                return False
        except (SourceError, EvidenceError) as error:
            self._unreadable(new, error, look)
            return False
        self.tree = tree
        return self._keep(new, look)

    def _keep(self, new: Opened, look: Look) -> bool:
        """Take it as the newest; the tree of one that was the newest already may have to be read again."""
        if self.tree is None or self.tree.checkpoint != new.checkpoint:
            try:
                self.tree = VerifiedTree(self.source, new.checkpoint, cached=CACHED_TILES)
            except (SourceError, EvidenceError) as error:
                self._unreadable(new, error, look)
                return False
        standing, checkpoint = self.books.standing, new.checkpoint
        if self.opened is None or self.opened.checkpoint != checkpoint:
            standing.note_us = self.clock_us()
        self.opened, standing.note = new, new.note
        with self.store.transaction() as connection:
            row = (self.log.origin, checkpoint.tree_size, checkpoint.root_hash, self.clock_us(), new.note)
            connection.execute(
                # Of one checkpoint the note shown last: later cosignatures date it later.
                "INSERT INTO checkpoint (origin, size, root, seen_us, note) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (origin, size, root) DO UPDATE SET note = excluded.note",
                row,
            )
            connection.execute(
                "DELETE FROM checkpoint WHERE origin = ? "
                "AND number <= (SELECT max(number) FROM checkpoint) - ?",
                (self.log.origin, KEPT_CHECKPOINTS),
            )
        # Before anything is read under it: a checkpoint that was seen is not forgotten by a kill.
        self.books.commit(self.sight())
        return True

    def _behind(self, old: Opened, new: Opened, look: Look) -> Opened | None:
        """An older or another checkpoint than the one that was shown: a rewind, or another history; or that
        of a copy a moment behind, then returns what is served a little later.
        """
        size, origin = new.checkpoint.tree_size, self.log.origin
        if size == old.checkpoint.tree_size:
            self._fork(None, new, old)
            return None
        with contextlib.suppress(SourceError, EvidenceError):
            tree = self.tree or VerifiedTree(self.source, old.checkpoint)
            if tree.root_at(size) != new.checkpoint.root_hash:
                self._fork(Sight(tree, old.note), new, old)
                return None
        newer = self._ask_again(old, look)
        if newer is not None:
            return newer
        detail = (
            f"{origin} had shown {old.checkpoint.tree_size} entries, and now shows a checkpoint of {size}, "
            f"asked {ASKED_AGAIN} times more within {ASKED_AGAIN * ASK_AGAIN_S:.0f} s"
        )
        key = f"rewind:{old.checkpoint.tree_size}:{old.checkpoint.root_hash.hex()}"
        self.books.book.take(Raised(alarm="rewind", key=key, detail=detail, notes=(new.note,)))
        return None

    def _ask_again(self, old: Opened, look: Look) -> Opened | None:
        """One of several copies of a log may be seconds behind: a checkpoint no smaller than `old`."""
        for _ in range(ASKED_AGAIN):
            self._pause(ASK_AGAIN_S)
            newer = self._newest(Look(look.origin))
            if newer is not None and newer.checkpoint.tree_size >= old.checkpoint.tree_size:
                look.reservations.append("an older checkpoint was served for a moment: copies, or a cache")
                return newer
        return None

    def _fork(self, sight: Sight | None, smaller: Opened, larger: Opened) -> None:
        one, two = smaller.checkpoint, larger.checkpoint
        kept = one if larger is not self.opened else two
        detail = (
            f"{self.log.origin} has signed two histories: the tree of {two.tree_size} entries does not begin "
            f"with the one of {one.tree_size} that it signed too"
        )
        # The one that was kept stands still from now on, so this is one occasion whatever follows.
        key = f"fork:{kept.tree_size}:{kept.root_hash.hex()}"
        self.books.book.take(fork_of(smaller, larger, sight, alarm="fork", key=key, detail=detail))

    def _unreadable(self, new: Opened, error: SourceError | EvidenceError, look: Look) -> None:
        """The right edge of a signed tree is not served, or is another tree's."""
        size, was_read = new.checkpoint.tree_size, bool(self.books.standing.tree_size)
        look.unread.append(f"the tree of {size} entries could not be read: {error}")
        if isinstance(error, SourceError):
            if error.reason == "unreachable":
                if was_read:
                    self.books.unreached["edge"] = (f"the tree of {size} entries: {error}", new.note)
                return
            # A private log shows no tile from the start; one that did before, or shows others, withholds.
            if not was_read and (error.reason == "refused" or not shows_tiles(self.source, size)):
                return
            alarm, what = "tiles_withheld", "does not serve its tiles"
        else:
            alarm, what = "tiles_mismatch", "serves tiles of another tree"
        # Whatever it signs next, this is one occasion until the monitor can go on.
        key = f"{alarm}:edge:{self.books.standing.tree_size}"
        detail = f"of the tree of {size} entries that it signed, the log {what}: {error}"
        self.books.book.take(Raised(alarm=alarm, key=key, detail=detail, notes=(new.note,)))

    def _catch_up(self, look: Look) -> None:
        assert self.tree is not None
        assert self.opened is not None
        told = read_retention(self.source, self.log.keys, self.opened.checkpoint)
        walk = Walk(
            self.books,
            self.tree,
            self.opened.note,
            self.log.trust,
            progress=self._progress,
            readers=self._readers,
            is_stopped=self.is_stopped,
            minimum=check_pruned(self.books, told),
        )
        try:
            reached_end = walk.run(self.source)
        except BaseException:
            # What was folded since the last commit is not on disk: go back to what is.
            self.books = self._load()
            raise
        if not reached_end:
            why = "stopped before" if self.is_stopped() else "the tree could not be read to"
            look.unread.append(f"{why} its end")
            return
        standing = self.books.standing
        if standing.range().root_hash() != self.opened.checkpoint.root_hash:
            raise AssertionError("the range of all leaves read has the root that they were checked against")
        look.is_current = True
        standing.looked_us = self.clock_us()
        self._mark()

    def _mark(self) -> None:
        """A checkpoint that was dated and read whole is a lower bound of the time of what comes after."""
        assert self.opened is not None
        since = check_quorum(self.opened, self.log.trust).value.since
        standing, size = self.books.standing, self.opened.checkpoint.tree_size
        if since is not None and (standing.mark is None or (size, since) > standing.mark[:2]):
            standing.mark = (size, since, self.opened.note)
            self.books.fold.expect_after(*standing.mark)

    def close(self) -> None:
        """Close the source."""
        if isinstance(self.source, Ahead):
            self.source.close()

    def now(self) -> str:
        """This machine's clock in the text form of entries."""
        return format_time(self.clock_us())


def _ahead(source: LogSource) -> LogSource:
    return Ahead(source) if isinstance(source, HttpSource) else source


def fork_of(
    smaller: Opened, larger: Opened, sight: Sight | None, *, alarm: str, key: str, detail: str
) -> Raised:
    """Two checkpoints of one log that cannot both be honest, with the file that shows it. `sight` is the tree
    of the larger; two of one size need none.
    """
    evidence: bytes | None = None
    with contextlib.suppress(SourceError, EvidenceError, ValueError):
        if smaller.checkpoint.tree_size == larger.checkpoint.tree_size:
            root = larger.checkpoint.root_hash
            evidence = fork_file(larger.note, smaller.note, root=root, proof=())
        elif sight is not None:
            evidence = Exhibits(sight.tree, sight.note).fork(smaller.note)
    notes = (smaller.note, larger.note)
    return Raised(alarm=alarm, key=key, detail=detail, notes=notes, evidence=evidence)

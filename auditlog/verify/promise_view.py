"""One log, looked at for promises: its checkpoints, its trees, what it answers. Read once, kept for all.

Spec: auditlog/spec/promise.md, "Asking the log". What comes out is attacker-controlled but for two things: a
checkpoint handed out was opened with the trust file, and a tree is what such a checkpoint signs. Must never:
decide anything about a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from auditlog.core.promise import Promise
from auditlog.core.receipt import Related
from auditlog.core.trust import Trust
from auditlog.errors import ConfigurationError, EvidenceError
from auditlog.verify.evidence_notes import open_signed
from auditlog.verify.promise_evidence import Cause, Earlier, Evidence
from auditlog.verify.promise_scan import read_entry, scan
from auditlog.verify.promise_sources import Lookup, Progress, View
from auditlog.verify.sources import CHECKPOINT_PATH, HttpSource, LogSource
from auditlog.verify.steps import LogTrust, Opened
from auditlog.verify.tlogclient import VerifiedTree

_EMPTY: tuple[bytes, ...] = ()
_REMEMBERED = 4096
"""Parsed entries kept between promises: some MB."""


class LogSight:
    """One trusted log as one source shows it. Not to be shared by threads."""

    def __init__(
        self,
        trust: Trust,
        origin: str,
        source: LogSource,
        *,
        lookup: Lookup | None = None,
        kept: Sequence[str] = (),
        progress: Progress | None = None,
        trees: dict[str, VerifiedTree] | None = None,
        tiles: Callable[[Promise, int], Sequence[int] | None] | None = None,
    ) -> None:
        """`kept` are notes of checkpoints seen earlier, by whomever; those of other logs are passed over.
        `trees` are those of checkpoints, by their notes: for one who looks many times, and kept there.
        `tiles` knows which bundles of a tree of that size can speak of a promise; None for all.

        Raises:
            ConfigurationError: the trust file has no such log.
        """
        keys = tuple(log.verifier for log in trust.policy.logs if log.verifier.name == origin)
        if not keys:
            known = ", ".join(sorted(log.verifier.name for log in trust.policy.logs))
            raise ConfigurationError(f"expected a trust file with the log {origin}, found {known}")
        self.log = LogTrust(origin, keys, trust)
        self.progress: Progress = progress or (lambda _done, _size: None)
        self._source, self._lookup = source, lookup
        self._tiles = tiles or (lambda _promise, _size: None)
        self._read = lru_cache(_REMEMBERED)(read_entry)
        self._trees: dict[str, VerifiedTree] = {} if trees is None else trees
        self.seen: dict[str, Opened] = {}
        """Every checkpoint of this log that was shown, by its note, in the order it was."""
        self.public: Opened | None = None
        """The checkpoint served last at the public path."""
        for note in kept:
            self._open_kept(note)

    def close(self) -> None:
        """Close the connections of a source that has any."""
        if isinstance(self._source, HttpSource):
            self._source.close()

    def _open_kept(self, note: str) -> None:
        try:
            self.open(note)
        except EvidenceError:
            return

    def open(self, note: str) -> Opened:
        """Open a checkpoint and remember it; raises EvidenceError."""
        if note not in self.seen:
            # By the lines that hold, or a log could hide what it signed behind a wrong one. The note stays as
            # it was served: lines by witnesses that this reader does not know may date it for another.
            self.seen[note] = replace(open_signed(note, self.log), note=note)
        return self.seen[note]

    def newest(self) -> Opened:
        """The checkpoint the log serves now.

        Raises:
            SourceError, EvidenceError: none, or none that it signed.
        """
        data = self._source.fetch(CHECKPOINT_PATH)
        self.public = self.open(data.decode("utf-8", "replace"))
        return self.public

    def largest(self) -> Opened:
        """The checkpoint of the most entries that was shown anywhere; there must be one."""
        return max(self.seen.values(), key=lambda item: item.checkpoint.tree_size)

    def tree(self, opened: Opened) -> VerifiedTree:
        """The tree a checkpoint signs, from the source's tiles; raises SourceError or EvidenceError."""
        if opened.note not in self._trees:
            self._trees[opened.note] = VerifiedTree(self._source, opened.checkpoint)
        return self._trees[opened.note]

    def ask(self, note: str) -> View | None:
        """What the log answers about a promise, or None if it cannot be asked.

        Raises:
            SourceError, EvidenceError: it does not answer, or with something else.
        """
        if self._lookup is None:
            return None
        view = self._lookup.look_up(note)
        self.open(view.checkpoint)
        return view

    def read(self, promise: Promise, opened: Opened) -> View:
        """What reading every entry under a checkpoint shows; raises SourceError or EvidenceError."""
        tiles = self._tiles(promise, opened.checkpoint.tree_size)
        return scan(self.tree(opened), opened.note, promise, self.progress, self._read, tiles=tiles)

    def find_fork(self, opened: Opened) -> Evidence | None:
        """Evidence that the log has signed a history that this checkpoint's tree does not have.

        Raises:
            SourceError, EvidenceError: the tiles that would show it are not there.
        """
        size = opened.checkpoint.tree_size
        for other in list(self.seen.values()):
            old = other.checkpoint
            if old.tree_size > size or old == opened.checkpoint:
                continue
            if old.tree_size == size:
                root, proof = opened.checkpoint.root_hash, _EMPTY
            else:
                tree = self.tree(opened)
                root, proof = tree.root_at(old.tree_size), tuple(tree.consistency(old.tree_size))
            if root != old.root_hash:
                earlier = Earlier(other.note, proof, root)
                return Evidence(verdict=Cause.FORK, checkpoint=opened.note, earlier=earlier)
        return None

    def shows_less(self, opened: Opened) -> int:
        """How many entries more than this the log has signed for, in a checkpoint seen elsewhere."""
        return self.largest().checkpoint.tree_size - opened.checkpoint.tree_size

    def again(self, item: Related, opened: Opened, tree_of: Opened) -> Related:
        """The same entry with a proof into the smaller tree `opened`; raises as `tree`."""
        if opened.note == tree_of.note:
            return item
        proof = self.tree(tree_of).inclusion(item.index, opened.checkpoint.tree_size)
        return Related(item.entry, item.index, tuple(proof))

"""Step 13: the log as it is now, against every checkpoint in the receipt.

Spec: auditlog/spec/verification.md, "Step 13". What the log serves is attacker-controlled. Promises: a log
that is smaller, forked, re-signed or whose tiles or served entry do not fit is a failure; one that cannot be
read is not checked. Must never: read anything unless the caller named a log.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import InconsistentLogError, SourceError, VerificationError
from auditlog.verify.report import Fact, Grade
from auditlog.verify.run import Checked, not_checked
from auditlog.verify.sources import LogSource
from auditlog.verify.steps import LogTrust, Opened
from auditlog.verify.tlogclient import TlogClient
from auditlog.verify.trusted_log import SignedCheckpoint


class CurrentLog:
    """One log as it is now, read once and kept for all receipts of a call. Not to be shared by threads.

    A source that could not be read once is not asked again:
    two hundred receipts must not mean two hundred time-outs.
    """

    def __init__(self, source: LogSource) -> None:
        """Nothing is read before the first receipt."""
        self._source = source
        self._clients: dict[str, TlogClient] = {}
        self._newest: dict[str, SignedCheckpoint] = {}
        self._failure: SourceError | None = None
        self._compared: set[tuple[str, int, bytes]] = set()
        self._bundles: dict[tuple[str, int], bool] = {}

    def newest(self, log: LogTrust) -> SignedCheckpoint:
        """The current checkpoint; raises SourceError, or EvidenceError for one the log did not sign."""
        if self._failure is not None:
            raise self._failure
        if log.origin not in self._newest:
            client = TlogClient(self._source, log.verifiers, origin=log.origin)
            try:
                newest = client.checkpoint()
            except SourceError as error:
                self._failure = error
                raise
            # The client knows no retired logs, nor which of the keys are the log's.
            _expect_ended(log.open(newest.note), log)
            self._newest[log.origin], self._clients[log.origin] = newest, client
        return self._newest[log.origin]

    def root_at(self, origin: str, size: int) -> bytes:
        """Root over the first `size` leaves of the current tree, from checked tiles."""
        return self._clients[origin].root_at(size)

    def serves(self, origin: str, index: int) -> bool:
        """Whether the log serves the entry at `index`; False if its entries are not public or not there.

        Raises:
            VerificationError, MalformedError: an entry beside it, or the entry itself, is not the one in the
            tree.
        """
        at = index // TILE_WIDTH
        if (origin, at) not in self._bundles:
            try:
                self._clients[origin].tree().bundle(at)
                self._bundles[origin, at] = True
            except SourceError:
                self._bundles[origin, at] = False
        return self._bundles[origin, at]

    def was_compared(self, opened: Opened) -> bool:
        """Whether this very checkpoint was already found to be a prefix of the current tree."""
        return _identity(opened) in self._compared

    def mark_compared(self, opened: Opened) -> None:
        """Remember that it is."""
        self._compared.add(_identity(opened))


def _identity(opened: Opened) -> tuple[str, int, bytes]:
    checkpoint = opened.checkpoint
    return (checkpoint.origin, checkpoint.tree_size, checkpoint.root_hash)


def compare_with_log(
    current: CurrentLog | None, held: Sequence[Opened], index: int, log: LogTrust
) -> Checked[None]:
    """(13) Every checkpoint held must be a prefix of the
    current one, and the entry must still be served, if any is.

    Raises:
        InconsistentLogError: the log was cut, forked or rewritten; carries both signed notes.
        VerificationError: a retired log is not shown at its final size.
        EvidenceError: the current checkpoint or the tiles are not what the log has signed.
    """
    if current is None:
        return not_checked(None, "the current log was not asked for (--log)", is_required=False)
    try:
        newest = current.newest(log)
        for opened in held:
            if not current.was_compared(opened):
                _expect_prefix(current, opened, newest)
                current.mark_compared(opened)
    except SourceError as error:
        return not_checked(None, f"the log could not be read: {error}", is_required=True)
    # What is served is checked against the tree, and the tree holds this entry at this index: it is the same.
    is_served = current.serves(log.origin, index)
    size = newest.tree_size
    fact = Fact(
        "same_log_now",
        str(size),
        Grade.PROVEN,
        "hash tiles of the current log",
        f"The log of now, with {size} entries, still contains all of this unchanged.",
    )
    more = "; it serves this entry" if is_served else ""
    return Checked(
        None, f"{len(held)} checkpoint(s) are prefixes of the current one, size {size}{more}", (fact,)
    )


def _expect_prefix(current: CurrentLog, opened: Opened, newest: SignedCheckpoint) -> None:
    old = opened.checkpoint
    if newest.tree_size < old.tree_size:
        raise InconsistentLogError(
            f"expected a log of at least {old.tree_size} entries now, found {newest.tree_size}: "
            "the newest were cut off",
            smaller=newest.note,
            larger=opened.note,
        )
    found = current.root_at(old.origin, old.tree_size)
    if found != old.root_hash:
        raise InconsistentLogError(
            f"expected the root hash {old.root_hash.hex()} over the log's first {old.tree_size} entries, "
            f"found {found.hex()}: its history was changed",
            smaller=opened.note,
            larger=newest.note,
        )


def _expect_ended(newest: Opened, log: LogTrust) -> None:
    """A log the trust file retires neither grows nor shrinks: what it shows now is its final checkpoint.

    A larger tree and another root at the final size were refused when the note was opened.
    """
    size = newest.checkpoint.tree_size
    for final in log.trust.retired:
        if final.origin == log.origin and size < final.size:
            raise VerificationError(
                f"expected the {final.size} entries with which this log was retired, found {size}: "
                "the newest were cut off"
            )

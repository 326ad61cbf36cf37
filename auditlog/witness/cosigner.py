"""The witness itself: checks that a checkpoint extends the one before, remembers it, then signs it.

Spec: C2SP tlog-witness, `add-checkpoint`; `auditlog/spec/witness.md`. For each log one thing at a time:
compare what the asker believes the witness knows with what it knows, check signature and consistency, write
the new state durably, answer. Dying after the write loses an answer, never a memory: the log asks again.
Promises: no two roots of one size, never a smaller tree after a larger one, no time before an earlier one.
Must never: let a cosignature leave that the disk does not know. Requests are attacker-controlled.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from auditlog.core.checkpoint import Checkpoint, open_split_checkpoint
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.note import OpenedNote, Signature, format_signature, split_note
from auditlog.core.proofs import EMPTY_ROOT, verify_consistency
from auditlog.core.witnessing import AddCheckpoint, parse_add_checkpoint
from auditlog.errors import (
    ConfigurationError,
    InconsistentLogError,
    MalformedError,
    SignatureError,
    StorageError,
    VerificationError,
)
from auditlog.witness.errors import WitnessRefusal
from auditlog.witness.followed import FollowedLog
from auditlog.witness.states import Cosigned, States, as_followed

logger = logging.getLogger("auditlog.witness")

CLOCK_SLACK_S = 5
"""A clock that was set back by more than this signs nothing until it has caught up."""


class Cosigner:
    """Cosigns the checkpoints of some logs. Safe to use from any thread."""

    def __init__(
        self,
        logs: Iterable[FollowedLog | Ed25519Verifier],
        signer: CosignatureSigner,
        states: States,
        unix_s: Callable[[], int],
    ) -> None:
        """`logs` are what is followed, or the key of a log named like its origin; `unix_s` is the clock,
        POSIX seconds.

        Raises:
            ConfigurationError: two of one origin with other keys, or a log with the witness's own key name.
        """
        self._logs: dict[str, FollowedLog] = {}
        for each in map(as_followed, logs):
            if self._logs.setdefault(each.origin, each).vkeys != each.vkeys:
                raise ConfigurationError(f"expected one key of the log {each.origin}, found two")
            if each.key_name == signer.name:
                raise ConfigurationError(
                    f"expected a log of another name than the witness, found {signer.name}"
                )
        self._signer = signer
        self._states = states
        self._unix_s = unix_s
        self._turns = {origin: threading.Lock() for origin in self._logs}

    @property
    def logs(self) -> list[FollowedLog]:
        """The logs that are cosigned, by origin."""
        return [self._logs[origin] for origin in sorted(self._logs)]

    def add_checkpoint(self, body: bytes) -> str:
        """The cosignature line for a request.

        Raises:
            WitnessRefusal: there is none, and why.
        """
        try:
            request = parse_add_checkpoint(body)
            text, signatures = split_note(request.note)
        except MalformedError as error:
            raise WitnessRefusal(400, str(error)) from error
        log = self._logs.get(text.split("\n", 1)[0])
        if log is None:
            raise WitnessRefusal(404, "expected a log that this witness follows, found another origin")
        checkpoint, opened = _opened(text, signatures, log)
        if request.old_size > checkpoint.tree_size:
            raise WitnessRefusal(
                400, f"expected an old size up to {checkpoint.tree_size}, found {request.old_size}"
            )
        with self._turns[log.origin]:
            try:
                return self._cosign(log, request, checkpoint, opened)
            except StorageError as error:
                logger.error("state_lost", extra={"log": log.origin, "error": str(error)})
                raise WitnessRefusal(503, "expected to remember what is signed, found a failure") from error

    def newest(self, origin: str) -> Cosigned | None:
        """What was cosigned last for a log that is followed; None if nothing was.

        Raises:
            StorageError: its state cannot be read.
        """
        log = self._logs.get(origin)
        return None if log is None else self._states.load(log)

    def _cosign(
        self, log: FollowedLog, request: AddCheckpoint, checkpoint: Checkpoint, opened: OpenedNote
    ) -> str:
        """Under the log's turn: compare, check, write, and only then hand out."""
        known = self._states.load(log)
        known_size = 0 if known is None else known.checkpoint.tree_size
        if known is not None:
            self._keep_fork(log, request, checkpoint, known)
        if request.old_size != known_size:
            raise WitnessRefusal(
                409, f"expected old size {known_size}, found {request.old_size}", known_size=known_size
            )
        self._check_consistent(log, request, checkpoint, known)
        timestamp = self._time(known)
        line = self._signer.sign(opened.text, timestamp)
        # Of the lines that came only the log's own: what else stood there was not checked.
        note = f"{opened.text}\n{''.join(map(format_signature, opened.verified))}{line}"
        self._states.save(log.origin, Cosigned(checkpoint, note, timestamp))
        logger.info("cosigned", extra={"log": log.origin, "size": checkpoint.tree_size, "time": timestamp})
        return line

    def _keep_fork(
        self, log: FollowedLog, request: AddCheckpoint, checkpoint: Checkpoint, known: Cosigned
    ) -> None:
        """Two roots of one size, both signed by the log, prove to anyone that it has two histories: whatever
        else is wrong with the request.
        """
        known_size, root = known.checkpoint.tree_size, known.checkpoint.root_hash
        if checkpoint.tree_size != known_size or checkpoint.root_hash == root:
            return
        logger.critical("two_histories", extra={"log": log.origin, "size": known_size})
        self._states.keep_evidence(log.origin, request.note, known)

    def _check_consistent(
        self, log: FollowedLog, request: AddCheckpoint, checkpoint: Checkpoint, known: Cosigned | None
    ) -> None:
        old_root = EMPTY_ROOT if known is None else known.checkpoint.root_hash
        try:
            verify_consistency(
                request.old_size, checkpoint.tree_size, request.proof, old_root, checkpoint.root_hash
            )
        except VerificationError as error:
            if known is None or checkpoint.tree_size != request.old_size:
                said = {"log": log.origin, "size": checkpoint.tree_size, "error": str(error)}
                logger.warning("not_consistent", extra=said)
                if isinstance(error, InconsistentLogError) and known is not None:
                    # The log's fork by growth, or a stranger's false proof for a true checkpoint: someone
                    # has to look, and the log's signature on this one may never be seen again.
                    self._states.keep_growth(log.origin, checkpoint, request, known)
            raise WitnessRefusal(422, str(error)) from error

    def _time(self, known: Cosigned | None) -> int:
        now = self._unix_s()
        last = 0 if known is None else known.timestamp
        if now <= 0 or now < last - CLOCK_SLACK_S:
            logger.error("clock_set_back", extra={"time": now, "signed_at": last})
            raise WitnessRefusal(503, "expected a clock that goes forwards, found one that was set back")
        return max(now, last)


def _opened(text: str, signatures: Sequence[Signature], log: FollowedLog) -> tuple[Checkpoint, OpenedNote]:
    """The checkpoint, and its note with the log's own signatures verified."""
    try:
        checkpoint, opened = open_split_checkpoint(
            text, signatures, log.keys, log.origin, key_name=log.key_name
        )
    except SignatureError as error:
        raise WitnessRefusal(403, str(error)) from error
    except MalformedError as error:
        is_empty = text.split("\n")[1:2] == ["0"]
        raise WitnessRefusal(422 if is_empty else 400, str(error)) from error
    if checkpoint.extensions:
        # No monitor could audit them, and the post-quantum form of a cosignature does not cover them.
        raise WitnessRefusal(400, "expected a checkpoint without extension lines, found one")
    return checkpoint, opened

"""The witness itself: checks that a checkpoint extends the one before, remembers it, then signs it.

Spec: C2SP tlog-witness, `add-checkpoint`; `auditlog/spec/log.md`, "Witnesses". For each log one thing at a
time: compare what the asker believes the witness knows with what it knows, check signature and consistency,
write the new state durably, answer. Dying after the write loses an answer, never a memory: the log asks
again. Promises: no two roots of one size, never a smaller tree after a larger one, no time before an earlier
one. Must never: let a cosignature leave that the disk does not know. Requests are attacker-controlled.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from auditlog.core.checkpoint import Checkpoint, open_checkpoint
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.keys import Ed25519Verifier
from auditlog.core.note import format_signature, split_note
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
from auditlog.witness.states import Cosigned, States

logger = logging.getLogger("auditlog.witness")

CLOCK_SLACK_S = 5
"""A clock that was set back by more than this signs nothing until it has caught up."""


class Cosigner:
    """Cosigns the checkpoints of some logs. Safe to use from any thread."""

    def __init__(
        self,
        logs: Iterable[Ed25519Verifier],
        signer: CosignatureSigner,
        states: States,
        unix_s: Callable[[], int],
    ) -> None:
        """`logs` are the keys of the logs, each named like its origin; `unix_s` is the clock, POSIX seconds.

        Raises:
            ConfigurationError: two keys for one log.
        """
        self._logs: dict[str, Ed25519Verifier] = {}
        for each in logs:
            if self._logs.setdefault(each.name, each).vkey != each.vkey:
                raise ConfigurationError(f"expected one key of the log {each.name}, found two")
        self._signer = signer
        self._states = states
        self._unix_s = unix_s
        self._turns = {origin: threading.Lock() for origin in self._logs}

    @property
    def origins(self) -> list[str]:
        """The logs that are cosigned."""
        return sorted(self._logs)

    def add_checkpoint(self, body: bytes) -> str:
        """The cosignature line for a request.

        Raises:
            WitnessRefusal: there is none, and why.
        """
        try:
            request = parse_add_checkpoint(body)
            text, _ = split_note(request.note)
        except MalformedError as error:
            raise WitnessRefusal(400, str(error)) from error
        log = self._logs.get(text.split("\n", 1)[0])
        if log is None:
            raise WitnessRefusal(404, "expected a log that this witness follows, found another origin")
        checkpoint, signed = _opened(request, text, log)
        if request.old_size > checkpoint.tree_size:
            raise WitnessRefusal(
                400, f"expected an old size up to {checkpoint.tree_size}, found {request.old_size}"
            )
        with self._turns[log.name]:
            try:
                return self._cosign(log, request, checkpoint, signed)
            except StorageError as error:
                logger.error("%s: no cosignature, the state cannot be kept: %s", log.name, error)
                raise WitnessRefusal(503, "expected to remember what is signed, found a failure") from error

    def newest(self, name: str, name_of: Callable[[str], str]) -> str | None:
        """The checkpoint cosigned last for the log whose origin `name_of` gives `name`; None if none was.

        Raises:
            StorageError: its state cannot be read.
        """
        for origin, log in self._logs.items():
            if name_of(origin) == name:
                known = self._states.load(log)
                return None if known is None else known.note
        return None

    def _cosign(
        self, log: Ed25519Verifier, request: AddCheckpoint, checkpoint: Checkpoint, signed: str
    ) -> str:
        """Under the log's turn: compare, check, write, and only then hand out."""
        known = self._states.load(log)
        known_size = 0 if known is None else known.checkpoint.tree_size
        if request.old_size != known_size:
            raise WitnessRefusal(
                409, f"expected old size {known_size}, found {request.old_size}", known_size=known_size
            )
        self._check_consistent(log, request, checkpoint, known)
        timestamp = self._time(known)
        line = self._signer.sign(split_note(signed)[0], timestamp)
        self._states.save(log.name, signed + line)
        logger.info("%s: cosigned size %d at %d", log.name, checkpoint.tree_size, timestamp)
        return line

    def _check_consistent(
        self, log: Ed25519Verifier, request: AddCheckpoint, checkpoint: Checkpoint, known: Cosigned | None
    ) -> None:
        old_root = EMPTY_ROOT if known is None else known.checkpoint.root_hash
        try:
            verify_consistency(
                request.old_size, checkpoint.tree_size, request.proof, old_root, checkpoint.root_hash
            )
        except VerificationError as error:
            if request.old_size == checkpoint.tree_size and not request.proof:
                # Two roots of one size, both signed by the log: proof for anyone that it has two histories.
                logger.critical("%s: TWO HISTORIES at size %d", log.name, checkpoint.tree_size)
                self._states.keep_evidence(log.name, request.note)
            else:
                logger.warning("%s: not consistent: %s", log.name, error)
                if isinstance(error, InconsistentLogError) and known is not None:
                    # The log's fork by growth, or a stranger's false proof for a true checkpoint: someone
                    # has to look, and the log's signature on this one may never be seen again.
                    self._states.keep_growth(log.name, checkpoint.root_hash, request, known)
            raise WitnessRefusal(422, str(error)) from error

    def _time(self, known: Cosigned | None) -> int:
        now = self._unix_s()
        last = 0 if known is None else known.timestamp
        if now <= 0 or now < last - CLOCK_SLACK_S:
            logger.error("no cosignature: the clock says %d, and signed at %d before", now, last)
            raise WitnessRefusal(503, "expected a clock that goes forwards, found one that was set back")
        return max(now, last)


def _opened(request: AddCheckpoint, text: str, log: Ed25519Verifier) -> tuple[Checkpoint, str]:
    """The checkpoint, and its note with the log's own signature lines only."""
    try:
        checkpoint, opened = open_checkpoint(request.note, [log], log.name)
    except SignatureError as error:
        raise WitnessRefusal(403, str(error)) from error
    except MalformedError as error:
        is_empty = text.split("\n")[1:2] == ["0"]
        raise WitnessRefusal(422 if is_empty else 400, str(error)) from error
    if checkpoint.extensions:
        # No monitor could audit them, and the post-quantum form of a cosignature does not cover them.
        raise WitnessRefusal(400, "expected a checkpoint without extension lines, found one")
    return checkpoint, opened.text + "\n" + "".join(map(format_signature, opened.verified))

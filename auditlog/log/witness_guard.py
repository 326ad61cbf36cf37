"""Witnesses as rollback guards: what they cosigned last is asked before the first signature after a start.

Spec: design section 2, "restore an old backup and go on"; `auditlog/spec/log.md`, "Witnesses". Each is asked
`GET /<hex SHA-256 of the origin>/checkpoint`, all at once and for a bounded time: one that has not answered
whole by then is silent, however busily it sends. An answer counts only if our own key signed that checkpoint
and the witness cosigned it; all that count are compared (`rollback`). A 404 is signed by nobody: it is
silence too, unless our stores hold no cosignature of that witness (`cosigners`), which may then have seen
nothing. What silence means is the operator's choice: `all` starts only when every witness has answered;
`quorum` when those that are silent could not have been a quorum by themselves, so that no checkpoint that
had one is forgotten; `answered` with whatever came. Must never: take silence, or an answer that does not
hold, for a witness that has seen nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.cosignature import CosignatureVerifier
from auditlog.core.note import NoteVerifier
from auditlog.core.policy import Policy
from auditlog.errors import AuditLogError, GuardUnreachable, SignatureError
from auditlog.log.cosigners import Signer
from auditlog.log.rollback import Asked, SeenTree

logger = logging.getLogger("auditlog.log")

PANEL_TIMEOUT_S = 10.0


class Silence(StrEnum):
    """Which witnesses have to answer before the log signs."""

    ALL = "all"
    QUORUM = "quorum"
    ANSWERED = "answered"


class WatchedWitness(Protocol):
    """How the monitoring address of one witness is read."""

    def newest(self, name: str) -> tuple[int, bytes]:
        """`GET /<name>/checkpoint`: HTTP status and body, both bounded.

        Raises:
            AuditLogError: nobody answered in time.
        """


@dataclass(frozen=True, slots=True)
class WitnessSource:
    """One witness as a source: its key, and how it is read."""

    verifier: CosignatureVerifier
    transport: WatchedWitness

    @property
    def name(self) -> str:
        """The witness, for messages."""
        return f"witness {self.verifier.name}"

    def record(self, note: str) -> None:
        """A witness hears of a checkpoint by being asked to cosign it."""

    def look(self, log: NoteVerifier) -> SeenTree | None:
        """What it cosigned last; None if it has cosigned nothing of this log.

        Raises:
            AuditLogError: it does not answer, or not with a checkpoint that both keys signed.
        """
        status, body = self.transport.newest(sha256(log.name.encode("utf-8")).hexdigest())
        if status == 404:
            return None
        if status != 200:
            raise GuardUnreachable(f"expected status 200 or 404, found {status}")
        # attacker-controlled: whatever answers at that address
        checkpoint, opened = open_checkpoint(body, [log, self.verifier], log.name)
        if not any(line.vkey == self.verifier.vkey for line in opened.verified):
            raise SignatureError(f"expected a cosignature by {self.verifier.name}, found none")
        return SeenTree(checkpoint.tree_size, checkpoint.root_hash)


_Answer = tuple[SeenTree | None, str | None]
"""What it has seen, or why it counts as silent."""


def _signer_of(source: WitnessSource) -> Signer:
    return source.verifier.name, source.verifier.key_id


class WitnessPanel:
    """All witnesses of one log as rollback sources. Holds nothing between two rounds of questions."""

    def __init__(
        self,
        log: NoteVerifier,
        sources: Sequence[WitnessSource],
        policy: Policy,
        silence: Silence,
        *,
        is_alone: bool,
        timeout_s: float = PANEL_TIMEOUT_S,
    ) -> None:
        """`log` is our own key; `policy` names the quorum that `Silence.QUORUM` goes by; `is_alone` if the
        log has no other guard. `timeout_s` bounds a round of questions, whatever the transports do.
        """
        self._timeout_s = timeout_s
        self._is_alone = is_alone
        self._log = log
        self._sources = sources
        self._names = {each.verifier.vkey: each.name for each in policy.witnesses}
        self._policy = policy
        self._silence = silence

    @property
    def name(self) -> str:
        """For messages."""
        return f"{len(self._sources)} witness(es)"

    def record(self, note: str) -> None:
        """A witness hears of a checkpoint by being asked to cosign it."""

    def ask_each(
        self, cosigned: frozenset[Signer], *, is_new: bool = False, may_be_silent: bool = False
    ) -> Asked:
        """Ask all at once; what each has seen, of those that answered.

        `cosigned`: whose cosignatures our stores show; their "not found" is silence. With `is_new` the log is
        about to be created, so that no other guard has seen anything either. With `may_be_silent` silence is
        told and no more.

        Raises:
            GuardUnreachable: too few answered to go by.
        """
        asked: list[tuple[WitnessSource, SeenTree | None]] = []
        silent: list[tuple[WitnessSource, str]] = []
        for source, (seen, fault) in zip(self._sources, self._ask_all(), strict=True):
            if fault is not None:
                silent.append((source, fault))
            elif seen is None and _signer_of(source) in cosigned:
                silent.append((source, "expected what it cosigned, found 404, which nobody signed"))
            else:
                asked.append((source, seen))
        for source, fault in silent:
            logger.warning("%s did not say what it cosigned: %s", source.name, fault)
        is_alone = self._is_alone or is_new
        if silent and not (
            may_be_silent or self._may_lack([each for each, _ in silent], len(asked), is_alone)
        ):
            listed = "; ".join(f"{source.name}: {fault}" for source, fault in silent)
            raise GuardUnreachable(f"expected an answer before signing ({self._silence}), found: {listed}")
        return asked

    def _ask_all(self) -> list[_Answer]:
        """What came of each within the bound. Daemon threads: one that hangs must not keep the process."""
        answers: list[Future[_Answer]] = [Future() for _ in self._sources]
        for source, answer in zip(self._sources, answers, strict=True):
            looking = threading.Thread(
                target=self._look, args=(source, answer), name="auditlog-guard", daemon=True
            )
            looking.start()
        done = wait(answers, self._timeout_s).done
        late = (None, f"expected an answer within {self._timeout_s:g} s, found none")
        return [each.result() if each in done else late for each in answers]

    def _look(self, source: WitnessSource, answer: Future[_Answer]) -> None:
        try:
            answer.set_result((source.look(self._log), None))
        except AuditLogError as error:
            answer.set_result((None, str(error)))
        except Exception as error:  # noqa: BLE001 - a fault of our own code: it ends the start, over there
            answer.set_exception(error)

    def _may_lack(self, silent: Sequence[WitnessSource], answered: int, is_alone: bool) -> bool:
        """Whether the log may start without these."""
        if self._silence is Silence.ANSWERED:
            return answered > 0 or not is_alone
        if self._silence is Silence.ALL or self._policy.quorum is None:
            return False
        return not self._policy.is_quorum({self._names[each.verifier.vkey] for each in silent})

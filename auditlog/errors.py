"""Every error this project raises on purpose, in one tree.

    AuditLogError
    ├── EvidenceError                 anything a verifier may raise about what it was given
    │   ├── MalformedError            not well formed: bytes that are not what they claim to be
    │   ├── VerificationError         well formed, but not true
    │   │   ├── SignatureError        no trusted key signed it, or a trusted key's signature is wrong
    │   │   ├── QuorumError           too few cosignatures for the policy
    │   │   ├── InclusionError        the entry is not in the tree of that size and root
    │   │   ├── InconsistentLogError  two checkpoints of one log that cannot both be honest; carries them
    │   │   ├── DisclosureError       a disclosed value does not open its commitment
    │   │   └── AnchorError           the anchor does not show what it claims
    │   └── ExpectationError          true, but not what the caller insisted on
    ├── SubmissionRefused             the log says no; sending the same again will not help (4xx)
    │   ├── AuthenticationError       no token, or one without the needed scope (401, 403)
    │   ├── NotFoundError             no such log, producer, entry or receipt (404)
    │   │   ├── NotYetPublished       there will be; ask again after `retry_after_s` (202)
    │   │   ├── DeclaredLost          its producer declared a loss at that time; carries the gap (410)
    │   │   ├── NeverArrived          too old to be on its way (410)
    │   │   └── EntryPruned           it was there, and its retention is over (410)
    │   ├── ChainConflictError        not the next entry of this producer; carries expected and found (409)
    │   ├── LogReadOnly               the log takes nothing until its operator opens it (403)
    │   ├── LogRetired                the log has ended; carries its successor (403)
    │   └── TooLargeError             over a stated size limit (413)
    ├── Pushback                      overload; try again after `retry_after_s` (503)
    │   ├── LogQuiesced               the log takes nothing new for a while (503)
    │   └── TooManyRequests           over a rate its operator set (429)
    ├── LogUnreachable                no answer, or none we understand: whether it was accepted is unknown
    ├── LogHalted                     the engine stopped itself until recovery succeeds (503)
    │   ├── StandingBy                another process sequences; this one takes over when it stops
    │   ├── LeaseLost                 another process took the place of this one, which stops
    │   ├── RollbackError             an outside source has seen more than our stores hold
    │   └── GuardUnreachable          an outside source cannot be asked now; nothing is signed until it can
    ├── StorageError                  a store failed, or broke its contract
    │   ├── ImmutableObjectError      a create-only object exists with other bytes
    │   ├── DamagedStoreError         a store answers, with something else than was signed
    │   └── CommitConflictError       the compare-and-swap found another state than expected
    ├── NotYetCommitted               accepted, nothing promised: ask for the head, send again later (202)
    ├── BrokerError                   the broker of distributed ingest failed, or is away (503)
    ├── SourceError                   a log could not be read: missing, refused or unreachable; proves nothing
    ├── LedgerError                   the chain or its node failed
    ├── ConfigurationError            a setting is missing, contradictory or dangerous
    └── FactsError                    facts or an outcome without a recordable form (also a ValueError)

Messages say what was expected and what was found, in that order, and never hold a secret or a payload.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal


class AuditLogError(Exception):
    """Base of the tree. `code` is stable: it is the metric label and the `type` of an HTTP problem."""

    code: ClassVar[str] = "error"


class EvidenceError(AuditLogError):
    """Anything a verifier may raise about what it was given."""

    code = "evidence"


class MalformedError(EvidenceError):
    """The bytes are not a well-formed instance of the format they claim to be."""

    code = "malformed"


class VerificationError(EvidenceError):
    """Well formed, but not true."""

    code = "verification"


class SignatureError(VerificationError):
    """No trusted key signed this, or the signature of a trusted key is wrong."""

    code = "signature"


class QuorumError(VerificationError):
    """The cosignatures do not satisfy the policy."""

    code = "quorum"


class InclusionError(VerificationError):
    """The leaf is not at that index of the tree with that size and root."""

    code = "inclusion"


class InconsistentLogError(VerificationError):
    """Two checkpoints of one origin that cannot both be
    honest. The error is the evidence: it carries both.
    """

    code = "inconsistent"

    def __init__(self, message: str, *, smaller: str = "", larger: str = "") -> None:
        super().__init__(message)
        self.smaller = smaller
        """The signed note of the smaller (or older) checkpoint."""
        self.larger = larger
        """The signed note of the larger (or newer) checkpoint."""


class DisclosureError(VerificationError):
    """A disclosed value does not open the commitment it names."""

    code = "disclosure"


class AnchorError(VerificationError):
    """The anchor evidence does not show what the anchor claims."""

    code = "anchor"


class ExpectationError(EvidenceError):
    """True, but not what the caller insisted on."""

    code = "expectation"


class SubmissionRefused(AuditLogError):
    """The log refuses the submission; sending the same bytes again will not help."""

    code = "refused"


class AuthenticationError(SubmissionRefused):
    """The request carries no valid token, or its token lacks the scope."""

    code = "authentication"

    def __init__(self, message: str, *, known: bool = False) -> None:
        super().__init__(message)
        self.known = known
        """Whether the caller is known but lacks the scope (403 rather than 401)."""


class TokenExpired(AuthenticationError):
    """The token was good until a time that has passed."""

    code = "token_expired"


class NotFoundError(SubmissionRefused):
    """There is no such log, producer, entry or receipt."""

    code = "not_found"


class NotYetPublished(NotFoundError):
    """The entry is in the log, but its receipt cannot be issued yet."""

    code = "not_yet_published"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotYetCommitted(AuditLogError):
    """The batch is with the broker, and nothing is promised: ask for the head, and send again after a while
    (202).
    """

    code = "not_yet_committed"
    retry_after_s = 1


class DeclaredLost(NotFoundError):
    """The decision may be one of those that its producer declared lost in a published `gap` entry."""

    code = "declared_lost"

    def __init__(self, message: str, *, gap: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.found = gap
        """Index of the `gap` entry, and how many it declares: `{"index", "count"}`."""


class NeverArrived(NotFoundError):
    """The decision is too old to be on its way: it will not come."""

    code = "never_arrived"


class EntryPruned(NotFoundError):
    """The entry lies below the published minimum of its log: its hash is there, its content is not."""

    code = "entry_pruned"


class ChainConflictError(SubmissionRefused):
    """The entry is not the next one of its producer's chain."""

    code = "chain_conflict"

    def __init__(self, message: str, *, expected: dict[str, Any], found: dict[str, Any]) -> None:
        super().__init__(message)
        self.expected = expected
        """The (instance, seq, leaf_hash) the chain expects, hashes in hex."""
        self.found = found
        """The (instance, seq, leaf_hash) the submission carries, hashes in hex."""

    @property
    def may_follow(self) -> bool:
        """Whether it may end by itself: the submission builds on what the log does not have yet. Else it
        contradicts what the log has.
        """
        is_other: bool = self.expected.get("instance") != self.found.get("instance")
        return is_other or self.found.get("seq", 0) > self.expected.get("seq", 0)


class ProducerRetired(SubmissionRefused):
    """The producer has ended: nothing of it enters the log any more."""

    code = "producer_retired"

    def __init__(self, message: str, *, last: dict[str, Any]) -> None:
        super().__init__(message)
        self.expected = last
        """The last (instance, seq, leaf_hash) that the log accepted, hashes in hex."""


class LogReadOnly(SubmissionRefused):
    """The operator made the log read-only: nothing is admitted or signed until it is opened again."""

    code = "read_only"


class LogRetired(SubmissionRefused):
    """The log has ended for ever: nothing is admitted or signed, another log goes on."""

    code = "log_retired"

    def __init__(self, message: str, *, successor: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.expected = successor
        """Where to go on: `{"origin", "vkey"}`."""


class TooLargeError(SubmissionRefused):
    """The submission is over a stated size limit."""

    code = "too_large"


class Pushback(AuditLogError):
    """The service is overloaded; nothing was accepted; try again later."""

    code = "pushback"

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class LogQuiesced(Pushback):
    """The operator lets nothing new into the log for a while; what was accepted is committed."""

    code = "quiesced"

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class TooManyRequests(Pushback):
    """More entries than the rate of this log, or of this token for it, allows; nothing was accepted."""

    code = "rate"


class LogUnreachable(AuditLogError):
    """The log gave no answer, or none we understand. Whether it accepted what was sent is
    unknown: send again.
    """

    code = "unreachable"


class LogHalted(AuditLogError):
    """The engine stopped itself rather than risk signing two histories. Recovery repairs: by itself once a
    failing store is whole again, else at a restart.
    """

    code = "halted"


class StandingBy(LogHalted):
    """Another process sequences the log. This one takes over when that one stops."""

    code = "standing_by"
    retry_after_s = 1


class LeaseLost(LogHalted):
    """Another process took over while this one was away. This one stops, and may stand by when it is started
    again.
    """

    code = "lease_lost"


class RollbackError(LogHalted):
    """An outside source has seen a larger or other log than our stores hold."""

    code = "rollback"


class GuardUnreachable(LogHalted):
    """An outside source cannot be asked now. It may know
    more than our stores: nothing is signed until it can.
    """

    code = "guard_unreachable"


class StorageError(AuditLogError):
    """A store failed, or broke its contract."""

    code = "storage"


class ImmutableObjectError(StorageError):
    """A create-only object already exists with other bytes."""

    code = "immutable"


class DamagedStoreError(StorageError):
    """A store answers, with something else than was signed. Asking again will not help."""

    code = "damaged"


class CommitConflictError(StorageError):
    """The compare-and-swap found another state than the caller expected."""

    code = "commit_conflict"


class BrokerError(AuditLogError):
    """The broker of distributed ingest failed or is away. Nothing was acknowledged: send again."""

    code = "broker"


class SourceError(AuditLogError):
    """A log, or one object of it, could not be read. It says nothing about the log's honesty: not checked."""

    code = "source"

    def __init__(self, message: str, *, reason: Literal["missing", "refused", "unreachable"]) -> None:
        super().__init__(message)
        self.reason = reason
        """missing: the log answered that it has no such object; refused: it wants a token or another one;
        unreachable: no usable answer."""


class LedgerError(AuditLogError):
    """The chain, or the node we reach it through, failed."""

    code = "ledger"


class ConfigurationError(AuditLogError):
    """A setting is missing, contradictory or dangerous."""

    code = "configuration"


class FactsError(AuditLogError, ValueError):
    """What an application gave as facts or as an outcome has no form they can be recorded in."""

    code = "facts"


class UnrecordableError(AuditLogError):
    """AUDITLOG_MODE=fail_closed, and a call of an `@audited` function could not be put on record.

    `was_called` False: there was no room for its record, and the function was not called. True: it was
    called, and what it returned is withheld, since its record was not durable in time.
    """

    code = "unrecordable"

    def __init__(self, *, was_called: bool) -> None:
        found = (
            "none in time: what the call returned is withheld" if was_called else "none: it was not called"
        )
        super().__init__(f"auditlog: fail_closed: expected a durable record of this call, found {found}")
        self.was_called = was_called

"""The JSON bodies of the API as strict models: what the OpenAPI page is made from.

Spec: auditlog/spec/api.md. Hashes are lowercase hex, bytes are standard base64.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from auditlog.service.api.standing_models import (
    HexHash,
    IndexState,
    RetentionInfo,
    StandingWord,
    SuccessorInfo,
)
from auditlog.service.api.standing_models import Model as _Model
from auditlog.service.problems import TYPE_PREFIX
from auditlog.service.settings import Scope, Visibility
from auditlog.service.settings_types import NamePattern

MAX_INTEGER = 2**53 - 1
LogName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
FactName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


def _decimal(value: object) -> object:
    """Refuse what the framework would read as a number in a URL and a person would not: +1, 1_0, 1.0, 01."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 16) or str(int(value)) != value:
            raise ValueError("expected a decimal number without sign or leading zeros")
        return int(value)
    return value


Decimal = Annotated[int, BeforeValidator(_decimal), Field(ge=0, le=MAX_INTEGER)]


class ProblemBody(_Model):
    """Every answer that is not a success."""

    type: str = Field(pattern=f"^{TYPE_PREFIX}[a-z_]+$")
    title: str
    status: int
    detail: str
    expected: Any = None
    found: Any = None


class WitnessInfo(_Model):
    """One witness that a log asks to cosign."""

    name: str
    """The name of its key."""
    vkey: str


class QuorumInfo(_Model):
    """Whether enough witnesses have cosigned what is published, by the log's own policy."""

    policy: str
    """The C2SP tlog-policy text the log goes by."""
    when_no_quorum: Literal["publish", "hold"]
    """What it does with a checkpoint that too few have cosigned."""
    reached: bool
    """Whether the published checkpoint has a quorum."""
    cosigned: int
    """Witnesses that cosigned it."""
    size: int | None
    """Tree size of the newest published checkpoint that had a quorum."""
    age_s: int | None
    """How long ago the newest cosignature of that one was made."""
    held_s: int
    """How long a newer checkpoint has been kept back for want of a quorum."""


class LogInfo(_Model):
    """What anyone may know of a log."""

    name: str
    origin: str
    vkey: str
    visibility: Visibility
    size: int | None
    """Tree size of the published checkpoint; None before the first."""
    max_merge_delay_s: int
    contact: str
    devnet_vkey: str | None
    """What checks the devnet anchors in receipts; None where there are none."""
    witnesses: list[WitnessInfo]
    """Who is asked to cosign its checkpoints."""
    quorum: QuorumInfo | None
    """How it stands with them; None if nobody is asked."""
    standing: StandingWord = "open"
    """Whether it takes entries."""
    successor: SuccessorInfo | None = None
    """Where to go on, if it has ended."""
    retention: RetentionInfo | None = None
    """What it keeps; None for a log that keeps everything."""


class LogState(_Model):
    """A log as its operator sees it."""

    name: str
    origin: str
    visibility: Visibility
    size: int | None
    ready: bool
    fault: str | None
    standing: StandingWord | None = None
    """None for a log that could not be opened."""
    index: IndexState | None = None


class LogList(_Model):
    """Every log of the service."""

    logs: list[LogState]


class NewLog(_Model):
    """A log to create; its key and receipt secret are made by the service, in its data directory."""

    name: LogName
    origin: str = Field(pattern=r"^[^\s+]+$", max_length=255)
    visibility: Visibility = "hashes"
    contact: str = Field(default="", max_length=255)
    allow_unguarded_start: bool = False


class EnrolRequest(_Model):
    """A producer's name, its key, and its note over origin and name."""

    name: str = Field(min_length=1, max_length=255)
    vkey: str = Field(min_length=1, max_length=1024)
    note: str = Field(min_length=1, max_length=4096)


class Enrolled(_Model):
    """A producer's enrolment. `receipt_key` is a secret of the producer."""

    producer: HexHash
    index: int
    entry: str
    origin: str
    receipt_key: str
    max_merge_delay_s: int
    """Seconds in which the log integrates what it acknowledged."""
    token_expires: str | None = None
    """Until when the token of this request is good; null: it does not expire."""


class ChainHead(_Model):
    """The last entry of a producer's chain; before the first, its enrolment with `instance` and `seq` null.

    `leaf_hash` is the `prev` of the entry that may follow.
    """

    instance: str | None
    seq: int | None
    leaf_hash: HexHash
    index: int
    vkey: str
    """The producer's key in force."""


class LastEntry(_Model):
    """The newest entry of a producer; instance `none`, number 0 and the producer's id if it never wrote."""

    instance: str
    seq: int
    leaf_hash: HexHash


class ProducerInfo(_Model):
    """A producer as the log has it. `vkey` is the key in force."""

    producer: HexHash
    name: str
    vkey: str
    index: int
    """Index of its enrolment."""
    state: Literal["active", "retired", "lost"]
    last: LastEntry
    wrote: str
    """The time that `last` says, its enrolment's if it never wrote; RFC 3339, to the second."""
    rotations: int
    retirement: int | None
    """Index of its `retirement` entry."""
    losses: list[int]
    """Indices of the `declared_lost` notices about it."""


class ProducerList(_Model):
    """Producers in order of enrolment; `next` is the `after` of the following page, null at the end."""

    producers: list[ProducerInfo]
    next: int | None


class Retirement(_Model):
    """A producer has ended: `last` is its newest entry for ever."""

    producer: HexHash
    index: int
    """Index of the `retirement` entry."""
    last: LastEntry


class LostRequest(_Model):
    """Which life of the producer is lost; without `instance` the newest the log knows."""

    instance: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")


class LossDeclared(_Model):
    """What was declared in the notice at `notice`: numbers of `instance` above `after_seq`. All null: nothing
    was there to lose.
    """

    notice: int | None
    instance: str | None
    after_seq: int | None
    retirement: Retirement


class Accepted(_Model):
    """A batch is in the log, durably: entries `first_index` to `first_index + count - 1`."""

    first_index: int | None
    """Index of the first entry that was new; None if all had been there before."""
    count: int
    """How many entries were new."""
    skipped: int
    """How many were in the log before, from an earlier sending."""
    tree_size: int


class ProofHashes(_Model):
    """The hashes of an RFC 6962 proof, base64, in the order of RFC 9162. Check them against a checkpoint."""

    hashes: list[str]


class PromisePosted(_Model):
    """One promise, under the id of the decision it was given for."""

    id: str = Field(pattern=r"^[!-~]{1,200}$")
    promise: str = Field(min_length=1, max_length=4096)


class PromisesPosted(_Model):
    """Promises that a producer hands over for its callers."""

    promises: list[PromisePosted] = Field(min_length=1, max_length=256)


class PromisesKept(_Model):
    """How many of the promises in the request are kept now, those sent before included: all."""

    kept: int


class ProvenEntry(_Model):
    """An entry and its inclusion proof into the checkpoint of the answer, all base64."""

    index: int
    entry: str
    proof: list[str]


class PromiseLookUp(_Model):
    """What the log holds in the place of a promise. Every proof is into `checkpoint`, a signed note."""

    checkpoint: str
    producer: ProvenEntry
    rotations: list[ProvenEntry]
    """Every change of the producer's key, in order of the log."""
    entry: ProvenEntry | None
    """Whatever stands at the promised number; null if nothing does."""
    next: ProvenEntry | None
    """The entry with the next number, else the first of the producer's following life."""
    gaps: list[ProvenEntry]
    """`gap` entries that cover the number."""
    notices: list[ProvenEntry]
    """`declared_lost` notices that cover the number."""
    base: ProvenEntry | None = None
    """What `next` follows, where that is the start of another life."""
    life: ProvenEntry | None = None
    """The first entry of the promised life."""


class OutcomePosted(_Model):
    """What became of a decision, or of one item of it."""

    decision: str = Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
    item: str | None = Field(
        default=None,
        max_length=255,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}(/[A-Za-z0-9_]{1,64}){0,6}/(0|[1-9][0-9]{0,8})$",
    )
    facts: dict[FactName, JsonValue] = Field(min_length=1, max_length=256)


class OutcomeWritten(_Model):
    """An outcome is in the log, durably, at `index`."""

    index: int
    leaf_hash: HexHash
    decision_known: bool
    """Whether the log had its decision by then; if not, it is recorded all the same."""


class FoundDecision(_Model):
    """A decision that an outcome's fact leads to, and where that outcome is."""

    decision: str
    item: str | None
    index: int
    leaf_hash: HexHash


class FoundDecisions(_Model):
    """Decisions found by a fact, by their outcomes, oldest first."""

    decisions: list[FoundDecision]


class FinalizedBlock(_Model):
    """The newest final block of the chain that checkpoints are anchored on."""

    chain_id: int
    number: int
    hash: str = Field(pattern=r"^0x[0-9a-f]{64}$")


class NewToken(_Model):
    """A token to mint."""

    name: str = Field(pattern=r"^[!-~]{1,100}$")
    scopes: list[Scope] = Field(min_length=1)
    logs: list[LogName] | None = None
    expires: str | None = Field(default=None, max_length=64)
    """RFC 3339, or a span such as 30d; None: never."""
    producers: NamePattern | None = None
    """Names of the producers it may enrol and submit for; None: every name."""


class TokenInfo(_Model):
    """A token without its secret."""

    name: str
    scopes: list[str]
    logs: list[str] | None
    expires: str | None = None
    producers: str | None = None


class TokenMinted(TokenInfo):
    """A new token with its secret, shown this once."""

    token: str


class TokenList(_Model):
    """Every token, the configuration's first."""

    tokens: list[TokenInfo]


class Health(_Model):
    """The process answers."""

    status: Literal["ok"]


class Readiness(_Model):
    """Whether every log does its work; `logs` names those that do not, with a word: `halted`, ..."""

    ready: bool
    logs: dict[str, str]
    standing: dict[str, str] = Field(default_factory=dict)
    """Logs that are not open, and what they are: their operator's wish, no fault."""

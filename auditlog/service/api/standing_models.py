"""The strict base of every JSON body, and the bodies about a log's standing and its index.

Spec: auditlog/spec/api.md, "Standing".
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HexHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Model(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


StandingWord = Literal["open", "quiesced", "read-only", "retired"]


class SuccessorInfo(Model):
    """The log that goes on where one has ended, and the index of the entry that says so."""

    origin: str
    vkey: str
    index: int


class FinalTree(Model):
    """What pins a retired log, as an item of `retired` in trust files."""

    origin: str
    size: int
    root: HexHash


class StandingRequest(Model):
    """What a log is to be; `successor` is the key of the log that goes on after `retired`."""

    standing: StandingWord
    successor: str | None = Field(default=None, max_length=1024)


class LogStanding(Model):
    """Where a log stands after a change."""

    origin: str
    standing: StandingWord
    size: int
    published_size: int
    cosigned: int | None
    """Witnesses that cosigned the published checkpoint; None if nobody is asked."""
    quorum_reached: bool | None
    """Whether that is a quorum; None if none is asked for."""
    successor: SuccessorInfo | None
    retired: FinalTree | None
    """Only once the last checkpoint of a retired log is published."""


class RetentionInfo(Model):
    """What a log keeps; `GET .../retention` is the signed document that says so."""

    days: int | None
    entries: int | None
    minimum_index: int
    """Entries below it may be pruned."""


class PruneRequest(Model):
    """`yes`: do it, else only say what would go. At most `bundles` of 256 entries go at once."""

    yes: bool = False
    bundles: int = Field(default=512, ge=1, le=4096)


class PruneAnswer(Model):
    """Indices; `bounds` is how far each reason lets the log go, `deleted` counts objects."""

    origin: str
    minimum_index: int
    target: int
    bounds: dict[str, int]
    deleted: int
    done: bool


class IndexState(Model):
    """How far the index follows the tree, in entries."""

    index_size: int
    size: int

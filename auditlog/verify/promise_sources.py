"""What a log shows about one promise: what it answers, and the leaf hashes it serves.

Spec: auditlog/spec/promise.md, "Asking the log"; auditlog/spec/api.md, "Promises". Everything read here is
attacker-controlled, and nothing here is a verdict: a `View` holds entries with proofs that
`auditlog.verify.promise_proofs` has yet to check. Fails with `SourceError`, or with an `EvidenceError` where
the log serves what it has not signed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from auditlog.core.members import Members
from auditlog.core.receipt import Related
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import EvidenceError, MalformedError, SourceError
from auditlog.verify.tlogclient import VerifiedTree

Progress = Callable[[int, int], None]
"""Called with (entries done, entries in all)."""

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_MAX_LISTED = 64


@dataclass(frozen=True, slots=True)
class Restart:
    """A life of a producer that goes on from before the promised number."""

    start: Related
    base: Related
    life: Related | None


@dataclass(slots=True)
class View:
    """What a log shows about a promise, all of it into one checkpoint. Not believed."""

    checkpoint: str
    producer: Related | None = None
    rotations: tuple[Related, ...] = ()
    entry: Related | None = None
    """What stands at the promised number."""
    next: Related | None = None
    """The entry of the next number, or else the start of the producer's following life."""
    base: Related | None = None
    """The entry that start follows."""
    life: Related | None = None
    """The first entry of the promised life."""
    gaps: tuple[Related, ...] = ()
    notices: tuple[Related, ...] = ()
    restart: Restart | None = None
    """A later life that leaves the promised number out, whatever `next` is: of a reading, of no answer."""


class Lookup(Protocol):
    """A log that can be asked about a promise."""

    def look_up(self, note: str) -> View:
        """What the log shows to the holder of this promise.

        Raises:
            SourceError: refused, missing or unreachable.
            MalformedError: an answer of another form.
        """


class HttpLookup:
    """`POST {log}/promises/lookup` of the service (spec/api.md, "Promises")."""

    def __init__(self, url: str, *, timeout_s: float = 30.0) -> None:
        """`url` is the log's prefix, as for `HttpSource`."""
        self._url = f"{url.rstrip('/')}/promises/lookup"
        self._timeout_s = timeout_s

    def look_up(self, note: str) -> View:
        """Ask; raises `SourceError` or `MalformedError`."""
        import httpx

        try:
            with (
                httpx.Client(timeout=self._timeout_s) as client,
                client.stream("POST", self._url, content=note.encode("utf-8"), headers=_TEXT) as response,
            ):
                _check_status(response.status_code)
                return parse_lookup(_bounded(response.iter_bytes()))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise SourceError(
                f"expected an answer about the promise, found: {type(error).__name__}", reason="unreachable"
            ) from None


_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


def _check_status(status: int) -> None:
    if status == 200:
        return
    reason: Any = "unreachable"
    if status in (401, 403):
        reason = "refused"
    elif status in (202, 404, 405, 410, 422):  # nothing published yet, no such route, or nobody it knows
        reason = "missing"
    raise SourceError(f"expected an answer about the promise, found status {status}", reason=reason)


def _bounded(chunks: Any) -> bytes:
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise SourceError("expected a shorter answer about the promise", reason="unreachable")
    return bytes(content)


def parse_lookup(data: bytes) -> View:
    """Read the answer of a look-up: attacker-controlled. Members it does not know are passed over.

    Raises:
        MalformedError: another form.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedError("look-up: expected JSON, found something else") from None
    if type(value) is not dict or type(value.get("checkpoint")) is not str:
        raise MalformedError("look-up: expected an object with a checkpoint, found something else")
    return View(
        checkpoint=value["checkpoint"],
        producer=_related(value.get("producer")),
        rotations=_listed(value, "rotations"),
        entry=_related(value.get("entry")),
        next=_related(value.get("next")),
        base=_related(value.get("base")),
        life=_related(value.get("life")),
        gaps=_listed(value, "gaps"),
        notices=_listed(value, "notices"),
    )


def _listed(value: dict[str, Any], name: str) -> tuple[Related, ...]:
    items = value.get(name, [])
    if type(items) is not list or len(items) > _MAX_LISTED:
        raise MalformedError(f"look-up {name}: expected an array of at most {_MAX_LISTED}, found another")
    return tuple(found for item in items if (found := _related(item)) is not None)


def _related(value: Any) -> Related | None:
    if value is None:
        return None
    members = Members(value, "look-up", required=("index", "entry", "proof"))
    return Related(members.data("entry"), members.natural("index"), members.hashes("proof", most=126))


def find_leaves(tree: VerifiedTree, wanted: Sequence[bytes], progress: Progress) -> dict[bytes, int]:
    """Where leaf hashes are in a tree, by reading all of its level-0 tiles; the first index of each."""
    left, found = set(wanted), {}
    size = tree.checkpoint.tree_size
    for number in range(-(-size // TILE_WIDTH)):
        hashes = tree.tile(0, number)
        for leaf_hash in left.intersection(hashes):
            found[leaf_hash] = number * TILE_WIDTH + hashes.index(leaf_hash)
            left.discard(leaf_hash)
        progress(min(size, (number + 1) * TILE_WIDTH), size)
        if not left:
            break
    return found


def first_leaves(tree: VerifiedTree, count: int, progress: Progress) -> tuple[bytes, ...]:
    """The first leaf hashes of a tree, checked."""
    leaves: list[bytes] = []
    for number in range(-(-count // TILE_WIDTH)):
        leaves += tree.tile(0, number)
        progress(min(len(leaves), count), count)
    return tuple(leaves[:count])


def prove(tree: VerifiedTree, index: int | None) -> Related | None:
    """An entry of a tree with its proof; None for no index."""
    if index is None:
        return None
    return Related(tree.entry(index), index, tuple(tree.inclusion(index)))


def why_unread(error: SourceError | EvidenceError) -> str:
    """How a log that did not show something did not show it."""
    if isinstance(error, SourceError):
        return {"refused": "refused", "missing": "not served"}.get(error.reason, "no answer")
    return "not what the log has signed"

"""Which model a decision names: what was registered in this process, what is still expected, what was asked
for.

Spec: entry.md, "Decision body". Promises: a decision names a model entry of its own chain, or says `pending`
or `unregistered`; a name nobody registered never counts as one that was. Used by the writer's thread alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from auditlog.capture.books import DRAFT_MODEL
from auditlog.capture.observation import Observation
from auditlog.capture.request_fields import RequestFields

PENDING: Literal["pending"] = "pending"
UNREGISTERED: Literal["unregistered"] = "unregistered"


class ModelNames:
    """The models of one process life, by name; references are leaf hashes in hex, or drafts."""

    def __init__(self, *, is_expected: bool) -> None:
        self._references: dict[str, str] = {}
        self._adapters: frozenset[str] = frozenset()
        self._default: str | None = None
        self._odd_adapters: dict[str, Literal["pending", "unregistered"]] = {}
        self.is_expected = is_expected
        """Whether a model is being fingerprinted: until it is known, decisions say so."""
        self.is_awaited = False
        """Whether decisions said `pending`, and no entry has answered for them yet."""

    def expect(self, *, is_expected: bool, is_changed: bool = False, adapter: str | None = None) -> None:
        """Whether a fingerprint is on its way: of the model, or of one adapter.

        `is_changed`: other weights serve now, so nothing that was known before may be named any more.
        """
        if adapter is not None:
            self._odd_adapters[adapter] = PENDING if is_expected else UNREGISTERED
            return
        self.is_expected = is_expected
        if not is_expected:
            self._odd_adapters = dict.fromkeys(self._odd_adapters, UNREGISTERED)
        if is_changed:
            self._references, self._default, self._adapters = {}, None, frozenset()

    def learn(self, body: dict[str, Any], reference: str) -> None:
        """A `model` entry with this body is durable: it is the default from now on."""
        self._references[str(body["name"])] = self._default = reference
        self._adapters = frozenset(str(one["name"]) for one in body.get("adapters", ()))
        for name in self._adapters:
            self._odd_adapters.pop(name, None)

    def seal(self, leaf_hashes: dict[int, str]) -> None:
        """The drafts were sealed: every reference to a draft becomes the leaf hash of its entry."""
        self._references = {name: _sealed(one, leaf_hashes) for name, one in self._references.items()}
        if self._default is not None:
            self._default = _sealed(self._default, leaf_hashes)

    @property
    def default(self) -> str:
        """What a decision that names no model says: a reference, or one of the two words."""
        return self._default or (PENDING if self.is_expected else UNREGISTERED)

    def reference(self, seen: Observation) -> str:
        """What the decision says of its model."""
        found: str | None = seen.model_override
        if found is None:
            # A name nobody registered is not the default model: saying so would be a false claim.
            found = self._default if seen.model is None else self._references.get(seen.model)
            found = found or (PENDING if self.is_expected else UNREGISTERED)
        self.is_awaited = self.is_awaited or found == PENDING
        return found

    def without_request(self, seen: Observation) -> Observation:
        """`seen`, whose request can no longer be read: where it might have named a model or adapter other
        than the default, saying the default would be a guess.
        """
        is_certain = seen.read_request is None or (
            len(self._references) < 2 and not self._adapters and not self._odd_adapters
        )
        if is_certain or seen.model is not None or seen.model_override is not None:
            return seen
        return replace(seen, model_override="unregistered")

    def asked_for(self, seen: Observation, fields: RequestFields) -> Observation:
        """`seen` with model, adapter and sampling as the request names them.

        The name in a request is the caller's: only one that was registered counts, any other leaves the
        default. What the hook said itself wins.
        """
        if fields.model in self._odd_adapters and not seen.adapters and seen.model_override is None:
            # An adapter that serves but has no fingerprint (yet): the model alone would be a false claim.
            word = self._odd_adapters[str(fields.model)]
            seen = replace(seen, model_override=word, adapters=(str(fields.model),))
        is_adapter = not seen.adapters and fields.model in self._adapters
        model = seen.model or (fields.model if fields.model in self._references else None)
        if model is None and not is_adapter and not fields.sampling:
            return seen
        adapters = (str(fields.model),) if is_adapter else seen.adapters
        # In place: whoever handed it over has given it up, and a copy costs as much as all of this.
        seen.model, seen.adapters, seen.sampling = model, adapters, seen.sampling or fields.sampling
        return seen


def _sealed(reference: str, leaf_hashes: dict[int, str]) -> str:
    if not reference.startswith(DRAFT_MODEL):
        return reference
    return leaf_hashes.get(int(reference.removeprefix(DRAFT_MODEL)), UNREGISTERED)

"""What an application said of its models, kept for a slot that is opened later. Thread-safe by its caller."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from auditlog.capture.messages import ModelExpected, ModelKnown
from auditlog.capture.safety import Guard


class KnownModels:
    """The models registered so far, by name, the newest last."""

    def __init__(self) -> None:
        self._bodies: dict[str, dict[str, Any]] = {}
        self._is_expected: bool | None = None
        self._odd_adapters: dict[str, ModelExpected] = {}

    def remember(self, message: ModelKnown | ModelExpected) -> None:
        """Keep what was said."""
        if isinstance(message, ModelExpected):
            if message.adapter is not None:
                self._odd_adapters[message.adapter] = message
                return
            self._is_expected = message.is_expected
            if not message.is_expected:
                self._odd_adapters = {name: ModelExpected(False, adapter=name) for name in self._odd_adapters}
            if message.is_changed:
                self._bodies.clear()
            return
        if not message.serves:
            return
        for adapter in message.body.get("adapters", ()):
            self._odd_adapters.pop(adapter["name"], None)
        name = message.body["name"]
        self._bodies.pop(name, None)
        self._bodies[name] = message.body

    def messages(self) -> list[ModelKnown | ModelExpected]:
        """All of it again, for a new life."""
        expected = [] if self._is_expected is None else [ModelExpected(self._is_expected)]
        known = (ModelKnown(body, Future()) for body in self._bodies.values())
        return [*expected, *known, *self._odd_adapters.values()]


def model_body(
    *,
    name: str,
    root: bytes,
    files: int,
    method: str,
    adapters: tuple[tuple[str, bytes, int], ...],
    source: str | None,
) -> dict[str, Any]:
    """The body of a `model` entry (entry.md): a 32-byte manifest root over so many files; an adapter is
    (name, root, files).
    """
    body: dict[str, Any] = {"name": name, "fingerprint": _fingerprint(method, root, files)}
    if adapters:
        body["adapters"] = [
            {"name": one, "fingerprint": _fingerprint(method, its_root, count)}
            for one, its_root, count in adapters
        ]
    if source is not None:
        body["source"] = source
    return body


def _fingerprint(method: str, root: bytes, files: int) -> dict[str, Any]:
    return {"method": method, "root": root.hex(), "files": files}


class Modelling:
    """Base of `Recorder`: what hooks say of the model that serves; any thread may call it."""

    guard: Guard

    def register_model(
        self,
        *,
        name: str,
        root: bytes,
        files: int,
        method: str = "files-sha256@v1",
        adapters: tuple[tuple[str, bytes, int], ...] = (),
        source: str | None = None,
        serves: bool = True,
    ) -> Future[str]:
        """Write a `model` entry; decisions recorded after it name it.

        `root` is the manifest's 32-byte root, `files` how many files it sums; an adapter is (name, root,
        files). The future resolves once the entry is durable: to its leaf hash in hex, or to
        `draft:<number>` while the producer is not enrolled. Until the first model, decisions say "pending"
        if one is expected, else "unregistered". One that `serves` no more is only written, for those.
        """
        body = model_body(name=name, root=root, files=files, method=method, adapters=adapters, source=source)
        reference: Future[str] = Future()
        if not self.guard.call("register_model", False, self._push, ModelKnown(body, reference, serves)):
            reference.cancel()
        return reference

    def expect_model(self) -> None:
        """Say that a model is being fingerprinted: decisions until then read `model: pending`.

        AUDITLOG_MODEL says so from the start.
        """
        self.guard.call("expect_model", False, self._push, ModelExpected(True))

    def change_model(self, *, is_expected: bool, adapter: str | None = None) -> None:
        """Say that other weights serve from now on: decisions read `pending` if their fingerprint is on its
        way, else `unregistered`, until the next model is registered. With `adapter` only those that name it.
        """
        message = ModelExpected(is_expected, is_changed=adapter is None, adapter=adapter)
        self.guard.call("change_model", False, self._push, message)

    def give_up_model(self) -> None:
        """Say that no model is coming (its files could not be read): decisions read `unregistered` again."""
        self.guard.call("give_up_model", False, self._push, ModelExpected(False))

    def _push(self, message: ModelKnown | ModelExpected) -> bool:
        """Hand over what is known of the model."""
        raise NotImplementedError

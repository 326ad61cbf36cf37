"""Admin routes: a request that changes what is loaded leaves a `model` entry, never a decision.

    load an adapter from files     requests naming it: pending, then a `model` entry with it
    remove an adapter              a `model` entry without it
    weights from files             all decisions: pending, then a `model` entry of those files
    weights as tensors, by RPC     all decisions: unregistered, until weights come from files again
    sleep, wake up                 a `model` entry of what serves again; unregistered if the weights were let
                                   go

Spec: entry.md, "model". A change is believed only after the application answered that it was done (200-299).
Files are measured by a thread of this module; until then decisions say so. Of two changes the later one
counts, however long the measuring of the earlier takes; the earlier one's entry is written all the same. A
decision that is `pending` is about the next `model` entry: where measuring fails, or something else is loaded
meanwhile, the writer first says in a `coverage` entry that nothing answers for it any more, and decisions
after a second change say `unregistered` until it is measured. A decision that ended between the change
inside the engine and the answer of the admin route still names the model before; so do the decisions of
other processes of the same server, which the admin request did not reach.

Promises: `observed` never raises, and never waits for disk or network. Request bodies are attacker-controlled
up to that answer. Must never: name a fingerprint for weights that no file here holds.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from auditlog.capture.known_routes import AdminEffect
from auditlog.capture.route_names import MAX_ROUTE_CHARS
from auditlog.errors import AuditLogError
from auditlog.fingerprint import Manifest, fingerprint_path, hub_source

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder
    from auditlog.capture.routes import RoutePolicy

FINGERPRINTS = "fingerprints"
"""The folder below AUDITLOG_STATE with manifests and the digest cache, shared by the processes of a host."""
MAX_BODY_BYTES = 64 * 1024
"""Admin requests are small; a larger one carries tensors, and no name or path is read from it."""

_NAMED = re.compile(r"/models/([^/]{1,255})/(?:load|unload)")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What serves: the files of the model (None: weights that no file here holds), and of each adapter."""

    name: str
    path: Path | None
    adapters: Mapping[str, Path] = field(default_factory=dict)
    home: Path | None = None
    """The files of the model it was started with."""


@dataclass(frozen=True, slots=True)
class AdminCall:
    """An admin request that the application answered with success."""

    effect: AdminEffect
    path: str
    members: Mapping[str, Any]
    query: str = ""
    is_explicit: bool = False


def observed(
    recorder: Recorder,
    policy: RoutePolicy,
    path: str,
    request_body: bytes | None,
    status: int | None,
    *,
    query: bytes = b"",
) -> None:
    """Note an admin request that was answered with `status`. Never raises, never waits."""
    if policy.admin is None or status is None or not 200 <= status < 300:
        return
    query_text = query[:MAX_ROUTE_CHARS].decode("latin-1")
    call = AdminCall(policy.admin, path, _members(request_body), query_text, policy.is_explicit)
    recorder.guard.call("admin_route", None, lambda: changes_of(recorder).take(call))


def changes_of(recorder: Recorder) -> ModelChanges:
    """The model changes of a recorder in this process, made at the first need."""
    changes = recorder.model_changes
    if changes is None or changes.pid != os.getpid():
        changes = recorder.model_changes = ModelChanges(recorder)
    return changes


class ModelChanges:
    """Follows what a recorder's application has loaded, and measures it. Any thread may call `take`."""

    def __init__(self, recorder: Recorder, loaded: Loaded | None = None) -> None:
        """Begin with what the settings say is served."""
        self.pid = os.getpid()
        self.loaded = loaded or _from_settings(recorder)
        self._recorder = recorder
        self._lock = threading.Lock()
        self._generation = 0
        self._is_measuring = False
        self._is_deep_asleep = False

    @property
    def has_changed(self) -> bool:
        """Whether something else serves than at the start."""
        return self._generation > 0

    def take(self, call: AdminCall) -> None:
        """Follow one change; returns at once."""
        with self._lock:
            self._effects()[call.effect](call)

    def _effects(self) -> dict[AdminEffect, Callable[[AdminCall], None]]:
        return {
            AdminEffect.ADAPTER_LOADED: self._load_adapter,
            AdminEffect.ADAPTER_REMOVED: self._remove_adapter,
            AdminEffect.ADAPTER_UNKNOWN: self._adopt_adapter,
            AdminEffect.WEIGHTS_FROM_FILES: self._load_weights,
            AdminEffect.WEIGHTS_UNKNOWN: self._lose_weights,
            AdminEffect.MODEL_LOADED: self._load_model,
            AdminEffect.MODEL_REMOVED: self._remove_model,
            AdminEffect.FILES_CHANGED: self._files_changed,
            AdminEffect.ASLEEP: self._sleep,
            AdminEffect.AWAKE: self._wake,
        }

    def _load_adapter(self, call: AdminCall) -> None:
        name, path = _text(call, "lora_name"), _text(call, "lora_path")
        if name is None:
            self._forget()  # Some adapter serves, nobody here knows which.
            return
        place = None if path is None else find_files(path)
        if place is None or self.loaded.path is None:
            self._without_adapter(name)
            self._recorder.change_model(is_expected=False, adapter=name)
            return
        self.loaded = replace(self.loaded, adapters={**self.loaded.adapters, name: place})
        self._expect(name)
        self._measure()

    def _adopt_adapter(self, call: AdminCall) -> None:
        name = _text(call, "lora_name")
        if name is None:
            self._forget()
            return
        self._without_adapter(name)
        self._recorder.change_model(is_expected=False, adapter=name)

    def _remove_adapter(self, call: AdminCall) -> None:
        name = _text(call, "lora_name")
        if name is not None and name in self.loaded.adapters:
            self._without_adapter(name)
            self._measure()

    def _load_weights(self, call: AdminCall) -> None:
        text = _text(call, "model_path")
        place = None if text is None else find_files(text)
        if place is None:
            self._forget()
            return
        self.loaded = replace(self.loaded, path=place)
        self._measure_anew()

    def _lose_weights(self, call: AdminCall) -> None:
        members = call.members
        is_reload = call.path.endswith("/collective_rpc") and members.get("method") == "reload_weights"
        if is_reload and not members.get("args") and not members.get("kwargs"):
            self._return_home()
        else:
            self._forget()

    def _load_model(self, call: AdminCall) -> None:
        if _model_name(call) in (None, self.loaded.name):
            self._return_home()
        else:
            self._forget()  # From now on another model may answer: which one, a decision cannot tell.

    def _remove_model(self, call: AdminCall) -> None:
        if _model_name(call) in (None, self.loaded.name):
            self._forget()

    def _files_changed(self, call: AdminCall) -> None:
        if call.is_explicit or _model_name(call) in (None, self.loaded.name):
            self._return_home()

    def _sleep(self, call: AdminCall) -> None:
        """Level 1 keeps the weights aside; what level 2, or a release of memory, leaves is not known."""
        if call.path.endswith("/sleep"):
            self._is_deep_asleep = parse_qs(call.query).get("level", ["1"])[-1] not in ("0", "1")
        else:
            tags = call.members.get("tags")
            self._is_deep_asleep = not isinstance(tags, list) or not tags or "weights" in tags

    def _wake(self, _call: AdminCall) -> None:
        was_deep, self._is_deep_asleep = self._is_deep_asleep, False
        if was_deep:
            self._forget()
        elif self.loaded.path is not None:
            self._measure()

    def _without_adapter(self, name: str) -> None:
        left = {key: path for key, path in self.loaded.adapters.items() if key != name}
        self.loaded = replace(self.loaded, adapters=left)
        self._generation += 1

    def _forget(self) -> None:
        self.loaded = replace(self.loaded, path=None)
        self._generation += 1
        self._recorder.change_model(is_expected=False)

    def _return_home(self) -> None:
        self.loaded = replace(self.loaded, path=self.loaded.home)
        if self.loaded.path is None:
            self._forget()
        else:
            self._measure_anew()

    def _measure_anew(self) -> None:
        self._expect()
        self._measure()

    def _expect(self, adapter: str | None = None) -> None:
        """Decisions wait for the next `model` entry; but where another one is still to come before it, they
        would wait for the wrong one, and say `unregistered` instead.
        """
        first = self._recorder.first_measurement
        is_next = not self._is_measuring and (first is None or not first.is_running)
        self._recorder.change_model(is_expected=is_next, adapter=adapter)

    def _measure(self) -> None:
        """Have what is loaded now measured; a measuring that is under way finds that it is out of date."""
        self._generation += 1
        if not self._is_measuring:
            self._is_measuring = True
            threading.Thread(target=self._run, name="auditlog-model-change", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                generation, loaded = self._generation, self.loaded
            measured = None
            with self._recorder.guard.protect("admin_route"):
                measured = self._measured(loaded)
            with self._lock:
                serves = generation == self._generation
                self._settle(loaded, measured, serves=serves)
                if serves or self.loaded.path is None:
                    self._is_measuring = False
                    return

    def _measured(self, loaded: Loaded) -> tuple[Manifest, dict[str, Manifest]] | None:
        if loaded.path is None:
            return None
        cache = self._recorder.settings.state_dir / FINGERPRINTS
        adapters = {}
        for name, path in sorted(loaded.adapters.items()):
            try:
                adapters[name] = fingerprint_path(path, cache)
            except AuditLogError as failure:
                self._recorder.guard.failed("admin_route", failure)
        try:
            return fingerprint_path(loaded.path, cache), adapters
        except AuditLogError as failure:
            self._recorder.guard.failed("admin_route", failure)
            return None

    def _settle(
        self, loaded: Loaded, measured: tuple[Manifest, dict[str, Manifest]] | None, *, serves: bool
    ) -> None:
        """Write what was measured: as what serves, or only for the decisions that were waiting for it."""
        recorder = self._recorder
        if measured is None or loaded.path is None:
            if serves:
                self.loaded = replace(self.loaded, path=None)
                recorder.change_model(is_expected=False)
            return
        manifest, adapters = measured
        for name in loaded.adapters.keys() - adapters.keys() if serves else ():
            recorder.change_model(is_expected=False, adapter=name)
        recorder.register_model(
            name=loaded.name,
            root=manifest.root,
            files=len(manifest.files),
            method=manifest.method,
            adapters=tuple((name, found.root, len(found.files)) for name, found in adapters.items()),
            source=hub_source(loaded.path),
            serves=serves,
        )


def find_files(text: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """The folder or file a server was told to load: a path, or a name in the hub cache of this host."""
    path = Path(text)
    if path.exists():
        return path
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        return None
    env = os.environ if environ is None else environ
    home = Path(env.get("HF_HOME") or Path(env.get("HOME") or "/") / ".cache/huggingface")
    folder = Path(env.get("HF_HUB_CACHE") or home / "hub") / f"models--{text.replace('/', '--')}"
    try:
        commit = (folder / "refs/main").read_text().strip()
    except (OSError, ValueError):
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if re.fullmatch(r"[0-9a-f]{40,64}", commit) and snapshot.is_dir() else None


def _from_settings(recorder: Recorder) -> Loaded:
    settings = recorder.settings
    path = settings.model_path
    name = settings.model_name or (path.resolve().name if path is not None else "model")
    return Loaded(name, path, dict(recorder.adapter_paths), home=path)


def _members(body: bytes | None) -> Mapping[str, Any]:
    """The members of an admin request; empty if it is large, or no JSON object. Attacker-controlled."""
    if body is None or not 0 < len(body) <= MAX_BODY_BYTES:
        return {}
    try:
        members = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return {}
    return members if type(members) is dict else {}


def _text(call: AdminCall, name: str) -> str | None:
    value = call.members.get(name)
    return value if type(value) is str and 0 < len(value) <= 4096 and "\0" not in value else None


def _model_name(call: AdminCall) -> str | None:
    """The model that a call names, in its path or its body; None if it names none."""
    found = _NAMED.search(call.path)
    return found.group(1) if found is not None else _text(call, "model") or _text(call, "name")

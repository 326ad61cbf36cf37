"""Admin routes: what they change is followed by `model` entries, never recorded as a decision."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from auditlog.capture import Recorder, admin_routes
from auditlog.capture.admin_routes import changes_of, find_files, observed
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.known_routes import AdminEffect
from auditlog.capture.process import measure_model
from auditlog.capture.routes import RoutePolicy, RouteTable
from auditlog.errors import MalformedError
from auditlog.fingerprint import fingerprint_path
from tests.support.drafts import sealed, unsent_recorder
from tests.support.observing import ObservingRecorder, answering, body, drive, http_scope

WAIT_S = 20.0
OK = {"type": "http.response.start", "status": 200, "headers": []}


def files(folder: Path, content: str) -> Path:
    """A folder with one file, as a model or an adapter lies on a disk."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.safetensors").write_text(content)
    return folder


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    """A recorder that serves a model with its files measured already."""
    model = files(tmp_path / "base", "base")
    made = unsent_recorder(tmp_path / "state", model_path=model, model_name="base")
    manifest = fingerprint_path(model, tmp_path / "state/fingerprints")
    made.register_model(name="base", root=manifest.root, files=1).result(WAIT_S)
    return made


def post(recorder: Any, path: str, members: Any = None, *, status: int = 200, query: bytes = b"") -> None:
    """One request through the middleware, answered with `status`."""
    data = b"" if members is None else json.dumps(members).encode()
    app = answering({**OK, "status": status}, body(b"{}"))
    app.__module__ = "vllm.entrypoints"
    app.routes = [SimpleNamespace(path=path, endpoint=app, methods={"POST"})]
    asyncio.run(drive(AuditMiddleware(app, recorder), http_scope(path, query_string=query), [data]))


def chat(recorder: Recorder, model: str = "base") -> None:
    """A decision that names a model."""
    post(recorder, "/v1/chat/completions", {"model": model, "messages": []})


def settle(recorder: Recorder) -> None:
    """Wait until nothing is being measured any more."""
    for thread in threading.enumerate():
        if thread.name == "auditlog-model-change":
            thread.join(WAIT_S)
    assert not changes_of(recorder)._is_measuring


def root_of(path: Path, tmp_path: Path) -> str:
    """The manifest root of a folder."""
    return fingerprint_path(path, tmp_path / "other-cache").root.hex()


def entries(recorder: Recorder) -> tuple[list[dict[str, Any]], list[str]]:
    """The `model` entries, and what the decisions say of their models, drafts by place (`draft:1` ...)."""
    found = sealed(recorder, "model", "decision")
    return [one for one in found if "fingerprint" in one], [one["model"] for one in found if "id" in one]


def test_an_adapter_that_is_loaded_is_measured(recorder: Recorder, tmp_path: Path) -> None:
    """Its `model` entry has model and adapter; requests that name it name both."""
    adapter = files(tmp_path / "adapter", "lora")
    post(recorder, "/v1/load_lora_adapter", {"lora_name": "credit", "lora_path": str(adapter)})
    settle(recorder)
    chat(recorder, "credit")
    found = sealed(recorder, "model", "decision")
    assert [one["name"] for one in found[:2]] == ["base", "base"]
    [loaded] = found[1]["adapters"]
    assert (loaded["name"], loaded["fingerprint"]["root"]) == ("credit", root_of(adapter, tmp_path))
    assert found[2]["adapters"] == ["credit"]
    assert found[2]["model"].startswith("draft:")
    assert len(found) == 3


def test_until_it_is_measured_requests_naming_it_are_pending(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others keep the model they had."""
    may_go = threading.Event()
    measure = fingerprint_path

    def slowly(*args: Any) -> Any:
        may_go.wait(WAIT_S)
        return measure(*args)

    monkeypatch.setattr(admin_routes, "fingerprint_path", slowly)
    adapter = files(tmp_path / "adapter", "lora")
    post(recorder, "/load_lora_adapter", {"lora_name": "credit", "lora_path": str(adapter)})
    chat(recorder, "credit")
    chat(recorder, "base")
    may_go.set()
    settle(recorder)
    models, decided = entries(recorder)
    assert decided[0] == "pending"
    assert decided[1].startswith("draft:")
    assert len(models) == 2


def test_an_adapter_that_no_file_holds_is_unregistered(recorder: Recorder, tmp_path: Path) -> None:
    """Given as tensors, or from a path that is not there: no claim is made about requests that name it."""
    post(recorder, "/load_lora_adapter_from_tensors", {"lora_name": "a", "serialized_tensors": "x"})
    post(recorder, "/load_lora_adapter", {"lora_name": "b", "lora_path": str(tmp_path / "nowhere")})
    for name in ("a", "b"):
        chat(recorder, name)
    chat(recorder, "base")
    _, decided = entries(recorder)
    assert decided[:2] == ["unregistered", "unregistered"]
    assert decided[2].startswith("draft:")


def test_an_adapter_that_is_removed_leaves_the_entry(recorder: Recorder, tmp_path: Path) -> None:
    """The newest `model` entry says what serves now."""
    adapter = files(tmp_path / "adapter", "lora")
    post(recorder, "/load_lora_adapter", {"lora_name": "credit", "lora_path": str(adapter)})
    settle(recorder)
    post(recorder, "/unload_lora_adapter", {"lora_name": "credit"})
    settle(recorder)
    models, _ = entries(recorder)
    assert ["adapters" in one for one in models] == [False, True, False]


def test_weights_from_files_are_a_new_model(recorder: Recorder, tmp_path: Path) -> None:
    """Its fingerprint is that of the new files; decisions after it name it."""
    newer = files(tmp_path / "newer", "step 2")
    post(recorder, "/update_weights_from_disk", {"model_path": str(newer)})
    settle(recorder)
    chat(recorder)
    models, [decided] = entries(recorder)
    assert models[-1]["fingerprint"]["root"] == root_of(newer, tmp_path)
    assert decided.startswith("draft:")


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/update_weights", {"update_info": {}}),
        ("/update_weights_from_tensor", None),
        ("/update_weights_from_distributed", {"names": ["w"]}),
        ("/collective_rpc", {"method": "load_other"}),
        ("/update_weights_from_disk", {"model_path": "/no/such/files"}),
        ("/update_weights_from_disk", {}),
        ("/load_lora_adapter", [1]),
        ("/v2/repository/models/other/load", None),
        ("/v1/models/base/unload", None),
    ],
)
def test_weights_that_no_file_here_holds_are_unregistered(
    recorder: Recorder, path: str, members: Any
) -> None:
    """From then on no decision names a fingerprint, until weights come from files again."""
    post(recorder, path, members)
    settle(recorder)
    chat(recorder)
    models, decided = entries(recorder)
    assert decided == ["unregistered"]
    assert len(models) == 1


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("/collective_rpc", {"method": "reload_weights"}),
        ("/v2/repository/models/base/load", None),
        ("/models/load", {"model": "base"}),
        ("/api/pull", {"model": "base"}),
    ],
)
def test_a_reload_measures_the_files_again(
    recorder: Recorder, path: str, members: Any, tmp_path: Path
) -> None:
    """Weights that were lost are found again where the server was told to look at its start."""
    post(recorder, "/update_weights", {})
    files(tmp_path / "base", "changed meanwhile")
    post(recorder, path, members)
    settle(recorder)
    chat(recorder)
    models, [decided] = entries(recorder)
    assert models[-1]["fingerprint"]["root"] == root_of(tmp_path / "base", tmp_path)
    assert decided.startswith("draft:")


@pytest.mark.parametrize(
    ("sleep", "query", "members", "known"),
    [
        ("/sleep", b"", None, True),
        ("/sleep", b"level=1", None, True),
        ("/sleep", b"level=2", None, False),
        ("/release_memory_occupation", b"", None, False),
        ("/release_memory_occupation", b"", {"tags": ["kv_cache"]}, True),
        ("/release_memory_occupation", b"", {"tags": ["weights"]}, False),
    ],
)
def test_after_a_sleep_the_entry_says_what_serves(
    recorder: Recorder, sleep: str, query: bytes, members: Any, known: bool
) -> None:
    """Weights that were only put aside are the same model; those that were let go are unknown."""
    post(recorder, sleep, members, query=query)
    post(recorder, "/wake_up")
    settle(recorder)
    chat(recorder)
    models, [decided] = entries(recorder)
    assert (len(models) == 2) is known
    assert (decided == "unregistered") is not known


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_a_request_that_was_refused_changes_nothing(recorder: Recorder, status: int) -> None:
    """A stranger cannot unregister a model; and it is no decision either."""
    post(recorder, "/update_weights", {}, status=status)
    chat(recorder)
    models, [decided] = entries(recorder)
    assert decided.startswith("draft:")
    assert len(models) == 1


def test_the_later_of_two_changes_counts(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the earlier one is measured, it is named only by the decisions that waited for it."""
    may_go, has_begun = threading.Event(), threading.Event()
    measure = fingerprint_path

    def slowly(path: Path, cache: Path) -> Any:
        if path.name == "first":
            has_begun.set()
            may_go.wait(WAIT_S)
        return measure(path, cache)

    monkeypatch.setattr(admin_routes, "fingerprint_path", slowly)
    post(recorder, "/update_weights_from_disk", {"model_path": str(files(tmp_path / "first", "1"))})
    chat(recorder)
    assert has_begun.wait(WAIT_S)  # One that has not begun is never measured once a later one came.
    post(recorder, "/update_weights_from_disk", {"model_path": str(files(tmp_path / "second", "2"))})
    chat(recorder)
    may_go.set()
    settle(recorder)
    chat(recorder)
    models, decided = entries(recorder)
    roots = [root_of(tmp_path / name, tmp_path) for name in ("first", "second")]
    assert [one["fingerprint"]["root"] for one in models[1:]] == roots
    assert decided[:2] == ["pending", "unregistered"]
    assert decided[2].startswith("draft:")


def told(recorder: Recorder) -> list[str]:
    """What was sealed, in order: models, what decisions say of theirs, and coverage that names none. The
    pulse writes coverage of its own: what says the same again, or names a model, is left out.
    """
    said: list[str] = []
    for one in sealed(recorder, "model", "decision", "coverage"):
        kind = "decision" if "id" in one else "model" if "fingerprint" in one else "coverage"
        text = kind if kind == "model" else f"{kind} {str(one['model']).partition(':')[0]}"
        if kind != "coverage" or (text == "coverage unregistered" and said[-1:] != [text]):
            said.append(text)
    return said


def test_a_measurement_that_fails_ends_the_wait(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decisions that said `pending` are followed by a coverage entry without a model, before any other model:
    the next one must not be taken for theirs.
    """
    recorder.guard._strict = False
    may_go = threading.Event()

    def fails(*_: Any) -> Any:
        may_go.wait(WAIT_S)
        raise MalformedError("no model")

    with monkeypatch.context() as patch:
        patch.setattr(admin_routes, "fingerprint_path", fails)
        post(recorder, "/update_weights_from_disk", {"model_path": str(files(tmp_path / "bad", "1"))})
        chat(recorder)
        may_go.set()
        settle(recorder)
    post(recorder, "/update_weights_from_disk", {"model_path": str(files(tmp_path / "good", "2"))})
    settle(recorder)
    chat(recorder)
    said = told(recorder)
    assert said[:4] == ["model", "decision pending", "coverage unregistered", "model"]
    assert said[-1] == "decision draft"


def test_another_model_meanwhile_ends_the_wait(recorder: Recorder) -> None:
    """Whichever of two measurements is done first: no entry is taken for the model of an earlier decision."""
    recorder.change_model(is_expected=True)
    chat(recorder)
    recorder.change_model(is_expected=True)
    chat(recorder)
    recorder.register_model(name="other", root=bytes(32), files=1).result(WAIT_S)
    said = told(recorder)
    assert said[1:] == ["decision pending", "coverage unregistered", "decision pending", "model"]


def test_a_coverage_that_cannot_be_written_holds_up_the_model(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the end of the wait is in the chain no other model is: decisions then say `unregistered`."""
    recorder.guard._strict = False
    recorder.change_model(is_expected=True)
    chat(recorder)
    running = recorder._running
    assert running is not None
    assert running.writer is not None
    make, running.writer.make_coverage = running.writer.make_coverage, lambda: {"mode": 1.5}
    recorder.give_up_model()
    held = recorder.register_model(name="other", root=bytes(32), files=1)
    with pytest.raises(CancelledError):
        held.result(WAIT_S)
    chat(recorder)
    running.writer.make_coverage = make
    recorder.register_model(name="other", root=bytes(32), files=1).result(WAIT_S)
    said = ["decision pending", "decision unregistered", "coverage unregistered", "model"]
    assert told(recorder)[1:] == said


def test_a_change_while_the_first_model_is_measured(recorder: Recorder, tmp_path: Path) -> None:
    """The first model's entry is written for those that waited for it, and named by nobody after."""
    post(recorder, "/update_weights", {})
    measure_model(recorder)._run()
    chat(recorder)
    models, decided = entries(recorder)
    assert (len(models), decided) == (2, ["unregistered"])


def test_a_route_of_ones_own_measures_the_model_again(recorder: Recorder, tmp_path: Path) -> None:
    """AUDITLOG_ROUTES `=model` names it; its body is nobody's business."""
    from auditlog.capture.settings import parse_routes

    policy = RouteTable(parse_routes("POST /reload=model", [])).match("POST", "/reload")
    assert policy is not None
    files(tmp_path / "base", "new files")
    observed(recorder, policy, "/reload", b'{"model":"anything"}', 200)
    settle(recorder)
    models, _ = entries(recorder)
    assert models[-1]["fingerprint"]["root"] == root_of(tmp_path / "base", tmp_path)


def test_files_that_cannot_be_read_end_as_unregistered(recorder: Recorder, tmp_path: Path) -> None:
    """A measurement that fails makes no claim."""
    recorder.guard._strict = False
    empty = tmp_path / "empty"
    empty.mkdir()
    post(recorder, "/update_weights_from_disk", {"model_path": str(empty)})
    settle(recorder)
    chat(recorder)
    _, decided = entries(recorder)
    assert decided == ["unregistered"]


def test_nothing_an_admin_request_holds_raises() -> None:
    """Odd bodies, odd states of the recorder: counted, and the server goes on."""
    recorder: Any = ObservingRecorder()
    recorder.guard._strict = False
    for effect in AdminEffect:
        policy = RoutePolicy(False, "unknown", "/x", admin=effect)
        for data in (None, b"", b"[]", b"{", b'{"lora_name":7,"lora_path":"\\u0000"}', b"x" * 70_000):
            observed(recorder, policy, "/x", data, 200, query=b"level=%ff&level")
    assert recorder.observations == []


def test_names_of_the_hub_are_found_in_its_cache(tmp_path: Path) -> None:
    """`owner/name` is the snapshot that `main` points to; anything else must be a path."""
    commit = "a" * 40
    snapshot = files(tmp_path / "hub/models--me--lora/snapshots" / commit, "x")
    (tmp_path / "hub/models--me--lora/refs").mkdir()
    (tmp_path / "hub/models--me--lora/refs/main").write_text(commit)
    environ = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    assert find_files("me/lora", environ) == snapshot
    assert find_files(str(snapshot), environ) == snapshot
    for text in ("me/other", "../x", "/no/where", "lora", "me/lora/x"):
        assert find_files(text, environ) is None

"""Fingerprints of real folders: what counts, what changes the root, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from auditlog.errors import ConfigurationError
from auditlog.fingerprint import fingerprint_model, fingerprint_path, hub_source, parse_manifest


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model as a hub client leaves it: weights, configuration, tokenizer, template, code."""
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    save_file({"layer.weight": np.arange(12, dtype=np.float32).reshape(3, 4)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"hidden_size": 4}')
    (folder / "tokenizer.json").write_text('{"model": {}}')
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "modeling_own.py").write_text("pass\n")
    (folder / "onnx" / "model.onnx").write_bytes(b"onnx")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder that does not exist yet."""
    return tmp_path / "state" / "fingerprints"


def test_every_file_counts(model: Path, cache: Path) -> None:
    """Weights, tokenizer, template, configuration and code are in the manifest with their own digests."""
    manifest = fingerprint_path(model, cache)
    expected = {
        str(path.relative_to(model)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in model.rglob("*")
        if path.is_file()
    }
    assert {file.path: file.sha256 for file in manifest.files} == expected
    assert "onnx/model.onnx" in expected
    assert len(expected) == 6


def test_what_tools_leave_behind_does_not_count(model: Path, cache: Path) -> None:
    """Version control, hub download records and byte code leave the fingerprint alone."""
    before = fingerprint_path(model, cache)
    for place in (".git/HEAD", ".cache/huggingface/x.metadata", "__pycache__/m.pyc", "onnx/.DS_Store"):
        (model / place).parent.mkdir(parents=True, exist_ok=True)
        (model / place).write_text("noise")
    assert fingerprint_path(model, cache) == before


def test_a_hidden_file_of_another_name_counts(model: Path, cache: Path) -> None:
    """Only the listed names are left out; a hidden weight file is part of the model."""
    before = fingerprint_path(model, cache)
    (model / ".weights.bin").write_bytes(b"x")
    assert fingerprint_path(model, cache).root != before.root


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"]
)
def test_a_changed_file_is_another_model(model: Path, cache: Path, name: str) -> None:
    """One flipped bit in any file changes the root, even with size and mtime put back."""
    before, path = fingerprint_path(model, cache, now_ns=lambda: 1 << 62), model / name
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fingerprint_path(model, cache).root != before.root


def test_added_removed_or_renamed_files_are_another_model(model: Path, cache: Path) -> None:
    """The set of names is part of the fingerprint, and going back gives the first root again."""
    first = fingerprint_path(model, cache).root
    (model / "extra.json").write_text("{}")
    added = fingerprint_path(model, cache).root
    (model / "extra.json").rename(model / "other.json")
    renamed = fingerprint_path(model, cache).root
    (model / "other.json").unlink()
    assert len({first, added, renamed}) == 3
    assert fingerprint_path(model, cache).root == first


def test_a_copy_on_another_place_has_the_same_fingerprint(model: Path, cache: Path, tmp_path: Path) -> None:
    """Neither the folder's own name and place nor times and modes count."""
    copy = Path(shutil.copytree(model, tmp_path / "elsewhere" / "copy"))
    (copy / "config.json").chmod(0o600)
    assert fingerprint_path(copy, tmp_path / "other cache") == fingerprint_path(model, cache)


def test_hub_snapshot_of_links_equals_the_plain_copy(model: Path, cache: Path, tmp_path: Path) -> None:
    """A hub cache keeps names as links into `blobs/`: each counts as its target, under the link's name."""
    hub = tmp_path / "hub" / "models--acme--tiny"
    snapshot = hub / "snapshots" / ("ab" * 20)
    (hub / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(model.rglob("*"))):
        if path.is_file():
            link = snapshot / path.relative_to(model)
            link.parent.mkdir(parents=True, exist_ok=True)
            blob = Path(shutil.copy(path, hub / "blobs" / str(number)))
            link.symlink_to(os.path.relpath(blob, link.parent))
    measured = fingerprint_model("tiny", snapshot, cache)
    assert measured.manifest == fingerprint_path(model, cache)
    assert measured.source == f"acme/tiny@{'ab' * 20}"
    assert hub_source(model) is None


def test_a_link_to_a_folder_is_followed(model: Path, cache: Path, tmp_path: Path) -> None:
    """A folder may be linked in, and the link to the whole model may be the path itself."""
    (model / "onnx").rename(tmp_path / "onnx-elsewhere")
    (model / "onnx").symlink_to(tmp_path / "onnx-elsewhere")
    (tmp_path / "current").symlink_to(model)
    manifest = fingerprint_path(tmp_path / "current", cache)
    assert "onnx/model.onnx" in {file.path for file in manifest.files}


def test_a_single_file_is_a_model(model: Path, cache: Path) -> None:
    """A path to one file gives a manifest of that file under its own name."""
    manifest = fingerprint_path(model / "model.safetensors", cache)
    assert [file.path for file in manifest.files] == ["model.safetensors"]


def test_manifest_file_is_written_for_the_operator(model: Path, cache: Path) -> None:
    """`manifests/<root>.json` holds the manifest, so that a root of years ago can still be explained."""
    manifest = fingerprint_path(model, cache)
    stored = (cache / "manifests" / f"{manifest.root.hex()}.json").read_bytes()
    assert parse_manifest(stored) == manifest


def test_adapters_have_fingerprints_of_their_own(model: Path, cache: Path, tmp_path: Path) -> None:
    """A PEFT adapter folder is measured like a model, named, and does not change the base's root."""
    adapter = tmp_path / "lora"
    adapter.mkdir()
    save_file({"lora_A.weight": np.ones((2, 4), dtype=np.float32)}, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2}))
    measured = fingerprint_model("tiny", model, cache, adapters={"polite": adapter})
    assert measured.manifest == fingerprint_path(model, cache)
    assert measured.adapters == (("polite", fingerprint_path(adapter, cache)),)


def test_nothing_is_written_into_the_model(model: Path, cache: Path) -> None:
    """The model may stand on a read-only disk: its folder holds the same names as before."""
    before = sorted(model.rglob("*"))
    fingerprint_path(model, cache)
    assert sorted(model.rglob("*")) == before


@pytest.mark.parametrize(
    "what", ["missing", "empty", "dangling", "circle", "pipe", "not utf-8", "cache inside"]
)
def test_what_cannot_be_fingerprinted_is_refused(model: Path, cache: Path, what: str) -> None:
    """The layer refuses rather than fingerprint a part of a model."""
    path = model
    if what == "missing":
        path = model / "nothing"
    elif what == "empty":
        path = model / "hollow"
        path.mkdir()
    elif what == "dangling":
        (model / "weights.bin").symlink_to("nowhere")
    elif what == "circle":
        (model / "onnx" / "up").symlink_to(model)
    elif what == "pipe":
        os.mkfifo(model / "pipe")
    elif what == "not utf-8":
        os.close(os.open(os.fsencode(model) + b"/\xff.bin", os.O_CREAT))
    else:
        cache = model / "cache"
    with pytest.raises(ConfigurationError):
        fingerprint_path(path, cache)

"""The digest cache: read once per host, never trusted when torn or too young, one process at a time."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from auditlog.errors import ConfigurationError, StorageError
from auditlog.fingerprint import (
    BackgroundMeasurement,
    ModelFingerprint,
    digests,
    fingerprint_model,
    fingerprint_path,
)

LATER = 1 << 62
"""A clock far enough on that every file has settled, in nanoseconds."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two files."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"a" * 1000)
    (folder / "b.bin").write_bytes(b"")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder."""
    return tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were really read, in order."""
    seen: list[str] = []
    real = digests._hash_file

    def counted(file: digests.ListedFile) -> str:
        seen.append(file.path)
        return real(file)

    monkeypatch.setattr(digests, "_hash_file", counted)
    return seen


def test_each_content_is_read_once(model: Path, cache: Path, read: list[str]) -> None:
    """A second measurement reads nothing; a changed file alone is read again."""
    first = fingerprint_path(model, cache, now_ns=lambda: LATER)
    assert sorted(read) == ["a.bin", "b.bin"]
    assert fingerprint_path(model, cache, now_ns=lambda: LATER) == first
    assert len(read) == 2
    (model / "a.bin").write_bytes(b"A" * 1000)
    assert fingerprint_path(model, cache, now_ns=lambda: LATER).root != first.root
    assert read[2:] == ["a.bin"]


def test_a_file_that_just_changed_is_not_cached(model: Path, cache: Path, read: list[str]) -> None:
    """Within two seconds of a write another write could leave the identity as it is: no digest is kept."""
    newest = max((model / "a.bin").stat().st_ctime_ns, (model / "b.bin").stat().st_ctime_ns)
    for _ in range(2):
        fingerprint_path(model, cache, now_ns=lambda: newest + 1_000_000_000)
    assert len(read) == 4


@pytest.mark.parametrize("content", [b"", b"torn", b"0" * 64 + b" 0123456789abcdef\n", b"\xff\xfe"])
def test_a_damaged_entry_is_read_as_absent(model: Path, cache: Path, read: list[str], content: bytes) -> None:
    """A torn or flipped cache entry leads to a new reading, never to another fingerprint."""
    first = fingerprint_path(model, cache, now_ns=lambda: LATER)
    for entry in (cache / "digests").iterdir():
        entry.write_bytes(content)
    assert fingerprint_path(model, cache, now_ns=lambda: LATER) == first
    assert len(read) == 4


def test_a_cache_that_cannot_be_written_costs_time_only(
    model: Path, cache: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk while caching a digest does not stop the measurement."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(digests, "write_whole", full)
    assert len(fingerprint_path(model, cache, now_ns=lambda: LATER).files) == 2
    assert list((cache / "digests").iterdir()) == []


def test_old_entries_are_forgotten(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache keeps the newest entries up to its limit."""
    monkeypatch.setattr(digests, "MAX_CACHED", 1)
    fingerprint_path(model, cache, now_ns=lambda: LATER)
    assert len(list((cache / "digests").iterdir())) == 1


def test_a_file_that_changes_while_it_is_read_is_not_fingerprinted(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three attempts the measurement gives up instead of mixing two states."""
    attempts = []
    real = digests._hash_file

    def interfering(file: digests.ListedFile) -> str:
        attempts.append(file.path)
        (model / "a.bin").write_bytes(b"x" * len(attempts))
        return real(file)

    monkeypatch.setattr(digests, "_hash_file", interfering)
    with pytest.raises(StorageError, match="changing"):
        fingerprint_path(model, cache)
    assert attempts.count("a.bin") == 3


def test_a_change_between_files_starts_over(
    model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file added while the others were read is in the manifest: files are listed again at the end."""
    real = digests._hash_file

    def adding(file: digests.ListedFile) -> str:
        if not (model / "c.bin").exists():
            (model / "c.bin").touch()
        return real(file)

    monkeypatch.setattr(digests, "_hash_file", adding)
    assert [file.path for file in fingerprint_path(model, cache).files] == ["a.bin", "b.bin", "c.bin"]


def test_one_process_hashes_at_a_time(model: Path, cache: Path, read: list[str]) -> None:
    """While another holder has the host lock, a measurement waits and has read nothing."""
    cache.mkdir()
    with (cache / "lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        measurement = BackgroundMeasurement(
            lambda: fingerprint_model("m", model, cache), on_ready=lambda _: None, on_failed=pytest.fail
        )
        measurement.start()
        assert not measurement.join(0.2)
        assert read == []
    assert measurement.join(30)
    assert len(read) == 2


def test_unreadable_files_are_refused(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be read gives our error, not a fingerprint of the rest."""

    def denied(file: digests.ListedFile) -> str:
        raise PermissionError(13, "Permission denied", file.path)

    monkeypatch.setattr(digests, "_hash_file", denied)
    with pytest.raises(StorageError, match="readable"):
        fingerprint_path(model, cache)


def test_background_measurement_reports_success_on_its_thread(model: Path, cache: Path) -> None:
    """`on_ready` gets the fingerprint on the measuring thread; the starter went on at once."""
    ready: list[tuple[ModelFingerprint, str]] = []
    measurement = BackgroundMeasurement(
        lambda: fingerprint_model("m", model, cache),
        on_ready=lambda found: ready.append((found, threading.current_thread().name)),
        on_failed=pytest.fail,
    )
    measurement.start()
    assert measurement.join(30)
    [(found, thread)] = ready
    assert found.manifest == fingerprint_path(model, cache)
    assert thread == "auditlog-fingerprint"


def test_background_failure_is_reported_and_never_raised(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing model is logged once and handed to `on_failed`; no exception leaves the thread."""
    failures: list[Exception] = []
    measurement = BackgroundMeasurement(
        lambda: fingerprint_model("m", tmp_path / "gone", cache),
        on_ready=pytest.fail,
        on_failed=failures.append,
    )
    measurement.start()
    assert measurement.join(30)
    assert [type(failure) for failure in failures] == [ConfigurationError]
    assert [record.levelname for record in caplog.records] == ["ERROR"]

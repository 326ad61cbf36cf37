"""A store older than what was signed does not sign, unless somebody says so; then it says so itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.errors import ConfigurationError, DamagedStoreError, StorageError
from auditlog.witness import mark as mark_module
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.errors import RestoredStoreError, WitnessRefusal
from auditlog.witness.mark import Mark, MarkFile, create_mark
from auditlog.witness.states import States
from tests.support.build_witness_vectors import FORKED, LOG, NOW, WITNESS, grow


class Place:
    """A witness's store and its mark, on two disks."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder / "store", folder / "guard" / "mark"
        self.opened: States | None = None

    def open(self, **options: object) -> Cosigner:
        """Start; raises as `States`."""
        self.close()
        self.opened = States(self.folder, WITNESS.verifier, mark=self.mark, **options)  # type: ignore[arg-type]
        return Cosigner([LOG.verifier], WITNESS, self.opened, lambda: NOW)

    def close(self) -> None:
        """Stop."""
        if self.opened is not None:
            self.opened.close()

    def back_up(self) -> bytes:
        """The store as it is."""
        self.close()
        return (self.folder / "witness.sqlite").read_bytes()

    def restore(self, backup: bytes) -> None:
        """Put it back."""
        self.close()
        (self.folder / "witness.sqlite").write_bytes(backup)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A witness that has cosigned 8 entries."""
    place = Place(tmp_path)
    place.open().add_checkpoint(grow(0, 8))
    yield place
    place.close()


def test_a_backup_is_refused_and_named(place: Place) -> None:
    """One commit behind is enough; what to do is said."""
    backup = place.back_up()
    place.open(may_create=False).add_checkpoint(grow(8, 20))
    place.restore(backup)
    with pytest.raises(RestoredStoreError, match=r"3 commits.*found 2.*1 behind.*--accept-restored"):
        place.open(may_create=False)
    with pytest.raises(RestoredStoreError):
        place.open()


def test_an_accepted_backup_says_so_for_ever(place: Place) -> None:
    """Recorded in the store with the time and the reason; later starts are as usual, and show it."""
    backup = place.back_up()
    place.open().add_checkpoint(grow(8, 20))
    place.restore(backup)
    cosigner = place.open(accept_restored=True, unix_s=lambda: NOW + 5)
    assert place.opened is not None
    ((at, found),) = place.opened.guard.restored
    assert (at, "1 behind" in found) == (NOW + 5, True)
    assert place.opened.guard.epoch == 4, "beyond whatever was seen"
    cosigner.add_checkpoint(grow(8, 20))
    place.open()
    assert len(place.opened.guard.restored) == 1
    place.open(accept_restored=True)
    assert len(place.opened.guard.restored) == 1, "nothing to accept"


def test_another_copy_at_the_same_count_is_refused(place: Place, tmp_path: Path) -> None:
    """Two copies that went on apart: the one whose content the mark has not seen does not start."""
    backup = place.back_up()
    place.open().add_checkpoint(grow(8, 20))
    place.close()
    other = Place(tmp_path / "other")
    other.folder.mkdir(parents=True)
    other.restore(backup)
    other.open(accept_restored=True).add_checkpoint(grow(8, 8))
    place.restore(other.back_up())
    newest = MarkFile(place.mark)  # moved as one more commit of the first copy would have
    seen = newest.read()
    newest.write(Mark(seen.store, seen.epoch + 1, seen.content))
    newest.close()
    with pytest.raises(RestoredStoreError, match="another copy's"):
        place.open()


@pytest.mark.parametrize("what", ["gone", "damaged", "another's"])
def test_a_mark_that_cannot_be_compared_is_refused(place: Place, tmp_path: Path, what: str) -> None:
    """Without it nobody knows whether the store is the newest; accepted, it is made anew."""
    place.close()
    if what == "another's":
        place.mark.unlink()
        create_mark(place.mark, Mark("0" * 32, 900, bytes(32)))
    elif what == "damaged":
        place.mark.write_bytes(bytes(1024))
    else:
        place.mark.unlink()
    with pytest.raises(RestoredStoreError):
        place.open()
    place.open(accept_restored=True).add_checkpoint(grow(8, 20))
    place.open().add_checkpoint(grow(20, 70))
    assert place.opened is not None
    assert place.opened.guard.epoch == (903 if what == "another's" else 5)


def test_a_torn_mark_is_the_one_before(place: Place) -> None:
    """Of its two places the one being written may be torn: the store is ahead of the other, and starts."""
    place.open().add_checkpoint(grow(8, 20))
    place.close()
    data = bytearray(place.mark.read_bytes())
    data[512 + 40 : 1024] = bytes(472)  # count 3 stands in the second place
    place.mark.write_bytes(data)
    cosigner = place.open()
    with pytest.raises(WitnessRefusal):
        cosigner.add_checkpoint(grow(20, 20, FORKED))
    place.close()
    mark = MarkFile(place.mark)
    assert mark.read().epoch == 3
    mark.close()


def test_two_witnesses_never_share_a_mark(place: Place, tmp_path: Path) -> None:
    """Nor does a new store begin under an old mark, or a mark in the place of one."""
    with pytest.raises(ConfigurationError, match="another process"):
        MarkFile(place.mark)
    with pytest.raises(ConfigurationError, match="already there"):
        create_mark(place.mark, Mark("0" * 32, 1, bytes(32)))
    place.close()
    shutil.rmtree(place.folder)
    with pytest.raises(DamagedStoreError, match="found none"):
        place.open()


@pytest.mark.parametrize("fault", ["refused", "torn", "stored"])
@pytest.mark.parametrize("write", ["pwrite", "fdatasync"])
def test_a_mark_that_cannot_be_written_lets_nothing_leave(
    place: Place, monkeypatch: pytest.MonkeyPatch, write: str, fault: str
) -> None:
    """No cosignature; the store may be ahead, and goes on from there once the disk is back."""
    cosigner = place.open()
    real = getattr(mark_module.os, write)

    def fail(*arguments: object) -> int:
        if fault == "stored":
            real(*arguments)
        if fault == "torn" and write == "pwrite":
            handle, data, at = arguments
            return int(real(handle, data[:100], at))  # type: ignore[index]
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(mark_module.os, write, fail)
        with pytest.raises(WitnessRefusal) as caught:
            cosigner.add_checkpoint(grow(8, 20))
        assert caught.value.status == 503
        assert place.opened is not None
        assert not place.opened.is_whole()
    with pytest.raises(WitnessRefusal) as caught:
        cosigner.add_checkpoint(grow(8, 20, FORKED))
    assert (caught.value.status, caught.value.known_size) == (409, 20), "its own commit counts"
    cosigner.add_checkpoint(grow(20, 70))
    assert place.open().newest(LOG.name).checkpoint.tree_size == 70  # type: ignore[union-attr]


@pytest.mark.parametrize("nth", range(1, 7))
@pytest.mark.parametrize("is_stored", [False, True])
def test_every_statement_that_fails_lets_nothing_leave(place: Place, nth: int, is_stored: bool) -> None:
    """Each of a transaction, refused or done but reported as failed: 503, then the truth of the disk."""
    import sqlite3

    cosigner = place.open()
    assert place.opened is not None
    commits = place.opened._commits
    real, left = commits.connection, [nth]

    class Failing:
        """The connection, one of whose statements fails."""

        @property
        def in_transaction(self) -> bool:
            return real.in_transaction

        def execute(self, *arguments: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                if is_stored:
                    real.execute(*arguments)  # type: ignore[arg-type]
                raise sqlite3.OperationalError("disk I/O error")
            return real.execute(*arguments)  # type: ignore[arg-type]

    place.opened.load(LOG.verifier)
    commits.connection = Failing()  # type: ignore[assignment]
    with pytest.raises(WitnessRefusal) as caught:
        cosigner.add_checkpoint(grow(8, 20))
    assert caught.value.status == 503
    commits.connection = real
    was_committed = nth == 6 and is_stored
    if was_committed:
        with pytest.raises(WitnessRefusal) as caught:
            cosigner.add_checkpoint(grow(8, 20))
        assert caught.value.known_size == 20
    else:
        cosigner.add_checkpoint(grow(8, 20))
    with pytest.raises(WitnessRefusal):
        cosigner.add_checkpoint(grow(20, 20, FORKED))
    assert place.open().newest(LOG.name).checkpoint.tree_size == 20  # type: ignore[union-attr]


def test_cosignatures_that_wait_share_a_commit(tmp_path: Path) -> None:
    """Many logs at once: fewer commits than cosignatures, and each of them stored."""
    from concurrent.futures import ThreadPoolExecutor

    from auditlog.core.keys import Ed25519Signer
    from auditlog.core.note import sign_note
    from tests.support.build_witness_vectors import LEAVES, body, text_of

    logs = [Ed25519Signer.from_seed(f"log.example/{n}", bytes([n]) * 32) for n in range(24)]
    states = States(tmp_path, WITNESS.verifier)
    cosigner = Cosigner([each.verifier for each in logs], WITNESS, states, lambda: NOW)
    bodies = [body(0, sign_note(text_of(8, LEAVES, each.name), [each])) for each in logs]
    with ThreadPoolExecutor(24) as clients:
        assert all(clients.map(cosigner.add_checkpoint, bodies))
    assert states.spent.rows == 24
    assert states.spent.commits < 24
    states.close()
    again = States(tmp_path, WITNESS.verifier)
    assert all(again.load(each.verifier) is not None for each in logs)
    again.close()


def test_a_store_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A folder in the way of the file."""
    (tmp_path / "witness.sqlite").mkdir()
    with pytest.raises(StorageError):
        States(tmp_path, WITNESS.verifier)

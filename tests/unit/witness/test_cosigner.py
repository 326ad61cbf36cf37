"""A witness signs one history of a log: it checks, remembers on disk, and only then hands a signature out."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.core.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureSigner, cosignature_timestamp
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import prove_consistency, root_hash
from auditlog.core.note import sign_note
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint
from auditlog.errors import ConfigurationError, DamagedStoreError, StorageError
from auditlog.witness.commits import digest_of
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.errors import RestoredStoreError, WitnessRefusal
from auditlog.witness.states import States

ORIGIN = "log.example.org/w"
LOG = Ed25519Signer.from_seed(ORIGIN, bytes(32))
OTHER = Ed25519Signer.from_seed(ORIGIN, b"o" * 32)
SIGNER = CosignatureSigner.from_seed("witness.example.org/1", b"w" * 32)
LEAVES = [hashlib.sha256(bytes([n])).digest() for n in range(20)]
FORKED = [*LEAVES[:3], *(hashlib.sha256(b"f%d" % n).digest() for n in range(17))]


class Clock:
    """POSIX seconds, set by hand."""

    now = 1_800_000_000

    def __call__(self) -> int:
        return self.now


def note_of(size: int, leaves: list[bytes] = LEAVES, signer: Ed25519Signer = LOG) -> str:
    """The log's checkpoint of its first leaves."""
    return sign_checkpoint(Checkpoint(ORIGIN, size, root_hash(leaves[:size])), signer)


def ask(cosigner: Cosigner, old: int, size: int, leaves: list[bytes] = LEAVES, note: str = "") -> str:
    """Ask for a cosignature with the right proof from `old`."""
    proof = prove_consistency(leaves[:size], old) if 0 < old < size else []
    request = AddCheckpoint(old, tuple(proof), note or note_of(size, leaves))
    return cosigner.add_checkpoint(format_add_checkpoint(request))


def refused(cosigner: Cosigner, *arguments: object, **more: object) -> WitnessRefusal:
    """The refusal of such a request."""
    with pytest.raises(WitnessRefusal) as caught:
        ask(cosigner, *arguments, **more)  # type: ignore[arg-type]
    return caught.value


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def states(tmp_path: Path) -> Iterator[States]:
    """An empty memory on disk."""
    states = States(tmp_path / "states", SIGNER.verifier)
    yield states
    states.close()


@pytest.fixture
def cosigner(states: States, clock: Clock) -> Cosigner:
    """A witness of one log."""
    return Cosigner([LOG.verifier], SIGNER, states, clock)


def test_a_consistent_checkpoint_is_cosigned_at_the_time_of_the_clock(
    cosigner: Cosigner, clock: Clock
) -> None:
    """The line verifies with the witness's key over exactly that checkpoint."""
    for old, size in ((0, 3), (3, 8), (8, 8), (8, 20)):
        clock.now += 10
        note = note_of(size) + ask(cosigner, old, size)
        _, opened = open_checkpoint(note, [LOG.verifier, SIGNER.verifier], ORIGIN)
        assert [each.name for each in opened.verified] == [ORIGIN, SIGNER.name]
        assert cosignature_timestamp(opened.verified[1]) == clock.now
        newest = cosigner.newest(ORIGIN)
        assert newest is not None
        assert (newest.note, newest.timestamp) == (note, clock.now)


def test_another_old_size_is_told_the_known_one(cosigner: Cosigner) -> None:
    """409 with the size cosigned last, whether the asker is behind or ahead, and nothing changes."""
    ask(cosigner, 0, 8)
    for old in (0, 3, 9):
        refusal = refused(cosigner, old, 20)
        assert (refusal.status, refusal.known_size) == (409, 8)
    ask(cosigner, 8, 20)


def test_a_smaller_tree_is_refused(cosigner: Cosigner) -> None:
    """Whatever the request says of the old size."""
    ask(cosigner, 0, 8)
    assert refused(cosigner, 8, 3).status == 400
    assert refused(cosigner, 3, 3).status == 409
    assert refused(cosigner, 0, 3).status == 409


def test_another_history_is_refused_and_kept_as_evidence(cosigner: Cosigner, states: States) -> None:
    """Same size and another root, or a larger tree that does not extend: 422, and the first stays."""
    ask(cosigner, 0, 8)
    assert refused(cosigner, 8, 8, FORKED).status == 422
    assert refused(cosigner, 8, 20, FORKED).status == 422
    request = format_add_checkpoint(AddCheckpoint(8, (bytes(32),), note_of(8)))
    with pytest.raises(WitnessRefusal) as caught:
        cosigner.add_checkpoint(request)
    assert caught.value.status == 422
    kept = [each for each in states.conflicts() if each.kind == "fork"]
    assert [(each.shown, each.size) for each in kept] == [(note_of(8, FORKED), 8)]
    assert kept[0].cosigned.startswith(note_of(8))
    ask(cosigner, 8, 8)


@pytest.mark.parametrize(("status", "old", "proof"), [(422, 8, (bytes(32),)), (409, 3, ()), (409, 0, ())])
def test_a_second_root_of_the_known_size_is_kept_however_it_comes(
    cosigner: Cosigner, states: States, status: int, old: int, proof: tuple[bytes, ...]
) -> None:
    """With a proof that should not be there, or another old size: both notes are signed by the log."""
    ask(cosigner, 0, 8)
    request = format_add_checkpoint(AddCheckpoint(old, proof, note_of(8, FORKED)))
    for _ in range(2):
        with pytest.raises(WitnessRefusal) as caught:
            cosigner.add_checkpoint(request)
        assert caught.value.status == status
    kept = states.conflicts()
    assert [(each.kind, each.shown, each.size) for each in kept] == [("fork", note_of(8, FORKED), 8)]
    assert kept[0].cosigned.startswith(note_of(8))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b""),
        (400, b"old 1"),
        (400, b"old 01\n\n" + note_of(3).encode()),
        (400, b"old -1\n\n" + note_of(3).encode()),
        (400, b"old 0\nAAAA\n\n" + note_of(3).encode()),
        (400, b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + b"\n" + note_of(3).encode()),
        (400, b"old 0\n\n\xff"),
        (400, b"old 4\n\n" + note_of(3).encode()),
        (422, b"old 0\n" + b"A" * 43 + b"=\n\n" + note_of(3).encode()),
        (403, b"old 0\n\n" + note_of(3, signer=OTHER).encode()),
        (400, b"old 0\n\n" + note_of(3).encode() + b"more"),
        (400, b"old 0\n\n" + sign_note(note_of(3).split("\n\n")[0] + "\next\n", [LOG]).encode()),
        (422, b"old 0\n\n" + sign_note(f"{ORIGIN}\n0\n{'A' * 43}=\n", [LOG]).encode()),
        (404, b"old 0\n\n" + note_of(3).replace(ORIGIN, "another.example/log").encode()),
        (400, b"x" * (200 << 10)),
    ],
)
def test_what_is_not_a_request_has_its_status(cosigner: Cosigner, status: int, body: bytes) -> None:
    """The statuses of the protocol; nothing of it is remembered."""
    with pytest.raises(WitnessRefusal) as caught:
        cosigner.add_checkpoint(body)
    assert caught.value.status == status
    assert cosigner.newest(ORIGIN) is None


def test_a_restart_remembers(states: States, cosigner: Cosigner, clock: Clock, tmp_path: Path) -> None:
    """What was signed holds in the next life: no other root of that size, and no smaller tree."""
    ask(cosigner, 0, 8)
    states.close()
    again = States(tmp_path / "states", SIGNER.verifier)
    cosigner = Cosigner([LOG.verifier], SIGNER, again, clock)
    assert refused(cosigner, 8, 8, FORKED).status == 422
    assert refused(cosigner, 0, 3).known_size == 8
    ask(cosigner, 8, 20)
    again.close()


def test_nothing_leaves_that_was_not_written(
    cosigner: Cosigner, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that refuses means no cosignature; once it works again, another root is still possible."""

    def fail(*_: object) -> None:
        raise StorageError("expected to write, found no space")

    with monkeypatch.context() as patch:
        patch.setattr(states, "save", fail)
        assert refused(cosigner, 0, 8).status == 503
    ask(cosigner, 0, 8, FORKED)


def sql(folder: Path, statement: str, *values: object) -> None:
    """Change the store behind the witness's back."""
    connection = sqlite3.connect(folder / "states" / "witness.sqlite")
    with connection:
        connection.execute(statement, values)
    connection.close()


def test_a_damaged_memory_signs_nothing(
    cosigner: Cosigner, states: States, clock: Clock, tmp_path: Path
) -> None:
    """Damage is not taken for a log never seen, not even if the damaged rows are counted as right."""
    ask(cosigner, 0, 8)
    newest = cosigner.newest(ORIGIN)
    assert newest is not None
    states.close()
    for damaged in ("", newest.note[:-20], newest.note.replace("\n8\n", "\n3\n"), note_of(8)):
        sql(tmp_path, "UPDATE log SET note = ?", damaged)
        with pytest.raises(DamagedStoreError, match="counted"):
            States(tmp_path / "states", SIGNER.verifier)
        counted = digest_of(ORIGIN, damaged).to_bytes(32, "big")
        sql(tmp_path, "UPDATE meta SET content = ?, epoch = epoch + 1", counted)
        again = States(tmp_path / "states", SIGNER.verifier)
        try:
            assert refused(Cosigner([LOG.verifier], SIGNER, again, clock), 0, 8, FORKED).status == 503
        finally:
            again.close()


def test_a_lost_memory_signs_nothing(states: States, cosigner: Cosigner, tmp_path: Path) -> None:
    """A row that is gone, a store that is gone, a mark that is gone: none is taken for a beginning."""
    ask(cosigner, 0, 8)
    states.close()
    store, mark = tmp_path / "states" / "witness.sqlite", tmp_path / "states" / "high-water"
    whole, marked = store.read_bytes(), mark.read_bytes()
    sql(tmp_path, "DELETE FROM log")
    with pytest.raises(DamagedStoreError, match="counted"):
        States(tmp_path / "states", SIGNER.verifier)
    store.unlink()
    with pytest.raises(DamagedStoreError, match="found none"):
        States(tmp_path / "states", SIGNER.verifier)
    store.write_bytes(whole)
    mark.unlink()
    with pytest.raises(RestoredStoreError, match="found none"):
        States(tmp_path / "states", SIGNER.verifier)
    mark.write_bytes(marked)
    with pytest.raises(ConfigurationError, match="that of"):
        States(tmp_path / "states", CosignatureSigner.from_seed("w.example", b"x" * 32).verifier)
    States(tmp_path / "states", SIGNER.verifier).close()


@pytest.mark.parametrize("old", [7, 8])
def test_a_fork_by_growth_is_kept(cosigner: Cosigner, states: States, old: int) -> None:
    """The request, and what it does not extend; the same once, and no more than some of them."""
    ask(cosigner, 0, old)
    for size in [*range(old + 1, 20)] * 2:
        assert refused(cosigner, old, size, FORKED).status == 422
    kept = states.conflicts()
    assert [each.size for each in kept] == [*range(old + 1, 20)]
    assert note_of(19, FORKED) in kept[-1].shown
    assert all(each.kind == "growth" and each.cosigned.startswith(note_of(old)) for each in kept)
    ask(cosigner, old, 20)


def test_evidence_of_growth_is_bounded(cosigner: Cosigner, states: States) -> None:
    """Whoever sends false proofs fills no disk."""
    ask(cosigner, 0, 1)
    for size in range(2, 20):
        refused(cosigner, 1, size, FORKED[::-1])
    assert len(states.conflicts()) == 16


def test_a_clock_set_back_signs_nothing(cosigner: Cosigner, clock: Clock) -> None:
    """A cosignature never claims an earlier time than one before it; a small step back is waited out."""
    ask(cosigner, 0, 3)
    began = clock.now
    clock.now = began - 3
    line = ask(cosigner, 3, 8)
    _, opened = open_checkpoint(note_of(8) + line, [LOG.verifier, SIGNER.verifier], ORIGIN)
    assert cosignature_timestamp(opened.verified[1]) == began
    clock.now = began - 3600
    assert refused(cosigner, 8, 20).status == 503


def test_one_memory_has_one_witness(states: States, tmp_path: Path, clock: Clock) -> None:
    """A second process on the folder is refused, and so are two keys for one log."""
    with pytest.raises(ConfigurationError, match="alone"):
        States(tmp_path / "states", SIGNER.verifier)
    with pytest.raises(ConfigurationError, match="one key"):
        Cosigner([LOG.verifier, OTHER.verifier], SIGNER, states, clock)

"""Attacks on what was there already: history written anew, cut, shown in two versions, or served wrong.

Spec: auditlog/spec/threat-model.md. All but the thief sign what they show with the log's own key, and every
forged log is perfect inside itself.
"""

from __future__ import annotations

from collections.abc import Callable

from auditlog.attack import resealing
from auditlog.attack.attack import Attack
from auditlog.attack.errors import UnfitTargetError
from auditlog.attack.forging import edit_decision, log_files
from auditlog.attack.pen import Pen
from auditlog.attack.results import By, Piece
from auditlog.attack.scene import Scene
from auditlog.attack.twin import read_entry, suite_key
from auditlog.core.canonical import parse
from auditlog.core.retention import RETENTION_PATH, Mark, Policy, Retention, sign_retention
from auditlog.core.tiles import TILE_WIDTH, decode_bundle, encode_bundle, parse_path

CUT = 5
"""Entries that are cut off, or lost with a backup."""

_OUTSIDE = (Piece.RECEIPT, Piece.WITNESS, Piece.MONITOR)


def decisions(entries: list[bytes]) -> list[int]:
    """Where the decisions are."""
    return [at for at, data in enumerate(entries) if (e := read_entry(data)) and e.kind == "decision"]


def victim(entries: list[bytes]) -> int:
    """A decision in the middle of the log."""
    found = decisions(entries)
    if len(found) < 2:
        raise UnfitTargetError("expected a log with decisions, found too few")
    return found[len(found) // 2]


def _edit(scene: Scene) -> None:
    pen = scene.pen()

    def other_answer(fields: resealing.Fields) -> None:
        fields["body"]["response"]["commitment"] = "ab" * 32

    changes = {victim(pen.entries): other_answer}
    scene.stores = resealing.change(pen.entries, changes, pen.producers)
    scene.publish(_later(scene, scene.stores))


def _later(scene: Scene, entries: list[bytes]) -> Pen:
    """The log goes on, on another past: with an entry of the log's own, a second later."""
    pen = scene.pen()
    pen.stand_on(entries)
    pen.now_s += 1
    pen.anchor(len(entries))
    return pen


def _edit_stored(scene: Scene) -> None:
    """A thief of the storage has no key: one bundle says something else, and nothing else changes."""
    files = dict(scene.world.files)
    at = victim(scene.world.pen.entries)
    for path, data in files.items():
        tile = parse_path(path) if path.startswith("tile/entries") else None
        if tile is not None and tile.index == at // 256:
            bundle = decode_bundle(data)
            bundle[at % 256] = edit_decision(bundle[at % 256])
            files[path] = encode_bundle(bundle)
    scene.serve(files, scene.world.pen.now_s + 1)


def _delete(scene: Scene) -> None:
    pen = scene.pen()
    scene.stores = resealing.give_number_away(pen.entries, victim(pen.entries), pen.producers)
    scene.publish(_later(scene, scene.stores))


def _reorder(scene: Scene) -> None:
    """Two decisions change places: each is sealed under the other's number."""
    pen = scene.pen()
    found = decisions(pen.entries)
    one, two = found[0], victim(pen.entries)
    first, second = (parse(pen.entries[at])["body"] for at in (one, two))
    changes = {
        one: lambda fields: fields.update(body=second),
        two: lambda fields: fields.update(body=first),
    }
    scene.stores = resealing.change(pen.entries, changes, pen.producers)
    scene.publish(_later(scene, scene.stores))


def _truncate(scene: Scene) -> None:
    scene.stores = scene.pen().entries[:-CUT]
    scene.publish(scene.stores)


def _rewind(scene: Scene) -> None:
    """It is served as it was before: every file genuine, an old signature with it."""
    pen = scene.world.pen
    scene.serve(log_files(pen.entries[:-CUT], pen.origin, pen.signer), pen.now_s + 1)


def _stale_backup(scene: Scene) -> None:
    """The stores are put back to a backup, and an honest service goes on from there."""
    pen = scene.pen()
    scene.stores = pen.entries[:-CUT]
    pen.stand_on(scene.stores)
    pen.now_s += 1
    host = pen.enrol("after-the-backup")
    pen.host = host
    pen.start()
    for _ in range(CUT):
        pen.decide()
    scene.publish(pen)


def _two_versions(scene: Scene) -> tuple[Pen, Pen]:
    """What everybody is shown, and what one of them is: in it, the newest decision has another answer."""
    honest = scene.pen()
    other = scene.pen()
    honest.decide('{"a":"refused"}')
    other.decide('{"a":"approved"}')
    return honest, other


def _fork(scene: Scene) -> None:
    honest, other = _two_versions(scene)
    scene.publish(honest)
    scene.peer = scene.prepare(other).note


def _collude(scene: Scene) -> None:
    honest, other = _two_versions(scene)
    scene.publish(honest)
    scene.peer = scene.prepare(other, colluding=True).note


def _withhold_tiles(scene: Scene) -> None:
    pen = scene.pen()
    pen.decide()

    def without(files: dict[str, bytes]) -> None:
        for path in [path for path in files if path.startswith("tile/0/")]:
            del files[path]

    scene.publish(pen, change=without)


def _withhold_entries(scene: Scene) -> None:
    pen = scene.pen()
    pen.decide()

    def without(files: dict[str, bytes]) -> None:
        for path in [path for path in files if path.startswith("tile/entries/")]:
            del files[path]

    scene.publish(pen, change=without)


def _prune_young(scene: Scene) -> None:
    """It says that its policy let the entries go, and they are younger than what that keeps."""
    pen = scene.pen()
    pen.decide()
    now_us, size = int(pen.now_s) * 1_000_000, len(pen.entries)
    minimum = -(-size // TILE_WIDTH) * TILE_WIDTH
    told = Retention(pen.origin, Policy(days=90), minimum, now_us, 0, (Mark(size, now_us),))

    def without(files: dict[str, bytes]) -> None:
        for path in [path for path in files if path.startswith("tile/entries/")]:
            del files[path]
        files[RETENTION_PATH] = sign_retention(told, pen.signer).encode()

    scene.publish(pen, change=without)


def _wrong_tiles(scene: Scene) -> None:
    """It signs one tree and serves another's tiles and entries."""
    honest, other = _two_versions(scene)
    wrong = {path: data for path, data in other.files().items() if path.startswith("tile/")}
    scene.publish(honest, change=lambda files: files.update(wrong))


def _other_key(scene: Scene) -> None:
    """A thief of the storage signs with a key of its own that has the log's name."""
    pen = scene.pen()
    pen.decide()
    scene.publish(pen, signer=suite_key(pen.origin, "of a thief"))


def _attack(
    name: str,
    title: str,
    play: Callable[[Scene], None],
    *,
    should: tuple[Piece, ...] = _OUTSIDE,
    shows: tuple[str, str] = ("proven", "fork"),
    by: By = By.OPERATOR,
) -> Attack:
    """`shows`: the evidence that is due, and the monitor's word."""
    due, alarm = shows
    return Attack(name=name, title=title, by=by, should=should, play=play, due=due, alarm=alarm)


_UNSHOWN = ("", "")

ATTACKS: tuple[Attack, ...] = (
    _attack("edit", "changes an old decision, seals and signs all that follows anew", _edit),
    _attack("edit-stored", "changes an old decision in the storage, without any key", _edit_stored,
            should=(Piece.FSCK, Piece.COMPLETENESS), shows=_UNSHOWN, by=By.THIEF),
    _attack("delete", "takes an old decision out, and moves up all numbers after it", _delete),
    _attack("reorder", "lets two old decisions change places", _reorder),
    _attack("truncate", "cuts off the newest entries, and signs the smaller tree", _truncate,
            shows=("stated", "rewind")),
    _attack("rewind", "serves the log as it was before, each byte and signature genuine", _rewind,
            should=(Piece.RECEIPT, Piece.MONITOR), shows=("stated", "rewind"), by=By.THIEF),
    _attack("stale-backup", "goes on from an old backup, as if nothing had been lost", _stale_backup,
            should=(*_OUTSIDE, Piece.GUARD)),
    _attack("fork", "shows one caller another history than everybody else", _fork,
            should=(Piece.WITNESS, Piece.MONITOR)),
    _attack("fork-with-witness", "the same, and its witness cosigns both histories", _collude,
            should=(Piece.MONITOR,)),
    _attack("withhold-tiles", "signs a tree and does not serve its tiles", _withhold_tiles,
            should=(Piece.FSCK, Piece.MONITOR), shows=("stated", "tiles_withheld")),
    _attack("withhold-entries", "signs a tree and stops serving its entries", _withhold_entries,
            should=(Piece.MONITOR,), shows=("stated", "tiles_withheld")),
    _attack("prune-young", "says that its policy let young entries go, and hides them so", _prune_young,
            should=(Piece.FSCK, Piece.MONITOR, Piece.COMPLETENESS), shows=("stated", "tiles_withheld")),
    _attack("wrong-tiles", "signs one tree and serves the tiles of another", _wrong_tiles,
            should=(Piece.FSCK, Piece.MONITOR), shows=("stated", "tiles_mismatch")),
    _attack("other-key", "signs the log with a key of its own under the log's name", _other_key,
            should=(Piece.FSCK, Piece.RECEIPT, Piece.WITNESS), shows=_UNSHOWN, by=By.THIEF),
)  # fmt: skip

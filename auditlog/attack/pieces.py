"""Everybody who could notice an attack, each looking at what it would be shown: the product's own checks.

Spec: auditlog/attack/README.md, "Who looks". Each judge is the code that its command runs, with only the
trust file, what the log serves, and what its holder kept from before; the clock is the scene's. Evidence is
checked again as a stranger would. Must never: know which attack it is looking at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from auditlog.attack.memory import Served
from auditlog.attack.results import Noticed, Piece, Proof
from auditlog.attack.scene import Scene
from auditlog.attack.world import MONITOR_FOLDER, Watched, open_monitor
from auditlog.core.checkpoint import parse_checkpoint
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Verifier, split_note
from auditlog.errors import EvidenceError
from auditlog.verify.comparison import CurrentLog
from auditlog.verify.completeness import check_completeness
from auditlog.verify.completeness_report import Weight
from auditlog.verify.evidence_build import fork_file
from auditlog.verify.evidence_check import check_evidence
from auditlog.verify.evidence_claim import Claimed
from auditlog.verify.finding import ALARMS, AlarmClass
from auditlog.verify.fsck import fsck
from auditlog.verify.monitor.anchors import DevnetNotes
from auditlog.verify.monitor.beside import Beside, Other
from auditlog.verify.monitor.promised import Promised
from auditlog.verify.promise_evidence import format_evidence
from auditlog.verify.promise_report import Verdict
from auditlog.verify.promise_verdict import check_promise
from auditlog.verify.promise_view import LogSight
from auditlog.verify.verifier import Verifier
from auditlog.witness.states import FORK

RollbackCheck = Callable[[int, bytes, Sequence[bytes]], str | None]
"""The log's own guard at its start: (size, root) seen outside, and the leaf hashes in its stores; why it does
not start, or None. Given from outside: the suite knows no engine."""


def look(scene: Scene, guard: RollbackCheck | None) -> tuple[Noticed, ...]:
    """What everybody says who has something to look at."""
    judges = (_fsck, _receipt, _witness, _monitor, _completeness, _promise)
    found = [noticed for judge in judges if (noticed := judge(scene)) is not None]
    if guard is not None and scene.stores is not None:
        found.append(_guard(scene, guard))
    return tuple(found)


def _fsck(scene: Scene) -> Noticed | None:
    """A newcomer with the log's key alone."""
    if not scene.states:
        return None
    report = fsck(Served(scene.states[-1].files), scene.world.pen.signer.vkey)
    bad = next((step for step in report.steps if step.outcome == "failed"), None)
    said = "" if bad is None else f"{bad.name}: {bad.detail}"
    return Noticed(Piece.FSCK, report.exit_code == 1, said)


def _receipt(scene: Scene) -> Noticed | None:
    """Somebody with a receipt, the trust file, and the log as it is now."""
    world = scene.world
    now = CurrentLog(Served(scene.states[-1].files)) if scene.states else None
    report = Verifier(world.trust).verify(
        scene.receipt or world.receipt, log=now, disclosures=scene.disclosures
    )
    bad = report.first_failure
    said = report.headline if bad is None else f"{bad.name}: {bad.detail}"
    return Noticed(Piece.RECEIPT, report.exit_code == 1, said if report.exit_code else "")


def _witness(scene: Scene) -> Noticed | None:
    if not scene.asked:
        return None
    proofs = []
    for each in scene.conflicts:
        if each.kind == FORK:
            root = parse_checkpoint(split_note(each.shown)[0]).root_hash
            proofs.append(prove("fork", fork_file(each.shown, each.cosigned, root=root, proof=()), scene))
    said = scene.refusals[0] if scene.refusals else ""
    return Noticed(Piece.WITNESS, bool(scene.refusals), said, proofs=tuple(proofs))


def _monitor(scene: Scene) -> Noticed | None:
    """A monitor that has followed the log until now; what it is given beside the log is the scene's."""
    if not scene.states:
        return None
    world, folder = scene.world, scene.folder / MONITOR_FOLDER
    shutil.copytree(world.folder / MONITOR_FOLDER, folder)
    watched = Watched(world.log, Served(world.files), world.monitor_key, [world.pen.now_s])
    words: list[str] = []
    for state in scene.states:
        watched.source.files, watched.clock_s[0] = state.files, state.now_s
        # Opened again for each look: what it knows it knows from its memory on disk.
        monitor = open_monitor(
            folder, watched, beside=_peer(scene), promised=_promises(scene), anchors=_anchors(scene)
        )
        try:
            monitor.once()
            words += [word for _, word in monitor.new_alarms()]
        finally:
            monitor.close()
    rows = _alarms(folder, len(words))
    proofs = tuple(prove(word, file, scene) for word, _, file in rows if file is not None)
    said = "; ".join(f"{word}: {detail}" for word, detail, _ in rows)
    return Noticed(Piece.MONITOR, bool(rows), said, tuple(word for word, _, _ in rows), proofs)


def _promises(scene: Scene) -> Promised | None:
    """The folder of promises that the monitor is given."""
    if scene.promise is None:
        return None
    folder = _folder(scene.folder / "promises")
    (folder / "one.promise").write_text(scene.promise, encoding="utf-8")
    return Promised(folder, None)


def _peer(scene: Scene) -> Beside | None:
    """The other monitor that it asks."""
    if scene.peer is None:
        return None
    peer = _Peer(scene.peer)
    return Beside([Other("peer", "peer")], open_source=lambda _url: peer)


def _anchors(scene: Scene) -> list[DevnetNotes]:
    """The notes of the chain that it reads."""
    if not scene.anchors:
        return []
    folder = _folder(scene.folder / "anchors")
    for number, note in enumerate(scene.anchors):
        (folder / f"{number}.note").write_text(note, encoding="utf-8")
    return [DevnetNotes(folder, Ed25519Verifier.from_vkey(scene.world.devnet.vkey))]


class _Peer:
    """Another monitor, which shows one checkpoint whatever it is asked."""

    def __init__(self, note: str) -> None:
        self._note = note

    def fetch(self, path: str) -> bytes:
        """It."""
        del path
        return self._note.encode()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _alarms(folder: Path, newest: int) -> list[tuple[str, str, bytes | None]]:
    """(word, detail, evidence) of the newest alarms in a monitor's folder, as it leaves them there."""
    path = folder / "alarms.jsonl"
    if not newest or not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][-newest:]
    return [
        (
            str(line["alarm"]),
            str(line["detail"]),
            (folder / line["file"]).read_bytes() if line.get("file") else None,
        )
        for line in lines
    ]


def prove(alarm: str, file: bytes, scene: Scene) -> Proof:
    """What an evidence file comes to for somebody with the trust file alone."""
    told = check_evidence(file, scene.world.trust)
    if told.exit_code == 0:
        grade = "notice" if told.verdict == Claimed.NOTICE else "proven"
    else:
        grade = "stated" if told.verdict == Claimed.OBSERVED else "not proven"
    return Proof(alarm, grade, told.headline, file)


def is_notice(word: str) -> bool:
    """Whether an alarm word says nothing bad by itself."""
    return word in ALARMS and ALARMS[word].kind is AlarmClass.NOTICE


def _completeness(scene: Scene) -> Noticed | None:
    if not scene.states:
        return None
    state, log = scene.states[-1], scene.world.log
    try:
        opened = log.open(state.note)
    except EvidenceError as error:
        return Noticed(Piece.COMPLETENESS, is_noticed=True, said=str(error))
    vkey = scene.world.pen.signer.vkey
    report = check_completeness(Served(state.files), opened.checkpoint, vkey)
    bad = [found for found in report.findings if found.weight is Weight.CONTRADICTION]
    return Noticed(Piece.COMPLETENESS, bool(bad), bad[0].text if bad else "")


def _promise(scene: Scene) -> Noticed | None:
    if scene.promise is None or not scene.states:
        return None
    world, state = scene.world, scene.states[-1]
    sight = LogSight(world.trust, world.pen.origin, Served(state.files), kept=scene.kept)
    report = check_promise(scene.promise, sight, now_us=int(state.now_s * 1_000_000))
    proofs: tuple[Proof, ...] = ()
    if report.evidence is not None:
        proofs = (prove("promise_broken", format_evidence(report.evidence), scene),)
    is_broken = report.verdict is Verdict.BROKEN
    said = f"{report.cause}: {report.headline}" if is_broken else ""
    return Noticed(Piece.PROMISE, is_broken, said, proofs=proofs)


def _guard(scene: Scene, guard: RollbackCheck) -> Noticed:
    """The log's own service at its start, with what its high-water file remembers."""
    pen = scene.world.pen
    stores = [hash_leaf(entry) for entry in scene.stores or ()]
    why = guard(len(pen.entries), root_hash(pen.leaves()), stores)
    return Noticed(Piece.GUARD, why is not None, why or "")

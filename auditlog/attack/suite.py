"""The suite: all attacks in their order, the honest control, and one run of them over a copy of a log.

Spec: auditlog/attack/README.md. Promises: every attack is played in a scene of its own and listed whatever
came of it; the target is not touched. What is written goes below the folder given.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from auditlog.attack import handing, history, writing
from auditlog.attack.attack import Attack
from auditlog.attack.errors import UnfitTargetError
from auditlog.attack.pieces import RollbackCheck, is_notice, look
from auditlog.attack.results import Control, Noticed, Outcome, Piece, Results
from auditlog.attack.scene import Scene
from auditlog.attack.target import Target
from auditlog.attack.twin import arm
from auditlog.attack.world import World, make_world
from auditlog.errors import EvidenceError

ATTACKS: Final[tuple[Attack, ...]] = (*history.ATTACKS, *writing.ATTACKS, *handing.ATTACKS)
"""All of them. Names are never changed: results are compared by them."""

ROUNDS: Final = 4
"""Of the honest control: in each the log grows, and witness and monitor are started again."""

Progress = Callable[[str, int, int], None]
"""Called with (what is played, done, in all)."""


def chosen(names: Sequence[str]) -> tuple[Attack, ...]:
    """The attacks of these names; all for none.

    Raises:
        UnfitTargetError: there is none of that name.
    """
    known = {attack.name: attack for attack in ATTACKS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnfitTargetError(f"expected the name of an attack (auditlog attack --list), found {unknown[0]}")
    return tuple(known[name] for name in names) if names else ATTACKS


def run_suite(
    target: Target,
    folder: Path,
    *,
    only: Sequence[str] = (),
    guard: RollbackCheck | None = None,
    keep: Path | None = None,
    progress: Progress = lambda _name, _done, _all: None,
) -> Results:
    """Play attacks against a copy. `folder` is an empty one to work in; evidence files are left in `keep`.

    Raises:
        UnfitTargetError: the copy is no log that can be attacked, or no such attack.
    """
    attacks = chosen(only)
    try:
        world = make_world(arm(target), folder / "world")
    except (EvidenceError, KeyError, TypeError, AttributeError, ValueError) as error:
        # What is in a copy is attacker-controlled, and this one is not of a log that could be gone on with.
        raise UnfitTargetError(f"expected a log that can be gone on with, found: {error}") from error
    progress("the honest control", 0, len(attacks) + 1)
    control = honest(world, folder / "honest", guard)
    outcomes = []
    for number, attack in enumerate(attacks, 1):
        progress(attack.name, number, len(attacks) + 1)
        outcomes.append(play(attack, world, folder / attack.name, guard))
        # Every attack has memories of its own; a hundred of them are not to be on the disk at once.
        shutil.rmtree(folder / attack.name)
    progress("done", len(attacks) + 1, len(attacks) + 1)
    if keep is not None:
        _keep(keep, world, outcomes)
    return Results(target.origin, len(target.entries), world.is_twin, control, tuple(outcomes))


def _keep(folder: Path, world: World, outcomes: Sequence[Outcome]) -> None:
    """Leave the evidence for others to check: `auditlog verify FILE --trust trust.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trust.json").write_bytes(world.trust_text)
    for outcome in outcomes:
        for number, proof in enumerate(outcome.proofs):
            (folder / f"{outcome.name}-{number}-{proof.alarm}.json").write_bytes(proof.file)


def play(attack: Attack, world: World, folder: Path, guard: RollbackCheck | None) -> Outcome:
    """One attack, and what everybody makes of it."""
    scene = Scene(world, folder)
    folder.mkdir(parents=True)
    attack.play(scene)
    return Outcome(
        name=attack.name,
        title=attack.title,
        by=attack.by,
        should=attack.should,
        due=attack.due,
        noticed=tuple(_for(attack, each) for each in look(scene, guard)),
        why_none=attack.why_none,
    )


def _for(attack: Attack, found: Noticed) -> Noticed:
    """Whoever raised something else has not noticed this attack."""
    if not found.is_noticed:
        return found
    other = found.piece is Piece.MONITOR and attack.alarm and attack.alarm not in found.alarms
    other = other or (found.piece is Piece.PROMISE and not found.said.startswith(f"{attack.cause}:"))
    return replace(found, is_noticed=False, said=f"something else: {found.said}") if other else found


def honest(world: World, folder: Path, guard: RollbackCheck | None, *, rounds: int = ROUNDS) -> Control:
    """The log goes on honestly for some rounds, and is looked at by everybody."""
    folder.mkdir(parents=True)
    scene = Scene(world, folder)
    pen = scene.pen()
    pen.now_s += 1
    scene.promise = pen.decide().promise
    for number in range(rounds):
        pen.decide()
        pen.beat()
        if number % 2:
            pen.write("notice", {"what": "stopped"})
            pen.start()
            pen.cover()
        scene.publish(pen)
    scene.stores = pen.entries
    scene.anchors = [world.devnet_note(size) for size in (1, len(world.pen.entries))]
    scene.peer = world.note
    found = look(scene, guard)
    raised = [f"the copy as it is: {word}" for word in world.before if not is_notice(word)]
    for each in found:
        bad = any(not is_notice(word) for word in each.alarms) if each.alarms else each.is_noticed
        if bad:
            raised.append(f"{each.piece.value}: {each.said}")
    return Control(rounds, len(pen.entries), tuple(raised), found)

"""One attack: a name, who does it, how, and who is to notice.

Spec: auditlog/attack/README.md, "Adding an attack".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from auditlog.attack.results import By, Piece
from auditlog.attack.scene import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`play` does it, to a scene of its own; everybody looks at the scene afterwards."""

    name: str
    title: str
    """What the attacker does, in a line for people."""
    by: By
    should: tuple[Piece, ...]
    """Who must notice. Others may; the table says who did."""
    play: Callable[[Scene], None]
    due: str = ""
    """The evidence due: `proven`, `notice`, `stated`, or none."""
    alarm: str = ""
    """The monitor's word that must be among those it raises, where it should notice."""
    cause: str = ""
    """The cause that the promise check must find, where it should notice."""
    why_none: str = ""
    """Where nobody can notice: why not."""

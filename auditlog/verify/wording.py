"""Text of strangers, made safe to show in a terminal or a page. Spec: auditlog/spec/threat-model.md,
"Attacks".
"""

from __future__ import annotations

import unicodedata


def printable(text: str, limit: int = 200) -> str:
    """Escape everything but plain printable characters, and cut what is long.

    Control characters could redraw a terminal and direction marks could reverse a name; both are escaped.
    """
    shown = "".join(
        c if _is_plain(c) else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _is_plain(character: str) -> bool:
    return character.isprintable() and unicodedata.category(character) not in ("Cf", "Cc", "Cs", "Co", "Cn")

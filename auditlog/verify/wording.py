"""Text of strangers, made safe to show in a terminal or
a page. Spec: auditlog/spec/threat-model.md, "Attacks".

Promises: whatever leaves through `visible` holds plain printable characters only; both functions leave alone
what they have made. Must never: be the reader's only guard against layout; `auditlog.verify.render` marks
every line that goes on from another.
"""

from __future__ import annotations

import re
import unicodedata

_MORE_SPACES = re.compile("(?<= ) ")


def visible(text: str) -> str:
    """Escape everything but plain printable characters: the one gate before a terminal.

    Control characters could redraw a terminal and direction marks could reverse a name; both are escaped.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_plain(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def printable(text: str, limit: int = 200) -> str:
    """The same for text of a stranger inside a sentence of ours; what is long is cut.

    Of several spaces the second and later are escaped: a run of them would look like a new line or column.
    """
    if len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text:
        return text  # nearly always
    shown = visible(text[: limit + 1])
    if "  " in shown:
        shown = _MORE_SPACES.sub(r"\\x20", shown)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def _is_plain(character: str) -> bool:
    return character.isprintable() and unicodedata.category(character) not in ("Cf", "Cc", "Cs", "Co", "Cn")

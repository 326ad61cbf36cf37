"""A cheating operator. It has everything an operator has: the signing key, the stores, the model files.

What it does to logs and receipts is `auditlog.attack.forging`, shared with the attack suite; here is what
only a whole operator with a model has. Each cheat works on copies.
"""

from __future__ import annotations

import struct
from pathlib import Path

from auditlog.attack.forging import edit_decision, first_decision, forge_receipt, read_entries, write_log

__all__ = ["edit_decision", "first_decision", "forge_receipt", "read_entries", "swap_weights", "write_log"]


def swap_weights(weights: Path) -> None:
    """Change a model file in place: one value of its last tensor, the kind of edit no listing shows."""
    content = bytearray(weights.read_bytes())
    (value,) = struct.unpack_from("<f", content, len(content) - 4)
    struct.pack_into("<f", content, len(content) - 4, -value - 1.0)
    weights.write_bytes(bytes(content))

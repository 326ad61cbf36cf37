"""Writes out what a witness kept that does not go together: evidence files, and requests to look at.

Spec: auditlog/spec/evidence.md, FORK; auditlog/spec/witness.md, "Conflicts". Two roots of one size, both
signed by the log, are a whole evidence file. A proof that did not hold is no proof of anything: it is
written as it came, with the checkpoint it does not extend.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from auditlog.witness.config import WitnessConfig
    from auditlog.witness.states import Conflict


def write_conflicts(config: WitnessConfig, folder: Path) -> list[Path]:
    """Write each once, named after its content.

    Raises:
        ConfigurationError: the folder cannot be written. StorageError.
    """
    from auditlog.witness.commits import CONFLICTS
    from auditlog.witness.database import STORE, read_only
    from auditlog.witness.states import Conflict

    connection = read_only(config.state_dir / STORE)
    try:
        found = [Conflict(*row) for row in connection.execute(CONFLICTS)]
    finally:
        connection.close()
    written = []
    for each in found:
        name, content = _named(each)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        except OSError as error:
            raise ConfigurationError(f"expected to write {folder / name}, found: {error.strerror}") from error
        written.append(folder / name)
    return written


def _named(conflict: Conflict) -> tuple[str, bytes]:
    from auditlog.core.merkle import hash_leaf

    if conflict.kind == "fork":
        content, ending = _fork(conflict), "evidence.json"
    else:
        content, ending = f"{conflict.shown}\n{conflict.cosigned}".encode(), "growth.txt"
    return f"{conflict.size:012d}-{hash_leaf(content).hex()[:16]}.{ending}", content


def _fork(conflict: Conflict) -> bytes:
    """Two checkpoints of one size: the proof between them is empty."""
    from auditlog.core.checkpoint import parse_checkpoint
    from auditlog.core.note import split_note
    from auditlog.verify.promise_evidence import Cause, Earlier, Evidence, format_evidence

    root = parse_checkpoint(split_note(conflict.cosigned)[0]).root_hash
    earlier = Earlier(conflict.shown, (), root)
    return format_evidence(Evidence(verdict=Cause.FORK, checkpoint=conflict.cosigned, earlier=earlier))

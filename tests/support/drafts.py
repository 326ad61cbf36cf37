"""A real recorder whose log is not there: what it seals is read back from its disk as drafts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from auditlog.capture import CaptureSettings, Recorder
from auditlog.capture.books import read_draft
from auditlog.capture.chain import empty_tip
from auditlog.capture.frames import DRAFTS
from auditlog.capture.slots import acquire_slot
from auditlog.capture.spool import Spool


def unsent_recorder(state: Path, **settings: Any) -> Recorder:
    """A recorder with a log that is not there."""
    return Recorder(
        CaptureSettings(
            log_url="http://127.0.0.1:9/logs/main", producer="p", state_dir=state, strict=True, **settings
        )
    )


def sealed(recorder: Recorder, *kinds: str) -> list[dict[str, Any]]:
    """Close the recorder and read the bodies of its entries of these kinds back from the disk."""
    recorder.close()
    slot = acquire_slot(recorder.settings.state_dir, "p")
    spool = Spool(slot.drafts_dir, DRAFTS, segment_bytes=1 << 20, start=empty_tip(bytes(32)))
    try:
        records = spool.read(spool.first, max_records=1000, max_bytes=1 << 24)
    finally:
        spool.close()
        slot.release()
    return [content for kind, content in map(read_draft, records) if kind in kinds]

"""What a model IS: manifests and digests of its files (spec/fingerprint.md). Stands on `core` only."""

from __future__ import annotations

from auditlog.fingerprint.background import BackgroundMeasurement
from auditlog.fingerprint.manifest import (
    METHOD,
    FileDigest,
    Manifest,
    build_manifest,
    format_manifest,
    parse_manifest,
)
from auditlog.fingerprint.measure import ModelFingerprint, fingerprint_model, fingerprint_path, hub_source

__all__ = [
    "METHOD",
    "BackgroundMeasurement",
    "FileDigest",
    "Manifest",
    "ModelFingerprint",
    "build_manifest",
    "fingerprint_model",
    "fingerprint_path",
    "format_manifest",
    "hub_source",
    "parse_manifest",
]

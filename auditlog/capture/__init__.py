"""The capture layer inside a serving process: observe an inference, commit to it, seal it, send it to the
log.

Loads none of torch, transformers, SQLAlchemy, FastAPI or web3, and never raises into the application.
Start with `auditlog.capture.asgi.AuditMiddleware`; README.md beside this file tells the life of a decision.
"""

from __future__ import annotations

from auditlog.capture.observation import Exchange, Observation, ObservedBody, Recorded
from auditlog.capture.recorder import Recorder
from auditlog.capture.settings import CaptureSettings

__all__ = ["CaptureSettings", "Exchange", "Observation", "ObservedBody", "Recorded", "Recorder"]

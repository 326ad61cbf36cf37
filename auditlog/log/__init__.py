"""The log engine: pool, sequencer, staging, publisher, reader, receipts, index. See README.md here."""

from auditlog.log.admission import Accepted, Batch, Enrolled, Sequenced
from auditlog.log.config import LogConfig, Stores, Visibility
from auditlog.log.engine import Engine
from auditlog.log.log import Log, LogStatus
from auditlog.log.opening import create_log, open_log
from auditlog.log.rollback import HighWaterFile, RollbackSource, SeenTree

__all__ = [
    "Accepted",
    "Batch",
    "Engine",
    "Enrolled",
    "HighWaterFile",
    "Log",
    "LogConfig",
    "LogStatus",
    "RollbackSource",
    "SeenTree",
    "Sequenced",
    "Stores",
    "Visibility",
    "create_log",
    "open_log",
]

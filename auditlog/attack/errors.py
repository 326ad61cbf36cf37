"""What goes wrong with a target before any attack is run."""

from __future__ import annotations

from auditlog.errors import ConfigurationError


class LiveTargetError(ConfigurationError):
    """The target looks like a log that somebody is running: the suite works on copies alone."""


class UnfitTargetError(ConfigurationError):
    """The target is no copy of a log that the attacks could be tried on."""

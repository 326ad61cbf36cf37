"""Modules that the layer's threads would otherwise import while the application may fork.

A child forked while a thread of its parent imports inherits that module's import lock, taken for ever: the
first import of the same module in the child then hangs. So whatever our threads need is imported before they
start. Must never: be called from a thread of ours.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib

LATE = (
    "httpcore",  # httpx imports it with its first client, certifi along with it
    "certifi",
    "encodings.ascii",
    "encodings.idna",
)


def preload() -> None:
    """Import everything that a thread of this layer imports only when it first needs it."""
    for name in LATE:
        importlib.import_module(name)
    # OpenSSL looks an algorithm up under a lock of its own when it is first used; later uses share it.
    hmac.digest(b"", b"", hashlib.sha256)

"""The app, with one door in front of it: posts of batches are answered before the framework's layers.

Those layers (its own error page, telemetry, limits, routing) cost more than a batch of one entry. Promises:
what is seen of a request from outside is the same on both ways: metrics, headers, the line of a refusal,
problem answers. Must never: let a request past `Observe`.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

import auditlog
from auditlog.service import problems
from auditlog.service.api import batches
from auditlog.service.metrics import Metrics
from auditlog.service.observe import Observe


class Service(FastAPI):
    """The service of either role, without routes but that of batches."""

    def __init__(self, metrics: Metrics, **options: Any) -> None:
        """`options` are the framework's."""
        super().__init__(title="auditlog", version=auditlog.__version__, **options)
        self.state.startup_error = None
        # Routes are tried in order. A post comes here only by another spelling of its path.
        self.router.routes.insert(0, batches.route)
        problems.install(self)
        self.add_middleware(Observe, metrics=metrics, monotonic=time.monotonic)
        self._hot = Observe(batches.answer, metrics=metrics, monotonic=time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a batch here, anything else through all layers."""
        name = batches.log_of(scope)
        if name is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        scope["path_params"] = {"log": name}
        await self._hot(scope, receive, send)

"""The mortgage decision API: an ordinary FastAPI app that
knows nothing of auditlog but the one line that wraps it.

Run by `auditlog demo` as its own process; `AUDITLOG_MODEL` names the folder with the weights.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI

from auditlog.capture.asgi import AuditMiddleware
from auditlog.demo.loan_model import LoanModel


def create_app() -> FastAPI:
    """Build the API around the model named by `AUDITLOG_MODEL`."""
    model = LoanModel(Path(os.environ["AUDITLOG_MODEL"]))
    app = FastAPI(title="Mortgage decisions")
    app.add_middleware(AuditMiddleware)  # <- the one line

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/decide")
    async def decide(application: Annotated[dict[str, float], Body()]) -> dict[str, Any]:
        return model.decide(application)

    return app

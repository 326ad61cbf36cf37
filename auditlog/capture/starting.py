"""What the middleware says when an application starts: what is wrong, and what will be recorded.

Called once per recorder, with the lifespan, or with the first request where a server has none. The order of
the layers is checked (`stack`), and the routes go into the `coverage` entry. Must never: hold up the start,
or keep the application from serving.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditlog.capture.covered import coverage_of
from auditlog.capture.stack import order_problems

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder
    from auditlog.capture.routes import RouteTable


def begin(recorder: Recorder, app: object, table: RouteTable) -> None:
    """Check the layers inside, report what is wrong; say which routes are recorded how."""
    for problem in order_problems(app):
        recorder.report(problem)
    recorder.cover(coverage_of(app, table))

"""What the middleware says when an application starts: what is wrong, and what will be recorded.

Called once per recorder, with the lifespan, or with the first request where a server has none. The order of
the layers is checked (`stack`), and the routes go into the `coverage` entry. Must never: hold up the start,
or keep the application from serving.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from auditlog.capture.covered import coverage_of
from auditlog.capture.route_list import describe_routes, summary, unmatched_rules
from auditlog.capture.routes import WEBSOCKET
from auditlog.capture.stack import order_problems
from auditlog.capture.waiting import fails_closed
from auditlog.capture.websocket_exchange import TURN_ENDS

logger = logging.getLogger("auditlog.capture")

if TYPE_CHECKING:
    from auditlog.capture.recorder import Recorder
    from auditlog.capture.routes import RouteTable


def begin(recorder: Recorder, app: object, table: RouteTable) -> None:
    """Check the layers inside, report what is wrong; say which routes are recorded how."""
    for problem in order_problems(app):
        recorder.report(problem)
    recorder.cover(coverage_of(app, table))
    lines = summary(app, table)
    if fails_closed(recorder) and (sockets := _without_turns(app, table)):
        lines.append(f"  refused in fail_closed, since no message ends a turn of them: {', '.join(sockets)}")
    logger.info("auditlog: %s", "\n".join(lines), extra={"event": "routes"})
    for rule in unmatched_rules(app, table):
        rule_text = f"'{rule.method} {rule.path}={rule.mode}'"
        problem = f"AUDITLOG_ROUTES: expected routes of the application, found {rule_text}, which none is"
        recorder.report(problem, logging.WARNING)


def _without_turns(app: object, table: RouteTable) -> list[str]:
    """The websockets that fail_closed turns away."""
    lines = describe_routes(app, table)
    sockets = (line for line in lines if line.method == WEBSOCKET and line.record != "skip")
    return sorted({line.path for line in sockets if line.dialect not in TURN_ENDS})

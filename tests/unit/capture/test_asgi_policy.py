"""Which requests the middleware records: refusals, unknown routes, rules, marks, own failures."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.http_exchange import current_exchange
from auditlog.capture.routes import Mark
from auditlog.capture.settings import CaptureSettings, parse_routes
from auditlog.core.commitment import commit_body
from tests.support.observing import START, ObservingRecorder, answering, body, drive, http_scope, run

CHAT = "/v1/chat/completions"


@pytest.fixture
def recorder() -> ObservingRecorder:
    """A recorder in memory, raising the layer's own errors."""
    return ObservingRecorder()


@pytest.mark.parametrize("status", [401, 403, 404, 405, 413, 429])
def test_requests_refused_before_a_handler_are_counted(recorder: ObservingRecorder, status: int) -> None:
    """They get no id, leave no entry and are counted by status."""
    sent = run(answering({**START, "status": status}, body(b"no")), recorder)
    assert sent == [{**START, "status": status}, body(b"no")]
    assert recorder.observations == []
    assert recorder.metrics.get(f"refused.{status}") == 1


@pytest.mark.parametrize("status", [403, 404])
def test_what_a_handler_refuses_is_a_decision(recorder: ObservingRecorder, status: int) -> None:
    """Once the framework has chosen a handler, its 403 and 404 are recorded: it may have decided them."""
    run(answering({**START, "status": status}, body(b"no"), endpoint=print), recorder)
    assert recorder.only().status == status


@pytest.mark.parametrize("status", [400, 422, 307])
def test_other_client_errors_are_recorded(recorder: ObservingRecorder, status: int) -> None:
    """Only the listed refusals are left out."""
    run(answering({**START, "status": status}, body(b"no")), recorder)
    assert (recorder.only().status, recorder.only().ended) == (status, "ok")


def test_unknown_post_routes_are_recorded_without_values(recorder: ObservingRecorder) -> None:
    """A route nobody named leaves commitments only, and no path with someone's id in it."""
    run(answering(START, body(b"{}")), recorder, path="/customers/4711/score", chunks=[b"{}"])
    seen = recorder.only()
    assert (seen.keep_values, seen.operation, seen.route) == (False, "unknown", None)
    assert (seen.request.data, seen.response.data) == (None, None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_other_methods_are_not_recorded(recorder: ObservingRecorder, method: str) -> None:
    """They pass without an id, and nothing is minted for them."""
    assert run(answering(START, body(b"{}")), recorder, path="/page", method=method) == [START, body(b"{}")]
    assert (recorder.observations, recorder.minted) == ([], 0)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "QUERY"])
def test_other_orders_are_recorded_like_a_post(recorder: ObservingRecorder, method: str) -> None:
    """A route nobody thought of is no silent hole, whatever its method."""
    run(answering(START, body(b"{}")), recorder, path="/customers/4711/score", method=method)
    seen = recorder.only()
    assert (seen.method, seen.operation, seen.route) == (method, "unknown", None)


def routed(text: str) -> ObservingRecorder:
    """A recorder whose operator set AUDITLOG_ROUTES to `text`."""
    settings = CaptureSettings(
        log_url="http://log.example/logs/main", strict=True, routes=parse_routes(text, [])
    )
    return ObservingRecorder(settings)


def test_operator_routes_win() -> None:
    """AUDITLOG_ROUTES adds routes of any method, takes values away, and excludes."""
    recorder = routed(f"GET /score/{{id}}=values, POST {CHAT}=record, POST /v1/completions=skip")
    run(answering(START, body(b"{}")), recorder, path="/score/4711", method="GET")
    run(answering(START, body(b"{}")), recorder)
    run(answering(START, body(b"{}")), recorder, path="/v1/completions")
    score, chat = recorder.observations
    assert (score.keep_values, score.operation, score.route) == (True, "predict", "/score/{id}")
    assert (chat.keep_values, chat.operation, chat.route) == (False, "chat", CHAT)


def marked(operation: str = "classify", *, values: bool = True) -> Any:
    """A handler as `@audited` leaves it."""

    def handler() -> None: ...

    handler.__auditlog_mark__ = Mark(operation, values)  # type: ignore[attr-defined]
    return handler


@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
def test_a_mark_on_the_handler_keeps_values(recorder: ObservingRecorder, method: str) -> None:
    """The handler the framework chose decides, for any method, from the first byte on."""
    app = answering(START, body(b"{}"), endpoint=marked())
    sent = run(app, recorder, path="/own", method=method, chunks=[b'{"a"', b":1}"])
    seen = recorder.only()
    assert (seen.operation, seen.keep_values) == ("classify", True)
    assert (seen.request.data, seen.response.data) == (b'{"a":1}', b"{}")
    assert seen.exchange.request.digest() == commit_body(seen.exchange.exchange_key, "request", b'{"a":1}')
    assert b"audit-id" in dict(sent[0]["headers"])


def test_a_mark_does_not_overrule_the_operator() -> None:
    """AUDITLOG_ROUTES comes before a mark; a skipped route stays skipped."""
    recorder = routed("POST /a=record, POST /b=skip")
    for path in ("/a", "/b"):
        run(answering(START, body(b"{}"), endpoint=marked()), recorder, path=path)
    assert recorder.only().keep_values is False


def test_root_path_is_taken_off(recorder: ObservingRecorder) -> None:
    """Behind a prefix the known routes are still known."""
    run(answering(START, body(b"{}")), recorder, path="/llm/v1/completions", root_path="/llm")
    assert recorder.only().operation == "text_completion"


def test_extensions_that_bypass_us_are_hidden(recorder: ObservingRecorder) -> None:
    """The application must send bytes, not a path; the server's own scope stays as it is."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope["extensions"])
        await receive()
        await send({**START, "trailers": True})
        await send(body(b"{}"))
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": False})

    extensions = {
        "http.response.pathsend": {},
        "http.response.trailers": {},
        "http.response.zerocopysend": {},
    }
    scope = http_scope(extensions=extensions)
    sent = asyncio.run(drive(AuditMiddleware(app, recorder), scope))
    assert list(seen) == ["http.response.trailers"]
    assert len(scope["extensions"]) == 3
    assert sent[-1]["type"] == "http.response.trailers"
    assert recorder.only().ended == "ok"


def test_other_connections_pass_untouched(recorder: ObservingRecorder) -> None:
    """Types not invented yet get the server's own scope and callables."""
    passed: list[Any] = []

    async def app(*parts: Any) -> None:
        passed.extend(parts)

    async def channel() -> None: ...

    scope = {"type": "something.new"}
    asyncio.run(AuditMiddleware(app, recorder)(scope, channel, channel))  # type: ignore[arg-type]
    assert passed[0] is scope
    assert passed[1] is channel
    assert passed[2] is channel


def test_lifespan_passes_and_starts_the_recorder(recorder: ObservingRecorder) -> None:
    """A recorder that was handed in is started with the application and left to its owner at the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert recorder.started == 1

    asyncio.run(AuditMiddleware(app, recorder)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert (recorder.started, recorder.closed) == (1, 0)


def test_a_disabled_recorder_leaves_everything_alone(recorder: ObservingRecorder) -> None:
    """If nothing can be recorded the request passes without an id."""
    recorder.enabled = False
    assert run(answering(START, body(b"{}")), recorder) == [START, body(b"{}")]
    assert recorder.observations == []


def test_current_exchange_is_set_only_inside_the_request(recorder: ObservingRecorder) -> None:
    """Code of the request sees its exchange; code after it in the same task does not."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(current_exchange.get())

    async def main() -> None:
        await drive(AuditMiddleware(app, recorder), http_scope())
        seen.append(current_exchange.get())

    asyncio.run(main())
    assert seen[0] is not None
    assert seen[1] is None


FAULTS = ["new_exchange", "record", "request.update", "response.update", "routes"]


@pytest.mark.parametrize("fault", FAULTS)
def test_own_failures_never_reach_the_application(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever breaks, the same messages pass, the failure is counted, and no false record is made."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://log.example/logs/main"))

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("secret payload")

    if fault in ("new_exchange", "record"):
        setattr(recorder, fault, broken)
    elif fault == "routes":
        recorder.settings = None  # type: ignore[assignment]
        recorder.settings = type("Settings", (), {"strict": False})()  # no routes at all
    else:
        real, name = recorder.new_exchange, fault.partition(".")[0]

        def minted() -> Any:
            exchange = real()
            setattr(exchange, name, type("Broken", (), {"update": broken})())
            return exchange

        recorder.new_exchange = minted  # type: ignore[method-assign]
    sent = run(answering(START, body(b"a", more=True), body(b"b")), recorder, chunks=[b"{}"])
    assert [message.get("body") for message in sent] == [None, b"a", b"b"]
    assert recorder.observations == []
    assert len(recorder.lost) == (fault in ("request.update", "response.update"))
    assert sum(count for name, count in recorder.metrics.snapshot().items() if "asgi" in name) >= 1
    assert "secret payload" not in caplog.text


def test_admin_routes_are_no_decisions(recorder: ObservingRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """They pass untouched; what they changed is followed once they were answered, or failed."""
    seen: list[Any] = []

    def observed(_: Any, policy: Any, path: str, data: bytes | None, status: int | None, **more: Any) -> None:
        seen.append((policy.is_admin, path, data, status, more["query"]))

    monkeypatch.setattr("auditlog.capture.http_admin.observed", observed)
    path, ask = "/v1/load_lora_adapter", [b'{"lora_na', b'me":"a"}']
    sent = run(answering(START, body(b"ok")), recorder, path=path, chunks=ask, query_string=b"a=1")
    assert sent == [START, body(b"ok")]
    with pytest.raises(RuntimeError):
        run(answering(error=RuntimeError()), recorder, path=path, chunks=[b"x" * 70_000])
    assert seen == [(True, path, b"".join(ask), 200, b"a=1"), (True, path, None, None, b"")]
    assert (recorder.observations, recorder.minted) == ([], 0)


@pytest.mark.parametrize(
    "url", ["https://exämple.org/r", "https://a.example/x\r\nSet-Cookie: a=b", "https://a/x y"]
)
@pytest.mark.parametrize("mode", ["fail_open", "fail_closed"])
def test_a_receipt_address_that_no_header_can_hold_is_left_out(url: str, mode: Any) -> None:
    """Settings made by hand may hold one; the answer leaves all the same."""
    recorder = ObservingRecorder(CaptureSettings(log_url="http://log.example/logs/a", mode=mode))
    mint = recorder.new_exchange
    recorder.new_exchange = lambda: dataclasses.replace(mint(), receipt_url=url)  # type: ignore[method-assign,type-var]
    sent = run(answering(START, body(b"{}")), recorder)
    names = [name for name, _ in sent[0]["headers"]]
    assert b"audit-id" in names
    assert b"audit-receipt" not in names
    assert recorder.metrics.snapshot().get("failures.asgi.UnicodeEncodeError") is None

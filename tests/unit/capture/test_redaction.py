"""Redaction: what the operator takes out is never hashed, kept or guessed at, whatever the body is."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.capture import CaptureSettings, Recorder
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.audited import audited
from auditlog.capture.disclose import find_record
from auditlog.capture.redaction import REDACTED, Redacted, Redactor
from auditlog.core.bodies import check_body
from auditlog.core.commitment import commit_body
from auditlog.errors import ConfigurationError
from tests.support.drafts import sealed, unsent_recorder
from tests.support.observing import START, answering, body, drive, http_scope

CHAT = "request:/messages/*/content, response:/choices/*/message/content"
WHOLE = Redacted(REDACTED, changed=True, is_whole=True)
SECRET = "Mrs Miller"


def redactor(setting: str = CHAT) -> Redactor:
    """The redactor of a setting that is not empty."""
    made = Redactor.from_setting(setting)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("given_body", "left"),
    [
        (
            b'{"messages":[{"role":"user","content":"x"}]}',
            b'{"messages":[{"role":"user","content":"[redacted]"}]}',
        ),
        (
            b'{ "temperature": 0.70, "messages": [ {"content": [1, {"text": "x"}]} ], "n" : 1 }',
            b'{"temperature":0.70,"messages":[{"content":"[redacted]"}],"n":1}',
        ),
        (b'{"mess\\u0061ges":[{"c\\u006fntent":"x"}]}', b'{"messages":[{"content":"[redacted]"}]}'),
    ],
)
def test_what_a_pointer_points_to_is_replaced(given_body: bytes, left: bytes) -> None:
    """Values beside it keep their source bytes; an escape in a name hides nothing."""
    assert redactor().apply("request", given_body) == Redacted(left, changed=True)


@pytest.mark.parametrize("data", [b'{"prompt":"x"}', b'{"messages":[]}', b'{"messages":{"a":1}}', b""])
def test_a_body_that_holds_none_of_it_stays_as_it_is(data: bytes) -> None:
    """Byte for byte, and it is not called redacted; that the rules missed it is told."""
    assert redactor().apply("request", data) == Redacted(data, changed=False, is_missed=data != b"")
    assert redactor().apply("facts", data) == Redacted(data, changed=False)


@pytest.mark.parametrize(
    "data",
    [
        b'[{"messages":[{"content":"x"}]}]',
        b'"{\\"messages\\":[{\\"content\\":\\"x\\"}]}"',
        b"[]",
        b'"x"',
        b"7",
        b"null",
    ],
)
def test_a_body_of_another_type_than_the_rule_needs_is_replaced_whole(data: bytes) -> None:
    """An object wrapped in an array or in a string hides nothing; a rule for arrays reads arrays."""
    assert redactor().apply("request", data) == WHOLE
    if data.startswith(b"["):
        for_arrays = redactor("request:/*/messages, request:/0/prompt")
        assert not for_arrays.apply("request", data).is_whole


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"messages":[]}\n\n',
        b"\x1f\x8b\x08",
        b'{"messages":[{"content":"x"}],"messages":[]}',
        b'{"a":{"b":1,"b":2}}',
        b'{"messages":[{"content":"x"}]} trailing',
        b'\xef\xbb\xbf{"messages":[{"content":"x"}]}',
        '{"messages":[{"content":"x"}]}'.encode("utf-16"),
        b'{"messages":[{"content":NaN}]}',
        b'{"messages":[{"content":"\xff"}]}',
        b"[" * 100_000,
        None,
    ],
)
def test_a_body_that_cannot_be_redacted_is_replaced_whole(data: bytes | None) -> None:
    """A stream, another coding, what two readers may read differently, what nobody kept: all of it goes."""
    assert redactor().apply("request", data) == WHOLE


def test_an_empty_pointer_is_the_whole_body() -> None:
    """Of any type; RFC 6901 escapes work, and array elements have numbers."""
    assert redactor("response:").apply("response", b"\xff\xfe") == WHOLE
    assert redactor("request:/a~1b/~0/1").apply("request", b'{"a/b":{"~":[1,2,3]}}').data == (
        b'{"a/b":{"~":[1,"[redacted]",3]}}'
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_redacted_without_an_error(data: bytes) -> None:
    """Whatever a caller sends, there is an answer."""
    assert redactor().apply("request", data).changed in (True, False)


@given(
    st.recursive(st.text(max_size=4), lambda inner: st.dictionaries(st.text(max_size=4), inner, max_size=3))
)
def test_redacting_twice_is_redacting_once(value: Any) -> None:
    """What was taken out stays out, and nothing else moves."""
    data = json.dumps({"messages": [{"content": value, "beside": value}]}).encode()
    once = redactor().apply("request", data)
    assert json.loads(once.data) == {"messages": [{"content": "[redacted]", "beside": value}]}
    assert redactor().apply("request", once.data).data == once.data


@pytest.mark.parametrize(
    "setting",
    [
        "messages",
        "request",
        "body:/a",
        "request:a",
        "request:/~2",
        "no.such.module:function",
        "json:nothing",
        "sys:path",
    ],
)
def test_bad_settings_are_problems_at_the_start(setting: str, tmp_path: Path) -> None:
    """Nothing is recorded then; and a recorder built by hand with one redacts everything."""
    with pytest.raises(ConfigurationError, match="AUDITLOG_REDACT"):
        Redactor.from_setting(setting)
    environ = {"AUDITLOG_LOG": "http://log.example/logs/a", "AUDITLOG_REDACT": setting}
    settings = CaptureSettings.from_environ(environ)
    assert not settings.is_usable
    assert any("AUDITLOG_REDACT" in problem for problem in settings.problems)
    by_hand = Recorder(CaptureSettings(redact=setting, state_dir=tmp_path)).redactor
    assert by_hand is not None
    assert by_hand.apply("response", b"{}") == WHOLE


def test_an_own_function_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may change any body; None, or an error of its own, takes out everything."""
    module = ModuleType("own_redaction")

    def take_out(name: str, data: bytes) -> bytes | None:
        if b"none" in data:
            return None
        return data.replace(SECRET.encode(), b"?") if name == "request" else data

    module.take_out = take_out  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_redaction", module)
    own = redactor("own_redaction:take_out")
    assert own.apply("request", b"I am Mrs Miller") == Redacted(b"I am ?", changed=True)
    assert own.apply("response", b"I am Mrs Miller") == Redacted(b"I am Mrs Miller", changed=False)
    assert own.apply("request", b"none") == WHOLE
    assert own.apply("request", None) == WHOLE
    failures: list[BaseException] = []
    failing = Redactor.for_recording(lambda _name, data: data[: 1 // 0], failures.append)
    assert failing is not None
    assert failing.apply("request", b"x") == WHOLE
    assert isinstance(failures[0], ZeroDivisionError)


def decided(tmp_path: Path, setting: str, *, path: str = "/v1/chat/completions", answer: Any = None) -> Any:
    """One request through the middleware with this AUDITLOG_REDACT: the decision, and what was kept of it."""
    recorder = unsent_recorder(tmp_path, redact=setting)
    question = json.dumps({"messages": [{"role": "user", "content": SECRET}], "temperature": 0.5}).encode()
    reply = answer or [START, body(json.dumps({"choices": [{"message": {"content": SECRET}}]}).encode())]
    asyncio.run(drive(AuditMiddleware(answering(*reply), recorder), http_scope(path), [question]))
    [decision] = sealed(recorder, "decision")
    return decision, find_record(tmp_path, decision["id"])


def test_the_entry_commits_to_what_is_left_and_says_so(tmp_path: Path) -> None:
    """Commitment, fields and store hold the redacted bytes; sampling is read all the same."""
    decision, kept = decided(tmp_path, CHAT)
    assert decision["redacted"] == ["request", "response"]
    for name, held in (("request", kept.request), ("response", kept.response)):
        assert b"[redacted]" in held.data
        assert SECRET.encode() not in held.data
        assert decision[name]["commitment"] == commit_body(kept.exchange_key, name, held.data).hex()
        assert decision[name]["fields"]["form"] == "json"
    assert decision["sampling"] == {"temperature": "0.5"}
    assert check_body("decision", decision) == []


def test_one_body_redacted_leaves_the_other(tmp_path: Path) -> None:
    """Only what the setting names is changed."""
    decision, kept = decided(tmp_path, "response:/choices/*/message/content")
    assert decision["redacted"] == ["response"]
    assert SECRET.encode() in kept.request.data
    assert (
        decision["request"]["commitment"]
        == commit_body(kept.exchange_key, "request", kept.request.data).hex()
    )


def test_a_stream_that_should_be_redacted_is_not_hashed(tmp_path: Path) -> None:
    """Its commitment is that of the fixed text, in form `json`."""
    start = {**START, "headers": [(b"content-type", b"text/event-stream")]}
    decision, kept = decided(tmp_path, CHAT, answer=[start, body(b"data: [DONE]\n\n")])
    assert decision["redacted"] == ["request", "response"]
    assert kept.response.data == REDACTED
    assert decision["response"]["fields"] == {**decision["response"]["fields"], "form": "json", "size": 1}


def test_routes_without_values_are_redacted_too(tmp_path: Path) -> None:
    """Their commitment is over what is left as well, though nothing is kept."""
    decision, kept = decided(tmp_path, CHAT, path="/somewhere")
    assert decision["redacted"] == ["request", "response"]
    assert (kept.request, kept.response) == (None, None)
    left = b'{"messages":[{"role":"user","content":"[redacted]"}],"temperature":0.5}'
    assert decision["request"]["commitment"] == commit_body(kept.exchange_key, "request", left).hex()
    assert "sampling" not in decision


def test_facts_and_functions_are_redacted(tmp_path: Path) -> None:
    """Facts by their pointers; the arguments of an `@audited` function like any request."""
    recorder = unsent_recorder(tmp_path, redact="facts:/subject, request:/name")

    @audited(recorder=recorder)
    def decide(name: str) -> str:
        import auditlog

        auditlog.facts(subject=name, label="yes")
        return name

    decide(SECRET)
    [decision] = sealed(recorder, "decision")
    kept = find_record(tmp_path, decision["id"])
    assert decision["redacted"] == ["request", "facts"]
    assert kept.facts == b'{"label":"yes","subject":"[redacted]"}'
    assert kept.request is not None
    assert kept.request.data == b'{"name":"[redacted]"}'
    assert kept.response is not None
    assert json.loads(kept.response.data) == SECRET


def test_an_own_module_cannot_end_the_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One that exits when it is imported is a problem at the start; one that exits later takes out all."""
    (tmp_path / "leaving_redaction.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="SystemExit"):
        Redactor.from_setting("leaving_redaction:f")
    assert Redactor.from_callable(lambda *_: sys.exit(3)).apply("request", b"x") == WHOLE


def test_a_request_in_which_no_rule_finds_anything_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The body is kept, a metric counts it, and one line says so, once."""
    recorder = unsent_recorder(tmp_path, redact="request:/messages/*/content")
    app = AuditMiddleware(answering(START, body(b"{}")), recorder)
    for question in (b'{"prompt":"x"}', b'{"prompt":"y"}', b'{"messages":[{"content":"z"}]}'):
        asyncio.run(drive(app, http_scope(), [question]))
    decisions = sealed(recorder, "decision")
    assert ["redacted" in decision for decision in decisions] == [False, False, True]
    assert recorder.metrics.get("redactions_missed") == 2
    assert sum("found one in which no rule" in line for line in caplog.messages) == 1


ECHO = {"detail": [{"loc": ["body"], "input": {"messages": SECRET}, "ctx": {"error": SECRET}, "type": "x"}]}


@pytest.mark.parametrize("setting", ["request:/messages", "request:/messages, response:/choices"])
@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_does_not_repeat_what_was_taken_out(tmp_path: Path, setting: str, status: int) -> None:
    """What FastAPI says of a bad request is redacted with the request; the rest of it stays."""
    reply = [{**START, "status": status}, body(json.dumps(ECHO).encode())]
    decision, kept = decided(tmp_path, setting, answer=reply)
    assert decision["redacted"] == ["request", "response"]
    assert json.loads(kept.response.data)["detail"] == [
        {"loc": ["body"], "input": "[redacted]", "ctx": "[redacted]", "type": "x"}
    ]
    commitment = commit_body(kept.exchange_key, "response", kept.response.data).hex()
    assert decision["response"]["commitment"] == commitment


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (b'{"error":{"message":"Mrs Miller","code":400}}', b'{"error":{"message":"[redacted]","code":400}}'),
        (b'{"detail":"no"}', None),
        (b"no", None),
        (b'{"detail":[{"input":"Mrs Miller"}],"detail":[]}', REDACTED),
    ],
)
def test_other_refusals(tmp_path: Path, answer: bytes, left: bytes | None) -> None:
    """The text of a model server's error goes too; what can be read in two ways goes whole."""
    reply = [{**START, "status": 400}, body(answer)]
    decision, kept = decided(tmp_path, "request:/messages", answer=reply)
    assert kept.response.data == (left or answer)
    assert decision["redacted"] == ["request", *(["response"] if left else [])]


def test_without_rules_for_requests_a_refusal_stays(tmp_path: Path) -> None:
    """And an answer that is no refusal is no echo."""
    reply = [{**START, "status": 422}, body(json.dumps(ECHO).encode())]
    _, kept = decided(tmp_path / "a", "facts:/subject", answer=reply)
    assert json.loads(kept.response.data) == ECHO
    decision, kept = decided(tmp_path / "b", "request:/messages", answer=[START, reply[1]])
    assert json.loads(kept.response.data) == ECHO
    assert decision["redacted"] == ["request"]

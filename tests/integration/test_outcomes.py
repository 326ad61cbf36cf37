"""Facts, redaction and outcomes end to end: a serving host, another service, and the log between them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import auditlog
from auditlog.capture.asgi import AuditMiddleware
from auditlog.capture.disclose import build_disclosures, find_decisions, find_record
from auditlog.core.disclosure import FieldDisclosure, parse_disclosures
from auditlog.core.entry import parse_entry
from auditlog.core.opening import verify_field
from auditlog.core.receipt import parse_receipt
from auditlog.service.settings import Settings
from tests.support.live_service import create_logs, live_service, write_config
from tests.support.observing import START, answering, body, drive, http_scope
from tests.support.recording import HOST_TOKEN, receipt_at, recording, with_host_token


def test_what_became_of_a_decision_is_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of a request are committed and found; its outcome from here and from another service is in the
    log, where only id and item are readable; a fact is disclosed alone and verifies against the receipt.
    """
    settings = with_host_token(Settings.load(write_config(tmp_path / "service"), environ={}))
    create_logs(settings)
    with live_service(settings) as service:
        with recording(service, tmp_path / "host") as recorder:
            app = AuditMiddleware(answering(START, body(b'{"ok":true}')), recorder)
            scope = http_scope(headers=[(b"audit-fact-subject", b"4711"), (b"x-request-id", b"request-1")])
            headers = dict(asyncio.run(drive(app, scope, [b'{"n":1}']))[0]["headers"])
            decision, receipt_url = headers[b"audit-id"].decode(), headers[b"audit-receipt"].decode()
            recorder.record_outcome(decision, {"label": "repaid"}, item="choices/0")
            monkeypatch.setenv("AUDITLOG_LOG", f"{service.url}/logs/hashes")
            monkeypatch.setenv("AUDITLOG_TOKEN", HOST_TOKEN)
            auditlog.outcome(decision, label="overturned", subject="4711")
        receipt = parse_receipt(receipt_at(receipt_url))
        size = service.get("/logs/hashes").json["size"]
        bodies = [service.get(f"/logs/hashes/entries/{index}", token="read").body for index in range(size)]
        found = service.get("/logs/hashes/decisions?name=subject&value=4711", token="read").json
        at = f"/logs/hashes/outcomes/{found['decisions'][0]['index']}/disclosures"
        file = service.get(f"{at}?field=label", token="read")
        refused = [
            service.get(f"{at}?field=none", token="read").status,
            service.get(at, token="submit").status,
            service.get("/logs/hashes/outcomes/0/disclosures", token="read").status,
        ]
    outcomes = [entry.body for entry in map(parse_entry, bodies) if entry.kind == "outcome"]
    assert sorted(one.get("item", "") for one in outcomes) == ["", "choices/0"]
    assert all(set(one) <= {"decision", "item", "facts"} and one["decision"] == decision for one in outcomes)
    assert [one["decision"] for one in found["decisions"]] == [decision]
    assert not any(secret in b"".join(bodies) for secret in (b"4711", b"repaid", b"overturned", b"request-1"))

    # What the service wrote for others, it opens for who may read.
    [opened] = parse_disclosures(file.body).items
    assert isinstance(opened, FieldDisclosure)
    assert json.loads(opened.value) == "overturned"
    verify_field(opened, parse_entry(bodies[found["decisions"][0]["index"]]).body["facts"])
    assert (file.headers["cache-control"], refused) == ("no-store", [422, 403, 404])

    # The operator's own index leads to the decision, and one fact of it can be shown alone.
    [first, *_] = find_decisions(tmp_path / "host", {"subject": "4711"})
    assert first.id == decision
    shown = parse_disclosures(build_disclosures(find_record(tmp_path / "host", decision), ["facts:/subject"]))
    [disclosure] = shown.items
    assert isinstance(disclosure, FieldDisclosure)
    assert json.loads(disclosure.value) == "4711"
    verify_field(disclosure, parse_entry(receipt.entry).body["facts"])

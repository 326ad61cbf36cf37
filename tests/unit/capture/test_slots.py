"""Producer slots and enrolment: one holder each, keys made once, answers of the log checked
before they are kept.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditlog.capture.enrolment import (
    check_enrolment,
    decode_enrolment,
    encode_enrolment,
    enrolment_note,
    token_mark,
)
from auditlog.capture.slots import acquire_slot, list_slots
from auditlog.capture.vitals import key_expiry_s
from auditlog.core.entry import Entry, encode_entry
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf
from auditlog.core.statements import producer_key_name
from auditlog.errors import ConfigurationError, MalformedError
from tests.support.fake_service import FakeLog

ORIGIN = "log.example/test"
SIGNER = Ed25519Signer.from_seed(producer_key_name(ORIGIN, "p-0"), bytes(range(32)))


def honest_answer() -> dict[str, Any]:
    """What an honest log answers to the enrolment of `p-0`."""
    log = FakeLog(ORIGIN)
    asked = {"name": "p-0", "vkey": SIGNER.vkey, "note": enrolment_note(SIGNER, origin=ORIGIN, name="p-0")}
    return log._enrol(asked).members


def test_slots_are_given_in_order_and_once(tmp_path: Path) -> None:
    """The first free slot is taken; a released one is taken again."""
    zero, one = acquire_slot(tmp_path, "p"), acquire_slot(tmp_path, "p")
    assert (zero.name, one.name) == ("p-0", "p-1")
    zero.release()
    zero.release()
    assert acquire_slot(tmp_path, "p").name == "p-0"
    one.release()


def test_slot_of_a_killed_process_is_free_again(tmp_path: Path) -> None:
    """The kernel gives the lock back however the process ended."""
    code = (
        "import os, sys, pathlib; from auditlog.capture.slots import acquire_slot\n"
        "slot = acquire_slot(pathlib.Path(sys.argv[1]), 'p'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert acquire_slot(tmp_path, "p").name == "p-0"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_child_does_not_prolong_the_lock(tmp_path: Path) -> None:
    """A child forked while the slot is held neither holds it nor keeps it held after the parent lets go."""
    slot = acquire_slot(tmp_path, "p")
    (is_up, says_up), (may_end, says_end) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(says_end)
        os.write(says_up, b"!")
        os.read(may_end, 1)
        os._exit(0)
    os.read(is_up, 1)
    slot.release()
    assert acquire_slot(tmp_path, "p").name == "p-0"
    os.close(says_end)
    os.waitpid(child, 0)
    for handle in (is_up, says_up, may_end):
        os.close(handle)


def test_conflicted_and_foreign_slots_are_passed_over(tmp_path: Path) -> None:
    """A slot whose chain the log contradicts, or that belongs to another log, is never used again here."""
    zero = acquire_slot(tmp_path, "p")
    zero.mark_conflict({"reason": "conflict"})
    zero.release()
    one = acquire_slot(tmp_path, "p", origin=ORIGIN)
    assert one.name == "p-1"
    answer = check_enrolment(honest_answer(), signer=SIGNER, origin=ORIGIN, name="p-0")
    (one.directory / "producer.key").write_text(SIGNER.private_key)
    one.save_enrolment(answer)
    assert one.load_enrolment() == answer
    one.release()
    assert acquire_slot(tmp_path, "p", origin="log.example/other").name == "p-2"
    assert acquire_slot(tmp_path, "p", origin=ORIGIN).name == "p-1"
    reports = {report.name: report for report in list_slots(tmp_path)}
    assert reports["p-0"].is_conflicted
    assert reports["p-1"].is_enrolled


def test_too_many_workers_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When all slots are held the error says so."""
    monkeypatch.setattr("auditlog.capture.slots.MAX_SLOTS", 2)
    held = [acquire_slot(tmp_path, "p"), acquire_slot(tmp_path, "p")]
    with pytest.raises(ConfigurationError, match="all held"):
        acquire_slot(tmp_path, "p")
    for slot in held:
        slot.release()


def test_key_is_made_once_private_and_bound_to_its_origin(tmp_path: Path) -> None:
    """The key survives, only its owner can read it, and it is never used under another origin."""
    slot = acquire_slot(tmp_path, "p")
    made = slot.signer(ORIGIN, os.urandom)
    assert slot.signer(ORIGIN, os.urandom).vkey == made.vkey
    assert (slot.directory / "producer.key").stat().st_mode & 0o777 == 0o600
    assert slot.directory.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigurationError):
        slot.signer("log.example/other", os.urandom)
    slot.release()


def test_honest_enrolment_is_kept_exactly(tmp_path: Path) -> None:
    """What the log answered comes back from the slot unchanged, and never shows its secret."""
    enrolment = check_enrolment(honest_answer(), signer=SIGNER, origin=ORIGIN, name="p-0")
    assert decode_enrolment(encode_enrolment(enrolment)) == enrolment
    assert enrolment.leaf_hash == hash_leaf(enrolment.entry)
    assert "receipt_key" not in repr(enrolment)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("2027-01-31T00:00:00Z", 1_801_353_600),
        (None, None),
        ("soon", None),
        (1_801_353_600, None),
    ],
)
def test_the_end_of_the_token_is_kept(said: object, expected: int | None) -> None:
    """As the log said it when the slot was enrolled, for this token alone; nonsense counts as not said."""
    answer = {**honest_answer(), "token_expires": said}
    found = check_enrolment(answer, signer=SIGNER, origin=ORIGIN, name="p-0")
    found = decode_enrolment(encode_enrolment(replace(found, token_mark=token_mark("alt_1"))))
    assert key_expiry_s("alt_1", found) == expected
    assert key_expiry_s("alt_2", found) is None
    assert key_expiry_s("x.eyJleHAiOjE3MDAwMDAwMDB9.y", found) == 1_700_000_000
    assert "alt_1" not in encode_enrolment(found).decode()


def forged(**changes: Any) -> dict[str, Any]:
    """An answer about another producer entry."""
    members: dict[str, Any] = {
        "kind": "producer", "origin": ORIGIN, "producer": "log", "instance": "log", "seq": 4,
        "prev": "0" * 64, "time": "2026-01-01T00:00:00.000000Z",
        "body": {"name": "p-0", "vkey": SIGNER.vkey, "note": "n"},
    }  # fmt: skip
    entry = encode_entry(Entry(**{**members, **changes}))
    encoded = base64.b64encode(entry).decode()
    return {**honest_answer(), "entry": encoded, "producer": hash_leaf(entry).hex()}


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {**honest_answer(), "producer": "ab" * 32},
        {**honest_answer(), "index": -1},
        {**honest_answer(), "index": True},
        {**honest_answer(), "entry": "?"},
        {**honest_answer(), "entry": base64.b64encode(b"{}").decode()},
        {**honest_answer(), "receipt_key": base64.b64encode(b"short").decode()},
        forged(origin="log.example/other"),
        forged(kind="notice", body={"what": "stopped"}),
        forged(body={"name": "p-1", "vkey": SIGNER.vkey, "note": "n"}),
        forged(body={"name": "p-0", "vkey": "someone+else", "note": "n"}),
    ],
)
def test_dishonest_enrolment_is_refused(answer: dict[str, Any]) -> None:
    """An answer that is not about our key, name and origin is never kept."""
    with pytest.raises(MalformedError):
        check_enrolment(answer, signer=SIGNER, origin=ORIGIN, name="p-0")


def test_edited_enrolment_file_is_refused() -> None:
    """A slot whose file was changed by hand is not used."""
    content = encode_enrolment(check_enrolment(honest_answer(), signer=SIGNER, origin=ORIGIN, name="p-0"))
    for broken in (
        b"",
        b"[]",
        b"{}",
        content.replace(b'"v": 1', b'"v": 2'),
        content.replace(b'"producer": "', b'"producer": "0'),
    ):
        with pytest.raises(MalformedError):
            decode_enrolment(broken)

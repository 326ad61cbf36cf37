"""`auditlog promise`: forms of a promise, kept checkpoints, evidence, exit codes, and a real service."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from auditlog.cli import promise as command
from auditlog.cli.main import run
from auditlog.core.sse import promise_comment
from auditlog.core.trust import format_trust
from auditlog.verify import evidence_parts
from tests.support import promise_world
from tests.support.promise_world import Kept, World, honest_start
from tests.support.tlog_writer import ORIGIN


class Call:
    """One call in this process, in JSON, at a time of the world."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        self.code = run(["promise", *map(str, arguments), "--json"])
        captured = capsys.readouterr()
        self.error = captured.err
        self.json: Any = json.loads(captured.out) if captured.out else None


def laid_out(folder: Path, world: World, kept: Kept) -> Path:
    """The log in a folder, the promise and the trust file beside it."""
    for path, content in world.source().files.items():
        target = folder / "log" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    (folder / "promise").write_text(kept.note)
    (folder / "trust.json").write_bytes(format_trust(world.trust()))
    return folder


def check(capsys: pytest.CaptureFixture[str], folder: Path, *more: object) -> Call:
    """`promise check` against the folder."""
    where = ("--log", folder / "log", "--trust", folder / "trust.json")
    return Call(capsys, "check", folder / "promise", *where, *more)


def test_a_kept_promise_is_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict in JSON and in words; the caller's own bytes are compared."""
    world = honest_start()
    kept = world.decide()
    world.publish()
    folder = laid_out(tmp_path, world, kept)
    (folder / "key").write_text(base64.b64encode(kept.exchange_key).decode() + "\n")
    (folder / "request").write_bytes(kept.request)
    (folder / "response").write_bytes(kept.response)
    own = ("--key-file", folder / "key", "--request", folder / "request", "--response", folder / "response")
    call = check(capsys, folder, *own)
    assert (call.code, call.json["verdict"], call.json["index"]) == (0, "in the log", 6)
    assert call.json["steps"][7]["outcome"] == "passed"
    (folder / "response").write_bytes(b"another answer")
    assert check(capsys, folder, *own).code == 1
    arguments = ["promise", "check", folder / "promise", "--log", folder / "log"]
    assert run([*map(str, arguments), "--trust", str(folder / "trust.json")]) == 0
    text = capsys.readouterr().out
    assert "IN THE LOG: the promised entry is entry 6" in text
    assert "PROVEN (signatures and hashes)" in text


def test_a_saved_stream_may_hold_the_promise_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The comment before the terminal event is no part of what was promised: the bytes are the same ones."""
    world = honest_start()
    kept = world.decide("data: {}\n\ndata: [DONE]\n\n")
    world.publish()
    folder = laid_out(tmp_path, world, kept)
    comment = promise_comment(base64.b64encode(kept.note.encode()).decode())
    (folder / "key").write_text(base64.b64encode(kept.exchange_key).decode() + "\n")
    (folder / "request").write_bytes(kept.request)
    (folder / "response").write_bytes(b"data: {}\n\n" + comment + b"data: [DONE]\n\n")
    own = ("--key-file", folder / "key", "--request", folder / "request", "--response", folder / "response")
    call = check(capsys, folder, *own)
    assert (call.code, call.json["steps"][7]["outcome"]) == (0, "passed")


@pytest.mark.parametrize(
    "form", ["{}", "Audit-Promise: {}\r\n", ": audit-promise {}\n\n", "audit-promise {}"]
)
def test_a_promise_is_read_as_header_and_as_comment(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The base64 of a header or of an SSE comment line is the same promise."""
    world = honest_start()
    kept = world.decide()
    world.publish()
    folder = laid_out(tmp_path, world, kept)
    (folder / "promise").write_text(form.format(base64.b64encode(kept.note.encode()).decode()))
    assert check(capsys, folder).code == 0


def test_a_broken_promise_leaves_evidence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 and a file that the second command proves offline; under another trust file it does not."""
    folder = laid_out(tmp_path, *promise_world.conflict())
    call = check(capsys, folder, "--evidence", folder / "evidence")
    assert (call.code, call.json["verdict"], call.json["cause"]) == (1, "BROKEN", "CONFLICT")
    proven = Call(capsys, "evidence", folder / "evidence", "--trust", folder / "trust.json")
    assert (proven.code, proven.json["report"]["cause"]) == (0, "CONFLICT")
    assert run(["promise", "evidence", str(folder / "evidence"), "--trust", str(folder / "trust.json")]) == 0
    assert "PROVEN: BROKEN (CONFLICT)" in " ".join(capsys.readouterr().out.split())
    (folder / "evidence").write_bytes(b"{}")
    assert Call(capsys, "evidence", folder / "evidence", "--trust", folder / "trust.json").code == 1


def test_evidence_too_large_for_a_file_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict stands; why there is no file, what the evidence is instead, and how to keep it."""
    monkeypatch.setattr(evidence_parts, "MAX_EVIDENCE_BYTES", 100)
    folder = laid_out(tmp_path, *promise_world.absent())
    arguments = ["promise", "check", str(folder / "promise"), "--log", str(folder / "log")]
    arguments += ["--trust", str(folder / "trust.json"), "--evidence", str(folder / "evidence")]
    for more, said in (([], "--keep DIR keeps it"), (["--keep", str(folder / "kept")], "it is in ")):
        assert run([*arguments, *more]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert (
            "no evidence file was written, and the verdict stands: expected evidence of at most 100" in told
        )
        assert "leaf hashes of 6 entries" in told
        assert "the promise, the checkpoint of 6 entries" in told
        assert "public hash tiles up to that size" in told
        assert said in told
    assert not (folder / "evidence").exists()


def test_checkpoints_are_kept_and_show_what_was_late(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint kept while the entry was missing makes LATE provable afterwards."""
    world = honest_start()
    kept = world.decide()
    held = world.entries.pop()
    world.now_s += 121
    world.publish()
    folder = laid_out(tmp_path, world, kept)
    keep = ("--keep", folder / "kept")
    assert check(capsys, folder, *keep).json["cause"] == "ABSENT"
    world.entries.append(held)
    world.publish()
    laid_out(tmp_path, world, kept)
    assert check(capsys, folder).json["verdict"] == "in the log"
    late = check(capsys, folder, *keep)
    assert (late.code, late.json["cause"]) == (1, "LATE")
    kept_files = sorted((folder / "kept").iterdir())
    assert [path.suffix for path in kept_files] == [".checkpoint"] * 2
    assert check(capsys, folder, "--checkpoint", kept_files[0]).json["cause"] == "LATE"


def test_several_promises_are_judged_in_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line and a report for each, the weightiest code for all; what is about one of them is refused."""
    world, dropped = promise_world.conflict()
    kept = world.decide()
    world.publish()
    folder = laid_out(tmp_path, world, dropped)
    (folder / "kept").write_text(kept.note)
    call = check(capsys, folder, folder / "kept")
    assert call.code == 1
    assert [(each["file"], each["verdict"]) for each in call.json["promises"]] == [
        (str(folder / "promise"), "BROKEN"),
        (str(folder / "kept"), "in the log"),
    ]
    where = ["--log", str(folder / "log"), "--trust", str(folder / "trust.json")]
    assert run(["promise", "check", str(folder / "promise"), str(folder / "kept"), *where]) == 1
    text = capsys.readouterr().out
    assert "1 in the log, 1 BROKEN" in text
    assert "BROKEN (CONFLICT): " in text
    assert check(capsys, folder, folder / "kept", "--evidence", folder / "evidence").code == 2
    assert not (folder / "evidence").exists()


def test_undecided_is_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not datable, or refused: exit 3, and the word says which."""
    world, kept = promise_world.absent()
    folder = laid_out(tmp_path, world, kept)
    (folder / "trust.json").write_bytes(format_trust(world.trust(quorum=0)))
    assert (check(capsys, folder).code, check(capsys, folder).json["verdict"]) == (3, "not checked")
    for path in (folder / "log" / "tile" / "entries").iterdir():
        path.rename(folder / path.name) if path.is_file() else path.rename(folder / f"gone-{path.name}")
    assert check(capsys, folder).json["verdict"] == "withheld"


def test_mistakes_are_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No promise, no log to ask, half of one's own bytes: one line, exit 2."""
    world = honest_start()
    folder = laid_out(tmp_path, world, world.decide())
    assert check(capsys, folder, "--key-file", folder / "trust.json").code == 2
    assert Call(capsys, "check", folder / "promise").code == 2
    assert Call(capsys, "check", folder / "promise", "--trust", folder / "trust.json").code == 2
    (folder / "promise").write_text("nothing of the kind")
    assert check(capsys, folder).code == 2
    assert check(capsys, folder, "--checkpoint", folder / "missing").code == 2


def test_the_log_of_the_trust_file_is_the_default(tmp_path: Path) -> None:
    """A URL in the policy says where the log is; the options say otherwise."""
    world = honest_start()
    folder = laid_out(tmp_path, world, world.decide())
    _, target = command.believe(ORIGIN, "elsewhere", folder / "trust.json")
    assert target == "elsewhere"
    trust = json.loads((folder / "trust.json").read_text())
    first, rest = trust["policy"].split("\n", 1)
    trust["policy"] = f"{first} http://127.0.0.1:9/logs/test\n{rest}"
    (folder / "trust.json").write_text(json.dumps(trust))
    _, target = command.believe(ORIGIN, None, folder / "trust.json")
    assert target == "http://127.0.0.1:9/logs/test"

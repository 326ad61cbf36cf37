"""One file configures a witness; what is wrong in it is named, and nothing is guessed."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa

from auditlog.core import cosignature_mldsa
from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.cosignature_mldsa import (
    COSIGNATURE_MLDSA44,
    MlDsaVerifier,
    can_verify,
    cosigned_message,
)
from auditlog.core.keys import format_vkey
from auditlog.core.merkle import root_hash
from auditlog.core.note import Signature, format_signature
from auditlog.errors import ConfigurationError, MalformedError
from auditlog.witness.config import BoxConfig, WitnessConfig, load_config, parse_config
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.dropbox import BoxLimits
from auditlog.witness.errors import WitnessRefusal
from auditlog.witness.followed import FollowedLog, follow
from auditlog.witness.http import Limits
from auditlog.witness.metrics import METRICS
from auditlog.witness.states import States
from tests.support.build_witness_vectors import LEAVES, LOG, NOW, OTHER, WITNESS, grow, note_of, text_of

WHOLE = f"""
[witness]
key_file = "witness.key"
listen = "[::1]:9000"
state_dir = "states"
high_water_file = "/elsewhere/mark"
behind_proxy = true
[limits]
connections = 10
requests = 3
request_s = 2
idle_s = 1.5
[promises]
count = 5
keep_days = 2
trust_file = "trust.json"
[[logs]]
vkey = "{LOG.vkey}"
url = "https://log.example/logs/main/"
[[logs]]
vkeys = ["{OTHER.vkey}"]
origin = "an origin with spaces"
"""


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    """Paths from the file's folder, usual values where nothing is said."""
    path = tmp_path / "witness.toml"
    path.write_text(WHOLE)
    found = load_config(path)
    assert (found.host, found.port, found.behind_proxy) == ("::1", 9000, True)
    assert found.key_file == tmp_path / "witness.key"
    assert found.high_water_file == Path("/elsewhere/mark")
    assert (found.limits.connections, found.limits.request_s) == (10, 2.0)
    assert found.box is not None
    assert (found.box.limits.count, found.box.limits.per_peer_hour) == (5, 120)
    assert found.box.trust_file == tmp_path / "trust.json"
    first, second = found.logs
    assert (first.origin, first.url) == (LOG.name, "https://log.example/logs/main")
    assert (second.origin, second.key_name) == ("an origin with spaces", OTHER.name)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('key_file = "witness.key"', "", "key_file"),
        ("behind_proxy", "behind_a_proxy", "behind_a_proxy"),
        ('listen = "[::1]:9000"', 'listen = "9000"', "listen"),
        ('listen = "[::1]:9000"', 'listen = "h:70000"', "listen"),
        ('listen = "[::1]:9000"', "listen = 9000", "listen"),
        ("connections = 10", "connections = 0", "connections"),
        ("connections = 10", 'connections = "10"', "connections"),
        ("request_s = 2", "request_s = -2", "request_s"),
        ("count = 5", "count = true", "count"),
        ("[promises]", "[promise]", "promise"),
        (f'vkey = "{LOG.vkey}"', 'vkey = "x"', "vkey"),
        (f'vkey = "{LOG.vkey}"', f'vkey = "{WITNESS.vkey}"', "vkey"),
        (f'vkey = "{LOG.vkey}"', f'vkey = "{LOG.vkey}"\nvkeys = []', "both"),
        (f'vkeys = ["{OTHER.vkey}"]', "vkeys = [1]", "texts"),
        (f'vkeys = ["{OTHER.vkey}"]', "vkeys = []", "Ed25519"),
        (f'vkeys = ["{OTHER.vkey}"]', f'vkeys = ["{OTHER.vkey}", "{OTHER.vkey}"]', "once"),
        ('"an origin with spaces"', '"two\\nlines"', "origin"),
        ("https://log.example", "ftp://log.example", "URL"),
        ("[[logs]]", "[logs]", "found"),
        ("[witness]", "[witness", "configuration"),
    ],
)
def test_what_is_odd_is_refused_by_name(tmp_path: Path, old: str, new: str, named: str) -> None:
    """A misspelt setting would silently not be made."""
    assert old in WHOLE
    path = tmp_path / "witness.toml"
    path.write_text(WHOLE.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=named):
        load_config(path)


def test_two_keys_of_one_origin_are_refused(tmp_path: Path) -> None:
    """And so is a log that is the witness itself, by name."""
    value: dict[str, Any] = tomllib.loads(WHOLE)
    states = States(tmp_path, WITNESS.verifier)
    try:
        value["logs"] = [{"vkey": LOG.vkey}, {"vkey": OTHER.vkey}]
        logs = parse_config(value, tmp_path).logs
        with pytest.raises(ConfigurationError, match="found two"):
            Cosigner(logs, WITNESS, states, lambda: NOW)
        mine = type(LOG).from_seed(WITNESS.name, b"9" * 32)
        with pytest.raises(ConfigurationError, match="another name"):
            Cosigner([mine.verifier], WITNESS, states, lambda: NOW)
    finally:
        states.close()


def test_the_page_names_every_setting_and_every_metric() -> None:
    """What can be configured or scraped stands in the specification."""
    page = (Path(__file__).parents[3] / "auditlog" / "spec" / "witness.md").read_text("utf-8")
    tables = (WitnessConfig, BoxConfig, Limits, BoxLimits, FollowedLog)
    named = {field.name for table in tables for field in fields(table)}
    inside = {"host", "port", "limits", "logs", "box", "keys", "unchecked"}
    assert sorted(name for name in named - inside if f"`{name}`" not in page) == []
    assert [metric.name for metric in METRICS if f"`{metric.name}`" not in page] == []


class PostQuantum:
    """A log's second key."""

    def __init__(self) -> None:
        self.key = mldsa.MLDSA44PrivateKey.from_seed_bytes(b"q" * 32)
        raw = self.key.public_key().public_bytes_raw()
        self.vkey = format_vkey(LOG.name, COSIGNATURE_MLDSA44, raw)
        self.verifier = MlDsaVerifier.from_vkey(self.vkey)

    def line(self, size: int, *, at: int = NOW, of: int | None = None) -> str:
        """Its line over the tree of the first leaves."""
        root = root_hash(LEAVES[: size if of is None else of])
        blob = at.to_bytes(8, "big") + self.key.sign(cosigned_message(LOG.name, at, LOG.name, size, root))
        return format_signature(Signature(LOG.name, self.verifier.key_id, blob))


def test_a_post_quantum_key_of_a_log_is_checked_where_the_library_can(tmp_path: Path) -> None:
    """A right line is kept beside the plain one, a wrong one refuses the note, a plain one alone will do."""
    quantum = PostQuantum()
    assert can_verify()
    states = States(tmp_path, WITNESS.verifier)
    cosigner = Cosigner([follow([LOG.vkey, quantum.vkey])], WITNESS, states, lambda: NOW)
    try:
        wrong = note_of(8) + quantum.line(8, of=7)
        with pytest.raises(WitnessRefusal) as caught:
            cosigner.add_checkpoint(grow(0, 8, note=wrong))
        assert caught.value.status == 403
        cosigner.add_checkpoint(grow(0, 8, note=note_of(8) + quantum.line(8)))
        newest = cosigner.newest(LOG.name)
        assert newest is not None
        keys = [LOG.verifier, quantum.verifier, WITNESS.verifier]
        _, opened = open_checkpoint(newest.note, keys, LOG.name)
        assert len(opened.verified) == 3
        states.close()
        states = States(tmp_path, WITNESS.verifier)
        cosigner = Cosigner([follow([LOG.vkey, quantum.vkey])], WITNESS, states, lambda: NOW)
        cosigner.add_checkpoint(grow(8, 20))
        alone = text_of(70) + "\n" + quantum.line(70)
        with pytest.raises(WitnessRefusal) as caught:
            cosigner.add_checkpoint(grow(20, 70, note=alone))
        assert caught.value.status == 403
    finally:
        states.close()


def test_a_library_without_it_lists_the_key_as_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing breaks; the line is passed over like one of an unknown key."""
    monkeypatch.setattr(cosignature_mldsa, "can_verify", lambda: False)
    quantum = PostQuantum()
    log = follow([LOG.vkey, quantum.vkey])
    assert log.unchecked == (quantum.vkey,)
    assert [key.vkey for key in log.keys] == [LOG.vkey]
    assert not quantum.verifier.verify(text_of(8).encode(), bytes(2428))
    note = note_of(8) + quantum.line(8, of=7)
    _, opened = open_checkpoint(note, log.keys, LOG.name)
    assert len(opened.unknown) == 1


def test_post_quantum_bytes_of_any_kind_are_false_not_an_error() -> None:
    """Short blobs, odd times, texts that are no checkpoint, extension lines; keys of another length."""
    quantum = PostQuantum()
    verifier = quantum.verifier
    good = quantum.line(8).split(" ")[2]
    assert good
    for text, blob in (
        (b"\xff", bytes(2428)),
        (text_of(8).encode(), b""),
        (text_of(8).encode(), b"\xff" * 2428),
        (text_of(8).encode() + b"more\n", bytes(2428)),
    ):
        assert not verifier.verify(text, blob)
    with pytest.raises(MalformedError):
        MlDsaVerifier("a", bytes(5))
    with pytest.raises(MalformedError):
        MlDsaVerifier.from_vkey(LOG.vkey)
    with pytest.raises(MalformedError):
        cosigned_message("x" * 300, 1, "o", 1, bytes(32))

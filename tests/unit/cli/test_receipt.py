"""`auditlog receipt export`, and `auditlog verify` of what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import cbor2
import pytest

from auditlog.cli.main import run
from auditlog.core.receipt import parse_receipt
from auditlog.core.tlogproof import parse_tlog_proof
from tests.support.receipts_factory import Factory

FACTORY = Factory(decisions=5)
INDEX = FACTORY.decisions[1]
RECEIPT = FACTORY.receipt_bytes(INDEX)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A receipt, a trust file and the log's key."""
    (tmp_path / "receipt.json").write_bytes(RECEIPT)
    (tmp_path / "trust.json").write_bytes(FACTORY.trust_bytes(quorum=2, require=["quorum"]))
    (tmp_path / "log.key").write_text(FACTORY.log_key.private_key)
    (tmp_path / "log.vkey").write_text(FACTORY.log_key.vkey)
    return tmp_path


def call(*arguments: object) -> int:
    """One call in this process."""
    return run([str(argument) for argument in arguments])


def export(folder: Path, out: str, *more: object) -> Path:
    """A proof and its entry in files."""
    files = ("--out", folder / out, "--entry", folder / "entry")
    assert call("receipt", "export", folder / "receipt.json", *files, *more) == 0
    return folder / out


def verify(folder: Path, proof: Path, *more: object) -> int:
    """Check a proof beside its entry."""
    return call("verify", proof, "--entry", folder / "entry", "--trust", folder / "trust.json", *more)


def test_a_tlog_proof_goes_out_and_is_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The proof of the receipt byte for byte, and the entry beside it: exit 0."""
    proof = export(folder, "x.tlog-proof")
    assert parse_tlog_proof(proof.read_text()) == parse_receipt(RECEIPT).proof
    assert (folder / "entry").read_bytes() == FACTORY.entries[INDEX]
    capsys.readouterr()
    assert verify(folder, proof, "--expect", f"index={INDEX}", "--json") == 0
    report = json.loads(capsys.readouterr().out)["receipts"][0]
    assert report["verdict"] == "verified"
    assert report["expectation"]["held"] == "holds"


def test_a_cose_receipt_goes_out_and_is_checked(folder: Path) -> None:
    """With the log's key; the COSE_Key names the same kid as the receipt."""
    proof = export(folder, "x.cose", "--format", "cose", "--key", folder / "log.key")
    assert verify(folder, proof) == 0
    assert call("keys", "cose", folder / "log.vkey", "--out", folder / "key.cbor") == 0
    key = cbor2.loads((folder / "key.cbor").read_bytes())
    assert cbor2.loads(cbor2.loads(proof.read_bytes()).value[0])[4] == key[2]


def test_a_tlog_proof_may_go_to_standard_output(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Without --out: nothing but the proof."""
    assert call("receipt", "export", folder / "receipt.json") == 0
    assert capfdbinary.readouterr().out.decode().startswith("c2sp.org/tlog-proof@v1\n")


def test_the_key_signs_only_what_it_has_signed(folder: Path, tmp_path: Path) -> None:
    """Another log's key, or a receipt whose entry is not in the tree: refused, and nothing is written."""
    other = Factory(origin="other.example")
    (folder / "other.key").write_text(other.log_key.private_key)
    out = ("--format", "cose", "--out", folder / "x.cose")
    assert call("receipt", "export", folder / "receipt.json", *out, "--key", folder / "other.key") == 1
    value = json.loads(RECEIPT)
    value["entry"] = json.loads(FACTORY.receipt_bytes(FACTORY.decisions[2]))["entry"]
    (folder / "swapped.json").write_text(json.dumps(value, separators=(",", ":"), sort_keys=True) + "\n")
    assert call("receipt", "export", folder / "swapped.json", *out, "--key", folder / "log.key") == 1
    assert not (folder / "x.cose").exists()


def test_what_does_not_fit_is_usage(folder: Path) -> None:
    """A format without its key, a key without its format, JSON without a file, a file that is there."""
    receipt = folder / "receipt.json"
    assert call("receipt", "export", receipt, "--format", "cose", "--out", folder / "x") == 2
    assert call("receipt", "export", receipt, "--key", folder / "log.key") == 2
    assert call("receipt", "export", receipt, "--format", "pdf") == 2
    assert call("receipt", "export", receipt, "--json") == 2
    assert call("receipt", "export", receipt, "--out", receipt) == 2


def test_a_bare_proof_and_an_entry_belong_together(folder: Path) -> None:
    """A proof without its entry, an entry beside a receipt or beside two files: exit 2."""
    proof, trust = export(folder, "x.tlog-proof"), ("--trust", folder / "trust.json")
    assert call("verify", proof, *trust) == 2
    assert call("verify", folder / "receipt.json", "--entry", folder / "entry", *trust) == 2
    assert call("verify", proof, proof, "--entry", folder / "entry", *trust) == 2


def test_a_changed_proof_fails(folder: Path) -> None:
    """Another index, or another entry: exit 1."""
    proof = export(folder, "x.tlog-proof")
    proof.write_text(proof.read_text().replace(f"index {INDEX}\n", "index 0\n"))
    assert verify(folder, proof) == 1
    proof.write_text(proof.read_text().replace("index 0\n", f"index {INDEX}\n"))
    (folder / "entry").write_bytes(FACTORY.entries[0])
    assert verify(folder, proof) == 1

"""Other tools' exports under attack: their own verifiers judge, and what they accept is written down."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditlog.attack.tools import TOOLS, run_tool
from auditlog.attack.tools.tool import ToolResults
from auditlog.cli.main import run
from auditlog.errors import ConfigurationError
from tests.support import readme
from tests.support.attacked_log import ai_audit_package, attestroot_bundle, tools_summary

STORED = {"edit", "truncate", "delete", "reorder", "duplicate"}
SIGNED = {f"{name}-signed" for name in STORED}


def _noticed(results: ToolResults, check: int) -> set[str]:
    return {each.name for each in results.outcomes if not each.verdicts[check].is_accepted}


def test_ai_audit_trail_judges_its_own_packages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its package check sees any change by a thief; its chain check neither a cut tail nor another order."""
    pytest.importorskip("ai_audit", reason="ai-audit-trail is not installed (auditlog[bench])")
    package = tmp_path / "package.zip"
    ai_audit_package(package)
    before = package.read_bytes()
    results = run_tool("ai-audit-trail", tmp_path)
    assert all(verdict.is_accepted for verdict in results.control)
    assert _noticed(results, 0) == STORED
    assert _noticed(results, 1) == {"edit", "delete", "duplicate", "other-key"}
    assert {each.name for each in results.outcomes if not each.is_noticed} == SIGNED
    assert package.read_bytes() == before
    assert run(["attack", "--tool", "ai-audit-trail", "--target", str(package), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == "0.4.7"
    assert [each["name"] for each in told["attacks"]] == [each.name for each in results.outcomes]


def test_attestroot_judges_its_own_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its check sees any change by a thief, and says which; the key in a bundle is a reader's to compare."""
    pytest.importorskip("attestroot", reason="attestroot is not installed (auditlog[bench])")
    monkeypatch.setenv("ATTESTROOT_HOME", str(tmp_path / "home"))
    bundle = tmp_path / "session.arbundle"
    attestroot_bundle(bundle)
    results = run_tool("attestroot", bundle)
    assert all(verdict.is_accepted for verdict in results.control)
    assert _noticed(results, 0) == STORED
    assert _noticed(results, 1) == {"other-key"}
    assert {each.name for each in results.outcomes if not each.is_noticed} == SIGNED
    assert any("merkle root" in verdict.words for each in results.outcomes for verdict in each.verdicts)


def test_an_unknown_tool_or_a_foreign_file_is_usage(tmp_path: Path) -> None:
    """No such tool, no such export, no such attack: refused, and nothing is judged."""
    with pytest.raises(ConfigurationError, match="expected one of"):
        run_tool("another-tool", tmp_path)
    for name in TOOLS:
        with pytest.raises(ConfigurationError, match="expected one export"):
            run_tool(name, tmp_path)
    pytest.importorskip("ai_audit", reason="ai-audit-trail is not installed (auditlog[bench])")
    (tmp_path / "x.zip").write_bytes(b"no archive")
    with pytest.raises(ConfigurationError):
        run_tool("ai-audit-trail", tmp_path)
    ai_audit_package(tmp_path / "x.zip")
    with pytest.raises(ConfigurationError, match="attacks that apply"):
        run_tool("ai-audit-trail", tmp_path, ["fork"])


def test_the_readme_shows_what_the_tools_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's table of other tools is that of this run."""
    pytest.importorskip("ai_audit", reason="ai-audit-trail is not installed (auditlog[bench])")
    pytest.importorskip("attestroot", reason="attestroot is not installed (auditlog[bench])")
    monkeypatch.setenv("ATTESTROOT_HOME", str(tmp_path / "home"))
    assert readme.tool_tables() == tools_summary(tmp_path)

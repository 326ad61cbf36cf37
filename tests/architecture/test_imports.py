"""Import directions, and what an import may load: the house's own rules, executed (design section 4)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "sqlalchemy", "fastapi", "web3")
LIGHT = ("auditlog", "auditlog.core", "auditlog.capture", "auditlog.verify", "auditlog.fingerprint")


def test_import_directions_hold() -> None:
    """import-linter finds no import against the layers of the project."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize("module", LIGHT)
def test_light_packages_load_nothing_heavy(module: str) -> None:
    """Importing what goes into a model server, or what a regulator runs, loads nothing heavy."""
    program = f"import sys, {module}; print(','.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_every_module_of_capture_and_verify_is_light() -> None:
    """No module of capture, verify or fingerprint loads a heavy library when imported, hooks aside."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in ("capture", "verify", "fingerprint")
        for path in sorted((ROOT / "auditlog" / package).rglob("*.py"))
        if path.name != "__init__.py"
    ]
    program = (
        f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\n"
        f"print(','.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""

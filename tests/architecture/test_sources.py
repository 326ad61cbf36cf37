"""Rules about the source text: docstrings, sizes, and nothing of one machine in tracked files."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
GENERATED = re.compile(r"(^|/)(package-lock\.json)$|^tests/vectors/|^tests/compat/|\.(json|bin|png|receipt)$")
BANNED_NAMES = ("utils", "helpers", "manager", "data", "common", "misc")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def _tracked() -> list[Path]:
    """Every file git tracks or would track; the whole tree where there is no git (an unpacked sdist)."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]
        return [path.relative_to(ROOT) for path in found]
    return [Path(line) for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def _python(*tops: str) -> list[Path]:
    return [path for path in _tracked() if path.suffix == ".py" and path.parts[0] in tops]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def _functions(tree: ast.Module) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def test_every_module_says_what_it_is() -> None:
    """Every module with code begins with a docstring."""
    silent = [
        str(path)
        for path in _python("auditlog", "tests", "clients", "migrations")
        if (tree := _tree(path)).body and ast.get_docstring(tree) is None
    ]
    assert silent == []


def test_every_test_says_what_it_shows() -> None:
    """Every test function has a docstring that states the behaviour."""
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path in _python("tests")
        for node in _functions(_tree(path))
        if node.name.startswith("test_") and ast.get_docstring(node) is None
    ]
    assert silent == []


def test_files_and_functions_stay_small() -> None:
    """No module over the hard stop of lines, and no function over its own."""
    long_files = [
        f"{path}: {lines} lines"
        for path in _python("auditlog", "clients")
        if (lines := (ROOT / path).read_text(encoding="utf-8").count("\n")) > MAX_FILE_LINES
    ]
    long_functions = [
        f"{path}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in _python("auditlog", "clients")
        for node in _functions(_tree(path))
        if node.end_lineno is not None and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long_files + long_functions == []


def test_modules_are_named_for_what_they_hold() -> None:
    """No module is called by a word that fits everything."""
    assert [str(path) for path in _python("auditlog") if path.stem in BANNED_NAMES] == []


def test_no_machine_and_no_registry_in_tracked_files() -> None:
    """No absolute path of somebody's machine and no package registry host is in a tracked text file."""
    # Written in pieces, so that this file does not find itself.
    words = [
        "/" + "work/",
        "/" + "root/",
        "/" + "home/",
        "/" + "Users/",
        "py" + "pi.org",
        "python" + "hosted.org",
    ]
    words += [
        "registry.npm" + "js.org",
        "registry.yarn" + "pkg.com",
        "proxy.go" + "lang.org",
        "docker" + ".io",
    ]
    pattern = re.compile("|".join(rf"(?<![\w.\-]){re.escape(word)}" for word in words))
    found = []
    for path in _tracked():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if any(word in text for word in words):
            found += [f"{path}:{n}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    assert found == []


def test_nothing_is_left_to_do() -> None:
    """No mark of unfinished work is in the sources."""
    mark = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    found = [
        f"{path}:{n}"
        for path in _tracked()
        if not GENERATED.search(str(path))
        and path.suffix in {".py", ".md", ".toml", ".sh", ".yaml", ".yml", ".vy"}
        for n, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1)
        if mark.search(line)
    ]
    assert found == []


def test_the_guide_to_capture_names_every_module() -> None:
    """A newcomer finds each file of the largest package in the list at the end of its README."""
    folder = ROOT / "auditlog" / "capture"
    _, _, guide = (folder / "README.md").read_text(encoding="utf-8").partition("## Reading the code")
    named = set(re.findall(r"`([a-z_]+)`", guide))
    assert sorted({path.stem for path in folder.glob("*.py")} - named - {"__init__"}) == []

"""Keeps the README true: its demo output and figures are written by this program, its commands run by a test.

python -m tests.support.readme demo      runs `auditlog demo` and writes what it printed
python -m tests.support.readme attacks   runs `auditlog attack` on a copy of the demo's log, and on exports
python -m tests.support.readme figures   runs every benchmark, or those named, and writes the table
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.misses import why

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RESULTS = ROOT / "tests" / "benchmarks" / "results.json"
PROGRAMS = (
    "tree",
    "proofs",
    "verify",
    "capture",
    "middleware",
    "ingest",
    "log_peers",
    "jetstream",
    "footprint",
    "fsck",
    "growth",
    "witness",
    "monitor",
)

_DEMO = re.compile(r"(<!-- demo output:.*?-->\n```text\n)(.*?)(```\n)", re.DOTALL)
_ATTACKS = re.compile(r"(<!-- attack output:.*?-->\n```text\n)(.*?)(```\n)", re.DOTALL)
_TOOLS = re.compile(r"(<!-- tools output:.*?-->\n```text\n)(.*?)(```\n)", re.DOTALL)
_FIGURES = re.compile(r"(<!-- figures:.*?-->\n)(.*?)(\n## )", re.DOTALL)


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def demo_output() -> str:
    """What the README says `make demo` prints."""
    found = _DEMO.search(README.read_text("utf-8"))
    assert found is not None
    return found.group(2)


def attack_table() -> str:
    """What the README says `auditlog attack` prints."""
    found = _ATTACKS.search(README.read_text("utf-8"))
    assert found is not None
    return found.group(2)


def tool_tables() -> str:
    """What the README says it prints about other tools."""
    found = _TOOLS.search(README.read_text("utf-8"))
    assert found is not None
    return found.group(2)


def figures() -> str:
    """The table of figures as it stands in the README."""
    found = _FIGURES.search(README.read_text("utf-8"))
    assert found is not None
    return found.group(2).strip()


def shape(line: str) -> str:
    """A line with everything that differs from run to run taken out, and cut where it may be cut."""
    return re.sub(r"[0-9a-f]{8,}|[0-9][0-9.,]*", "#", line)[:32]


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """The results of all benchmarks as one Markdown table, and why some miss what was wanted."""
    lines = [
        "| what | value | wanted | ratio to its ceiling [10 %, 90 %] | ceiling |",
        "| --- | --- | --- | --- | --- |",
    ]
    missed: dict[str, list[str]] = {}
    for row in (row for rows in results.values() for row in rows):
        name = re.sub(r" \[.*\]$", "", row["name"]).strip()
        has_ratio = "ratio" in row
        ratio = f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]" if has_ratio else ""
        value = f"{row['value']:,.0f}" if row["value"] >= 100 else f"{row['value']:,.1f}"
        wanted = f"{row['target']}: {'met' if row['met'] else '**missed**'}" if "target" in row else ""
        lines.append(f"| {name} | {value} {row['unit']} | {wanted} | {ratio} | {row.get('against', '')} |")
        if row.get("met") is False:
            missed.setdefault(why(name), []).append(name)
    if missed:
        lines += ["", "What is missed, and why:", ""]
        lines += [f"- {'; '.join(names)}: {cause}." for cause, names in missed.items()]
    return "\n".join(lines)


def _replace(pattern: re.Pattern[str], text: str) -> None:
    content, count = pattern.subn(lambda m: m.group(1) + text + m.group(3), README.read_text("utf-8"))
    assert count == 1, "expected one marked place in the README"
    README.write_text(content, "utf-8")


def write_demo() -> None:
    """Run the demo in its default folder and keep its lines."""
    command = [sys.executable, "-m", "auditlog.cli.main", "demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"the demo ended with {done.returncode}; the README stays as it is:\n{done.stdout}{done.stderr}"
        )
    _replace(_DEMO, done.stdout.replace(f"{ROOT}/", "").lstrip("\n"))


def write_attacks() -> None:
    """Attack a copy of the log that the demo left in its default folder, and exports of other tools."""
    from tests.support.attacked_log import tools_summary

    with tempfile.TemporaryDirectory() as folder:
        copied = shutil.copytree(ROOT / "auditlog-demo" / "log", Path(folder) / "copy")
        command = [sys.executable, "-m", "auditlog.cli.main", "attack", "--target", str(copied)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        _replace(_ATTACKS, done.stdout)
        os.environ["ATTESTROOT_HOME"] = f"{folder}/home"
        _replace(_TOOLS, tools_summary(Path(folder)))


def write_figures(programs: Sequence[str] = PROGRAMS) -> None:
    """Run benchmarks in full and keep the results."""
    results = json.loads(RESULTS.read_text("utf-8"))
    for program in programs:
        command = [sys.executable, str(ROOT / "tests" / "benchmarks" / f"{program}.py"), "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        results[program] = json.loads(done.stdout)["results"]
        # Kept one by one: a run that is ended has measured what it has measured.
        in_order = {name: results[name] for name in PROGRAMS if name in results}
        RESULTS.write_text(json.dumps(in_order, indent=1) + "\n", "utf-8")
        _replace(_FIGURES, f"\n{table(in_order)}\n")
        sys.stdout.write(f"{program}: done\n")


if __name__ == "__main__":
    named = sys.argv[2:] or PROGRAMS
    writers = {"demo": write_demo, "attacks": write_attacks, "figures": lambda: write_figures(named)}
    writers[sys.argv[1]]()

"""Other tools' exports under the attacks that apply to them, each judged by that tool's own verifier.

Spec: auditlog/attack/README.md, "Other tools". Promises: a verdict is the tool's, in its own words; a tool
that is not installed is said to be missing, never guessed at. Must never: load a tool before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from auditlog.attack.tools.tool import Tool, ToolResults, run_attacks
from auditlog.errors import ConfigurationError


def _ai_audit_trail() -> Tool:
    from auditlog.attack.tools.ai_audit_trail import AiAuditTrail

    return AiAuditTrail()


def _attestroot() -> Tool:
    from auditlog.attack.tools.attestroot import Attestroot

    return Attestroot()


TOOLS: Final[dict[str, Callable[[], Tool]]] = {
    "ai-audit-trail": _ai_audit_trail,
    "attestroot": _attestroot,
}
"""By the name of the package. Each needs that package: auditlog[bench] has them."""


def run_tool(name: str, target: Path, only: Sequence[str] = ()) -> ToolResults:
    """Attack a copy of one export of a tool.

    Raises:
        ConfigurationError: no such tool, no such attack, or no such export.
        ModuleNotFoundError: the tool is not installed.
    """
    if name not in TOOLS:
        raise ConfigurationError(f"--tool: expected one of {', '.join(TOOLS)}, found another")
    return run_attacks(TOOLS[name](), target, only)

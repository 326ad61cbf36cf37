"""The compiled AnchorRegistry: source, compiler and bytes, committed together.

Spec: auditlog/spec/decisions/0003-anchor-registry.md.
Promises: what `load_artefact` returns is the committed JSON, whose `source_sha256` is the digest of the
source beside it; a test recompiles the source with the named compiler and compares every byte. Must
never: compile at run time in production. The compiler is a development dependency, imported only inside
`compile_registry`. `python -m auditlog.anchoring.artefact` rewrites the JSON after a change of the
source.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from auditlog.errors import ConfigurationError

FOLDER = Path(__file__).parent / "contract"
SOURCE = FOLDER / "AnchorRegistry.vy"
ARTEFACT = FOLDER / "AnchorRegistry.json"
EVM_VERSION = "cancun"
OPTIMIZE = "gas"


@dataclass(frozen=True, slots=True)
class Artefact:
    """The parts of the artefact that running code needs."""

    init_code: bytes
    """What a deployment sends; the constructor takes no arguments."""
    runtime: bytes
    """What `eth_getCode` must answer for a registry, byte for byte."""
    source_sha256: str
    """SHA-256 of the source, hex."""


@cache
def load_artefact() -> Artefact:
    """Return the committed artefact.

    Raises:
        ConfigurationError: the file does not belong to the source beside it (a broken installation).
    """
    fields = json.loads(ARTEFACT.read_text("utf-8"))
    found = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    if fields["source_sha256"] != found:
        raise ConfigurationError(
            f"expected the contract source with SHA-256 {fields['source_sha256']}, found {found}"
        )
    return Artefact(
        init_code=bytes.fromhex(fields["bytecode"][2:]),
        runtime=bytes.fromhex(fields["runtime"][2:]),
        source_sha256=found,
    )


def compile_registry() -> dict[str, Any]:
    """Compile the source and return the whole artefact as JSON-ready values.

    The source's file name is given without a path, so that the result does not depend on where it lies.
    """
    from vyper import __commit__, __version__
    from vyper.compiler import compile_code
    from vyper.compiler.settings import OptimizationLevel, Settings

    source = SOURCE.read_bytes()
    settings = Settings(evm_version=EVM_VERSION, optimize=OptimizationLevel.from_string(OPTIMIZE))
    made = compile_code(
        source.decode("utf-8"),
        contract_path=SOURCE.name,
        output_formats=["abi", "bytecode", "bytecode_runtime", "layout"],
        settings=settings,
    )
    return {
        "contract": SOURCE.stem,
        "compiler": {"name": "vyper", "version": __version__, "commit": __commit__},
        "settings": {"evm_version": EVM_VERSION, "optimize": OPTIMIZE},
        "source_sha256": hashlib.sha256(source).hexdigest(),
        "abi": made["abi"],
        "storage": made["layout"]["storage_layout"],
        "bytecode": made["bytecode"],
        "bytecode_sha256": _sha256_of_hex(made["bytecode"]),
        "runtime": made["bytecode_runtime"],
        "runtime_sha256": _sha256_of_hex(made["bytecode_runtime"]),
    }


def format_artefact(artefact: dict[str, Any]) -> str:
    """Return the text of the artefact file."""
    return json.dumps(artefact, indent=2) + "\n"


def _sha256_of_hex(text: str) -> str:
    return hashlib.sha256(bytes.fromhex(text[2:])).hexdigest()


if __name__ == "__main__":
    ARTEFACT.write_text(format_artefact(compile_registry()), "utf-8")

"""Python values as the JSON bytes an in-process decision commits to.

There are no wire bytes inside a process, so the hook writes them: compact UTF-8 JSON, members in the order of
the value, numbers as Python prints them. Records, arrays and tensors are recognised by what they can do, so
that none of their packages is loaded. Promises: total (any value gives bytes), bounded in depth, and the same
bytes for the same value. What has no JSON form becomes `{"type": name}`: a `repr` would hold memory addresses
and change every time. Must never: change the value, or keep a reference to it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

MAX_DEPTH = 64
MAX_ELEMENTS = 1 << 18
"""A larger array is written as its type, shape and digest."""

_CONVERSIONS = ("model_dump", "tolist", "isoformat")
"""How pydantic models, numpy arrays and torch tensors, and dates say what they hold."""


def encode_plain(value: object) -> bytes:
    """Write any value as JSON."""
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), check_circular=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # A lone surrogate: written as an escape, so that nothing is lost.
        return json.dumps(plain(value), separators=(",", ":"), check_circular=False).encode("ascii")


def plain(value: object, depth: int = MAX_DEPTH) -> Any:
    """The value in dicts, lists, strings, numbers, booleans and None only."""
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth == 0:
        return _named(value)
    if isinstance(value, Mapping):
        return {_key(key): plain(member, depth - 1) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [plain(member, depth - 1) for member in value]
    return _other(value, depth - 1)


def _other(value: object, depth: int) -> Any:
    if isinstance(value, Enum):
        return plain(value.value, depth)
    if isinstance(value, str | int):
        return str.__str__(value) if isinstance(value, str) else int(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(bytes(value)).decode("ascii")}
    if isinstance(value, set | frozenset):
        # A set has no order of its own; sorted by their JSON its members always come the same way.
        return sorted((plain(member, depth) for member in value), key=_order)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name), depth) for field in fields(value)}
    return _converted(value, depth)


def _converted(value: object, depth: int) -> Any:
    if isinstance(value, type):
        return _named(value)
    try:
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and math.prod(shape) > MAX_ELEMENTS:
            return {**_named(value), "shape": list(shape), "sha256": digest_array(value)}
        for name in _CONVERSIONS:
            convert = getattr(value, name, None)
            if callable(convert):
                return plain(convert(), depth)
    except Exception:  # noqa: BLE001, S110  a stranger's methods; the name of the type is still true
        pass
    return _named(value)


def digest_array(value: Any) -> str:
    """SHA-256 in hex over the elements of a numpy array or torch tensor, in row order, in their own type."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    return hashlib.sha256(value.tobytes()).hexdigest()


def _key(key: object) -> str:
    return key if isinstance(key, str) else encode_plain(key).decode("utf-8")


def _order(member: Any) -> str:
    return json.dumps(member, sort_keys=True)


def _named(value: object) -> dict[str, str]:
    kind = value if isinstance(value, type) else type(value)
    return {"type": f"{kind.__module__}.{kind.__qualname__}"}

"""`KEY=VALUE`, as the command line gives expectations: each key makes one of the expectation objects.

Spec: auditlog/spec/verification.md, "Expectations". Promises: whatever can be said here can be said with the
objects, and means the same; an unknown key or an impossible value is refused. Must never: judge anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from auditlog.errors import ConfigurationError
from auditlog.verify.expectation_values import check_decimal
from auditlog.verify.expectations import (
    MEMBERS,
    AllOf,
    DecidedBetween,
    EntryIs,
    Expectation,
    ModelIs,
    OperatorIs,
)
from auditlog.verify.expectations_outside import AnchoredOn, CosignedBy, MaxLag, RecordedBefore
from auditlog.verify.wording import printable

_LAG: Final = re.compile(r"([0-9]{1,12})([smhd]?)\Z", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_expectation(text: str) -> Expectation:
    """Read one `KEY=VALUE`.

    Raises:
        ConfigurationError: the key is unknown, or the value cannot be one of that key.
    """
    key, separator, value = text.partition("=")
    if not separator or not value:
        raise ConfigurationError(f"expected KEY=VALUE to insist on, found {printable(text, 80) or 'nothing'}")
    make = _MAKERS.get(key)
    if make is None:
        raise ConfigurationError(f"expected one of {', '.join(KEYS)} before '=', found {printable(key, 80)}")
    return make(value)


def parse_expectations(texts: Sequence[str]) -> Expectation | None:
    """Read several, all of which must hold; None if there are none.

    Raises:
        ConfigurationError: as `parse_expectation`.
    """
    if not texts:
        return None
    found = [parse_expectation(text) for text in texts]
    return AllOf(*found) if len(found) > 1 else found[0]


def _lag(value: str) -> MaxLag:
    """`90`, `90s`, `5m`, `2h` or `1d`."""
    match = _LAG.match(value)
    if match is None:
        raise ConfigurationError(
            f"expected seconds, or a number and s, m, h or d, for max-lag, found {printable(value, 80)}"
        )
    return MaxLag(int(match[1]) * _SECONDS[match[2]])


def _anchored(value: str) -> AnchoredOn:
    """`CHAIN` or `CHAIN/CONTRACT`, with `devnet:` before it for a development chain."""
    rest = value.removeprefix("devnet:")
    chain_id, separator, contract = rest.partition("/")
    if separator and not contract:
        raise ConfigurationError("expected CHAIN or CHAIN/CONTRACT for anchored-on, found no contract")
    number = check_decimal("anchored-on", chain_id)
    return AnchoredOn(chain_id=number, contract=contract, devnet=rest != value)


def _cosigned_at_least(value: str) -> CosignedBy:
    return CosignedBy(at_least=check_decimal("cosigned-by-at-least", value))


_MAKERS: Final[Mapping[str, Callable[[str], Expectation]]] = {
    "origin": OperatorIs,
    "operator": OperatorIs,
    **{member: partial(EntryIs, member) for member in MEMBERS},
    "model": lambda value: ModelIs(fingerprint=value),
    "model-leaf": lambda value: ModelIs(leaf_hash=value),
    "model-name": lambda value: ModelIs(name=value),
    "after": lambda value: DecidedBetween(after=value),
    "before": lambda value: DecidedBetween(before=value),
    "recorded-before": RecordedBefore,
    "max-lag": _lag,
    "cosigned-by": CosignedBy,
    "cosigned-by-at-least": _cosigned_at_least,
    "anchored-on": _anchored,
}

KEYS: Final[tuple[str, ...]] = tuple(sorted(_MAKERS))
"""Every key `--expect` knows. `operator` is another word for `origin`."""

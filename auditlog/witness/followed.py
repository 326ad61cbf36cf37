"""The logs a witness follows: each an origin, the keys that may sign for it, and where it is, if known.

Spec: `auditlog/spec/witness.md`, "Logs". Must never: let a key speak for an origin it was not configured for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from auditlog.core.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint
from auditlog.core.cosignature_mldsa import COSIGNATURE_MLDSA44, MlDsaVerifier
from auditlog.core.keys import Ed25519Verifier, split_vkey
from auditlog.core.note import NoteVerifier
from auditlog.core.proofs import EMPTY_ROOT
from auditlog.errors import ConfigurationError, MalformedError


@dataclass(frozen=True, slots=True)
class FollowedLog:
    """One log. `keys` share one name; at least one is Ed25519, and each is one this library can check."""

    origin: str
    keys: tuple[NoteVerifier, ...]
    unchecked: tuple[str, ...] = ()
    """vkeys whose signatures the library here cannot check: passed over, and listed as not checked."""
    url: str = ""
    """Prefix of its read path, for the promises of the drop-box; empty if it is not asked."""

    @property
    def key_name(self) -> str:
        """The name of its keys: the origin for a log of ours, anything for others."""
        return self.keys[0].name

    @property
    def vkeys(self) -> tuple[str, ...]:
        """All its keys, those that cannot be checked too."""
        return (*(key.vkey for key in self.keys), *self.unchecked)


def follow(vkeys: Sequence[str], *, origin: str = "", url: str = "") -> FollowedLog:
    """A log from the texts of its keys; the origin is their name unless it is given.

    Raises:
        ConfigurationError: no Ed25519 key, keys of several names, an origin that no checkpoint can have.
    """
    keys: list[NoteVerifier] = []
    unchecked: list[str] = []
    try:
        for vkey in vkeys:
            key = _parse(vkey)
            if isinstance(key, MlDsaVerifier) and not key.is_checkable:
                unchecked.append(key.vkey)
            else:
                keys.append(key)
        plain = [key for key in keys if isinstance(key, Ed25519Verifier)]
        names = {split_vkey(vkey)[0] for vkey in vkeys}
    except MalformedError as error:
        raise ConfigurationError(f"expected the vkey of a log: {error}") from error
    if not plain or len(names) != 1:
        raise ConfigurationError("expected an Ed25519 key of a log, and its keys of one name, found others")
    if len({key.key_id for key in keys}) != len(keys):
        raise ConfigurationError(f"expected each key of {plain[0].name} once, found one twice")
    return FollowedLog(_checked_origin(origin or plain[0].name), tuple(keys), tuple(unchecked), url)


def _parse(vkey: str) -> Ed25519Verifier | MlDsaVerifier:
    if split_vkey(vkey)[1] == COSIGNATURE_MLDSA44:
        return MlDsaVerifier.from_vkey(vkey)
    return Ed25519Verifier.from_vkey(vkey)


def _checked_origin(origin: str) -> str:
    try:
        text = format_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT))
        if parse_checkpoint(text).origin == origin:
            return origin
    except MalformedError:
        pass
    raise ConfigurationError(f"expected an origin of one line without control characters, found {origin!a}")


def name_of(origin: str) -> str:
    """The name of a log in URLs: SHA-256 of its origin in hex (C2SP tlog-witness)."""
    return sha256(origin.encode("utf-8")).hexdigest()

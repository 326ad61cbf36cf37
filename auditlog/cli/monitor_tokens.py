"""Which log gets which token: `--token-file [ORIGIN=]FILE` of `auditlog monitor`.

Spec: auditlog/spec/monitor.md, "Starting". Promises: a token goes to the one log it was given for; a bare
FILE is taken only where one log is followed. Must never: send a token to a log that only says of itself which
it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from auditlog.cli.reading import read_text_line
from auditlog.errors import ConfigurationError

_OPTION = "--token-file"


class Tokens:
    """The tokens given, by origin; the empty origin is the only log there is."""

    def __init__(self, given: Sequence[str], origins: Iterable[str], targets: int) -> None:
        """`origins` are those of the trust file, `targets` how many logs are followed.

        Raises:
            ConfigurationError: a bare FILE for several logs, an origin nobody knows, two for one log, or a
                file that cannot be read.
        """
        known = list(dict.fromkeys(origins))
        self._by_origin: dict[str, str] = {}
        for each in given:
            origin, file = _split(each, known)
            if not origin and targets > 1:
                raise ConfigurationError(
                    f"{_OPTION}: expected ORIGIN=FILE, for {targets} logs are followed and a token is for "
                    "one of them; found no origin"
                )
            if origin in self._by_origin:
                raise ConfigurationError(f"{_OPTION}: expected one token a log, found two")
            self._by_origin[origin] = read_text_line(Path(file), _OPTION)
        if "" in self._by_origin and len(self._by_origin) > 1:
            raise ConfigurationError(f"{_OPTION}: expected one token a log, found one without an origin too")

    def of(self, origin: str, *, is_named: bool) -> str | None:
        """The token for a log; `is_named`: whether the trust file, not the log, says that it is this one.

        Raises:
            ConfigurationError: there is one, and nobody but the log says that it is for it.
        """
        if "" in self._by_origin:
            return self._by_origin[""]
        token = self._by_origin.get(origin)
        if token is not None and not is_named:
            # Anybody can serve a copy of that log's checkpoint, and would be sent its token.
            raise ConfigurationError(
                f"{_OPTION}: expected the URL of {origin} in the trust file, for only the log itself says "
                "that this is it; found none like this"
            )
        return token


def _split(given: str, known: list[str]) -> tuple[str, str]:
    """Origin (or empty) and file. An origin may hold `=`, and so may the name of a file."""
    for origin in sorted(known, key=len, reverse=True):
        if given.startswith(f"{origin}="):
            return origin, given[len(origin) + 1 :]
    if "=" in given and not Path(given).exists():
        names = ", ".join(known)
        raise ConfigurationError(f"{_OPTION}: expected ORIGIN=FILE with one of {names}; found another origin")
    return "", given

"""Which texts are URLs that settings may hold: one strict rule for all of them (README.md, "Settings").

What is let through goes as it is into HTTP headers, entries of the log and requests of our own. So: ASCII
without white space or control characters, `http` or `https`, a host, a port from 1 to 65535 if there is one,
and only the characters that a path may have (RFC 3986). Pure; must never raise.
"""

from __future__ import annotations

import ipaddress
import re

MAX_URL_CHARS = 2000

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_URL = re.compile(
    rf"https?://(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)\.?|\[(?P<v6>[0-9A-Fa-f:.]+)\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*)",
    re.IGNORECASE,
)
_NUMBERS = re.compile(r"(?:.*\.)?[0-9]+")
"""A host whose last label is a number is an address, or nothing (URL standard, "ends in a number")."""


def is_usable_url(text: str) -> bool:
    """Whether `text` is an http(s) URL with a host, and no user, query or fragment."""
    found = _URL.fullmatch(text) if text.isascii() and len(text) <= MAX_URL_CHARS else None
    if found is None:
        return False
    port, name, v6 = found["port"], found["name"], found["v6"]
    if port is not None and not 1 <= int(port) <= 65_535:
        return False
    if name is not None and _NUMBERS.fullmatch(name) is None:
        return len(name) <= 253
    try:
        return (ipaddress.IPv6Address(v6) if name is None else ipaddress.IPv4Address(name)) is not None
    except ValueError:
        return False


def is_header_text(text: str) -> bool:
    """Whether `text` can stand in a header as it is, in one piece."""
    return text.isascii() and text.isprintable() and " " not in text

"""Reading the commonest entries quickly: decisions and outcomes of the plainest spelling, by one pattern.

Spec: auditlog/spec/entry.md. What a pattern takes is what `parse_entry` and `check_body` take without an
error, member by member: canonical, of the right shape, in printable ASCII without escapes. Everything else,
however well formed, is left to those two, which alone say what is wrong. Bytes are attacker-controlled. Must
never: take bytes that they would refuse, or read another value from them than they do (a property test).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from auditlog.core.entry import MAX_ENTRY_BYTES, Entry

READ_MEMBERS: Final = ("mode", "model")
"""The only members in the body of a decision read here; the body of an outcome is empty."""

_PLAIN = r"[ !#-\[\]-~]"
_TEXT = rf'"{_PLAIN}{{0,16384}}"'
_LABEL = rf'"{_PLAIN}{{1,255}}"'
_WORD = r'"[a-z][a-z0-9_.]{0,63}"'
_HASH = r'"[0-9a-f]{64}"'
_NATURAL = r"(?:0|[1-9][0-9]{0,14})"
_DATE = (
    r"(?:19[7-9][0-9]|[2-9][0-9]{3})-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_SECOND = _DATE + r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\."
_TIME = _SECOND + r"[0-9]{6}Z"
_ID = r'"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"'
_LEAVES = r"(?:[1-9][0-9]{0,2}|10[01][0-9]|102[0-4])"
_COMMITTED = (
    rf'\{{"commitment":{_HASH}(?:,"fields":\{{"form":{_LABEL},"root":{_HASH},"size":{_LEAVES}\}})?\}}'
)
_MEMBER = rf'"{_PLAIN}*":"{_PLAIN}*"'


def _texts(name: str) -> str:
    """An object of strings; whether its names are in order is for `_is_sorted` to say."""
    return rf"\{{(?P<{name}>(?:{_MEMBER}(?:,{_MEMBER})*)?)\}}"


def _list_of(member: str) -> str:
    return rf"\[(?:{member}(?:,{member})*)?\]"


_ENVELOPE = (
    r',"instance":"(?P<instance>[0-9a-f]{32})","kind":"%s","origin":"(?P<origin>[!#-*,-\[\]-~]{1,255})",'
    r'"prev":"(?P<prev>[0-9a-f]{64})","producer":"(?P<producer>[0-9a-f]{64})",'
    rf'"seq":(?P<seq>{_NATURAL}),"time":"(?P<time>{_TIME})","v":1\}}'
)

_DECISION = re.compile(
    r'\{"body":\{'
    rf'(?:"adapters":{_list_of(_LABEL)},)?"capture":{_WORD},(?:"content_encoding":{_LABEL},)?'
    rf'(?:"defaults":{_texts("defaults")},)?"duration_us":{_NATURAL},"ended":{_WORD},'
    rf'(?:"facts":{_COMMITTED},)?"id":{_ID},(?:"method":{_LABEL},)?"mode":"(?P<mode>{_WORD[1:-1]})",'
    rf'"model":"(?P<model>[0-9a-f]{{64}}|{_WORD[1:-1]})","operation":{_WORD},(?:"parent":{_LABEL},)?'
    rf'(?:"redacted":{_list_of(_WORD)},)?(?:"replayed_from":{_LABEL},)?"request":{_COMMITTED},'
    rf'"response":{_COMMITTED}(?:,"retry_of":{_LABEL})?(?:,"route":{_TEXT})?'
    rf'(?:,"sampling":{_texts("sampling")})?,"start":"{_TIME}"(?:,"status":{_NATURAL})?'
    rf'(?:,"values":{_WORD})?\}}' + _ENVELOPE % "decision"
)
_OUTCOME = re.compile(
    rf'\{{"body":\{{"decision":{_ID},"facts":{_COMMITTED}(?:,"item":{_LABEL})?\}}' + _ENVELOPE % "outcome"
)
_OUTCOME_BEGINS = '{"body":{"decision":"'
_NAMES = re.compile(rf'"({_PLAIN}*)":"{_PLAIN}*",?')


def read_plain(data: bytes, origin: str) -> Entry | None:
    """The entry of a log's producer, its body cut to `READ_MEMBERS`; None if the core must read it.

    A body it takes is one that `check_body` takes.
    """
    members = plain_members(data, origin)
    return None if members is None else Entry(**members)


def plain_members(data: bytes, origin: str) -> dict[str, Any] | None:
    """The members of the entry that `read_plain` gives, for one who sends them on."""
    if len(data) > MAX_ENTRY_BYTES:
        return None
    # Byte for character; the patterns take ASCII alone.
    found, kind = _match(data.decode("latin-1"))
    if found is None:
        return None
    # All groups at once: asking for each by its name costs as much as the rest of this function.
    *said, instance, claimed, prev, producer, seq, time = found.groups()
    body: dict[str, str] = {}
    if said:
        defaults, mode, model, sampling = said
        if (defaults and not _is_sorted(defaults)) or (sampling and not _is_sorted(sampling)):
            return None
        body = {"mode": mode, "model": model}
    if claimed != origin:
        return None
    return {
        "kind": kind,
        "origin": origin,
        "producer": producer,
        "instance": instance,
        "seq": int(seq),
        "prev": prev,
        "time": time,
        "body": body,
    }


@dataclass(frozen=True, slots=True)
class PlainText:
    """Where the members of a plain entry's envelope stand in its bytes: (begin, end) of each value."""

    kind: str
    envelope: int
    """Where the instance begins, the first of them: all before is body."""
    prev: tuple[int, int]
    seq: tuple[int, int]
    time: tuple[int, int]

    second: ClassVar = re.compile(_SECOND.encode())
    """A time up to its dot."""


def match_plain(data: bytes) -> PlainText | None:
    """Where everything stands in an entry that `read_plain` has taken."""
    found, kind = _match(data.decode("latin-1"))
    if found is None:
        return None
    return PlainText(kind, found.start("instance"), *(found.span(name) for name in ("prev", "seq", "time")))


def _match(text: str) -> tuple[re.Match[str] | None, str]:
    if text.startswith(_OUTCOME_BEGINS):
        return _OUTCOME.fullmatch(text), "outcome"
    return _DECISION.fullmatch(text), "decision"


def _is_sorted(members: str) -> bool:
    """Whether names rise strictly: canonical order, and none twice."""
    names = _NAMES.findall(members)
    return all(names[at] < names[at + 1] for at in range(len(names) - 1))

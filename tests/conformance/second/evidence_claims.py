"""evidence.md: the files of ENTRIES, ANCHOR, NOTICE and OBSERVED, and what each rule asks of its entries."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import canonical as c
from .canonical import Malformed, need, refuse
from .entry import (
    BodyError,
    Entry,
    check_enrolment,
    check_rotation,
    log_id,
    parse_head,
    read_entry,
    read_envelope,
)
from .merkle import root_of
from .note import ED25519, Key, open_one, parse_note, parse_vkey

MOST_HASHES = 126
VERDICTS = ("ENTRIES", "ANCHOR", "NOTICE", "OBSERVED")
RULES = {
    "ENTRIES": [
        "entry_malformed",
        "foreign_entry",
        "duplicate_number",
        "broken_chain",
        "forged_enrolment",
        "unknown_producer",
        "wrong_key",
        "after_retirement",
        "counter_mismatch",
        "broken_head",
        "anchor_foreign",
    ],
    "NOTICE": ["gap", "coverage_changed", "model_changed", "backdated", "anchor_foreign"],
}
COUNTS = ["started", "finished", "failed", "refused", "deferred", "lost", "late_hangups", "recorded"]


class P(NamedTuple):
    """P of the page."""

    entry: bytes
    index: int
    path: list[bytes]


class At(NamedTuple):
    """An entry, proven at its index."""

    entry: Entry
    index: int

    @property
    def leaf(self) -> str:
        """Its leaf hash in hex."""
        return self.entry.leaf.hex()

    @property
    def life(self) -> tuple[str, str]:
        """Producer and instance."""
        return self.entry.producer, self.entry.instance


@dataclass
class Claim:
    """A file, parsed."""

    verdict: str
    alarm: str
    value: dict[str, Any]
    placed: dict[str, P] = field(default_factory=dict)
    entries: list[P] = field(default_factory=list)
    rotations: list[P] = field(default_factory=list)
    leaves: list[bytes] | None = None
    monitor: Key | None = None


def parse_claim(value: dict[str, Any]) -> Claim:
    """The object of a file of one of these verdicts, or Malformed."""
    verdict, alarm = value["verdict"], value.get("alarm")
    if verdict in RULES:
        need(isinstance(alarm, str) and alarm in RULES[verdict], "not a rule of this verdict")
    need(
        set(value) in [set(names.split()) for names in _names(verdict, alarm)],
        f"not the members of {verdict}",
    )
    parse_note(value["checkpoint"])
    made = Claim(verdict, alarm or "", value)
    made.placed = {name: placed(value[name]) for name in ("genesis", "entry", "producer") if name in value}
    if "entries" in value:
        made.entries = [placed(item, 0) for item in c.array(value["entries"], 16_384)]
        need(made.entries, "no entries")
        indices = [item.index for item in made.entries]
        need(indices == sorted(set(indices)), "entries that do not ascend")
    if "rotations" in value:
        made.rotations = [placed(item) for item in c.array(value["rotations"], 61)]
    if "head" in value:
        need(len(parse_note(value["head"]).lines) == 1, "a head with another number of signature lines")
    if "leaves" in value:
        made.leaves = tiles(value["leaves"])
    if "earlier" in value:
        earlier = c.members(value["earlier"], "checkpoint proof")
        parse_note(earlier["checkpoint"])
        c.hashes(earlier["proof"], MOST_HASHES)
    if "anchored" in value:
        anchored = c.members(value["anchored"], "root proof")
        c.unbase64_hash(anchored["root"])
        c.hashes(anchored["proof"], MOST_HASHES)
    if "anchor" in value:
        _anchor(value["anchor"])
    if "monitor" in value:
        _observation(made, value)
    return made


def _names(verdict: str, alarm: object) -> list[str]:
    """The sets of members there may be."""
    always = "v verdict checkpoint "
    if verdict == "ANCHOR":
        return [always + "anchored genesis entry", always + "anchored anchor"]
    if verdict == "OBSERVED":
        return [always + "monitor note shown"]
    if verdict == "NOTICE":
        return [always + "alarm entries" + (" earlier" if alarm == "backdated" else "")]
    plain = always + "alarm genesis entries"
    if alarm == "broken_head":
        return [plain + " head producer rotations"]
    return [plain, plain + " leaves"] if alarm in ("broken_chain", "unknown_producer") else [plain]


def placed(value: Any, least: int = 1) -> P:
    """P, whose entry has at least so many bytes."""
    c.members(value, "entry index proof")
    data = c.unbase64(value["entry"])
    need(least <= len(data) <= 65_535, "an entry of another length")
    need(c.is_int(value["index"]), "index")
    return P(data, value["index"], c.hashes(value["proof"], MOST_HASHES))


def tiles(value: Any) -> list[bytes]:
    """The leaf hashes of all tiles in order; only the last tile may be short, and none is empty."""
    if not isinstance(value, list):
        refuse("not an array of tiles")
    found = [c.unbase64(item) for item in value]
    need(all(len(tile) == 256 * 32 for tile in found[:-1]), "a tile before the last is not whole")
    last = len(found[-1]) if found else 32
    need(last % 32 == 0 and 32 <= last <= 256 * 32, "the last tile does not have 1 to 256 hashes")
    return [tile[at : at + 32] for tile in found for at in range(0, len(tile), 32)]


def _anchor(value: Any) -> None:
    c.members(value, "type evidence")
    kind = value["type"]
    need(
        isinstance(kind, str) and re.fullmatch("[a-z][a-z0-9_]{0,31}@v[0-9]{1,3}", kind), "not an anchor type"
    )
    if kind == "devnet@v0":
        need(len(parse_note(value["evidence"]).lines) == 1, "a devnet's note with other signature lines")


def _observation(made: Claim, value: dict[str, Any]) -> None:
    made.monitor = parse_vkey(value["monitor"])
    need(made.monitor.kind == ED25519, "a monitor's key of another type")
    need(len(parse_note(value["note"]).lines) == 1, "a statement with another number of signature lines")
    for note in c.array(value["shown"], 16):
        parse_note(note)


def read(data: bytes) -> Entry:
    """An entry of the log; an odd body does not move it."""
    try:
        return read_entry(data)
    except BodyError:
        return read_envelope(data)


def is_(entry: Entry, kind: str) -> bool:
    """Of this kind, understood, well formed."""
    return entry.kind == kind and entry.understood


def holds(alarm: str, found: list[At], leaves: list[bytes] | None, head: Any) -> None:
    """Refuse unless the entries break the rule (ENTRIES)."""
    if alarm == "broken_head":
        broken_head(found, head)
    elif alarm in ("broken_chain", "unknown_producer"):
        need(globals()[alarm](found, leaves), f"not {alarm}")
    else:
        need(globals()[alarm](found), f"not {alarm}")


def duplicate_number(found: list[At]) -> bool:
    """One number, twice."""
    return len(found) == 2 and len({(*item.life, item.entry.seq) for item in found}) == 1


def forged_enrolment(found: list[At]) -> bool:
    """It enrols nobody."""
    if len(found) != 1 or (found[0].entry.kind, found[0].entry.v) != ("producer", 1):
        return False
    return _enrolled(found[0].entry) is None


def _enrolled(entry: Entry) -> Key | None:
    """The key that an entry enrols, if it does."""
    if not is_(entry, "producer"):
        return None
    try:
        return check_enrolment(entry.body, entry.origin)
    except Malformed:
        return None


def unknown_producer(found: list[At], leaves: list[bytes] | None) -> bool:
    """Nobody before it enrolled its writer."""
    if leaves is not None:
        (one,) = found if len(found) == 1 else refuse("not one entry")
        return not one.entry.by_log and bytes.fromhex(one.entry.producer) not in leaves[: one.index]
    if len(found) != 2:
        return False
    return any(
        writer.entry.producer == other.leaf and (other.index > writer.index or other.entry.kind != "producer")
        for writer, other in itertools.permutations(found)
    )


def wrong_key(found: list[At]) -> bool:
    """A whole chain, at the end of which something is not signed as it should be."""
    first, last = found[0], found[-1]
    key = _enrolled(first.entry)
    if key is None or len(found) < 2:
        return False
    keys = [key]
    for one, item in itertools.pairwise(found):
        need(item.entry.producer == first.leaf and item.entry.prev == one.leaf, "a chain with a hole")
        if item is not last and item.entry.kind == "rotation" and item.entry.v == 1:
            need(item.entry.understood, "a malformed rotation in between")
            keys.append(check_rotation(item.entry.body, item.entry.origin, first.leaf, keys))
    entry = last.entry
    need(entry.v == 1 and entry.kind in ("instance", "rotation"), "nothing is signed in the last entry")
    try:
        if entry.kind == "rotation":
            need(entry.understood, "malformed")
            check_rotation(entry.body, entry.origin, first.leaf, keys)
        else:
            lines = ("auditlog/instance@v1", entry.origin, entry.producer, entry.instance, entry.prev)
            said = "".join(f"{line}\n" for line in lines)
            need(open_one(entry.body.get("note"), keys[-1]).text == said, "another statement")
    except Malformed:
        return True
    return False


def after_retirement(found: list[At]) -> bool:
    """Somebody writes after the end."""
    if len(found) != 2 or not is_(found[0].entry, "retirement"):
        return False
    end, later = found[0].entry, found[1].entry
    named = end.body.get("producer")
    if end.by_log:
        return named is not None and later.producer == named
    return named in (None, end.producer) and later.producer == end.producer


def anchor_foreign(found: list[At]) -> bool:
    """The log's entry about an anchor that cannot be its own."""
    if len(found) != 1 or not is_(found[0].entry, "anchor"):
        return False
    entry, index = found[0]
    return entry.body["log_id"] != log_id(entry.origin) or entry.body["size"] > index


def broken_chain(found: list[At], leaves: list[bytes] | None) -> bool:
    """One of the eight forms."""
    if leaves is not None:
        (one,) = found if len(found) == 1 else refuse("not one entry")
        return one.entry.kind != "genesis" and bytes.fromhex(one.entry.prev) not in leaves[: one.index]
    if len(found) == 1:
        return _misplaced(*found[0])
    if len(found) == 2:
        return _unordered(*found)
    if len(found) != 3:
        return False
    a, b, d = found
    return a.life == d.life != b.life and a.entry.producer == b.entry.producer


def _misplaced(entry: Entry, index: int) -> bool:
    if entry.by_log:
        return (entry.seq == 0) != (index == 0) or index < entry.seq
    return (entry.kind == "instance") != (entry.seq == 0) or index < entry.seq + 2


def _unordered(a: At, b: At) -> bool:
    far = b.entry.seq - a.entry.seq
    one_life = a.life == b.life
    forms = [
        one_life and (far < 0 or far > b.index - a.index or (far == 1 and b.entry.prev != a.leaf)),
        a.entry.producer == b.entry.producer and a.entry.prev == b.entry.prev,
        b.entry.prev == a.leaf and not _allowed(a, b),
        a.entry.prev == b.leaf,
    ]
    return any(forms)


def _allowed(a: At, b: At) -> bool:
    """B may follow a."""
    if b.entry.by_log:
        return a.entry.by_log and a.entry.seq + 1 == b.entry.seq
    if b.entry.seq == 0:
        another = a.entry.producer == b.entry.producer and a.entry.instance != b.entry.instance
        return another or (a.leaf == b.entry.producer and a.entry.kind == "producer")
    return a.life == b.life and a.entry.seq + 1 == b.entry.seq


def counter_mismatch(found: list[At]) -> bool:
    """Counts that cannot all be so."""
    numbers = [item.entry.seq for item in found]
    if len({item.life for item in found}) != 1 or numbers != sorted(set(numbers)):
        return False
    first, last = found[0].entry, found[-1].entry
    if not is_(last, "heartbeat"):
        return False
    b = last.body
    if len(found) == 1:
        over = max(b["recorded"], b["in_flight"], b["deferred"], b["finished"] + b["failed"] + b["in_flight"])
        return bool(over > b["started"] or b["recorded"] > max(0, last.seq - 1))
    if len(found) == 2 and is_(first, "heartbeat"):
        a = first.body
        if any(b[name] < a[name] for name in COUNTS) or b["recorded"] - a["recorded"] >= last.seq - first.seq:
            return True
    return _miscounted(found)


def _miscounted(found: list[At]) -> bool:
    first, last = found[0].entry, found[-1].entry
    for one, item in itertools.pairwise(found):
        if item.entry.seq != one.entry.seq + 1 or item.entry.prev != one.leaf:
            return False
    if is_(first, "heartbeat"):
        before = first.body["recorded"]
    elif first.kind == "instance" and first.seq == 0:
        before = 0
    else:
        return False
    decisions = [item for item in found[1:-1] if item.entry.kind == "decision"]
    return bool(last.body["recorded"] != before + len(decisions))


def open_head(note: str, keys: list[Key]) -> Any:
    """What a head says, by one of the keys of its producer."""
    why: Malformed | None = None
    for key in keys:
        try:
            return parse_head(open_one(note, key).text)
        except Malformed as error:
            why = error
    raise why or Malformed("no key")


def broken_head(found: list[At], head: Any) -> None:
    """The log has other entries than the head was signed over."""
    need(all(item.life == (head.producer, head.instance) for item in found), "entries of another life")
    numbers = [item.entry.seq for item in found]
    if len(found) == 1:
        need(numbers == [head.seq] and found[0].entry.leaf != head.leaf, "the entry the head names")
        return
    need(numbers == list(range(head.first_seq, head.seq + 1)), "not the numbers of the head")
    need(root_of([item.entry.leaf for item in found]) != head.root, "the entries of the head")

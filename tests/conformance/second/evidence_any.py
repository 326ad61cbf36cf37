"""evidence.md, "Checking": any evidence file, judged by the rules in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import canonical as c
from . import evidence_claims as claims
from .canonical import Malformed, need
from .entry import check_enrolment, check_rotation, log_id, parse_devnet, parse_head
from .evidence import Evidence, check_room, parse_evidence
from .evidence_claims import At, Claim, P, is_, parse_claim, read
from .evidence_judge import NOT_CHECKED, NOT_PROVEN, PROVEN, USAGE, Judge, Judgement, NoQuorum, dated_after
from .evidence_judge import judge as judge_promise
from .merkle import check_consistency, check_inclusion, leaf_hash, root_of
from .note import Key, open_one, parse_note
from .trust import parse_trust


class Unknown(NoQuorum):
    """The trust file lacks the key, the pin or the type."""


def parse_any(data: bytes) -> Evidence | Claim:
    """Bytes that are an evidence file of any verdict, or Malformed."""
    check_room(data)
    need(data.endswith(b"\n"), "no final newline")
    value = c.parse(data[:-1])
    word = value.get("verdict") if isinstance(value, dict) else None
    if not isinstance(word, str) or word not in claims.VERDICTS:
        return parse_evidence(data)
    need(value.get("v") == "auditlog/evidence@v1", "not auditlog/evidence@v1")
    return parse_claim(value)


class _Run(Judge):
    """One file of ENTRIES, ANCHOR, NOTICE or OBSERVED under one trust file."""

    claim: Claim

    def checkpoint(self) -> None:
        """Rule 2."""
        note = self.claim.value["checkpoint"]
        self.origin = parse_note(note).text.split("\n", 1)[0]
        names = {key.name for key in self.trust.policy.logs}
        need(self.origin in names, "a log that the trust file does not name")
        self.tree, self.note = self.believed(note)

    def included(self, item: P) -> None:
        """At its index in the tree."""
        check_inclusion(leaf_hash(item.entry), item.index, self.tree.size, item.path, self.tree.root)

    def at(self, item: P) -> At:
        """Included, and an entry of this log."""
        self.included(item)
        entry = read(item.entry)
        need(entry.origin == self.origin, "an entry of another log")
        return At(entry, item.index)

    def entries(self) -> None:
        """Rule 3."""
        claim = self.claim
        self.by_name = {name: self.at(item) for name, item in claim.placed.items()}
        self.turns = [self.at(item) for item in claim.rotations]
        if "genesis" in self.by_name:
            entry, index = self.by_name["genesis"]
            need(index == 0 and entry.kind == "genesis", "not the first entry of a log")
            listed = entry.body.get("vkeys")
            vkeys = [key.vkey for key in self.own_keys(self.note)]
            need(
                isinstance(listed, list) and any(vkey in listed for vkey in vkeys), "a genesis of another key"
            )
        self.shown: list[At] = []
        for item in claim.entries:
            if claim.verdict == "ENTRIES" and claim.alarm in ("entry_malformed", "foreign_entry"):
                self.included(item)
            else:
                self.shown.append(self.at(item))

    def promise(self) -> None:
        """Rule 4, of a head."""
        if self.claim.alarm != "broken_head":
            return
        note = self.claim.value["head"]
        self.head = parse_head(parse_note(note).text)
        need(self.head.origin == self.origin, "a head of another log")
        entry, before = self.by_name["producer"]
        need(is_(entry, "producer") and entry.leaf.hex() == self.head.producer, "not the head's producer")
        keys: list[Key] = [check_enrolment(entry.body, self.origin)]
        for turn, index in self.turns:
            need(is_(turn, "rotation") and turn.producer == self.head.producer, "not a rotation of it")
            need(index > before, "rotations in another order than the log's")
            keys.append(check_rotation(turn.body, self.origin, turn.producer, keys))
            before = index
        claims.open_head(note, keys)

    def holds(self) -> None:
        """Rule 5."""
        getattr(self, f"holds_{self.claim.verdict.lower()}")()

    def holds_entries(self) -> None:
        """The entries break the rule."""
        claim = self.claim
        if claim.alarm in ("entry_malformed", "foreign_entry"):
            need(len(claim.entries) == 1, "not one entry")
            self.no_entry(claim.entries[0].entry)
            return
        if claim.leaves is not None:
            need(len(claim.leaves) == self.tree.size, "another number of leaves than the tree's")
            need(root_of(claim.leaves) == self.tree.root, "the leaves do not lead to the root")
        head = self.head if claim.alarm == "broken_head" else None
        claims.holds(claim.alarm, self.shown, claim.leaves, head)

    def no_entry(self, data: bytes) -> None:
        """Bytes that are no entry, or one of another log."""
        try:
            entry = read(data)
        except Malformed:
            need(self.claim.alarm == "entry_malformed", "no entry at all")
            return
        foreign = self.claim.alarm == "foreign_entry" and entry.origin != self.origin
        need(foreign, "an entry of this log")

    def holds_anchor(self) -> None:
        """Another root is anchored than the tree has."""
        value = self.claim.value
        if "entry" in value:
            entry, _ = self.by_name["entry"]
            need(
                is_(entry, "anchor") and entry.body["log_id"] == log_id(self.origin), "no anchor of this log"
            )
            size, root = entry.body["size"], bytes.fromhex(entry.body["root"])
        else:
            size, root = self.devnet(value["anchor"])
        anchored = value["anchored"]
        own = c.unbase64_hash(anchored["root"])
        path = c.hashes(anchored["proof"], claims.MOST_HASHES)
        need(size <= self.tree.size, "a larger tree than the one shown")
        check_consistency(size, own, self.tree.size, self.tree.root, path)
        need(own != root, "the root that the tree has")

    def devnet(self, anchor: dict[str, Any]) -> tuple[int, bytes]:
        """Size and root, by the devnet's key."""
        if anchor["type"] != "devnet@v0" or self.trust.devnet is None:
            raise Unknown
        said = parse_devnet(open_one(anchor["evidence"], self.trust.devnet).text)
        need(said.origin == self.origin, "an anchor of another log")
        return said.size, said.root

    def holds_notice(self) -> None:
        """The entries are what the word says."""
        alarm, found = self.claim.alarm, [item.entry for item in self.shown]
        if alarm == "backdated":
            self.backdated()
        elif alarm == "gap":
            need(len(found) == 1 and is_(found[0], "gap"), "not a gap")
        elif alarm == "anchor_foreign":
            self.pins()
        else:
            kind = alarm.removesuffix("_changed")
            need(len(found) == 2 and all(is_(item, kind) for item in found), f"not two of kind {kind}")
            a, b = found
            need(a.producer == b.producer, "of two producers")
            same = a.body == b.body
            if kind == "model":
                same = all(a.body.get(name) == b.body.get(name) for name in ("fingerprint", "adapters"))
            need(not same, "the same said twice")

    def pins(self) -> None:
        """An anchor by a contract that is not pinned."""
        found = [item.entry for item in self.shown]
        need(len(found) == 1 and is_(found[0], "anchor"), "not an anchor")
        body = found[0].body
        need(body["type"] != "devnet@v0", "an anchor on a devnet")
        if not self.trust.anchors:
            raise Unknown
        pinned = {(pin["chain_id"], pin["contract"]) for pin in self.trust.anchors}
        need((body["chain_id"], body["contract"]) not in pinned, "a pinned contract")

    def backdated(self) -> None:
        """It claims a time at which the log was shown without it."""
        need(len(self.shown) == 1, "not one entry")
        entry, index = self.shown[0]
        earlier = self.claim.value["earlier"]
        older, note = self.believed(earlier["checkpoint"])
        path = c.hashes(earlier["proof"], claims.MOST_HASHES)
        check_consistency(older.size, older.root, self.tree.size, self.tree.root, path)
        need(older.size <= index, "the earlier checkpoint may hold it")
        dated_after(self.trust, note, entry.time)

    def holds_observed(self) -> None:
        """A monitor's word over what is shown."""
        value = self.claim.value
        assert self.claim.monitor is not None
        text = open_one(value["note"], self.claim.monitor).text
        lines = text.split("\n")
        need(len(lines) == 9 and not lines[8] and lines[0] == "auditlog/observed@v1", "not an observation")
        origin, alarm, time, size, root, shown, detail = lines[1:8]
        need(c.is_word(alarm) and "." not in alarm and c.is_time(time), "alarm or time")
        need(1 <= len(detail) <= 500 and all(" " <= each <= "~" for each in detail), "what it saw")
        tree = (origin, c.decimal(size), c.unbase64_hash(root))
        need(
            c.is_origin(origin) and tree == (self.origin, self.tree.size, self.tree.root),
            "another checkpoint",
        )
        own = root_of([leaf_hash(note.encode("utf-8")) for note in value["shown"]])
        need(c.unbase64_hash(shown) == own, "other notes")
        raise Unknown


def judge(data: bytes, trust: bytes) -> Judgement:
    """What an evidence file proves under a trust file."""
    try:
        run = _Run(parse_trust(trust))
    except Malformed as error:
        return Judgement(USAGE, why=f"usage: {error}")
    try:
        parsed = parse_any(data)
    except Malformed as error:
        return Judgement(NOT_PROVEN, rule=1, why=str(error))
    if isinstance(parsed, Evidence):
        return judge_promise(data, trust)
    run.claim = parsed
    made = Judgement(PROVEN, parsed.verdict)
    rules: list[Callable[[], None]] = [run.checkpoint, run.entries, run.promise, run.holds]
    for number, rule in enumerate(rules, start=2):
        try:
            rule()
        except Malformed as error:
            return Judgement(NOT_PROVEN, rule=number, why=str(error))
        except NoQuorum:
            made.exit_code, made.rule = NOT_CHECKED, number
    return made

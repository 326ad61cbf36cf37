"""verification.md: the steps, the exit codes, the expectations, the report."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import permutations
from typing import Any

from . import canonical as c
from .canonical import Malformed, need, refuse
from .commitment import (
    MATCHED,
    Disclosure,
    check_disclosure,
    parse_disclosure_file,
)
from .cose import CoseReceipt, parse_proof
from .entry import (
    Entry,
    Head,
    check_enrolment,
    check_in_batch,
    check_rotation,
    parse_devnet,
    parse_head,
    read_entry,
    read_start,
)
from .merkle import check_inclusion, leaf_hash
from .note import (
    Checkpoint,
    Key,
    Note,
    open_checkpoint,
    open_one,
    parse_checkpoint,
    parse_note,
    parse_vkey,
)
from .receipt import Anchor, Receipt, parse_receipt
from .trust import Trust, parse_trust

PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not checked"
STEPS = {
    1: "receipt",
    2: "trust",
    3: "checkpoint",
    4: "quorum",
    5: "leaf hash",
    6: "inclusion",
    7: "content",
    8: "related entries",
    9: "head",
    10: "chain",
    11: "disclosures",
    12: "anchors",
    13: "log comparison",
    14: "expectations",
    15: "required evidence",
}
_BODY_KEYS = ("id", "decision", "operation", "status", "ended", "mode", "capture", "method", "route")
_TIMES = ("after", "before", "recorded-before")
_NUMBERS = ("index", "seq", "status")
_TEXTS = ("origin", "operator", "leaf", "kind", "instance", "producer", "model", "model-name", "model-leaf")
_OUTSIDE = ("cosigned-by", "cosigned-by-at-least", "max-lag", "anchored-on")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_ANCHORED = re.compile(r"(devnet:)?(0|[1-9][0-9]{0,15})(?:/0x([0-9A-Fa-f]{40}))?")
_INSTANT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:T([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,6}))?Z)?")


def _instant(text: str) -> str:
    """A time, or a day for its first instant, in the one spelling of an entry."""
    match = _INSTANT.fullmatch(text)
    need(match, f"not a time: {text}")
    made = f"{match[1]}T{match[2] or '00:00:00'}.{(match[3] or '').ljust(6, '0')}Z" if match else ""
    need(c.is_time(made), f"no such time: {text}")
    return made


class NotChecked(Exception):
    """Nothing was shown, or nothing here can check it."""


@dataclass
class Result:
    """What a verifier answers."""

    exit_code: int
    failed_step: int | None
    steps: dict[int, tuple[str, str]] = field(default_factory=dict)
    facts: list[dict[str, Any]] = field(default_factory=list)
    time: dict[str, str | None] = field(default_factory=dict)
    headline: str = ""
    evidence: dict[str, str] | None = None

    def as_json(self) -> dict[str, Any]:
        """The members of `auditlog/report@v1` that the page spells out."""
        return {
            "v": "auditlog/report@v1",
            "exit_code": self.exit_code,
            "headline": self.headline,
            "time": self.time,
            "steps": [
                {"number": n, "name": STEPS[n], "outcome": outcome, "detail": detail}
                for n, (outcome, detail) in sorted(self.steps.items())
            ],
            "facts": self.facts,
            "evidence": self.evidence,
        }


class _Run:
    """One receipt on its way through the steps."""

    def __init__(self, trust: Trust, disclosures: bytes | None, expect: list[tuple[str, str]]) -> None:
        self.trust, self.file, self.expect = trust, disclosures, expect
        self.steps: dict[int, tuple[str, str]] = dict.fromkeys(STEPS, (NOT_CHECKED, "not reached"))
        self.producer: tuple[Entry, int] | None = None
        self.instance: tuple[Entry, int] | None = None
        self.model: tuple[Entry, int] | None = None
        self.ending: tuple[Entry, int] | None = None
        self.key: Key | None = None
        self.rotations: list[tuple[Entry, int]] = []
        self.said: Head | None = None
        self.devnet_times: list[str] = []
        self.signed: list[tuple[int, bytes, str]] = []
        self.evidence: dict[str, str] | None = None
        self.opened: list[tuple[Disclosure, str]] = []
        self.devnet_places: list[tuple[int, str]] = []
        self.entry_beside: bytes | None = None
        self.cose: CoseReceipt | None = None
        self.receipt: Receipt
        self.origin = ""
        self.checkpoint: Checkpoint
        self.note: Note
        self.leaf = b""
        self.entry: Entry

    def step(self, number: int, check: Callable[[], str | None]) -> bool:
        """Run one step; false if it failed."""
        try:
            self.steps[number] = (PASSED, check() or "")
        except NotChecked as why:
            self.steps[number] = (NOT_CHECKED, str(why))
        except Malformed as why:
            self.steps[number] = (FAILED, str(why))
        return self.steps[number][0] != FAILED

    def run(self, data: bytes) -> None:
        """All steps in order; the first ten end the run where they fail."""
        for number, check in (
            (1, lambda: self.parse(data)),
            (2, self.known_log),
            (3, self.open),
            (4, self.quorum),
            (5, self.hash),
            (6, self.included),
            (7, self.content),
            (8, self.related),
            (9, self.head),
            (10, self.chain),
        ):
            if not self.step(number, check):
                return
        self.step(11, self.disclosures)
        self.step(12, self.anchors)
        self.steps[13] = (NOT_CHECKED, "not asked for")
        self.step(14, self.expectations)
        self.step(15, self.required)

    def parse(self, data: bytes) -> None:
        """Step 1, of a bare proof where the entry is given beside it."""
        if self.entry_beside is None:
            self.receipt = parse_receipt(data)
            return
        need(1 <= len(self.entry_beside) <= 65_535, "an entry has 1 to 65,535 bytes")
        proof, self.cose = parse_proof(data)
        parse_checkpoint(parse_note(proof.checkpoint).text)
        self.receipt = Receipt(self.entry_beside, proof, [], None, [], [])

    def known_log(self) -> None:
        """Step 2."""
        self.origin = parse_note(self.receipt.proof.checkpoint).text.split("\n", 1)[0]
        need(
            self.origin in {key.name for key in self.trust.policy.logs}, "a log the trust file does not name"
        )

    def believed(self, note: str) -> tuple[Checkpoint, Note]:
        """A checkpoint of this log that the trust file lets one believe."""
        checkpoint, opened = open_checkpoint(note, self.origin, self.trust.note_keys)
        own = [key for key in self.trust.policy.logs if key.name == self.origin]
        need(any(key in own for key in opened.signed_by), "signed by a key of that name, but not the log's")
        for retired in self.trust.retired:
            if retired["origin"] == self.origin:
                need(checkpoint.size <= retired["size"], "larger than the retired log ever was")
                final = checkpoint.size < retired["size"] or checkpoint.root.hex() == retired["root"]
                need(final, "not the final root of the retired log")
        return checkpoint, opened

    def open(self) -> None:
        """Step 3."""
        self.checkpoint, self.note = self.believed(self.receipt.proof.checkpoint)
        if self.cose is not None:
            key = next(key for key in self.trust.policy.logs if key.name == self.origin)
            self.cose.check(self.origin, self.checkpoint.size, self.checkpoint.root, key.public)

    def quorum(self) -> None:
        """Step 4."""
        if not self.trust.policy.satisfied(self.note.cosigned):
            raise NotChecked("no quorum")

    def hash(self) -> str:
        """Step 5."""
        self.leaf = leaf_hash(self.receipt.entry)
        return self.leaf.hex()

    def included(self) -> None:
        """Step 6."""
        proof = self.receipt.proof
        check_inclusion(self.leaf, proof.index, self.checkpoint.size, proof.path, self.checkpoint.root)

    def content(self) -> None:
        """Step 7."""
        self.entry = read_entry(self.receipt.entry)
        need(self.entry.origin == self.origin, "an entry of another log")
        if not self.entry.understood:
            raise NotChecked("a kind or version that is not understood")

    def related(self) -> None:
        """Step 8."""
        me = self.entry
        found: list[tuple[Entry, int]] = []
        for item in self.receipt.related:
            other = read_entry(item.entry)
            check_inclusion(other.leaf, item.index, self.checkpoint.size, item.path, self.checkpoint.root)
            need(other.origin == self.origin, "a related entry of another log")
            found.append((other, item.index))
        if me.by_log:
            need(not found, "related entries beside an entry of the log")
            return
        decision = me.kind == "decision" and me.understood
        model = me.body["model"] if decision else None
        for other, at in found:
            mine = (other.producer, other.instance) == (me.producer, me.instance)
            if other.kind == "producer" and other.leaf.hex() == me.producer and other.understood:
                need(self.producer is None, "the producer entry twice")
                self.producer = (other, at)
            elif (
                other.kind == "instance"
                and other.understood
                and other.seq == 0
                and mine
                and other.leaf != me.leaf
            ):
                need(self.instance is None, "the instance entry twice")
                self.instance = (other, at)
            elif other.kind == "model" and other.understood and self.model is None:
                by_name = c.is_hex(model) and other.leaf.hex() == model
                need(by_name or model == "pending", "a model entry this entry does not refer to")
                self.model = (other, at)
            elif other.kind == "coverage" and other.understood and model == "pending":
                need(self.ending is None, "the coverage entry twice")
                need(other.body["model"] == "unregistered", "a coverage entry that names a model")
                self.ending = (other, at)
            elif (
                other.kind == "rotation"
                and other.understood
                and other.producer == me.producer
                and at < self.receipt.proof.index
            ):
                need(not self.rotations or self.rotations[-1][1] < at, "rotations in another order")
                self.rotations.append((other, at))
            else:
                refuse("a related entry that this entry does not refer to")
        need(self.model is None or self.ending is None, "a model and the end of the wait for it")
        missing = []
        keys: list[Key] = []
        if self.producer is None:
            missing.append("the producer entry")
        else:
            keys = [check_enrolment(self.producer[0].body, self.origin)]
            for rotation, _ in self.rotations:
                keys.append(check_rotation(rotation.body, self.origin, me.producer, keys))
            self.key = keys[-1]
            if me.kind == "rotation" and me.understood:
                check_rotation(me.body, self.origin, me.producer, keys)
        need(me.kind != "instance" or me.seq == 0, "an instance entry with another number than 0")
        start = me if me.kind == "instance" and me.understood else self.instance and self.instance[0]
        if not start:
            missing.append("the instance entry")
        elif self.key is not None:
            at = self.instance[1] if self.instance else self.receipt.proof.index
            then = keys[sum(place < at for _, place in self.rotations)]
            said = read_start(start.body["note"], then)
            expected = (self.origin, me.producer, me.instance, start.prev)
            need(said == expected, "the start statement is about another instance")
        if c.is_hex(model) and self.model is None:
            missing.append("the model entry")
        if missing:
            raise NotChecked(", ".join(missing))

    def head(self) -> None:
        """Step 9."""
        part, me = self.receipt.head, self.entry
        if me.by_log:
            need(part is None, "a head beside an entry of the log")
            return
        if part is None:
            raise NotChecked("no head")
        if self.key is None:
            raise NotChecked("no key of the producer")
        self.said = parse_head(open_one(part.note, self.key).text)
        check_in_batch(self.said, me.seq, me.leaf, part.path)

    def chain(self) -> None:
        """Step 10."""
        me, index = self.entry, self.receipt.proof.index
        beside = (self.instance, self.model, self.ending)
        mine = [(me, index), *(other for other in beside if other), *self.rotations]
        for entry, at in [*mine, *([self.producer] if self.producer else [])]:
            need((at == 0) == (entry.kind == "genesis"), "genesis is at index 0, and only that")
            need(not entry.by_log or entry.seq <= at, "fewer entries of the log than its number")
        if me.by_log:
            return
        if self.said is not None:
            need(self.said[:3] == (me.origin, me.producer, me.instance), "a head of another writer")
            for entry, _ in [(me, index), *self.rotations]:
                inside = self.said.first_seq <= entry.seq < self.said.seq
                rotates = entry.kind == "rotation" and entry.v == 1 and entry.instance == me.instance
                need(not (rotates and inside), "a batch that goes on behind a rotation")
        for entry, at in mine:
            need((entry.seq == 0) == (entry.kind == "instance"), "number 0 is an instance entry, only that")
            ours = self.producer is not None and entry.producer == self.producer[0].leaf.hex()
            need(not ours or at > (self.producer or (me, 0))[1], "it stands before its producer")
        for (low, first), (high, later) in permutations(mine, 2):
            if (low.producer, low.instance) != (high.producer, high.instance) or low.seq > high.seq:
                continue
            apart = high.seq - low.seq
            need(apart > 0, "two entries with one number")
            need(later - first >= apart, "fewer entries between them than numbers")
            need(apart > 1 or high.prev == low.leaf.hex(), "prev is not the entry before")
        if self.model:
            model, at = self.model
            if me.body["model"] == "pending":
                need(
                    (model.producer, model.instance) == (me.producer, me.instance), "a model entry of another"
                )
                need(at > index and model.seq > me.seq, "the model entry is not after the decision")
            else:
                need(at < index, "the model entry is not before the decision")
        if self.ending:
            ended, at = self.ending
            need((ended.producer, ended.instance) == (me.producer, me.instance), "an end by another")
            need(at > index and ended.seq > me.seq, "the end of the wait is not after the decision")
        if self.said is None:
            raise NotChecked("no head that was verified, nothing to compare")

    def disclosures(self) -> None:
        """Step 11."""
        listed = list(self.receipt.disclosures)
        if self.file is not None:
            name, more = parse_disclosure_file(self.file)
            own = self.entry.body.get("id" if self.entry.kind == "decision" else "decision")
            need(not self.entry.understood or name == own, "disclosures of another decision")
            listed += more
        if not listed:
            raise NotChecked("none was given")
        if not self.entry.understood:
            raise NotChecked("the content is not understood, nor what it commits to")
        for item in listed:
            member = self.entry.body.get(item.body) if self.entry.kind in {"decision", "outcome"} else None
            self.opened.append((item, check_disclosure(member, item)))

    def anchors(self) -> None:
        """Step 12."""
        if not self.receipt.anchors:
            raise NotChecked("there is none")
        own = self.checkpoint
        self.signed = [(own.size, own.root, self.receipt.proof.checkpoint)]
        unchecked = [anchor.type for anchor in self.receipt.anchors if not self.anchor(anchor)]
        if len(unchecked) == len(self.receipt.anchors):
            raise NotChecked(f"no key, or not a known type: {unchecked}")

    def anchor(self, anchor: Anchor) -> bool:
        """Whether one anchor was checked as a whole; Malformed where it does not hold."""
        checkpoint, _ = self.believed(anchor.checkpoint)
        for size, root, note in self.signed:
            if size == checkpoint.size and root != checkpoint.root:
                self.evidence = {"smaller": note, "larger": anchor.checkpoint}
                refuse("two histories: one size, two roots, both signed by the log")
        self.signed.append((checkpoint.size, checkpoint.root, anchor.checkpoint))
        check_inclusion(self.leaf, self.receipt.proof.index, checkpoint.size, anchor.path, checkpoint.root)
        if anchor.type != "devnet@v0":
            return False
        said = parse_devnet(parse_note(anchor.evidence).text)
        named = (said.origin, said.size, said.root)
        need(named == (self.origin, checkpoint.size, checkpoint.root), "evidence for another checkpoint")
        if self.trust.devnet is None:
            return False
        open_one(anchor.evidence, self.trust.devnet)
        self.devnet_times.append(said.block_time)
        self.devnet_places.append((said.chain_id, said.contract))
        return True

    def on_record_by(self) -> str | None:
        """U: the time by which the quorum was complete."""
        if self.steps[4][0] != PASSED:
            return None
        seconds = self.trust.policy.complete_at(self.note.cosigned)
        if seconds is None:
            return None
        if seconds >= 253_402_300_800:  # the year 10000
            return f"@{seconds}"
        at = dt.datetime.fromtimestamp(seconds, dt.UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%S.000000Z")

    def shown(self, key: str, value: str) -> bool:
        """Whether one expectation holds; NotChecked if the receipt does not show it."""
        if key in _OUTSIDE:
            return self.outside(key, value)
        me, body = self.entry, self.entry.body if self.entry.understood else {}
        bound = all(self.steps[number][0] == PASSED for number in (8, 9, 10))
        if key not in {"origin", "operator", "index", "leaf", "kind", "recorded-before"} and not bound:
            raise NotChecked(f"{key}: steps 8 to 10 have not passed")
        simple: dict[str, Any] = {
            "origin": self.origin,
            "operator": self.origin,
            "index": str(self.receipt.proof.index),
            "leaf": self.leaf.hex(),
            "kind": me.kind,
            "seq": str(me.seq),
            "instance": me.instance,
            "model": self.model and self.model[0].body["fingerprint"]["root"],
            "model-name": self.model and self.model[0].body["name"],
            "model-leaf": self.model and self.model[0].leaf.hex(),
        }
        for name in _BODY_KEYS:
            simple[name] = str(body[name]) if name in body else None
        if key in {"model", "model-name", "model-leaf"} and not self.answered():
            raise NotChecked(f"{key}: pending, and no entry is shown to be the first to answer")
        if (
            key in {"model", "model-leaf"}
            and body.get("model") in {"unregistered", "pending"}
            and self.model is None
        ):
            return bool(body["model"] == value)
        if key in simple:
            if simple[key] is None:
                raise NotChecked(f"{key} is not shown")
            return bool(simple[key] == value)
        if key == "producer":
            if value == me.producer:
                return True
            if self.producer is None and not c.is_hex(value):
                raise NotChecked("the producer's name is not shown")
            return self.producer is not None and self.producer[0].body["name"] == value
        instant = self.on_record_by() if key == "recorded-before" else body.get("start")
        if instant is None:
            raise NotChecked(f"{key}: no such time")
        if instant.startswith("@"):
            return False  # later than every time that can be written
        return bool(instant >= value if key == "after" else instant <= value)

    def answered(self) -> bool:
        """Whether a model that was pending is known: by the very next number of the chain, and no other."""
        me, answer = self.entry, self.model or self.ending
        if me.kind != "decision" or not me.understood or me.body["model"] != "pending":
            return True
        return answer is not None and answer[0].seq == me.seq + 1

    def outside(self, key: str, value: str) -> bool:
        """Expectations about witnesses, chains and lags; what is not there is not checked."""
        if key == "max-lag":
            bound = all(self.steps[number][0] == PASSED for number in (8, 9, 10))
            start, recorded = self.entry.body.get("start") if bound else None, self.on_record_by()
            if start is None or recorded is None:
                raise NotChecked("no claimed time, or none on record")
            return abs(_seconds(recorded) - _seconds(start)) <= int(value)
        policy = self.trust.policy
        if key == "cosigned-by":
            held = any(
                value == name or _same_vkey(value, witness)
                for name, witness in policy.witnesses.items()
                if witness in self.note.cosigned
            )
        elif key == "cosigned-by-at-least":
            held = sum(key in self.note.cosigned for key in policy.witnesses.values()) >= int(value)
        else:
            devnet, chain, contract = _parts(value)
            # Final anchors are reserved: only a devnet's can have been checked.
            held = bool(devnet) and any(
                number == int(chain) and contract in {None, address} for number, address in self.devnet_places
            )
        if not held:
            raise NotChecked(f"{key}: not shown")
        return True

    def expectations(self) -> None:
        """Step 14."""
        if not self.expect:
            raise NotChecked("none was given")
        open_ones = []
        for key, value in self.expect:
            try:
                need(self.shown(key, value), f"{key} is not {value}")
            except NotChecked as why:
                open_ones.append(str(why))
        if open_ones:
            raise NotChecked(", ".join(open_ones))

    def required(self) -> None:
        """Step 15."""
        have = {
            "quorum": self.steps[4][0] == PASSED,
            "anchor": False,  # evm@v1 is reserved: no final anchor can hold yet
            "devnet": self.steps[12][0] != FAILED and bool(self.devnet_times),
        }
        missing = [word for word in self.trust.require if not have[word]]
        if missing:
            raise NotChecked(f"missing: {', '.join(missing)}")

    def needed(self, number: int) -> bool:
        """Whether a step has to pass for exit code 0."""
        if number == 11:
            return self.file is not None or bool(self.receipt.disclosures)
        if number == 14:
            return bool(self.expect)
        if number in {8, 9, 10} and self.entry_beside is not None:
            return False
        return number not in {4, 12, 13}

    def facts(self) -> list[dict[str, Any]]:
        """What may be said, each with its grade."""
        made: list[dict[str, Any]] = []

        def say(name: str, value: Any, grade: str, by: str | None = None) -> None:
            made.append({"name": name, "value": value, "grade": grade, "by": by})

        passed = {number for number, (outcome, _) in self.steps.items() if outcome == PASSED}
        if {3, 5, 6} <= passed:
            say("log", self.origin, "proven")
            say("index", self.receipt.proof.index, "proven")
            say("tree_size", self.checkpoint.size, "proven")
            say("leaf_hash", self.leaf.hex(), "proven")
        if self.steps[7][0] != FAILED:
            say("kind", self.entry.kind, "proven")
        if {8, 9, 10} <= passed and not self.entry.by_log:
            say("producer", self.entry.producer, "proven")
            say("instance", self.entry.instance, "proven")
            say("seq", self.entry.seq, "proven")
        if 4 in passed:
            say("quorum", self.trust.policy.quorum, "proven")
        if 12 in passed:
            for at in self.devnet_times:
                say("devnet_anchor", at, "stated", "devnet")
        if {7, 8, 9, 10} <= passed:
            for name, value in self.entry.body.items():
                told = name == "model" and self.model and self.answered()
                if name not in self.entry.not_understood and not told:
                    say(name, value, "stated", "producer")
            if not self.answered():
                say("pending_model", "", "not checked")
            elif self.model:
                body, writer = self.model[0].body, f"producer {self.model[0].producer}"
                say("model", body["fingerprint"]["root"], "stated", writer)
                say("model_name", body["name"], "stated", writer)
        if {8, 9, 10} <= passed:
            for name in self.entry.not_understood:
                say("not_understood", name, "stated", "producer")
        if 11 in passed:
            whole = {item.body: how for item, how in self.opened if item.kind == "whole"}
            for item, _ in self.opened:
                if item.kind == "whole":
                    say(item.body, len(item.data), "proven")
                else:
                    proven = whole.get(item.body) == MATCHED
                    say("field", [item.body, item.pointer], "proven" if proven else "stated", "producer")
        return made


def _seconds(when: str) -> Fraction:
    if when.startswith("@"):
        return Fraction(int(when[1:]))
    at = dt.datetime.fromisoformat(when) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return Fraction(at.days * 86_400 + at.seconds) + Fraction(at.microseconds, 1_000_000)


def _same_vkey(text: str, key: Key) -> bool:
    try:
        return parse_vkey(text) == key
    except Malformed:
        return False


def _parts(value: str) -> tuple[str | None, str, str | None]:
    match = _ANCHORED.fullmatch(value)
    if match is None or int(match[2]) >= 2**53:
        raise Malformed(f"no chain: {value}")
    return match[1], match[2], None if match[3] is None else f"0x{match[3].lower()}"


def _outside(key: str, value: str) -> str:
    if key == "max-lag":
        match = re.fullmatch(r"([0-9]{1,12})([smhd]?)", value)
        if match is None or int(match[1]) * _SECONDS[match[2]] >= 2**53:
            raise Malformed(f"no lag: {value}")
        return str(int(match[1]) * _SECONDS[match[2]])
    if key == "cosigned-by-at-least":
        need(re.fullmatch(r"[1-9][0-9]{0,15}", value) and int(value) < 2**53, f"no number: {value}")
    if key == "anchored-on":
        _parts(value)
    return value


def parse_expectations(expect: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Expectations whose keys exist and whose values are possible."""
    listed = []
    for key, given in expect:
        need(key in {*_TIMES, *_NUMBERS, *_TEXTS, *_BODY_KEYS, *_OUTSIDE}, f"unknown expectation: {key}")
        need(given, f"no value: {key}")
        value = given.lower() if key in {"leaf", "instance", "model", "model-leaf"} else given
        if key in _OUTSIDE:
            value = _outside(key, value)
        if key == "model-leaf":
            need(c.is_hex(value), f"not a leaf hash: {value}")
        if key in _NUMBERS:
            need(re.fullmatch(r"0|[1-9][0-9]{0,15}", value), f"not a decimal, or too long: {value}")
            need(int(value) < 2**53, f"no entry holds so large a number: {value}")
        if key == "model" and value not in {"pending", "unregistered"}:
            value = value.removeprefix("files-sha256@v1:").removeprefix("sha256:")
            need(c.is_hex(value), f"not a fingerprint: {value}")
        listed.append((key, _instant(value) if key in _TIMES else value))
    return listed


def verify(
    receipt: bytes,
    trust: bytes,
    disclosures: bytes | None = None,
    expect: Iterable[tuple[str, str]] = (),
    entry: bytes | None = None,
) -> Result:
    """Check a receipt, or a bare proof of the entry beside it: exit code, first failed step, and the rest."""
    try:
        run = _Run(parse_trust(trust), disclosures, parse_expectations(expect))
    except Malformed as why:
        return Result(2, None, headline=f"usage: {why}")
    run.entry_beside = entry
    run.run(receipt)
    failed = [number for number, (outcome, _) in run.steps.items() if outcome == FAILED]
    open_steps = [
        n for n, (outcome, _) in run.steps.items() if outcome == NOT_CHECKED and not failed and run.needed(n)
    ]
    result = Result(1 if failed else 3 if open_steps else 0, failed[0] if failed else None, run.steps)
    result.evidence = run.evidence
    if failed:
        number = failed[0]
        result.headline = f"FAILED at step {number} ({STEPS[number]}): {run.steps[number][1]}"
        return result
    if open_steps:
        reasons = "; ".join(f"{STEPS[n]}: {run.steps[n][1]}" for n in open_steps)
        result.headline = f"NOT FULLY CHECKED: {reasons}"
    else:
        result.headline = f"VERIFIED: entry {run.receipt.proof.index} of log {run.origin}"
    if run.steps[4][0] != PASSED:
        result.headline += "; signed by the operator only; the operator could still rewrite this"
    if run.devnet_times:
        result.headline += "; anchored on a development chain (devnet), which proves nothing to an outsider"
    if entry is not None and not run.entry.by_log:
        result.headline += "; a bare proof shows that the record is in the log, not who sealed it"
    if run.trust.issuer["role"] == "operator":
        result.headline += f"; the trust file came from the operator ({run.trust.issuer['name']})"
    result.facts = run.facts()
    whole = all(run.steps[number][0] == PASSED for number in (7, 8, 9, 10))
    claims = run.entry.body.get("start") if whole else None
    result.time = {
        "claims": claims,
        "on_record_by": run.on_record_by(),
        "on_record_by_devnet": min(run.devnet_times, default=None),
    }
    return result

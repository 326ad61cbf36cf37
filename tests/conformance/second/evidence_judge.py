"""evidence.md, "Checking"; promise.md from "Checking at once" to "Declared lost"."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass

from .canonical import Malformed, need, refuse
from .commitment import commitment_of, salts_of
from .entry import (
    KNOWN_KINDS,
    BodyError,
    Entry,
    Promise,
    check_enrolment,
    check_rotation,
    covers,
    read_entry,
    read_envelope,
    read_promise,
)
from .evidence import Evidence, Placed, parse_evidence
from .merkle import check_consistency, check_inclusion, root_of
from .note import Checkpoint, Key, Note, as_checkpoint, open_by_what_holds, parse_note
from .trust import Trust, parse_trust

PROVEN, NOT_PROVEN, USAGE, NOT_CHECKED = 0, 1, 2, 3
_EMPTY_LINE = rb"(?:(?<=\n\n)|(?<=\r\r)|(?<=\n\r)|(?<=[\r\n]\r\n)|(?<=\A[\r\n])|(?<=\A\r\n))"
_COMMENT = re.compile(
    rb"(?:\A|(?<=\A\xef\xbb\xbf)|" + _EMPTY_LINE + rb"): audit-promise [A-Za-z0-9+/]{1,65536}={0,2}\n\n"
    rb"(?=(?:data: ?\[DONE\]|event: ?(?:message_stop|response\.(?:completed|incomplete|failed)))[\r\n])",
)


class NoQuorum(Exception):
    """A date is needed, and the trust file names nobody who could give one."""


@dataclass
class Judgement:
    """What a reader of an evidence file answers; `rule` is the number under "Checking" that did not hold."""

    exit_code: int
    verdict: str | None = None
    rule: int | None = None
    why: str = ""


def is_about(said: Promise, exchange_key: bytes, request: bytes, response: bytes) -> bool:
    """Whether a promise is about exactly these bytes, or about the response without the comment of it."""

    def commits(name: str, data: bytes, promised: bytes) -> bool:
        return commitment_of(salts_of(exchange_key, name, 0), name, data) == promised

    return commits("request", request, said.request) and (
        commits("response", response, said.response)
        or commits("response", without_comment(response), said.response)
    )


def without_comment(stream: bytes) -> bytes:
    """A stream without the comment that carried its promise (commitment.md, "Where the comment stands")."""
    return _COMMENT.sub(b"", stream, count=1)


def micros(time: str) -> int:
    """A time of the formats as microseconds since 1970."""
    at = dt.datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=dt.UTC)
    return (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def dated_after(trust: Trust, note: Note, merge_by: str) -> None:
    """Refuse unless the cosignatures later than merge-by are a quorum, and the other witnesses are none."""
    late = {key: second for key, second in note.times if second * 1_000_000 > micros(merge_by)}
    if trust.policy.quorum is None:
        raise NoQuorum
    need(trust.policy.satisfied(late), "no quorum dates the checkpoint after merge-by")
    silent = {key: 0 for key in trust.policy.witnesses.values() if key not in late}
    if trust.policy.satisfied(silent):
        raise NoQuorum


class Judge:
    """One file under one trust file."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.origin = ""
        self.file: Evidence
        self.tree: Checkpoint
        self.note: Note
        self.said: Promise
        self.keys: list[Key] = []
        self.found: dict[str, tuple[Entry, int]] = {}
        self.rotations: list[tuple[Entry, int]] = []

    def parse(self, data: bytes) -> None:
        """Rule 1."""
        self.file = parse_evidence(data)

    def checkpoint(self) -> None:
        """Rule 2."""
        self.origin = parse_note(self.file.checkpoint).text.split("\n", 1)[0]
        names = {key.name for key in self.trust.policy.logs}
        need(self.origin in names, "a log that the trust file does not name")
        self.tree, self.note = self.believed(self.file.checkpoint)

    def believed(self, text: str) -> tuple[Checkpoint, Note]:
        """A checkpoint of this log: signed by its key, and not beyond its end; lines that fail are none."""
        tree, note = as_checkpoint(open_by_what_holds(text, self.trust.note_keys), self.origin)
        need(self.own_keys(note), "not signed by the log's key")
        for retired in self.trust.retired:
            if retired["origin"] == self.origin:
                need(tree.size <= retired["size"], "larger than the log ever was")
                same = tree.size < retired["size"] or tree.root.hex() == retired["root"]
                need(same, "another root than the final one")
        return tree, note

    def own_keys(self, note: Note) -> set[Key]:
        """The keys of this log that signed a note."""
        return {key for key in self.trust.policy.logs if key.name == self.origin and key in note.signed_by}

    def entries(self) -> None:
        """Rule 3."""
        self.found = {name: (self.entry(item), item.index) for name, item in self.file.placed.items()}
        self.rotations = [(self.entry(item), item.index) for item in self.file.rotations]

    def entry(self, item: Placed) -> Entry:
        """Included at its index; an odd body is no reason to refuse, for it does not move the entry."""
        try:
            entry = read_entry(item.entry)
        except BodyError:
            entry = read_envelope(item.entry)
        need(entry.origin == self.origin, "an entry of another log")
        check_inclusion(entry.leaf, item.index, self.tree.size, item.path, self.tree.root)
        return entry

    def promise(self) -> None:
        """Rule 4: whose promise it is, by any key its producer ever had."""
        if self.file.verdict == "FORK":
            return
        producer, before = self.found["producer"]
        need(producer.kind == "producer" and producer.understood, "not a producer entry")
        self.keys = [check_enrolment(producer.body, self.origin)]
        for rotation, index in self.rotations:
            need(rotation.kind == "rotation" and rotation.understood, "not a rotation entry")
            need(rotation.producer == producer.leaf.hex(), "a rotation of another producer")
            need(before < index, "rotations in another order than the log's")
            self.keys.append(check_rotation(rotation.body, self.origin, rotation.producer, self.keys))
            before = index
        self.said = self.signed()
        need(self.said.origin == self.origin, "a promise of another log")
        need(self.said.producer == producer.leaf.hex(), "a promise of another producer")

    def signed(self) -> Promise:
        """What the promise says, by the one of the keys that signed it."""
        for key in self.keys:
            try:
                return read_promise(self.file.promise, key)
            except Malformed as error:
                why = error
        raise why

    def holds(self) -> None:
        """Rule 5."""
        getattr(self, self.file.verdict.lower())()

    def is_mine(self, entry: Entry) -> bool:
        """Whether it is of the producer and the life of the promise."""
        return (entry.producer, entry.instance) == (self.said.producer, self.said.instance)

    def conflict(self) -> None:
        """Another entry at the number; or the promised one, and it says something else."""
        entry, _ = self.found["entry"]
        here = self.is_mine(entry) and entry.seq == self.said.seq
        if entry.leaf != self.said.leaf:
            need(here, "an entry elsewhere in the log")
            return
        if not here:
            return
        need(entry.v == 1 and entry.kind in KNOWN_KINDS, "an entry that is not understood")
        promised = (self.said.model, self.said.request.hex(), self.said.response.hex())
        need(promised != _contents(entry), "the entry is there, and says what was promised")

    def skipped(self) -> None:
        """The next number, a gap or the next life leaves no room for the promised entry."""
        if "successor" in self.found:
            entry, _ = self.found["successor"]
            need(
                self.is_mine(entry) and entry.seq == self.said.seq + 1, "not the entry after the promised one"
            )
            need(entry.prev != self.said.leaf.hex(), "it stands on the promised entry")
        elif "gap" in self.found:
            self.covered("gap")
        else:
            self.next_life()

    def next_life(self) -> None:
        """A life of the producer begins, and not on the promised life's last number."""
        start, began = self.found["start"]
        base, stood = self.found["base"]
        need(start.kind == "instance" and start.seq == 0, "not the start of a life")
        need(start.producer == self.said.producer, "the start of another producer's life")
        need(start.instance != self.said.instance, "the start of the promised life itself")
        need(start.prev == base.leaf.hex() and stood < began, "it does not stand on the base")
        if self.is_mine(base):
            need("life" not in self.found, "a life beside a base of that life")
            need(base.seq < self.said.seq, "the base is not below the promised number")
            return
        ours = base.producer == self.said.producer or base.leaf.hex() == self.said.producer
        need(ours, "a base that is not the producer's")
        if "life" not in self.found:
            refuse("no entry of the promised life")
        life, lived = self.found["life"]
        need(self.is_mine(life), "not an entry of the promised life")
        need(stood < lived < began, "the life is not between base and start")

    def covered(self, name: str) -> None:
        """A gap, or a declaration of loss, that speaks of the promised number."""
        entry, _ = self.found[name]
        kinds = {"gap": entry.kind == "gap", "notice": entry.kind == "notice" and entry.by_log}
        need(kinds[name], f"not a {name}")
        speaks = covers(entry, self.said.producer, self.said.instance, self.said.seq)
        need(speaks, "it does not cover the promised number")

    def declared_lost(self) -> None:
        """The operator has said that the host is gone."""
        self.covered("notice")

    def late(self) -> None:
        """It is in the log, and was not when it should have been."""
        assert self.file.leaf is not None
        assert self.file.earlier is not None
        index, path = self.file.leaf
        check_inclusion(self.said.leaf, index, self.tree.size, path, self.tree.root)
        older, note = self.believed(self.file.earlier.checkpoint)
        need(older.size <= index, "the earlier checkpoint may hold it")
        check_consistency(older.size, older.root, self.tree.size, self.tree.root, self.file.earlier.path)
        dated_after(self.trust, note, self.said.merge_by)

    def absent(self) -> None:
        """Every leaf of a tree after merge-by is another."""
        need(len(self.file.leaves) == self.tree.size, "another number of leaves than the tree's")
        need(root_of(self.file.leaves) == self.tree.root, "the leaves do not lead to the root")
        need(self.said.leaf not in self.file.leaves, "it is in the tree")
        dated_after(self.trust, self.note, self.said.merge_by)

    def fork(self) -> None:
        """Two checkpoints that no one history has."""
        assert self.file.earlier is not None
        assert self.file.earlier.root is not None
        older, note = self.believed(self.file.earlier.checkpoint)
        need(self.own_keys(note) & self.own_keys(self.note), "by two keys of one name")
        root = self.file.earlier.root
        check_consistency(older.size, root, self.tree.size, self.tree.root, self.file.earlier.path)
        need(root != older.root, "the earlier checkpoint has the same root")


def _contents(entry: Entry) -> tuple[object, object, object]:
    """Model and commitments of a decision as they stand there; None where there are none."""
    if entry.kind != "decision":
        return None, None, None
    bodies = (entry.body.get(name) for name in ("request", "response"))
    sent, got = (body.get("commitment") if isinstance(body, dict) else None for body in bodies)
    return entry.body.get("model"), sent, got


def judge(data: bytes, trust: bytes) -> Judgement:
    """What an evidence file proves under a trust file."""
    try:
        run = Judge(parse_trust(trust))
    except Malformed as error:
        return Judgement(USAGE, why=f"usage: {error}")
    rules: list[Callable[[], None]] = [
        lambda: run.parse(data),
        run.checkpoint,
        run.entries,
        run.promise,
        run.holds,
    ]
    made = Judgement(PROVEN)
    for number, rule in enumerate(rules, start=1):
        try:
            rule()
        except Malformed as error:
            made.exit_code, made.rule, made.why = NOT_PROVEN, number, str(error)
            break
        except NoQuorum:
            made.exit_code, made.rule, made.why = (
                NOT_CHECKED,
                number,
                "it needs a date, and no quorum could give one",
            )
            break
        made.verdict = run.file.verdict
    return made

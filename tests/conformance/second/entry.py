"""entry.md: entries, bodies, statements, heads; promise.md: promises; anchor.md: devnet anchors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import canonical as c
from .canonical import Malformed, need
from .merkle import check_inclusion, leaf_hash, sha256
from .note import Key, open_one, parse_vkey

LOG_KINDS = {"genesis", "producer", "successor", "anchor"}
PRODUCER_KINDS = {"instance", "model", "decision", "outcome", "gap", "heartbeat", "coverage", "rotation"}
EITHER_KINDS = {"retirement", "notice"}
KNOWN_KINDS = LOG_KINDS | PRODUCER_KINDS | EITHER_KINDS
RESERVED_KINDS = {"weights", "grant", "revocation", "erasure", "review", "report"}
ENVELOPE = "v kind origin producer instance seq prev time body"


@dataclass
class Entry:
    """An entry whose envelope is well formed."""

    data: bytes
    leaf: bytes
    v: int
    kind: str
    origin: str
    producer: str
    instance: str
    seq: int
    prev: str
    time: str
    body: dict[str, Any]
    understood: bool = False
    not_understood: list[str] = field(default_factory=list)

    @property
    def by_log(self) -> bool:
        """Whether the log wrote it."""
        return self.producer == "log"


class BodyError(Malformed):
    """The envelope is well formed, the body is not."""


def read_envelope(data: bytes) -> Entry:
    """Everything of an entry but its body."""
    need(len(data) <= 65_535, "an entry over 65,535 bytes")
    e = c.members(c.parse(data), ENVELOPE)
    need(c.is_int(e["v"], 1), "v")
    need(isinstance(e["kind"], str) and c.is_word(e["kind"]) and "." not in e["kind"], "kind")
    need(c.is_origin(e["origin"]), "origin")
    need(e["producer"] == "log" or c.is_hex(e["producer"]), "producer")
    need(e["instance"] == "log" or c.is_hex(e["instance"], 32), "instance")
    need(c.is_int(e["seq"]), "seq")
    need(c.is_hex(e["prev"]), "prev")
    need(c.is_time(e["time"]), "time")
    need(isinstance(e["body"], dict), "body is not an object")
    by_log = e["producer"] == "log"
    need(by_log == (e["instance"] == "log"), "producer and instance")
    need(not by_log or e["kind"] in LOG_KINDS | EITHER_KINDS, "not a kind the log writes")
    need(by_log or e["kind"] not in LOG_KINDS, "a kind that only the log writes")
    need(
        (e["kind"] == "genesis") == (by_log and e["seq"] == 0),
        "genesis is number 0 of the log, and only that",
    )
    need(e["kind"] != "genesis" or e["prev"] == "0" * 64, "prev of the genesis entry")
    return Entry(data, leaf_hash(data), **e)


def read_entry(data: bytes) -> Entry:
    """The pseudo-code of entry.md; BodyError where only the body is malformed."""
    entry = read_envelope(data)
    if entry.v != 1 or entry.kind not in KNOWN_KINDS:
        entry.not_understood = sorted(entry.body)
        return entry
    try:
        _Body(entry).check()
    except BodyError:
        raise
    except Malformed as error:
        raise BodyError(str(error)) from error
    entry.understood = True
    return entry


Check = Callable[[Any], bool]


def _label(value: Any) -> bool:
    return c.is_text(value, 1, 255)


def _text(value: Any) -> bool:
    return c.is_text(value)


def _strings(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())


def _array_of(check: Check, least: int = 0) -> Check:
    return lambda value: (
        isinstance(value, list) and len(value) >= least and all(check(item) for item in value)
    )


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _instance_hex(value: Any) -> bool:
    return c.is_hex(value, 32)


def _after_seq(value: Any) -> bool:
    return c.is_int(value, -1)


_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", re.ASCII)


def _decimals(value: Any) -> bool:
    return _strings(value) and all(len(item) <= 64 and _DECIMAL.fullmatch(item) for item in value.values())


_natural = c.is_int


class _Body:
    """Check one body, and note what is not understood."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def check(self) -> None:
        body, kind = self.entry.body, self.entry.kind
        required, optional = _BODIES[kind]
        self.shape(body, "", required, optional)
        getattr(self, f"_{kind}", lambda _: None)(body)
        self.entry.not_understood.sort()

    def shape(self, value: Any, at: str, required: dict[str, Check], optional: dict[str, Check]) -> None:
        need(isinstance(value, dict), f"{at or 'body'} is not an object")
        for name, check in required.items():
            need(name in value, f"{at}{name} is missing")
            need(check(value[name]), f"{at}{name} has another form")
        for name, check in optional.items():
            need(name not in value or check(value[name]), f"{at}{name} has another form")
        self.entry.not_understood.extend(at + name for name in value if name not in {**required, **optional})

    def word(self, value: Any, at: str, words: str) -> None:
        if value not in words.split():
            self.entry.not_understood.append(at)

    def commitment(self, value: Any, at: str) -> None:
        self.shape(value, f"{at}/", {"commitment": c.is_hex}, {"fields": _object})
        if "fields" in value:
            form = {"root": c.is_hex, "size": lambda size: c.is_int(size, 1, 1024), "form": _label}
            self.shape(value["fields"], f"{at}/fields/", form, {})

    def fingerprint(self, value: Any, at: str) -> None:
        form = {"method": _label, "root": c.is_hex, "files": lambda files: c.is_int(files, 1)}
        self.shape(value, f"{at}/", form, {})
        self.word(value["method"], f"{at}/method", "files-sha256@v1")

    def _genesis(self, body: dict[str, Any]) -> None:
        self.word(body["visibility"], "visibility", "public hashes private")

    def _producer(self, body: dict[str, Any]) -> None:
        check_enrolment(body, self.entry.origin)

    def _anchor(self, body: dict[str, Any]) -> None:
        self.word(body["type"], "type", "devnet@v0 evm@v1")

    def _model(self, body: dict[str, Any]) -> None:
        self.fingerprint(body["fingerprint"], "fingerprint")
        for place, adapter in enumerate(body.get("adapters", [])):
            at = f"adapters/{place}"
            self.shape(adapter, f"{at}/", {"name": _label, "fingerprint": _object}, {})
            self.fingerprint(adapter["fingerprint"], f"{at}/fingerprint")

    def _decision(self, body: dict[str, Any]) -> None:
        for name in ("request", "response", "facts"):
            if name in body:
                self.commitment(body[name], name)
        self.word(body["capture"], "capture", "asgi proxy in_process")
        self.word(body["mode"], "mode", "fail_open fail_closed")
        self.word(body["ended"], "ended", "ok error client_disconnected aborted")
        if not c.is_hex(body["model"]):
            self.word(body["model"], "model", "pending unregistered")
        if "values" in body:
            self.word(body["values"], "values", "kept not_kept")
        for place, name in enumerate(body.get("redacted", [])):
            self.word(name, f"redacted/{place}", "request response facts")

    def _outcome(self, body: dict[str, Any]) -> None:
        self.commitment(body["facts"], "facts")

    def _gap(self, body: dict[str, Any]) -> None:
        need(body["from"] <= body["to"], "from is after to")
        if not c.is_int(body["count"]):
            self.word(body["count"], "count", "unknown")

    def _retirement(self, body: dict[str, Any]) -> None:
        form = {"instance": _label, "seq": _natural, "leaf_hash": c.is_hex}
        self.shape(body["last"], "last/", form, {})

    def _notice(self, body: dict[str, Any]) -> None:
        self.word(body["what"], "what", "stopped unguarded_start restored disabled declared_lost")
        form = {"from": c.is_time, "to": c.is_time}
        if body["what"] == "declared_lost":
            lost = {"producer": c.is_hex, "instance": _instance_hex, "after_seq": _after_seq}
            form = {**form, **lost}
        elif body["what"] == "disabled":
            form = {**form, "starts": _natural}
        else:
            return
        need("detail" in body, "detail is missing")
        self.shape(body["detail"], "detail/", form, {})
        need(body["detail"]["from"] <= body["detail"]["to"], "from is after to")

    def _heartbeat(self, body: dict[str, Any]) -> None:
        form = dict.fromkeys(("entries", "bytes", "oldest_ms"), _natural)
        self.shape(body["spool"], "spool/", form, {})
        if "block" in body:
            form = {"chain_id": _natural, "number": _natural, "hash": c.is_0x}
            self.shape(body["block"], "block/", form, {})

    def _coverage(self, body: dict[str, Any]) -> None:
        self.word(body["mode"], "mode", "fail_open fail_closed")
        self.word(body["durability"], "durability", "local log")
        self.word(body["others"], "others", "record skip")
        if not c.is_hex(body["model"]):
            self.word(body["model"], "model", "pending unregistered")
        form = {"method": _label, "path": _text, "record": c.is_word}
        for place, route in enumerate(body["routes"]):
            self.shape(route, f"routes/{place}/", form, {"operation": c.is_word})
            self.word(route["record"], f"routes/{place}/record", "values record skip model")


_BODIES: dict[str, tuple[dict[str, Check], dict[str, Check]]] = {
    "genesis": (
        {
            "vkeys": _array_of(_text, 1),
            "visibility": c.is_word,
            "max_merge_delay_s": lambda value: c.is_int(value, 1),
            "contact": _text,
        },
        {},
    ),
    "producer": ({"name": c.is_producer_name, "vkey": _text, "note": _text}, {}),
    "successor": ({"origin": c.is_origin, "vkey": _text}, {}),
    "anchor": (
        {
            "type": _label,
            "chain_id": _natural,
            "contract": lambda value: c.is_0x(value, 40),
            "log_id": c.is_hex,
            "root": c.is_hex,
            "size": lambda value: c.is_int(value, 1),
            "tx": c.is_0x,
            "block_hash": c.is_0x,
            "block_number": _natural,
            "block_time": c.is_time,
        },
        {},
    ),
    "instance": ({"note": _text, "software": _text}, {}),
    "model": ({"name": _label, "fingerprint": _object}, {"adapters": _array_of(_object), "source": _text}),
    "decision": (
        {
            "id": c.is_uuid7,
            "operation": c.is_word,
            "capture": c.is_word,
            "mode": c.is_word,
            "start": c.is_time,
            "duration_us": _natural,
            "ended": c.is_word,
            "model": lambda value: c.is_hex(value) or c.is_word(value),
            "request": _object,
            "response": _object,
        },
        {
            "facts": _object,
            "method": _label,
            "route": _text,
            "status": _natural,
            "content_encoding": _label,
            "adapters": _array_of(_label),
            "sampling": _strings,
            "defaults": _strings,
            "values": c.is_word,
            "parent": _label,
            "retry_of": _label,
            "replayed_from": _label,
            "redacted": _array_of(c.is_word),
        },
    ),
    "outcome": ({"decision": c.is_uuid7, "facts": _object}, {"item": _label}),
    "gap": (
        {
            "instance": _instance_hex,
            "after_seq": _after_seq,
            "from": c.is_time,
            "to": c.is_time,
            "count": lambda value: c.is_int(value) or c.is_word(value),
        },
        {"at_most": _natural},
    ),
    "heartbeat": (
        {
            "interval_s": lambda value: c.is_int(value, 1),
            **dict.fromkeys(
                [
                    "started",
                    "finished",
                    "failed",
                    "in_flight",
                    "refused",
                    "deferred",
                    "lost",
                    "late_hangups",
                    "recorded",
                ],
                _natural,
            ),
            "spool": _object,
        },
        {"head": _text, "block": _object, "engine": _decimals},
    ),
    "coverage": (
        {
            "mode": c.is_word,
            "durability": c.is_word,
            "routes": _array_of(_object),
            "ports": _array_of(_natural),
            "workers": _natural,
            "version": _text,
            "model": lambda value: c.is_hex(value) or c.is_word(value),
            "wait_ms": _natural,
            "heartbeat_s": _natural,
            "others": c.is_word,
        },
        {},
    ),
    "rotation": ({"vkey": _text, "notes": lambda value: _array_of(_text, 2)(value) and len(value) == 2}, {}),
    "retirement": ({"last": _object}, {"producer": c.is_hex}),
    "notice": ({"what": c.is_word}, {"detail": lambda _: True}),
}


def _lines(text: str, title: str, count: int) -> list[str]:
    need(text.endswith("\n"), "no final newline")
    lines = text[:-1].split("\n")
    need(lines[0] == title and len(lines) == count, f"not {title} of {count} lines")
    return lines[1:]


class Enrolment(NamedTuple):
    """What an enrolment statement says."""

    origin: str
    name: str


def read_enrolment(note: str, key: Key) -> Enrolment:
    """An enrolment statement by this key, which is named after it."""
    said = Enrolment(*_lines(open_one(note, key).text, "auditlog/producer@v1", 3))
    need(c.is_origin(said.origin) and c.is_producer_name(said.name), "origin or name")
    need(key.name == f"{said.origin}/producer/{said.name}", "the key is not named like the producer")
    return said


def check_enrolment(body: dict[str, Any], origin: str) -> Key:
    """The body of a `producer` entry holds together; gives the producer's key."""
    key = parse_vkey(body["vkey"])
    need(key.name == f"{origin}/producer/{body['name']}", "the key is not named like the producer")
    need(read_enrolment(body["note"], key) == (origin, body["name"]), "the statement names another producer")
    return key


class Start(NamedTuple):
    """What a start statement says."""

    origin: str
    producer: str
    instance: str
    prev: str


def read_start(note: str, key: Key) -> Start:
    """A start statement by this key."""
    said = Start(*_lines(open_one(note, key).text, "auditlog/instance@v1", 5))
    need(c.is_origin(said.origin) and c.is_hex(said.producer), "origin or producer")
    need(c.is_hex(said.instance, 32) and c.is_hex(said.prev), "instance or prev")
    return said


def check_rotation(body: dict[str, Any], origin: str, producer: str, keys: list[Key]) -> Key:
    """The body of a `rotation` entry holds, behind these keys of the producer; gives the next key."""
    need(len(keys) <= 61, "more than 61 rotations")
    key = parse_vkey(body["vkey"])
    need(key.kind == 1 and key.name == keys[-1].name, "a key of another name or kind")
    need(key.public not in {old.public for old in keys}, "a key it had before")
    said = f"auditlog/rotation@v1\n{origin}\n{producer}\n{body['vkey']}\n"
    for note, signer in zip(body["notes"], (keys[-1], key), strict=True):
        need(open_one(note, signer).text == said, "a note over something else")
    return key


def covers(entry: Entry, producer: str, instance: str, seq: int) -> bool:
    """Whether a gap or a declared loss covers a number."""
    body = entry.body
    if not entry.understood:
        return False
    if entry.kind == "gap":
        mine = entry.producer == producer and body["instance"] == instance
        return mine and body["after_seq"] < seq and (entry.instance != instance or entry.seq > seq)
    if entry.kind != "notice" or body["what"] != "declared_lost" or not entry.by_log:
        return False
    lost = body["detail"]
    return (lost["producer"], lost["instance"]) == (producer, instance) and lost["after_seq"] < seq


class Head(NamedTuple):
    """What a head says."""

    origin: str
    producer: str
    instance: str
    first_seq: int
    seq: int
    leaf: bytes
    root: bytes


def parse_head(text: str) -> Head:
    """The text of a head."""
    origin, producer, instance, first, last, leaf, root = _lines(text, "auditlog/head@v1", 8)
    need(
        c.is_origin(origin) and c.is_hex(producer) and c.is_hex(instance, 32), "origin, producer or instance"
    )
    head = Head(
        origin,
        producer,
        instance,
        c.decimal(first),
        c.decimal(last),
        c.unbase64_hash(leaf),
        c.unbase64_hash(root),
    )
    need(head.first_seq <= head.seq, "first_seq is above seq")
    return head


def check_in_batch(head: Head, seq: int, leaf: bytes, path: list[bytes]) -> None:
    """Refuse unless the leaf hash is at this number of the batch."""
    need(head.first_seq <= seq <= head.seq, "the head does not cover this number")
    check_inclusion(leaf, seq - head.first_seq, head.seq - head.first_seq + 1, path, head.root)
    need(seq != head.seq or head.leaf == leaf, "the head names another leaf hash")


class Promise(NamedTuple):
    """What a promise says."""

    origin: str
    producer: str
    instance: str
    seq: int
    leaf: bytes
    model: str
    request: bytes
    response: bytes
    time: str
    merge_by: str


def read_promise(note: str, key: Key) -> Promise:
    """A promise by this key."""
    said = _lines(open_one(note, key).text, "auditlog/promise@v1", 11)
    origin, producer, instance, seq, leaf, model, request, response, time, merge_by = said
    need(
        c.is_origin(origin) and c.is_hex(producer) and c.is_hex(instance, 32), "origin, producer or instance"
    )
    need(c.is_hex(model) or model in {"pending", "unregistered"}, "model")
    need(c.is_time(time) and c.is_time(merge_by) and time <= merge_by, "times")
    commitments = (c.unbase64_hash(request), c.unbase64_hash(response))
    number, promised = c.decimal(seq), c.unbase64_hash(leaf)
    return Promise(origin, producer, instance, number, promised, model, *commitments, time, merge_by)


class Devnet(NamedTuple):
    """What a devnet@v0 anchor says."""

    origin: str
    log_id: str
    chain_id: int
    contract: str
    size: int
    root: bytes
    tx: str
    block_number: int
    block_hash: str
    block_time: str


def log_id(origin: str) -> str:
    """The name of a log on every chain."""
    return sha256(b"auditlog/log-id@v1\n" + origin.encode() + b"\n").hex()


def parse_devnet(text: str) -> Devnet:
    """The text of a devnet@v0 anchor."""
    lines = _lines(text, "auditlog/devnet@v0", 11)
    origin, log, chain, contract, size, root, tx, number, block, time = lines
    need(c.is_origin(origin) and log == log_id(origin), "origin or log id")
    need(c.is_0x(contract, 40) and c.is_0x(tx) and c.is_0x(block), "contract, transaction or block hash")
    need(c.is_time(time), "block time")
    said = Devnet(
        origin,
        log,
        c.decimal(chain),
        contract,
        c.decimal(size),
        c.unbase64_hash(root),
        tx,
        c.decimal(number),
        block,
        time,
    )
    need(said.size >= 1, "tree size 0")
    return said

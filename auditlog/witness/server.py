"""The witness over HTTP: which request is answered by whom.

Spec: C2SP tlog-witness; `auditlog/spec/witness.md`, "Over HTTP".

    POST /add-checkpoint                     a cosignature
    GET  /<hash of origin>/checkpoint        what was cosigned last
    GET  /health  /metrics
    POST /promises                           GET /promises/<hash>  the drop-box
    GET  /promises/broken  /promises/broken/<hash>  /promises/withheld

Must never: log more of a stranger's request than its route and status.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from auditlog.core.witnessing import ADD_CHECKPOINT, MAX_REQUEST_BYTES, SIZE_MEDIA_TYPE, format_tree_size
from auditlog.errors import StorageError
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.dropbox import MAX_NOTE_BYTES, DropBox
from auditlog.witness.errors import DepositRefused, WitnessRefusal
from auditlog.witness.followed import name_of
from auditlog.witness.http import JSON, Answer, HttpServer, Limits
from auditlog.witness.metrics import Counters, Sample, page
from auditlog.witness.requests import Head
from auditlog.witness.states import States

logger = logging.getLogger("auditlog.witness")

_OPEN = {"Access-Control-Allow-Origin": "*"}
"""Whatever is shown is shown to any page: nothing here depends on who asks."""
_REASONS = {400: "malformed", 403: "not_signed", 404: "unknown_log", 409: "other_size", 422: "not_consistent"}
_MISSING = Answer(404, b"not found\n")


class WitnessServer(HttpServer):
    """Serves one cosigner, and a drop-box if there is one."""

    def __init__(
        self,
        address: tuple[str, int],
        cosigner: Cosigner,
        states: States,
        *,
        box: DropBox | None = None,
        limits: Limits | None = None,
        behind_proxy: bool = False,
    ) -> None:
        """Listen on (host, port); port 0 lets the system choose. Raises OSError."""
        self.counters = Counters()
        self._cosigner, self._states, self._box = cosigner, states, box
        self._behind_proxy = behind_proxy
        self._origins = {name_of(log.origin): log.origin for log in cosigner.logs}
        limits = limits or Limits()
        if behind_proxy:  # all come from the proxy's address; whoever they are is known with a request only
            limits = replace(limits, connections_per_peer=limits.connections)
        super().__init__(address, self, limits)

    def room(self, head: Head) -> int | Answer:
        """Bodies are read of two routes only."""
        sizes = {f"/{ADD_CHECKPOINT}": MAX_REQUEST_BYTES}
        if self._box is not None:
            sizes["/promises"] = MAX_NOTE_BYTES
        if head.path in sizes:
            return sizes[head.path] if head.method == "POST" else _not_allowed("POST")
        if head.method in ("GET", "HEAD"):
            return 0
        return _not_allowed("GET, HEAD") if self._is_shown(head.path) else _MISSING

    def _is_shown(self, path: str) -> bool:
        """Whether there is something to read here, or may be."""
        name, _, last = path[1:].partition("/")
        is_box = name == "promises" and bool(last) and self._box is not None
        return path in ("/health", "/metrics") or is_box or (last == "checkpoint" and name in self._origins)

    def answer(self, head: Head, body: bytes) -> Answer:
        """Called on a thread."""
        if head.method == "POST":
            return self._add(body) if head.path == f"/{ADD_CHECKPOINT}" else self._deposit(head, body)
        try:
            return self._show(head.path)
        except (StorageError, sqlite3.Error) as error:
            logger.error("cannot_show", extra={"error": str(error)})
            return Answer(503, b"the state cannot be read\n")

    def count(self, answer: Answer) -> None:
        """Every answer, by route and status."""
        self.counters.add("requests_total", route=answer.route, status=str(answer.status))

    def _add(self, body: bytes) -> Answer:
        try:
            line = self._cosigner.add_checkpoint(body)
        except WitnessRefusal as refusal:
            self.counters.add("refusals_total", reason=_REASONS.get(refusal.status, "unable"))
            if refusal.known_size is not None:
                size = format_tree_size(refusal.known_size)
                return Answer(409, size, SIZE_MEDIA_TYPE, route=ADD_CHECKPOINT)
            return Answer(refusal.status, f"{refusal}\n".encode(), route=ADD_CHECKPOINT)
        origin = body.partition(b"\n\n")[2].split(b"\n", 1)[0].decode("utf-8")
        self.counters.add("cosignatures_total", log=origin)
        return Answer(200, line.encode("utf-8"), route=ADD_CHECKPOINT)

    def _show(self, path: str) -> Answer:
        shown: dict[str, Callable[[], Answer]] = {"/health": self._health, "/metrics": self._metrics}
        if path in shown:
            return shown[path]()
        name, _, last = path[1:].partition("/")
        if last == "checkpoint" and name in self._origins:
            cosigned = self._cosigner.newest(self._origins[name])
            if cosigned is not None:
                return Answer(200, cosigned.note.encode("utf-8"), headers=_OPEN, route="checkpoint")
        if name == "promises" and self._box is not None:
            return self._promises(last)
        return _MISSING

    def _promises(self, what: str) -> Answer:
        assert self._box is not None
        if what == "broken":
            return _json("promises", {"v": "auditlog/broken-promises@v1", "broken": self._box.broken()})
        if what == "withheld":
            return _json("promises", {"v": "auditlog/withheld-promises@v1", **self._box.withheld()})
        kind, _, name = what.rpartition("/")
        if kind == "broken":
            evidence = self._box.evidence(name)
            if evidence is not None:
                return Answer(200, evidence, JSON, _OPEN, route="promises")
        elif not kind and (state := self._box.state(name)) is not None:
            return _json("promises", {"promise": name, "state": state})
        return _MISSING

    def _deposit(self, head: Head, body: bytes) -> Answer:
        assert self._box is not None
        peer = head.forwarded_for if self._behind_proxy else head.peer
        try:
            said = self._box.deposit(body, peer)
        except DepositRefused as refusal:
            self.counters.add("promises_deposited_total", outcome=f"refused_{refusal.status}")
            later = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
            return Answer(refusal.status, f"{refusal}\n".encode(), headers=later, route="promises")
        self.counters.add("promises_deposited_total", outcome="kept" if said["is_new"] else "known")
        return _json("promises", {name: said[name] for name in ("promise", "state")}, status=202)

    def _health(self) -> Answer:
        restored = self._states.guard.restored
        is_well = self._states.is_whole()
        value = {
            "status": "ok" if is_well else "failing",
            "logs": len(self._origins),
            "epoch": self._states.guard.epoch,
            "restored": [{"accepted_s": at, "found": found} for at, found in restored],
        }
        return _json("health", value, status=200 if is_well else 503)

    def _metrics(self) -> Answer:
        samples = self.counters.samples()
        spent = self._states.spent
        for name, value in (
            ("commits_total", spent.commits),
            ("commit_failures_total", spent.failures),
            ("commit_seconds_total", round(spent.seconds, 6)),
            ("epoch", self._states.guard.epoch),
            ("restored", bool(self._states.guard.restored)),
            ("connections", self.connections),
            ("unchecked_keys", sum(len(log.unchecked) for log in self._cosigner.logs)),
        ):
            samples[name] = [((), value)]
        samples |= self._of_logs()
        if self._box is not None:
            samples |= self._box.samples()
        return Answer(200, page(samples), "text/plain; version=0.0.4; charset=utf-8", route="metrics")

    def _of_logs(self) -> dict[str, list[Sample]]:
        sizes: list[Sample] = []
        times: list[Sample] = []
        for log in self._cosigner.logs:
            cosigned = self._cosigner.newest(log.origin)
            if cosigned is not None:
                label = (("log", log.origin),)
                sizes.append((label, cosigned.checkpoint.tree_size))
                times.append((label, cosigned.timestamp))
        kept: dict[tuple[tuple[str, str], ...], float] = {}
        for each in self._states.conflicts():
            label_of = (("kind", each.kind), ("log", each.origin))
            kept[label_of] = kept.get(label_of, 0) + 1
        return {
            "tree_size": sizes,
            "cosigned_timestamp_seconds": times,
            "conflicts": list(kept.items()) or [((), 0)],
        }


def _not_allowed(methods: str) -> Answer:
    return Answer(405, f"expected {methods}\n".encode("ascii"), headers={"Allow": methods})


def _json(route: str, value: dict[str, Any], *, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode("ascii") + b"\n", JSON, _OPEN, route=route)

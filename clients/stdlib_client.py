#!/usr/bin/env python3
"""Read a log with nothing but the standard library, and check what it says (auditlog/spec/api.md,
spec/log.md).

    python3 clients/stdlib_client.py URL [--index N] [--token TOKEN] [--promise FILE]

URL is the prefix of a log, such as http://127.0.0.1:8700/logs/main. Prints what the log claims, fetches
one entry and its inclusion proof, and checks the proof against the root in the checkpoint; then builds
that root again from the hash tiles. With a promise it asks what the log holds in its place (no token
needed) and checks the proofs of the answer. The standard library has no Ed25519, so the signature of the
checkpoint is NOT checked here: `auditlog verify` and `auditlog fsck` do that. A file to read and to copy
from, in any language.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

TILE = 256


class Refused(Exception):
    """The service answered with a problem (RFC 9457): `problem` is its JSON."""

    def __init__(self, problem: dict) -> None:
        super().__init__(f"{problem.get('status')} {problem.get('type')}: {problem.get('detail')}")
        self.problem = problem


@dataclass(frozen=True)
class Checkpoint:
    """What a log signed: this many entries, this root. Its signatures are not checked here."""

    origin: str
    size: int
    root: bytes
    note: str


class LogClient:
    """One log over HTTP."""

    def __init__(self, url: str, token: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected an http:// or https:// address")
        self.url = url.rstrip("/")
        self.token = token

    def request(self, path: str, body: bytes | None = None, media_type: str = "application/json") -> bytes:
        """GET, or POST when there is a body. Raises Refused; urllib.error.URLError if nobody answers."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if body is not None:
            headers["Content-Type"] = media_type
        asked = urllib.request.Request(self.url + path, data=body, headers=headers)  # noqa: S310  the scheme was checked
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
                return answer.read()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            is_problem = error.headers.get_content_type() == "application/problem+json"
            raise Refused(json.loads(text) if is_problem else {"status": error.code}) from None

    def json(self, path: str) -> dict:
        """A GET whose answer is JSON."""
        return json.loads(self.request(path))

    def checkpoint(self) -> Checkpoint:
        """The newest published checkpoint: three lines, an empty one, signatures."""
        note = self.request("/checkpoint").decode("utf-8")
        origin, size, root = note.split("\n\n", 1)[0].split("\n")[:3]
        return Checkpoint(origin, int(size), base64.b64decode(root, validate=True), note)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Hashes that lead from the entry at `index` to the root of `size` entries."""
        query = urllib.parse.urlencode({"index": index, "size": size})
        return [base64.b64decode(each) for each in self.json(f"/proofs/inclusion?{query}")["hashes"]]

    def promise(self, decision: str) -> str:
        """The promise kept under a decision's id, a signed note. No token."""
        return self.request(f"/promises/{urllib.parse.quote(decision, safe='')}").decode("utf-8")

    def look_up(self, promise: str) -> dict:
        """What the log holds in the place of a promise; empty while nothing can be proven yet (202)."""
        return json.loads(self.request("/promises/lookup", promise.encode("utf-8"), "text/plain") or b"{}")

    def leaf_hashes(self, size: int) -> list[bytes]:
        """Every leaf hash of the tree, from its level-0 tiles."""
        found: list[bytes] = []
        for index in range(-(-size // TILE)):
            data = self.request("/" + tile_path(index, min(TILE, size - index * TILE)))
            found += [data[at : at + 32] for at in range(0, len(data), 32)]
        return found


def tile_path(index: int, width: int) -> str:
    """Path of a level-0 tile: groups of three digits, all but the last after an x; a width if partial."""
    text = f"{index % 1000:03d}"
    while index := index // 1000:
        text = f"x{index % 1000:03d}/{text}"
    return f"tile/0/{text}" + ("" if width == TILE else f".p/{width}")


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962: the hash of an entry's exact bytes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def children_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962: the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_hash(leaves: list[bytes]) -> bytes:
    """RFC 6962: the root over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return children_hash(root_hash(leaves[:split]), root_hash(leaves[split:]))


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes]) -> bytes:
    """RFC 9162, 2.1.3.2: the root that this proof leads to. Compare it with the root of a checkpoint."""
    if not 0 <= index < size:
        raise ValueError(f"expected an index below the size {size}, found {index}")
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ValueError("expected a shorter proof")
        if node & 1 or node == last:
            found = children_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = children_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ValueError("expected a longer proof")
    return found


def walk(client: LogClient, index: int) -> bool:
    """Print what the log says and what of it holds; whether all of it does."""
    info = client.json("")
    print(f"log         {info['origin']}, visibility {info['visibility']}")
    print(f"vkey        {info['vkey']}")
    checkpoint = client.checkpoint()
    print(f"checkpoint  {checkpoint.size} entries, root {checkpoint.root.hex()}")
    holds = True
    try:
        entry = client.request(f"/entries/{index}")
        found = root_from_inclusion(
            leaf_hash(entry), index, checkpoint.size, client.inclusion(index, checkpoint.size)
        )
        holds = found == checkpoint.root
        print(f"entry       {index}: {len(entry)} bytes, kind {json.loads(entry)['kind']}")
        print(f"inclusion   {'proven' if holds else 'FAILED'} against that root")
    except Refused as refused:
        print(f"entry       {index}: not shown to us ({refused})")
    try:
        rebuilt = root_hash(client.leaf_hashes(checkpoint.size)) == checkpoint.root
        print(f"tiles       {'give' if rebuilt else 'DO NOT give'} that root again")
        holds = holds and rebuilt
    except Refused as refused:
        print(f"tiles       not shown to us ({refused})")
    print("signature   not checked here: the standard library has no Ed25519")
    return holds


def walk_promise(client: LogClient, promise: str) -> bool:
    """Print what stands in the place of a promise; whether all that was shown is proven."""
    lines = promise.split("\n")
    found = client.look_up(promise)
    if not found:
        print("promise     nothing can be proven yet: ask again")
        return True
    _, size, root = found["checkpoint"].split("\n")[:3]
    holds = True
    for part in (found["producer"], found["entry"], found["next"], *found["gaps"], *found["notices"]):
        if part is not None:
            leaf = leaf_hash(base64.b64decode(part["entry"]))
            proof = [base64.b64decode(each) for each in part["proof"]]
            holds &= root_from_inclusion(leaf, part["index"], int(size), proof) == base64.b64decode(root)
    print(f"promise     number {lines[4]}, entry in the log by {lines[10]}")
    if found["entry"] is None:
        print(f"entry       NOT in the tree of {size} entries")
    else:
        is_same = leaf_hash(base64.b64decode(found["entry"]["entry"])) == base64.b64decode(lines[5])
        print(f"entry       {'the promised one' if is_same else 'ANOTHER ONE'}, at {found['entry']['index']}")
    print(
        f"proofs      {'hold' if holds else 'FAILED'}: whether the promise is broken, `auditlog promise` says"
    )
    return holds


def main() -> int:
    """Exit code 0: what was shown holds; 1: something does not; 2: no log answered."""
    parser = argparse.ArgumentParser(description="Read a log and check what it says.")
    parser.add_argument("url", help="prefix of the log, such as http://127.0.0.1:8700/logs/main")
    parser.add_argument("--index", type=int, default=0, help="entry to look at")
    parser.add_argument("--token", help="bearer token with scope read, if the log asks for one")
    parser.add_argument("--promise", help="file with a promise; ask what is in its place instead")
    given = parser.parse_args()
    try:
        client = LogClient(given.url, given.token)
        if given.promise:
            with open(given.promise, encoding="utf-8") as file:  # noqa: PTH123  as plain as it gets
                return 0 if walk_promise(client, file.read()) else 1
        return 0 if walk(client, given.index) else 1
    except (Refused, OSError, ValueError) as error:
        print(f"no log to read at {given.url}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

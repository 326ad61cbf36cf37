"""A tlog-tiles client as a stranger would write it, from the C2SP pages and RFC 6962 alone. Imports none of
ours.

Reads a log over plain HTTP GET, as from `python3 -m http.server` over the published folder, and checks it to
the byte: the checkpoint's signature, every tile against the entries below it, the root, and which files
there are. Any disagreement is an `OutsideError` that says what was expected.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class OutsideError(Exception):
    """The log is not what the standards say."""


@dataclass(frozen=True)
class Seen:
    """What the client was convinced of."""

    origin: str
    size: int
    root: bytes
    entries: list[bytes]


class OutsideClient:
    """Reads one log at host:port/prefix."""

    def __init__(self, host: str, port: int, vkey: str, prefix: str = "") -> None:
        self.connection = http.client.HTTPConnection(host, port, timeout=20)
        self.prefix = prefix
        self.name, self.key_id, encoded = vkey.split("+", 2)
        self.public_key = base64.b64decode(encoded)

    def get(self, path: str) -> bytes:
        """GET one object that has to be there."""
        self.connection.request("GET", f"{self.prefix}/{path}")
        with self.connection.getresponse() as response:
            body = response.read()
        if response.status != 200:
            raise OutsideError(f"{path}: HTTP {response.status}")
        return body

    def __enter__(self) -> OutsideClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def checkpoint(self) -> tuple[str, int, bytes]:
        """Fetch and verify the checkpoint: origin, size, root."""
        note = self.get("checkpoint").decode("utf-8")
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        if not any(self._signed(text, line) for line in signatures.splitlines()):
            raise OutsideError("no signature by the log")
        origin, size, root = text.split("\n")[:3]
        if text != f"{origin}\n{int(size)}\n{base64.b64encode(base64.b64decode(root)).decode()}\n":
            raise OutsideError("a checkpoint of another form")
        return origin, int(size), base64.b64decode(root)

    def _signed(self, text: str, line: str) -> bool:
        dash, name, encoded = line.split(" ")
        blob = base64.b64decode(encoded, validate=True)
        if (dash, name, blob[:4].hex()) != ("\u2014", self.name, self.key_id):
            return False
        hashed = hashlib.sha256(self.name.encode() + b"\n" + self.public_key).digest()
        if hashed[:4].hex() != self.key_id or self.public_key[0] != 1:
            raise OutsideError("a key ID that is not the key's")
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key[1:]).verify(blob[4:], text.encode())
        except InvalidSignature:
            raise OutsideError("a wrong signature by the log") from None
        return True

    def read(self) -> Seen:
        """Read and check the whole log."""
        origin, size, root = self.checkpoint()
        entries = self._entries(size)
        hashes = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
        if merkle_root(hashes) != root:
            raise OutsideError("the entries do not give the signed root")
        level = 0
        while hashes:
            for number in range(0, len(hashes), 256):
                row = hashes[number : number + 256]
                path = f"tile/{level}/{tile_name(number // 256, len(row))}"
                if self.get(path) != b"".join(row):
                    raise OutsideError(f"{path}: not the hashes of the tree")
            whole = len(hashes) // 256 * 256
            hashes = [merkle_root(hashes[number : number + 256]) for number in range(0, whole, 256)]
            level += 1
        return Seen(origin, size, root, entries)

    def _entries(self, size: int) -> list[bytes]:
        entries: list[bytes] = []
        for number in range(0, size, 256):
            path = f"tile/entries/{tile_name(number // 256, min(256, size - number))}"
            bundle, at = self.get(path), 0
            while at < len(bundle):
                length = int.from_bytes(bundle[at : at + 2], "big")
                entries.append(bundle[at + 2 : at + 2 + length])
                at += 2 + length
            if at != len(bundle) or len(entries) != min(number + 256, size):
                raise OutsideError(f"{path}: not a bundle of the entries that belong there")
        return entries


def tile_name(index: int, width: int) -> str:
    """Path element of a tile: three digits a group, an x before all but the last, the width if not full."""
    digits = f"{index:0{-(-len(str(index)) // 3) * 3}d}"
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    name = "".join(f"x{group}/" for group in groups[:-1]) + groups[-1]
    return name if width == 256 else f"{name}.p/{width}"


def merkle_root(hashes: list[bytes]) -> bytes:
    """RFC 6962 tree hash over leaf hashes, halving at the largest power of two."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + merkle_root(hashes[:half]) + merkle_root(hashes[half:])).digest()


def expected_files(size: int) -> set[str]:
    """The exact files of a public log published at this size and no other."""
    files, nodes, level = {"checkpoint"}, size, 0
    for number in range(0, size, 256):
        files.add(f"tile/entries/{tile_name(number // 256, min(256, size - number))}")
    while nodes:
        for number in range(0, nodes, 256):
            files.add(f"tile/{level}/{tile_name(number // 256, min(256, nodes - number))}")
        nodes, level = nodes // 256, level + 1
    return files


def files_below(folder: Path) -> set[str]:
    """The files a folder has."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@contextmanager
def static_server(folder: Path) -> Iterator[int]:
    """`python3 -m http.server` over a folder, as its own process; gives the port."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            yield int(greeting.split(" port ")[1].split()[0])
        finally:
            process.terminate()

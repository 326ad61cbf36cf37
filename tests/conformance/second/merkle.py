"""log.md, "Tree", "Proofs" and "Batch framing"."""

from __future__ import annotations

import hashlib

from .canonical import is_int, need, refuse

MAX_SIZE = 2**63 - 1


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + entry)


def node(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\x01" + left + right)


def root_of(leaves: list[bytes]) -> bytes:
    """The root over leaf hashes: the perfect subtrees from the left, joined from the right."""
    stack: list[tuple[int, bytes]] = []
    for leaf in leaves:
        width, value = 1, leaf
        while stack and stack[-1][0] == width:
            value = node(stack.pop()[1], value)
            width *= 2
        stack.append((width, value))
    if not stack:
        return sha256(b"")
    value = stack.pop()[1]
    while stack:
        value = node(stack.pop()[1], value)
    return value


def _check_path(path: list[bytes]) -> None:
    need(all(isinstance(item, bytes) and len(item) == 32 for item in path), "a hash is not 32 bytes")


def check_inclusion(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> None:
    """Refuse unless the path leads from the leaf hash at index to the root of a tree of this size."""
    _check_path([leaf, root, *path])
    need(is_int(index, 0, MAX_SIZE) and is_int(size, 0, MAX_SIZE), "index or size is no integer in range")
    need(index < size, "index is not below the size")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        need(sn != 0, "path too long")
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0, "path too short")
    need(r == root, "the path does not lead to the root")


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: list[bytes]) -> None:
    """Refuse unless the proof shows that the newer tree extends the older one."""
    _check_path([old_root, new_root, *path])
    need(is_int(old, 0, MAX_SIZE) and is_int(new, 0, MAX_SIZE), "a size is no integer in range")
    need(old <= new, "the old size is above the new one")
    if old == 0:
        need(not path and old_root == sha256(b""), "from size 0: no hashes and the empty root")
        need(new != 0 or new_root == sha256(b""), "size 0 has the empty root")
        return
    if old == new:
        need(not path and old_root == new_root, "equal sizes: no hashes and one root")
        return
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    need(hashes, "empty proof")
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = hashes[0]
    for c in hashes[1:]:
        need(sn != 0, "proof too long")
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    need(sn == 0, "proof too short")
    need(fr == old_root, "the proof does not lead to the old root")
    need(sr == new_root, "the proof does not lead to the new root")


def framed(data: bytes) -> list[bytes]:
    """An entry bundle: (uint16 length || entry) for each entry."""
    entries, at = [], 0
    while at < len(data):
        need(at + 2 <= len(data), "cut length")
        length = int.from_bytes(data[at : at + 2], "big")
        need(at + 2 + length <= len(data), "cut entry")
        entries.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return entries


def batch(data: bytes) -> tuple[str, list[bytes]]:
    """What a producer posts: the head note and the entries."""
    need(len(data) >= 4, "cut length of the head")
    length = int.from_bytes(data[:4], "big")
    need(length <= 65_536 and 4 + length <= len(data), "the head is too long")
    try:
        head = data[4 : 4 + length].decode("utf-8")
    except UnicodeDecodeError:
        refuse("the head is not UTF-8")
    entries = framed(data[4 + length :])
    need(entries, "no entry")
    return head, entries

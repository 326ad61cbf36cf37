"""Field roots without holding up the application: what takes long goes to a helper process (`field_process`).

A body up to `SMALL_BYTES`, JSON that `quick_fields` can cut, and other JSON with at most `FEW_LEAVES` leaves
is cut right here, in the writer's thread: that is quicker than asking, and somebody may wait. The helper
starts with the first other body. If it cannot be started, dies or does not answer, the body is cut here as
well; after `MAX_STARTS` starts there is no further one. Must never: change a root, or outlive its process's
writer.
"""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from auditlog.capture.field_process import ANSWER, QUESTION, READY
from auditlog.capture.quick_fields import Plain, cut_plain, has_few_leaves, read_plain
from auditlog.core.commitment import SALT_BYTES, FieldRoot, field_root, salts
from auditlog.core.content import FORM_JSON, field_text

SMALL_BYTES = 4096
FEW_LEAVES = 300
_COMPRESSED = (b"\x1f\x8b", b"\x78")
"""A small body that may be a large one (gzip, zlib); no JSON text begins so."""
MAX_STARTS = 3
START_S = 30.0
ANSWER_S = 30.0
"""Far beyond what 1 MiB takes on a busy host."""

FieldRoots = Callable[[bytes, str, bytes, str], FieldRoot | None]
"""Key, name, body as kept, form: the field root, or None where the format defines none."""


def root_here(key: bytes, name: str, body: bytes, form: str) -> FieldRoot | None:
    """The field root, computed in this thread."""
    plain = read_plain(body) if form == FORM_JSON else None
    found = None if plain is None else root_of_plain(key, name, plain)
    return _root_by_core(key, name, body, form) if found is None else found


def root_of_plain(key: bytes, name: str, plain: Plain) -> FieldRoot | None:
    """The field root of what `read_plain` made of a body; None if the core must decide."""
    leaves = cut_plain(plain)
    if leaves is None:
        return None
    return FieldRoot(_quick_root(salts(key, name, len(leaves)), leaves), len(leaves), FORM_JSON)


def _root_by_core(key: bytes, name: str, body: bytes, form: str) -> FieldRoot | None:
    text = field_text(body, form)
    return None if text is None else field_root(key, name, text, form=form)


def _quick_root(stream: bytes, leaves: list[tuple[bytes, bytes]]) -> bytes:
    """`core.merkle.root_hash` over `core.commitment.leaf_hashes`, for the few leaves of a usual body."""
    level, at, join = [], SALT_BYTES, b"".join
    for head, value in leaves:
        end = at + SALT_BYTES
        level.append(sha256(join((b"\x00", stream[at:end], head, value))).digest())
        at = end
    while (size := len(level)) > 1:
        last = level[-1:] if size & 1 else []
        each = iter(level)
        pairs = zip(each, each, strict=False)  # an odd one goes up as it is
        level = [sha256(b"\x01" + left + right).digest() for left, right in pairs] + last
    return level[0]


class FieldRootProcess:
    """A `FieldRoots` that asks a helper for large bodies. Used by the writer's thread alone."""

    def __init__(self, logger: logging.Logger) -> None:
        """Nothing is started yet."""
        self._logger = logger
        self._starts = 0
        self._child: subprocess.Popen[bytes] | None = None
        _let_go_in_children(self)

    def __call__(self, key: bytes, name: str, body: bytes, form: str) -> FieldRoot | None:
        """See `FieldRoots`."""
        if len(body) <= SMALL_BYTES and not body.startswith(_COMPRESSED):
            return root_here(key, name, body, form)
        if form == FORM_JSON:
            plain = read_plain(body)
            found = None if plain is None else root_of_plain(key, name, plain)
            if found is not None:
                return found
            if has_few_leaves(body, FEW_LEAVES):
                return _root_by_core(key, name, body, form)
        try:
            if self._child is None:
                self._start()
            return self._ask(key, name, body, form)
        except (OSError, ValueError, EOFError) as failure:
            if self._child is not None:
                self._logger.warning(
                    "auditlog: helper for large bodies failed: %s",
                    type(failure).__name__,
                    extra={"event": "helper_failed"},
                )
            self.close()
            return root_here(key, name, body, form)

    def close(self) -> None:
        """End the helper. Idempotent."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            _close_pipes(child)
            child.wait()

    def let_go(self) -> None:
        """In a forked child: the helper is the parent's, and must see the parent's end only."""
        child, self._child = self._child, None
        if child is not None:
            _close_pipes(child)
            child.returncode = 0  # not ours to wait for

    def _start(self) -> None:
        if self._starts >= MAX_STARTS:
            raise OSError("no helper")
        self._starts += 1
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AUDITLOG_")}
        environ |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
        self._child = subprocess.Popen(  # noqa: S603  our own file, no shell
            [sys.executable, str(Path(__file__).with_name("field_process.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            bufsize=0, env=environ, start_new_session=True,
        )  # fmt: skip
        if self._read(len(READY), START_S) != READY:
            raise ValueError("not our helper")

    def _ask(self, key: bytes, name: str, body: bytes, form: str) -> FieldRoot | None:
        assert self._child is not None
        assert self._child.stdin is not None
        head = QUESTION.pack(key, len(name), len(form), len(body)) + name.encode() + form.encode()
        for part in (head, body):
            view = memoryview(part)
            while view:
                view = view[self._child.stdin.write(view) or 0 :]
        has_fields, size, root = ANSWER.unpack(self._read(ANSWER.size, ANSWER_S))
        return FieldRoot(root=root, size=size, form=form) if has_fields else None

    def _read(self, size: int, within_s: float) -> bytes:
        assert self._child is not None
        assert self._child.stdout is not None
        pipe, found, deadline = self._child.stdout, b"", time.monotonic() + within_s
        while len(found) < size:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            chunk = os.read(pipe.fileno(), size - len(found))
            if not chunk:
                raise EOFError
            found += chunk
        return found


def _close_pipes(child: subprocess.Popen[bytes]) -> None:
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _let_go_in_children(process: FieldRootProcess) -> None:
    reference = weakref.ref(process)

    def let_go() -> None:
        held = reference()
        if held is not None:
            held.let_go()

    os.register_at_fork(after_in_child=let_go)

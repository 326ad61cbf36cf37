"""The helper process that computes field roots of large bodies; `field_roots` starts it by this file's path.

Cutting 1 MB of JSON into fields takes up to half a second of Python, and a thread that does it takes the
interpreter from the event loop 5 ms at a time. So it happens here, at low priority. A question is key, name,
form and body; the answer is the field root or its absence. It imports `auditlog.core` only, keeps nothing,
writes nothing to disk, and ends when its parent closes the pipe or dies.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from typing import BinaryIO

QUESTION = struct.Struct(">32sBBI")
"""Key, length of the name, length of the form, length of the body; then name, form, body."""
ANSWER = struct.Struct(">?I32s")
"""Whether there are fields, how many, their root."""
READY = b"auditlog/fields@v1\n"
NICENESS = 10


def main(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the parent hangs up."""
    from auditlog.core.commitment import field_root
    from auditlog.core.content import field_text

    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    answers.write(READY)
    answers.flush()
    while len(head := questions.read(QUESTION.size)) == QUESTION.size:
        key, name_size, form_size, size = QUESTION.unpack(head)
        name, form = questions.read(name_size).decode(), questions.read(form_size).decode()
        text = field_text(questions.read(size), form)
        found = None if text is None else field_root(key, name, text, form=form)
        answers.write(
            ANSWER.pack(False, 0, b"") if found is None else ANSWER.pack(True, found.size, found.root)
        )
        answers.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.stdin.buffer, sys.stdout.buffer)

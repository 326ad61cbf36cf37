"""A process beside the service that does not do what it is asked. A program: it takes the place of `process`.

`LIE` in its environment says how it answers. Its bytes are wrong in every way a broken program could send
them; what it never does is claim work that it did not do, in the right form (decision 10 says why).
"""

from __future__ import annotations

import os
import signal
import sys
import time

from auditlog.log import process
from auditlog.log.questions import LENGTH, Nothing, Question, done

MODULE = "tests.support.lying_process"
LIES = ("garbage", "longest", "cut", "empty", "other", "short", "digest", "twice", "fewer", "dies", "hangs")


def _send(raw: bytes) -> None:
    os.write(0, raw)


class Liar(process.Worker):
    """Answers questions wrongly, except whether it is there."""

    def answer(self, question: Question, payload: bytes) -> bytes:
        """See `Worker.answer`."""
        lie = os.environ["LIE"]
        if isinstance(question, Nothing):
            return super().answer(question, payload)
        if lie in {"cut", "dies", "hangs", "twice"}:
            self._break(lie, super().answer(question, payload))
        lies = {
            "garbage": os.urandom(4000),
            "other": done(1),
            "short": super().answer(question, payload)[:-1],
            "digest": bytes(32),
            "fewer": done(0),
        }
        if lie == "longest":
            _send(b"\xff" * 8)
            time.sleep(60)
        return lies.get(lie, b"")

    def _break(self, lie: str, right: bytes) -> None:
        """Do what was asked, and fail at the answer; `twice` leaves one for the next question."""
        answer = LENGTH.pack(len(right)) + right
        if lie == "hangs":
            os.kill(os.getpid(), signal.SIGSTOP)
        if lie == "twice":
            _send(LENGTH.pack(0))
            return
        if lie == "cut":
            _send(answer[: len(answer) // 2])
        os._exit(3)


if __name__ == "__main__":
    process.Worker = Liar  # type: ignore[misc]
    sys.exit(process.main())

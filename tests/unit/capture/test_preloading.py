"""A fork never finds a thread of the layer in the middle of an import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.fake_service import FakeLog

CHILD = """
import sys, threading
from pathlib import Path
from auditlog.capture import CaptureSettings, Observation, ObservedBody, Recorder

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            print(threading.current_thread().name, name, flush=True)

sys.meta_path.insert(0, Watch())
recorder = Recorder(CaptureSettings(log_url=sys.argv[1], origin="log.example/test", producer="p",
    state_dir=Path(sys.argv[2]), close_timeout_s=20.0, heartbeat_s=1))
recorder.start()
for size in (1, 9000):
    exchange = recorder.new_exchange()
    body = b'{"n":"' + b"x" * size + b'"}'
    seen = Observation(exchange=exchange, operation="chat", capture="asgi", duration_us=1, ended="ok",
        request=ObservedBody(body), response=ObservedBody(body))
    recorder.record(seen, want_durable=True).durable.result(20)
recorder.close()
"""


def test_threads_import_nothing_that_is_not_loaded(tmp_path: Path) -> None:
    """From the start to the end of a life that enrols, records and sends, only the main thread imports."""
    with FakeLog().serve() as url:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, url, str(tmp_path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""

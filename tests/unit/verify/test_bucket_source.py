"""A log in a bucket: missing, refused and unreachable; bounded in size and time; obstore is optional."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditlog.errors import ConfigurationError, SourceError
from auditlog.verify.bucket_source import BucketSource
from auditlog.verify.sources import MAX_OBJECT_BYTES, open_source
from tests.support.lax_bucket import LaxBucket

ROOT = Path(__file__).parents[3]


@pytest.fixture
def server() -> Iterator[LaxBucket]:
    """A bucket server with one object."""
    with LaxBucket("") as server:
        server.objects["/bucket/log/checkpoint"] = b"note"
        yield server


def test_an_object_is_fetched_whole(server: LaxBucket) -> None:
    """The prefix is the log's; nothing but a GET is sent."""
    source = BucketSource("s3://bucket/log", server.access)
    assert source.fetch("checkpoint") == b"note"
    assert server.asked == ["GET /bucket/log/checkpoint"]
    assert str(source) == "s3://bucket/log"


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        ([], "missing"),
        ([403], "refused"),
        ([401], "refused"),
        ([400], "unreachable"),
        ([503] * 9, "unreachable"),
    ],
)
def test_why_an_object_cannot_be_read_is_told(server: LaxBucket, failing: list[int], reason: str) -> None:
    """Each answer has its reason, and no other error comes out."""
    server.failing = failing
    with pytest.raises(SourceError) as caught:
        BucketSource("s3://bucket/log", server.access).fetch("tile/0/000")
    assert caught.value.reason == reason


def test_a_bucket_that_is_gone_is_unreachable(server: LaxBucket) -> None:
    """It is not an empty log: nothing says that its objects are missing."""
    server.no_bucket = True
    with pytest.raises(SourceError) as caught:
        BucketSource("s3://bucket/log", server.access).fetch("checkpoint")
    assert caught.value.reason == "unreachable"


def test_an_object_larger_than_any_bundle_is_not_read(server: LaxBucket) -> None:
    """Its announced size is enough to refuse it."""
    server.objects["/bucket/log/checkpoint"] = b"x" * (MAX_OBJECT_BYTES + 1)
    with pytest.raises(SourceError, match="at most"):
        BucketSource("s3://bucket/log", server.access).fetch("checkpoint")


def test_all_reading_together_has_a_budget(server: LaxBucket) -> None:
    """Once the seconds are used up nothing is asked any more."""
    ticks = itertools.count(step=30)
    source = BucketSource(
        "s3://bucket/log", server.access, budget_s=50.0, monotonic=lambda: float(next(ticks))
    )
    assert [source.fetch("checkpoint") for _ in range(2)] == [b"note"] * 2
    with pytest.raises(SourceError, match="budget"):
        source.fetch("checkpoint")


def test_a_path_that_is_no_tile_is_never_asked_for(server: LaxBucket) -> None:
    """What a log names is parsed before it becomes an address."""
    with pytest.raises(Exception, match="expected") as caught:
        BucketSource("s3://bucket/log", server.access).fetch("../other/secret")
    assert type(caught.value).__name__ == "MalformedError"
    assert server.asked == []


def test_a_target_may_be_a_bucket(server: LaxBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint and credentials are those of the environment; a token would be for nobody."""
    for name, value in (
        ("AWS_ENDPOINT_URL", server.access.endpoint or ""),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_SKIP_SIGNATURE", "true"),
    ):
        monkeypatch.setenv(name, value)
    assert open_source("s3://bucket/log").fetch("checkpoint") == b"note"
    for target, token in (("s3://bucket/log", "token"), ("s3://id:key@bucket/log", None), ("s3://", None)):
        with pytest.raises(ConfigurationError):
            open_source(target, token)


def test_without_obstore_the_error_names_what_to_install() -> None:
    """The base install reads folders and URLs; a bucket asks for the extra by name."""
    program = (
        "import sys\n"
        "import auditlog.verify, auditlog.verify.bucket_source\n"
        "assert 'obstore' not in sys.modules\n"
        "sys.modules['obstore'] = sys.modules['obstore.exceptions'] = sys.modules['obstore.store'] = None\n"
        "from auditlog.cli.main import run\n"
        "sys.exit(run(['fsck', 's3://bucket/log', '--vkey', 'a+b']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "pip install 'auditlog[service]'" in done.stderr

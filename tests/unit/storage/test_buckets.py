"""A real S3 server keeps the contract of objects; a dishonest one is refused; no error tells a secret."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import obstore
import pytest

from auditlog.bucket_client import BucketAccess, open_client
from auditlog.errors import ConfigurationError, ImmutableObjectError, StorageError
from auditlog.storage.buckets import BucketStore
from tests.support.lax_bucket import LaxBucket
from tests.support.seaweed import BUCKET, SECRET_KEY, SeaweedServer
from tests.unit.storage.contract import StorageContract

_names = itertools.count()


class TestBucketStore(StorageContract):
    """`BucketStore` on SeaweedFS."""

    @pytest.fixture
    def store(self, seaweed: SeaweedServer) -> BucketStore:
        """An empty prefix."""
        return BucketStore(f"s3://{BUCKET}/unit/{next(_names)}", seaweed.access)

    def test_of_sixteen_creators_one_wins_from_clients_of_their_own(
        self, store: BucketStore, seaweed: SeaweedServer
    ) -> None:
        """As many processes would: 16 clients create one path together, and one of them is told so."""
        outcomes: list[str] = []
        together = threading.Barrier(16)

        def create(number: int) -> None:
            own = BucketStore(store.url, seaweed.access)
            together.wait()
            try:
                own.put_new("race", bytes([number]) * 5000)
                outcomes.append("won")
            except ImmutableObjectError:
                outcomes.append("refused")

        threads = [threading.Thread(target=create, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["refused"] * 15 + ["won"]

    def test_stores_of_their_own_replace_one_after_the_other(
        self, store: BucketStore, seaweed: SeaweedServer
    ) -> None:
        """The larger stays up, whichever client wrote it and whoever looked before."""

        def work(first: int) -> None:
            own = BucketStore(store.url, seaweed.access)
            for number in range(first, 60, 4):
                new = b"%03d" % (number * 37 % 60)
                own.replace_unless("checkpoint", new, new.__lt__)

        threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.get("checkpoint") == b"059"

    def test_more_than_a_page_is_listed(self, store: BucketStore, seaweed: SeaweedServer) -> None:
        """A listing of more than the thousand names that one answer holds is whole."""
        client = open_client(store.url, seaweed.access)
        store.put_new_all([(f"many/{n:04d}", b"") for n in range(1100)])
        obstore.put(client, "many.p/1", b"")
        assert store.list("many/") == [f"many/{n:04d}" for n in range(1100)]
        assert store.list("many.")[:1] == ["many.p/1"]

    def test_a_large_object_is_one_conditional_write(self, store: BucketStore) -> None:
        """A staged commit of many megabytes is created once, whole, and refused to others."""
        large = bytes(range(256)) * (12 << 12)
        store.put_new("staged", large)
        store.put_new("staged", large)
        assert store.get("staged") == large
        with pytest.raises(ImmutableObjectError):
            store.put_new("staged", large[:-1] + b"x")

    def test_an_honest_server_is_proved_and_left_clean(
        self, store: BucketStore, seaweed: SeaweedServer
    ) -> None:
        """The probe passes, and what it wrote is gone."""
        store.prove_conditions()
        assert [m for page in obstore.list(open_client(store.url, seaweed.access)) for m in page] == []

    def test_a_bucket_that_is_gone_is_no_empty_one(self, seaweed: SeaweedServer) -> None:
        """Neither its objects are absent nor its listing empty: it cannot be read."""
        store = BucketStore("s3://never-made/log", seaweed.access)
        for call in (lambda: store.get("checkpoint"), store.list):
            with pytest.raises(StorageError, match="NoSuchBucket"):
                call()

    def test_wrong_credentials_are_named_by_code_alone(self, seaweed: SeaweedServer) -> None:
        """The server's answer may repeat what was signed: only its status and code are told."""
        access = BucketAccess(
            endpoint=seaweed.endpoint,
            region="us-east-1",
            allow_http=True,
            access_key_id="AKIASECRETID",
            secret_access_key=SECRET_KEY,
        )
        with pytest.raises(StorageError) as caught:
            BucketStore(f"s3://{BUCKET}/x", access).put_new("a", b"payload")
        said = str(caught.value)
        assert "status 403 InvalidAccessKeyId" in said
        assert not any(word in said for word in ("AKIASECRETID", SECRET_KEY, "payload", "Signature="))
        assert SECRET_KEY not in repr(access)


@pytest.mark.parametrize(
    ("lax", "match"),
    [
        ("create", r"create-only put .* over another to be refused, found it taken"),
        ("update", r"If-Match\) to be refused, found it taken"),
        ("refuse", r"over this version .* to be taken, found it refused"),
    ],
)
def test_a_server_without_conditional_writes_is_refused(lax: str, match: str) -> None:
    """A server that overwrites what it must keep, or the other way round, is told to the operator."""
    with LaxBucket(lax) as server:
        store = BucketStore("s3://bucket/log", server.access)
        with pytest.raises(ConfigurationError, match=match):
            store.prove_conditions()
        assert server.objects == {}


def test_a_strict_server_of_the_same_kind_is_taken() -> None:
    """The refusals above are the conditions' doing."""
    with LaxBucket("") as server:
        BucketStore("s3://bucket/log", server.access).prove_conditions()


@pytest.mark.parametrize("status", [500, 503])
def test_a_passing_failure_is_tried_again(status: int) -> None:
    """A write goes through although the server failed twice."""
    with LaxBucket("", failing=[status, status]) as server:
        BucketStore("s3://bucket/log", server.access).put_new("a", b"x")
        assert (len(server.asked), server.objects["/bucket/log/a"]) == (3, b"x")


def test_a_refusal_is_not_tried_again() -> None:
    """A 403 is an error at once."""
    with LaxBucket("", failing=[403] * 9) as server:
        with pytest.raises(StorageError, match="status 403"):
            BucketStore("s3://bucket/log", server.access).put_new("a", b"x")
        assert len(server.asked) == 1


def test_a_failure_that_stays_is_an_error_in_bounded_time() -> None:
    """Tries end: the engine has its own way to wait."""
    with LaxBucket("", failing=[503] * 99) as server:
        with pytest.raises(StorageError, match=r"creating a: .* found GenericError: status 503"):
            BucketStore("s3://bucket/log", server.access).put_new("a", b"x")
        assert len(server.asked) == 5


def test_a_write_whose_answer_was_lost_is_a_write() -> None:
    """It was stored, the connection cut: the client asks again and is refused, and the bytes are compared."""
    with LaxBucket("", cut_after_storing=1) as server:
        store = BucketStore("s3://bucket/log", server.access)
        store.put_new("a", b"x")
        assert server.asked[:2] == ["PUT /bucket/log/a", "PUT /bucket/log/a"]
        assert store.get("a") == b"x"


def test_nobody_answers() -> None:
    """A server that is not there is a storage error, from every call."""
    with LaxBucket("") as server:
        access = server.access
    store = BucketStore("s3://bucket/log", access)
    with pytest.raises(StorageError, match="no connection"):
        store.put_new_all([("a", b"x"), ("b", b"y")])


@pytest.mark.parametrize(
    "url",
    [
        "s3://user:password@bucket/log",
        "s3://bucket/log?key=secret",
        "s3://bucket/../other",
        "s3://",
        "file:///tmp/log",
        "memory:///",
        "https://bucket.s3.amazonaws.com/log",
    ],
)
def test_only_plain_bucket_urls_are_taken(url: str) -> None:
    """No credentials in a URL, no local folder through it, no path out of the prefix."""
    with pytest.raises(ConfigurationError, match="expected a bucket such as"):
        BucketStore(url)


def test_odd_names_never_leave_the_process(tmp_path: Path) -> None:
    """A name that a provider might store under another is refused before anything is sent."""
    store = BucketStore("s3://bucket/log", BucketAccess(endpoint="http://127.0.0.1:1", allow_http=True))
    for path in ("a b", "a%2fb", "a?b", "ä", "a\nb"):
        with pytest.raises(StorageError, match="relative path"):
            store.put_new(path, b"x")

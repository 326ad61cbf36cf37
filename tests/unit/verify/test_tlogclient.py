"""Reading a log: nothing is used before it was checked, and whatever is missing is only missing."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.merkle import hash_leaf, root_hash, verify_consistency, verify_inclusion
from auditlog.core.tiles import encode_bundle
from auditlog.errors import (
    ConfigurationError,
    MalformedError,
    SignatureError,
    SourceError,
    VerificationError,
)
from auditlog.verify.sources import MAX_OBJECT_BYTES, FolderSource, HttpSource, LogSource, open_source
from auditlog.verify.tlogclient import TlogClient, VerifiedTree
from tests.support.memory_source import MemorySource
from tests.support.tlog_writer import ORIGIN, log_files, log_signer, numbered_entries, write_log

SIZE = 70_000
KEYS = [log_signer().verifier]


@functools.cache
def _entries() -> list[bytes]:
    return numbered_entries(SIZE)


@functools.cache
def _hashes() -> list[bytes]:
    return [hash_leaf(entry) for entry in _entries()]


@functools.cache
def _files(size: int) -> dict[str, bytes]:
    return log_files(_entries()[:size])


def client(size: int, source: MemorySource | None = None) -> tuple[TlogClient, MemorySource]:
    """A client of the log of the first `size` entries."""
    source = source or MemorySource(dict(_files(size)))
    return TlogClient(source, KEYS, origin=ORIGIN), source


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 65_536, 70_000])
def test_proofs_verify_at_the_sizes_where_tiles_fill(size: int) -> None:
    """Inclusion of the first, middle and last entry, consistency from some sizes, roots of the past."""
    reader, _ = client(size)
    signed = reader.checkpoint()
    for index in {0, size // 2, size - 1}:
        verify_inclusion(_hashes()[index], index, size, reader.inclusion(index), signed.root_hash)
        assert reader.entry(index) == _entries()[index]
        assert reader.tree().leaf_hash(index) == _hashes()[index]
    for old in {0, 1, size // 3, size - 1, size}:
        old_root = root_hash(_hashes()[:old])
        assert reader.root_at(old) == old_root
        verify_consistency(old, size, reader.consistency(old), old_root, signed.root_hash)


def test_proofs_between_two_past_sizes() -> None:
    """A larger tree proves everything about the smaller trees inside it."""
    reader, _ = client(700)
    old, new = root_hash(_hashes()[:300]), root_hash(_hashes()[:513])
    verify_consistency(300, 513, reader.consistency(300, 513), old, new)
    verify_inclusion(_hashes()[299], 299, 513, reader.inclusion(299, 513), new)
    for wrong in (functools.partial(reader.consistency, 1, 701), functools.partial(reader.inclusion, 0, 701)):
        with pytest.raises(ValueError, match="expected a size"):
            wrong()


def test_a_proof_reads_few_tiles() -> None:
    """An inclusion proof in 70,000 leaves reads the right edge and two tiles, not the tree."""
    reader, source = client(SIZE)
    reader.inclusion(12_345)
    assert source.asked[0] == "checkpoint"
    assert set(source.asked[1:]) == {
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
        "tile/1/000",
        "tile/0/048",
    }


def test_a_partial_tile_may_have_become_full() -> None:
    """When a partial tile is gone, the full one is read and its first hashes are used."""
    reader, source = client(257)
    later = _files(512)
    del source.files["tile/0/001.p/1"], source.files["tile/entries/001.p/1"]
    source.files |= {"tile/0/001": later["tile/0/001"], "tile/entries/001": later["tile/entries/001"]}
    verify_inclusion(_hashes()[256], 256, 257, reader.inclusion(256), reader.checkpoint().root_hash)
    assert reader.entry(256) == _entries()[256]


def test_a_missing_tile_is_named_as_it_was_asked_for() -> None:
    """If neither the partial nor the full tile is there, nothing is proven and the partial one is named."""
    reader, source = client(257)
    del source.files["tile/0/001.p/1"]
    with pytest.raises(SourceError, match=r"tile/0/001\.p/1") as caught:
        reader.inclusion(3)
    assert caught.value.reason == "missing"
    source.refused.add("tile/0/001")
    with pytest.raises(SourceError) as caught:
        reader.inclusion(3)
    assert caught.value.reason == "refused"


@pytest.mark.parametrize(
    "path", ["tile/0/000", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
)
def test_a_flipped_bit_in_any_tile_is_caught_before_use(path: str) -> None:
    """Every tile on the way is bound to the signed root."""
    reader, source = client(SIZE)
    changed = bytearray(source.files[path])
    changed[0] ^= 1
    source.files[path] = bytes(changed)
    with pytest.raises(VerificationError):
        reader.inclusion(0)


@pytest.mark.parametrize("content", [b"", b"\x00" * 31, b"\x00" * 8160, b"\x00" * 8224])
def test_tiles_of_other_lengths_are_malformed(content: bytes) -> None:
    """A full tile is 8192 bytes."""
    reader, source = client(300)
    source.files["tile/0/000"] = content
    with pytest.raises(MalformedError):
        reader.inclusion(0)


def test_an_edited_entry_is_caught() -> None:
    """An entry that is not the one of the tree is refused, and so is another number of entries."""
    reader, source = client(257)
    entries = _entries()[:256]
    source.files["tile/entries/000"] = encode_bundle([*entries[:5], b"edited", *entries[6:]])
    with pytest.raises(VerificationError, match="entry 5"):
        reader.entry(200)
    source.files["tile/entries/000"] = encode_bundle(entries[:255])
    with pytest.raises(MalformedError):
        reader.entry(0)


def test_all_entries_in_order() -> None:
    """Entries are read bundle by bundle, each checked."""
    reader, source = client(600)
    assert list(reader.tree().entries()) == list(enumerate(_entries()[:600]))
    assert "tile/entries/002.p/88" in source.asked


def test_a_checkpoint_counts_only_if_the_log_signed_it() -> None:
    """Another key, another origin or a witness alone do not make a checkpoint."""
    witness = CosignatureSigner.from_seed("witness.example/w", b"\x07" * 32)
    text = _files(5)["checkpoint"].decode().split("\n\n")[0] + "\n"
    source = MemorySource({"checkpoint": (text + "\n" + witness.sign(text, 7)).encode()})
    with pytest.raises(SignatureError):
        TlogClient(source, [*KEYS, witness.verifier]).checkpoint()
    with pytest.raises(SignatureError):
        TlogClient(MemorySource(_files(5)), KEYS, origin="log.example/other").checkpoint()
    with pytest.raises(SignatureError):
        TlogClient(MemorySource(_files(5)), [log_signer("log.example/other").verifier]).checkpoint()


def test_a_checkpoint_over_other_tiles_is_refused() -> None:
    """A signed root the tiles do not give: the log contradicts itself."""
    forged = Checkpoint(ORIGIN, 300, b"\x01" * 32)
    files = _files(300) | {"checkpoint": sign_checkpoint(forged, log_signer()).encode()}
    with pytest.raises(VerificationError):
        TlogClient(MemorySource(files), KEYS).tree()


def test_the_empty_log_is_a_log() -> None:
    """Size 0 needs no tiles and proves nothing but its root."""
    reader, source = client(0)
    assert reader.checkpoint().tree_size == 0
    assert reader.consistency(0) == []
    assert source.asked == ["checkpoint"]
    with pytest.raises(ValueError, match="expected an index"):
        reader.inclusion(0)


def test_a_client_follows_a_growing_log() -> None:
    """After the next checkpoint the answers are about the larger tree."""
    reader, source = client(5)
    assert reader.entry(4) == _entries()[4]
    source.files = dict(_files(9))
    assert reader.checkpoint().tree_size == 9
    assert reader.entry(8) == _entries()[8]


def test_tiles_outside_the_tree_are_a_callers_mistake() -> None:
    """Asking for a tile the tree does not have is a ValueError."""
    tree = VerifiedTree(MemorySource(_files(300)), Checkpoint(ORIGIN, 300, root_hash(_hashes()[:300])))
    for level, index in ((0, 2), (0, -1), (1, 1)):
        with pytest.raises(ValueError, match="expected a tile index"):
            tree.tile(level, index)


def test_a_folder_is_read_without_leaving_it(tmp_path: Path) -> None:
    """Only the checkpoint and tile paths can be asked for; folders, pipes and absences are named."""
    write_log(tmp_path / "log", _entries()[:3])
    (tmp_path / "secret").write_text("x")
    source = open_source(str(tmp_path / "log"))
    assert isinstance(source, FolderSource)
    assert str(source) == str(tmp_path / "log")
    assert TlogClient(source, KEYS).entry(2) == _entries()[2]
    for path in ("../secret", "tile/0/../../secret", "/etc/hostname", ""):
        with pytest.raises(MalformedError):
            source.fetch(path)
    (tmp_path / "log" / "tile/0/001").mkdir()
    for path, reason in (
        ("tile/0/001", "unreachable"),
        ("tile/0/002", "missing"),
        ("tile/0/000.p/3/x", None),
    ):
        with pytest.raises((SourceError, MalformedError)) as caught:
            source.fetch(path)
        assert getattr(caught.value, "reason", None) == reason
    (tmp_path / "log" / "tile/0/003").write_bytes(b"x" * (MAX_OBJECT_BYTES + 1))
    with pytest.raises(SourceError):
        source.fetch("tile/0/003")


def test_a_folder_of_pipes_and_devices_never_waits(tmp_path: Path) -> None:
    """A pipe without a writer, a device, a socket or a link to one is unreachable at once; a link to a file
    is read.
    """
    (tmp_path / "tile/0").mkdir(parents=True)
    os.mkfifo(tmp_path / "checkpoint")
    os.symlink("/dev/zero", tmp_path / "tile/0/000")
    os.symlink(tmp_path / "checkpoint", tmp_path / "tile/0/001")
    (tmp_path / "real").write_bytes(b"x")
    os.symlink(tmp_path / "real", tmp_path / "tile/0/002")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "tile/0/003"))
        for path in ("checkpoint", "tile/0/000", "tile/0/001", "tile/0/003"):
            with pytest.raises(SourceError) as caught:
                FolderSource(tmp_path).fetch(path)
            assert caught.value.reason == "unreachable"
    assert FolderSource(tmp_path).fetch("tile/0/002") == b"x"


@pytest.mark.parametrize(
    ("target", "kind"),
    [("HTTP://127.0.0.1/log", HttpSource), ("https://127.0.0.1", HttpSource), ("a:b/log", FolderSource)],
)
def test_a_target_is_a_url_or_a_folder(target: str, kind: type) -> None:
    """Schemes are read in any case; what is neither http nor a folder's name is refused."""
    assert isinstance(open_source(target), kind)
    for wrong in ("", "ftp://127.0.0.1/log", "file:///log"):
        with pytest.raises(ConfigurationError):
            open_source(wrong)


@pytest.mark.parametrize("token", ["", "gehe\u00efm", "a b", "a\nb"])
def test_a_token_no_header_can_hold_is_refused(token: str) -> None:
    """It is the caller's own mistake, and is not shown."""
    with pytest.raises(ConfigurationError, match="expected a token of printable ASCII"):
        HttpSource("http://127.0.0.1:1", token)


class _Handler(BaseHTTPRequestHandler):
    """Answers by the first path element after the prefix."""

    def do_GET(self) -> None:
        """Serve the status in the path, or a body."""
        wanted = self.path.rsplit("/", 1)[1]
        status = int(wanted) if wanted.isdigit() and len(wanted) == 3 and int(wanted) >= 100 else 200
        body = str(self.headers.get("Authorization")).encode()
        if "huge" in self.path:
            body = b"x" * (MAX_OBJECT_BYTES + 10)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client hangs up, as it should on a body without end
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """A local server of odd answers."""
    httpd = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_http_answers_are_sorted_into_reasons(server: str) -> None:
    """401 and 403 are refusals, 404 and 410 absences, all else no answer; no redirects."""
    source = open_source(server + "/", token="secret")
    assert isinstance(source, HttpSource)
    with source:
        assert str(source) == server
        assert source.fetch("checkpoint") == b"Bearer secret"
        reasons = {
            401: "refused",
            403: "refused",
            404: "missing",
            410: "missing",
            302: "unreachable",
            500: "unreachable",
        }
        for status, reason in reasons.items():
            with pytest.raises(SourceError) as caught:
                source.fetch(f"tile/0/{status}")
            assert caught.value.reason == reason
            assert "secret" not in str(caught.value)


def test_http_bodies_are_bounded(server: str) -> None:
    """A body over the size of the largest bundle is not read to its end."""
    with HttpSource(server + "/huge") as source, pytest.raises(SourceError):
        source.fetch("checkpoint")


_SLOW = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "nothing": (b"", b""),
}


@pytest.fixture(params=_SLOW.values(), ids=_SLOW.keys())
def slow_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that answers every request with a beginning, and then a little from time to time."""
    beginning, more = request.param
    ended = threading.Event()

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listening.accept()[0]
                with connection, contextlib.suppress(OSError):
                    connection.sendall(beginning)
                    while not ended.wait(0.02):
                        connection.sendall(more)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_server_that_never_ends_is_unreachable(slow_server: str) -> None:
    """Each object has a deadline, however lively the connection looks; the next one is not waited for."""
    with HttpSource(slow_server, object_s=0.2) as source:
        for _ in range(2):
            with pytest.raises(SourceError, match="too slow") as caught:
                source.fetch("checkpoint")
            assert caught.value.reason == "unreachable"


def test_all_objects_together_have_a_budget(server: str) -> None:
    """Answers that are each in time use it up."""
    ticks = iter(range(0, 10_000, 30))
    with HttpSource(server, budget_s=100.0, monotonic=lambda: float(next(ticks))) as source:
        for _ in range(3):
            source.fetch("checkpoint")
        source.fetch("checkpoint")
        with pytest.raises(SourceError, match="too slow"):
            source.fetch("checkpoint")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://127.0.0.1:99999999",
        "http://[bad",
        "http://a..b/",
        "http://" + "a" * 70 + "/",
    ],
)
def test_no_server_is_unreachable(url: str) -> None:
    """A closed port and a URL that is none are the same: nobody answered."""
    with HttpSource(url) as source, pytest.raises(SourceError) as caught:
        source.fetch("checkpoint")
    assert caught.value.reason == "unreachable"


def test_sources_are_log_sources() -> None:
    """The sources fit the protocol the client asks for."""
    sources: list[LogSource] = [MemorySource({}), FolderSource("."), HttpSource("http://127.0.0.1:1")]
    assert len(sources) == 3

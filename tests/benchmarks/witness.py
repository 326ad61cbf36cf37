"""A witness's cosignatures, in the core and over HTTP, against a raw Ed25519 verification and signature each.

The core is `add_checkpoint` with everything it does (parsing, the log's signature, the consistency proof, the
cosignature, a durable commit and the high-water mark), for many logs at once, as a public witness has them;
CPU seconds of one process, waiting for the disk not counted. Over HTTP the witness is a process of its own,
its CPU seconds alone are counted, and its clients keep their connections.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import count, islice
from pathlib import Path

from measure import Result, arguments, paired, ratio_result, report

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.integrate import RightEdge
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import prove_consistency
from auditlog.core.witnessing import AddCheckpoint, format_add_checkpoint
from auditlog.witness.cosigner import Cosigner
from auditlog.witness.states import States
from tests.support.witness_process import WitnessProcess

LOGS = 64
STEP = 100
"""Entries between two checkpoints of a log: proofs of about ten hashes."""


def requests_of(key: Ed25519Signer, rounds: int) -> list[bytes]:
    """A log that grows, asking from size to size."""
    leaves: list[bytes] = []
    edge, found = RightEdge(), []
    for number in range(rounds):
        old = len(leaves)
        more = [sha256(b"%d %d" % (number, n)).digest() for n in range(STEP)]
        leaves += more
        edge.extend(more)
        proof = tuple(prove_consistency(leaves, old)) if old else ()
        note = sign_checkpoint(Checkpoint(key.name, len(leaves), edge.root_hash()), key)
        found.append(format_add_checkpoint(AddCheckpoint(old, proof, note)))
    return found


def together(ask: Callable[[bytes], object], asked: list[Iterator[bytes]], rounds: int) -> None:
    """So many requests of each log, every log on a thread of its own."""

    def one(requests: Iterator[bytes]) -> None:
        for body in islice(requests, rounds):
            ask(body)

    threads = [threading.Thread(target=one, args=(each,)) for each in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cpu_of(pid: int) -> float:
    """CPU seconds of another process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def raw(times: int) -> Callable[[], None]:
    """So many verifications and signatures with nothing around them."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    message = b"x" * 150
    signature, public = key.sign(message), key.public_key()

    def work() -> None:
        for _ in range(times):
            public.verify(signature, message)
            key.sign(message)

    return work


def of_core(folder: Path, keys: list[Ed25519Signer], pairs: int) -> list[Result]:
    """In this process: many logs at once, and one log alone."""
    signer = CosignatureSigner.from_seed("witness.example/bench", b"b" * 32)
    results = []
    for name, followed, target in (
        (f"cosign, core, {len(keys)} logs at once", keys, 0.5),
        ("cosign, core, one log alone", keys[:1], None),
    ):
        states = States(folder / str(len(followed)), signer.verifier)
        clock = count(1_800_000_000).__next__
        cosigner = Cosigner([key.verifier for key in followed], signer, states, clock)
        rounds = 8 if len(followed) > 1 else 50
        asked = [iter(requests_of(key, (pairs + 1) * rounds)) for key in followed]

        def ours(ask=cosigner.add_checkpoint, asked=asked, rounds=rounds) -> None:
            together(ask, asked, rounds)

        done = rounds * len(followed)
        mine, ceiling = paired(ours, raw(done), pairs=pairs)
        states.close()
        results.append(
            ratio_result(
                name,
                mine,
                ceiling,
                operations=done,
                unit="cosignatures/s",
                against="raw Ed25519 verify + sign, CPU time",
                at_least=target,
            )
        )
    return results


def over_http(folder: Path, keys: list[Ed25519Signer], rounds: int) -> list[Result]:
    """A process, asked by as many clients as there are logs: by its CPU, and by the clock on the wall."""
    witness = WitnessProcess(folder / "w", *(key.vkey for key in keys))
    witness.start()
    asked = [iter(requests_of(key, rounds + 1)) for key in keys]
    try:
        with httpx.Client(limits=httpx.Limits(max_connections=len(keys))) as client:

            def ask(body: bytes) -> None:
                client.post(f"{witness.url}/add-checkpoint", content=body, timeout=60).raise_for_status()

            together(ask, asked, 1)
            assert witness.pid is not None
            before, began = cpu_of(witness.pid), time.perf_counter()
            together(ask, asked, rounds)
            spent, passed = cpu_of(witness.pid) - before, time.perf_counter() - began
    finally:
        witness.kill()
    done = rounds * len(keys)
    work, began = raw(done), time.process_time()
    work()
    ceiling = time.process_time() - began
    against = "raw Ed25519 verify + sign, CPU time of the witness"
    return [
        ratio_result(
            "cosign over HTTP, by its CPU",
            [spent],
            [ceiling],
            operations=done,
            unit="cosignatures/s",
            against=against,
        ),
        Result(
            "cosign over HTTP, by the wall, clients and disk too", round(done / passed, 1), "cosignatures/s"
        ),
    ]


def main() -> None:
    """Print cosignatures a second."""
    options = arguments(__doc__ or "")
    pairs, rounds = (5, 10) if options.quick else (15, 40)
    folder = Path(tempfile.mkdtemp(prefix="auditlog-witness-bench-"))
    keys = [Ed25519Signer.from_seed(f"log.example/{n}", bytes([n]) * 32) for n in range(LOGS)]
    stdout, sys.stdout = sys.stdout, sys.stderr  # what `init` prints is no result
    try:
        results = [*of_core(folder, keys, pairs), *over_http(folder, keys, rounds)]
    finally:
        sys.stdout = stdout
        shutil.rmtree(folder)
    report(results, as_json=options.json)


if __name__ == "__main__":
    main()

"""Why a figure misses its target, by the beginning of its name: printed wherever one does.

Each says what was measured about the cause, or that nobody has looked. A figure that meets its target again
simply stops printing its line.
"""

from __future__ import annotations

_LOCK = (
    "what one process does has one interpreter lock: each system call or SQL step gives it away and has to "
    "win it back"
)

WHY = {
    "entries committed over HTTP, index on": "as with the index off, and the index costs as much again "
    "as the service itself: entries are decoded once more, leaf keys and ids go into two b-trees of SQLite, "
    "whose one writer the commits wait for",
    "entries committed over HTTP, index off": "the ceiling hashes once and appends once; the log reads each "
    "entry strictly, hashes it again from the staged bytes before it signs, writes it twice (staged, then "
    "its bundle), and signs and commits each group: some 25 us of CPU an entry over all its processes, which "
    "share two cores with the client, where the ceiling takes 4",
    "posts of one entry, 64 producers": "each brings a signed head, and one Ed25519 verification takes 133 "
    "us here, a seventh of what the whole post takes; HTTP takes a quarter. " + _LOCK,
    "one entry at half that load": "a post waits for the commit before its own and then for its own, each "
    "some twenty waits for disk and SQL behind the interpreter lock",
    "JetStream R3, committed": "three servers that sync each message, the publisher and the sequencer share "
    "two cores; each envelope is checked by the replica and again by the sequencer",
    "fsck, chains and heads included": "every entry is decoded to check its chain, which costs several times "
    "its hash; `tree only` shows what is left without",
    "tree only": "cutting bundles into entries and calling the hash for each of them costs Python about as "
    "much as the hash itself",
    "two processes": "the judge that puts the parts together is a third process on two cores",
    "verify receipts of one log": "six Ed25519 verifications of 133 us each are 0.8 ms of it",
    "verify a receipt offline": "six Ed25519 verifications of 133 us each are 0.8 ms of it",
    "added, 1 KB chat, promised": "two signatures, sealed fields and the spool's write; a middleware that "
    "only hashes and appends a line costs some 200 us here, so 120 needs a faster machine or native code",
    "of it before the answers had left": "as the line above: the promise is signed before the answer leaves",
    "throughput kept, 5 ms of": "the middleware's CPU time comes out of the same two cores as the model's",
    "p99 added in fail_closed": "an answer waits for the fsync of its group behind the one before it, while "
    "both cores are busy",
    "added to generate": "on a machine this small the interval is wider than the effect",
    "cosign, core": "the durable commit in SQLite and the high-water mark are in it, beside the log's "
    "signature, the proof and the cosignature",
    "proof at the end over that": "a third level of tiles is read",
    "10,000,000 entries over 10,000": "a third level of tiles is read; the median is below, its bad end not",
}


def why(name: str) -> str:
    """What is known of the cause; says so if nothing is."""
    found = [text for beginning, text in WHY.items() if name.strip().startswith(beginning)]
    return found[0] if found else "nobody has looked for the cause yet"

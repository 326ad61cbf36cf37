"""Creating a log, and opening one that exists. Both end in a `Log` that may sign, or in an error.

Spec: design section 6. Opening goes through recovery and the rollback guard before anything can be signed.
Creating writes genesis, which fixes origin, key, visibility, merge delay and contact for ever.
Must never: create a log where one exists, or sign before every outside source was asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.entry import parse_entry
from auditlog.core.note import Ed25519Signer
from auditlog.core.proofs import EMPTY_ROOT
from auditlog.errors import ConfigurationError
from auditlog.log.aside import HERE, Hands
from auditlog.log.clock import Clock
from auditlog.log.config import LogConfig, Stores
from auditlog.log.engine import Engine, Workers
from auditlog.log.live import Live
from auditlog.log.log import Log
from auditlog.log.reader import Reader
from auditlog.log.recover import check_own_head, recover
from auditlog.log.rollback import (
    Guard,
    ask,
    check_not_older,
    check_not_rolled_back,
    check_nothing_seen,
    no_guard,
)
from auditlog.log.standing import successor_of
from auditlog.log.tree import EMPTY_TREE
from auditlog.log.witnesses import Witnesses
from auditlog.storage.records import RETIRED


def create_log(
    config: LogConfig,
    stores: Stores,
    signer: Ed25519Signer,
    clock: Clock,
    *,
    outside: Sequence[Guard] = (),
    engine: Workers | None = None,
    witnesses: Witnesses | None = None,
    hands: Hands = HERE,
    is_key_new: bool = False,
) -> Log:
    """Create a log in empty stores: write genesis, commit and publish it. Returns the running log.

    With `is_key_new` the caller has just made the key, and knows that it never signed anything: witnesses may
    then be silent. If the process dies before genesis is committed, call it again; after that, `open_log`.

    Raises:
        ConfigurationError: a log is there already, or its stores are not empty, or the key has another name.
        RollbackError: somebody outside knows a log of this origin.
        GuardUnreachable: too few witnesses say that they know none, the key is not new, and no explicit flag.
        StorageError: a store failed.
    """
    _check_key(config, signer)
    if stores.state.read() is not None:
        raise ConfigurationError(f"expected no log of origin {config.origin} in the database, found one")
    if stores.public.list() or stores.private.list("tile/"):
        raise ConfigurationError("expected empty folders for a new log, found files in them")
    _check_guard(config, outside)
    was_guarded = check_nothing_seen(outside, is_key_new=is_key_new, allow_unguarded=config.allow_unguarded)
    # A signature on nothing is consistent with every tree: it may be remembered before there is a log, so
    # that a death right after genesis does not look like a guard that was lost.
    nothing = sign_checkpoint(Checkpoint(config.origin, 0, EMPTY_ROOT), signer)
    for source in outside:
        source.record(nothing)
    log = _assemble(Live(config, stores, signer, clock, EMPTY_TREE), outside, engine, witnesses, hands)
    genesis = {
        "vkeys": [signer.vkey],
        "visibility": str(config.visibility),
        "max_merge_delay_s": config.max_merge_delay_s,
        "contact": config.contact,
    }
    done = log.append_own("genesis", genesis)
    log.run_pending()
    try:
        done.result(timeout=0)
    except Exception:
        log.close()
        raise
    log.retention.begin()
    if not outside:
        _note_unguarded(log)
    elif not was_guarded:
        _note_unguarded(log, "witnesses were silent when this log was created with a key made earlier")
    return log


def open_log(
    config: LogConfig,
    stores: Stores,
    signer: Ed25519Signer,
    clock: Clock,
    *,
    outside: Sequence[Guard] = (),
    engine: Workers | None = None,
    witnesses: Witnesses | None = None,
    hands: Hands = HERE,
) -> Log:
    """Open a log that exists: recover it, ask every outside source, then run.

    Raises:
        ConfigurationError: there is no log of this origin, or no rollback guard and no explicit flag, or the
        settings differ from genesis.
        RollbackError: an outside source has seen a larger or another tree.
        StorageError: a store failed, or does not hold what was signed.
    """
    _check_key(config, signer)
    _check_guard(config, outside)
    live = Live(config, stores, signer, clock, EMPTY_TREE)
    asked = ask(outside, stores)
    # A start that is refused for what it is, an old copy, has not even put a tile in its place.
    unguarded = config.allow_unguarded
    found = recover(
        live.layout,
        signer.verifier,
        lambda size: check_not_older(asked, tree_size=size, allow_unguarded=unguarded),
    )
    if found is None:
        raise ConfigurationError(f"expected a log of origin {config.origin} in the database, found none")
    live.chains.load(found.chains)
    live.tree = found.tree
    live.next_index = found.tree.size
    live.minimum = found.committed.minimum
    reader = Reader(live)
    # The entry says it too: a row that was put back does not bring an ended log back.
    live.stand(RETIRED if successor_of(live, reader) is not None else found.committed.standing)
    check_own_head(found.committed, reader)
    _check_genesis(config, signer, reader)
    guarded = check_not_rolled_back(
        asked, tree_size=found.tree.size, root_at=reader.root_at, allow_unguarded=unguarded
    )
    for source, seen in asked:
        if seen is None or seen.tree_size < found.tree.size:
            source.record(found.committed.note)
    log = _assemble(live, outside, engine, witnesses, hands)
    log.start()
    log.retention.begin()
    if found.committed.restored:
        log.note({"what": "restored", "detail": f"from a backup of size {found.tree.size}"})
    if not guarded:
        _note_unguarded(log)
    return log


def _assemble(
    live: Live,
    outside: Sequence[Guard],
    engine: Workers | None,
    witnesses: Witnesses | None,
    hands: Hands,
) -> Log:
    if engine is not None:
        return Log(live, outside, engine, lambda: None, witnesses=witnesses, hands=hands)
    own = Engine()
    return Log(live, outside, own, own.close, witnesses=witnesses, hands=hands)


def _note_unguarded(
    log: Log, detail: str = "no source outside the stores was asked before this start"
) -> None:
    """Say in the log itself, for ever, that nobody outside vouched for this start."""
    log.note({"what": "unguarded_start", "detail": detail})


def _check_key(config: LogConfig, signer: Ed25519Signer) -> None:
    if signer.name != config.origin:
        raise ConfigurationError(f"expected a key named {config.origin}, found one named {signer.name}")


def _check_guard(config: LogConfig, outside: Sequence[Guard]) -> None:
    if not outside and not config.allow_unguarded:
        raise no_guard()


def _check_genesis(config: LogConfig, signer: Ed25519Signer, reader: Reader) -> None:
    """What genesis fixed for ever, the settings must still say."""
    body = parse_entry(reader.entry(0)).body
    found = (body.get("vkeys"), body.get("visibility"))
    wanted = ([signer.vkey], str(config.visibility))
    if found != wanted:
        raise ConfigurationError(
            f"expected the key and visibility of genesis {found}, found settings {wanted}"
        )

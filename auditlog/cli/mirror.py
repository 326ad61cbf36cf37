"""`auditlog mirror SOURCE TARGET --vkey VKEY`: copy a whole log, checked as it is copied.

Spec: auditlog/spec/log.md, "Mirrors". From a folder, a URL or a bucket, to a folder or a bucket that any file
server can serve. Exit 0 copied whole, 1 the log is not what it signed, 3 not all of it could be read (the
same command goes on from there), or another run has the folder. Must never: write other bytes over what is
there.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditlog.cli.output import say, say_json
from auditlog.cli.progress import Bar
from auditlog.cli.reading import read_text_line

if TYPE_CHECKING:
    from auditlog.errors import InconsistentLogError
    from auditlog.verify.mirror import MirrorTarget

EXIT_FAILED, EXIT_NOT_COPIED = 1, 3


def mirror(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Folder, URL or bucket of a log.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Folder or bucket for the copy.")],
    *,
    vkey: Annotated[str, typer.Option("--vkey", help="Key of the log, or a file that holds it.")],
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Token with scope read, for entries.")
    ] = None,
    hashes_only: Annotated[
        bool, typer.Option("--hashes-only", help="Leave the entries out even if they are served.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Copy a log, or bring a copy up to date. Exit 0 whole, 1 the log contradicts itself, 3 not all read.

    One run at a time has a folder: a second one ends at once with exit code 3 and changes nothing there.
    """
    from auditlog.errors import InconsistentLogError
    from auditlog.verify.mirror import mirror as copy_log
    from auditlog.verify.sources import HttpSource, open_source

    key = vkey if "+" in vkey else read_text_line(Path(vkey), "--vkey")
    token = None if token_file is None else read_text_line(token_file, "--token-file")
    opened, bar = open_source(source, token), Bar("copying", with_rate=True)
    try:
        store = open_target(target)
        with _lock(target):
            done = copy_log(opened, store, key, hashes_only=hashes_only, progress=bar)
    except InconsistentLogError as error:
        _convict(error, as_json=json)
        raise typer.Exit(EXIT_FAILED) from None
    finally:
        bar.close()
        if isinstance(opened, HttpSource):
            opened.close()
    is_whole = (done.has_entries or hashes_only) and not done.pruned
    code = 0 if is_whole else EXIT_NOT_COPIED
    if json:
        say_json({**done.to_json(), "exit_code": code})
    else:
        say(f"{done.origin}: {done.size} entries, root {done.root_hash.hex()}, {done.copied} objects written")
        if done.copy_size > done.size:
            say(f"another run has brought the copy to {done.copy_size} entries meanwhile; that was left")
        if done.pruned:
            say(f"not copied: the log has pruned its entries below the published minimum index {done.pruned}")
        elif code:
            say("hashes only: it serves no entries to this reader (--token-file; --hashes-only accepts it)")
    raise typer.Exit(code)


def open_target(target: str) -> MirrorTarget:
    """The store a person means by a folder name or a bucket URL.

    Raises:
        ConfigurationError: a URL of another kind. StorageError: it cannot be opened.
    """
    from auditlog.errors import ConfigurationError

    if "://" not in target:
        from auditlog.storage.files import FileStore

        # By its real name, so that the lock and the temporary files of one folder lie in one place.
        return FileStore(Path(target).resolve(), for_all_to_read=True)
    if target.split("://", 1)[0] not in {"s3", "gs", "az"}:
        raise ConfigurationError(f"expected a folder or a bucket for the copy, found {target[:80]!a}")
    from auditlog.bucket_client import BucketAccess
    from auditlog.storage.buckets import BucketStore

    store = BucketStore(target, BucketAccess())
    store.prove_conditions()
    return store


def _lock(target: str) -> AbstractContextManager[None]:
    """A folder is one run's at a time; a bucket has no lock, and there the checkpoint alone decides."""
    from auditlog.storage.alone import alone

    return nullcontext() if "://" in target else alone(Path(target), "mirror")


def _convict(error: InconsistentLogError, *, as_json: bool) -> None:
    """Show the two signed checkpoints: whoever holds them can prove it."""
    from auditlog.cli.output import say_error

    if as_json:
        evidence: dict[str, Any] = {"smaller": error.smaller, "larger": error.larger}
        say_json({"exit_code": EXIT_FAILED, "error": str(error), "evidence": evidence})
        return
    say_error(str(error))
    say("Nothing was copied. Both checkpoints are signed by the log; keep them:")
    for note in (error.smaller, error.larger):
        say()
        for line in note.splitlines():
            say(line)

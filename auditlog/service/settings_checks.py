"""Combinations of settings that are each fine alone and dangerous together. One function per danger.

Spec: auditlog/spec/api.md, section "Configuration". Promises: `refuse_dangerous` raises ConfigurationError
with what was expected and what was found. Must never: read or print a secret, or touch the file system.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from auditlog.errors import ConfigurationError
from auditlog.service.settings_ingest import check_ingest
from auditlog.service.settings_types import is_loopback
from auditlog.service.witnessing import witnessing_of

if TYPE_CHECKING:
    from auditlog.service.settings import LogSettings, Settings


_SUBJECT = re.compile(
    r"system:serviceaccount:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?:[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
)


def refuse_dangerous(settings: Settings) -> None:
    """Run every check below. Raises ConfigurationError at the first danger."""
    _check_exposure(settings)
    _check_limits(settings)
    _check_tokens(settings)
    _check_kubernetes(settings)
    _check_anchoring(settings)
    check_ingest(settings.ingest, settings.service)
    _check_unique(settings)
    _check_buckets(settings)
    for log in settings.logs:
        check_log(settings, log)


def _check_exposure(settings: Settings) -> None:
    """Tokens and capabilities are bearer secrets: on a network they need TLS, or an explicit acceptance."""
    service = settings.service
    if is_loopback(service.host) or service.allow_plain_http:
        return
    if service.public_url is None or not service.public_url.startswith("https://"):
        raise ConfigurationError(
            f"expected an https:// service.public_url (TLS ends in front) for host {service.host}, "
            f"found {service.public_url}; allow_plain_http = true accepts tokens in clear"
        )


def _check_limits(settings: Settings) -> None:
    """One batch must fit what may wait, or no batch would ever be accepted."""
    service = settings.service
    if service.max_waiting_bytes < service.max_batch_bytes:
        raise ConfigurationError(
            f"expected service.max_waiting_bytes >= max_batch_bytes ({service.max_batch_bytes}), "
            f"found {service.max_waiting_bytes}"
        )
    if service.database_url is not None and service.database_url_file is not None:
        raise ConfigurationError("expected one of service.database_url and database_url_file, found both")


def _check_tokens(settings: Settings) -> None:
    """A token has exactly one source, and names only logs that exist."""
    names = {log.name for log in settings.logs}
    for token in settings.tokens:
        if (token.sha256 is None) == (token.token_file is None):
            raise ConfigurationError(f"expected token {token.name} to have one of sha256 and token_file")
        missing = set(token.logs or ()) - names
        if missing:
            raise ConfigurationError(
                f"expected token {token.name} to name configured logs, found {sorted(missing)}"
            )


def _check_kubernetes(settings: Settings) -> None:
    """The keys that let callers in come from one place that others cannot write to."""
    kubernetes = settings.enrolment.kubernetes
    if kubernetes is None:
        return
    if (kubernetes.jwks_file is None) == (kubernetes.jwks_url is None):
        raise ConfigurationError("expected one of enrolment.kubernetes.jwks_file and jwks_url")
    url = urlsplit(kubernetes.jwks_url or "")
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ConfigurationError("expected an https:// enrolment.kubernetes.jwks_url, found http://")
    for subject in kubernetes.subjects:
        if not _SUBJECT.fullmatch(subject):
            raise ConfigurationError(
                "expected enrolment.kubernetes.subjects like system:serviceaccount:NAMESPACE:NAME, "
                f"found {subject[:100]!r}"
            )
    missing = set(kubernetes.logs or ()) - {log.name for log in settings.logs}
    if missing:
        raise ConfigurationError(
            f"expected enrolment.kubernetes.logs to name configured logs, found {sorted(missing)}"
        )
    if "admin" in kubernetes.scopes:
        raise ConfigurationError("expected enrolment.kubernetes.scopes without admin, found it")


def _check_anchoring(settings: Settings) -> None:
    """A real chain needs a node, its id and the owner's key; no setting of it may be left half made."""
    anchoring = settings.anchoring
    if anchoring.rpc_url is not None and anchoring.rpc_url_file is not None:
        raise ConfigurationError("expected one of anchoring.rpc_url and rpc_url_file, found both")
    if anchoring.password_file is not None and anchoring.key_file is None:
        raise ConfigurationError("expected a keystore in anchoring.key_file for password_file, found none")
    if anchoring.mode != "rpc":
        return
    missing = [
        name
        for name, value in (
            ("rpc_url or rpc_url_file", anchoring.rpc_url or anchoring.rpc_url_file),
            ("chain_id", anchoring.chain_id),
            ("key_file", anchoring.key_file),
        )
        if value is None
    ]
    if missing:
        raise ConfigurationError(
            f"expected all settings of anchoring.mode rpc, found no {', '.join(missing)}"
        )


def _check_unique(settings: Settings) -> None:
    """Two logs that share a name, an origin, a key or a folder would sign two histories of one log."""
    paths = [settings.paths(log) for log in settings.logs]
    for what, values in (
        ("name", [log.name for log in settings.logs]),
        ("origin", [log.origin for log in settings.logs]),
        ("key_file", [str(each.key_file) for each in paths]),
        ("public_dir", [str(each.public_dir) for each in paths]),
        ("private_dir", [str(each.private_dir) for each in paths]),
        ("high_water_file", [str(each.high_water_file) for each in paths if each.high_water_file]),
        ("name of a token", [token.name for token in settings.tokens]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise ConfigurationError(f"expected every {what} once, found {twice[0]} twice")


def _check_buckets(settings: Settings) -> None:
    """Buckets are reached safely, and no log's objects lie where another's, or its own public ones, do."""
    buckets = settings.buckets
    if (buckets.endpoint or "").startswith("http://") and not buckets.allow_http:
        raise ConfigurationError(
            "expected an https:// buckets.endpoint, found http://; allow_http = true accepts entries in clear"
        )
    if (buckets.access_key_id_file is None) != (buckets.secret_access_key_file is None):
        raise ConfigurationError(
            "expected both buckets.access_key_id_file and secret_access_key_file, or none"
        )
    if buckets.session_token_file is not None and buckets.access_key_id_file is None:
        raise ConfigurationError("expected buckets.access_key_id_file beside session_token_file, found none")
    for log in settings.logs:
        for name, store, folder in (
            ("public", log.public_store, log.public_dir),
            ("private", log.private_store, log.private_dir),
        ):
            if store is not None and folder is not None:
                raise ConfigurationError(
                    f"log {log.name}: expected one of {name}_store and {name}_dir, found both"
                )
    _check_apart(settings)


def _check_apart(settings: Settings) -> None:
    """No store is another, or inside another. One look at neighbours, for there may be hundreds of logs."""
    urls = [url for log in settings.logs for url in settings.stores(log).all]
    named = [*urls, settings.buckets.root or "s3://"]
    if settings.buckets.endpoint is not None and any(not url.startswith("s3://") for url in named):
        raise ConfigurationError("expected only s3:// stores beside buckets.endpoint, found another")
    ordered = sorted(f"{url}/" for url in urls)
    for outer, inner in pairwise(ordered):
        if inner.startswith(outer):
            raise ConfigurationError(
                f"expected every store of every log apart from the others, found {inner} inside {outer}"
            )


def check_log(settings: Settings, log: LogSettings) -> None:
    """Secrets stay out of the folder that may be published;
    the rollback guard stays out of what a backup restores.

    Raises:
        ConfigurationError: a path of `log` lies where it must not.
    """
    paths = settings.paths(log)
    _check_witnesses(log)
    secrets = [
        paths.key_file,
        paths.receipt_secret_file,
        paths.private_dir,
        paths.outcomes_key_file,
        paths.facts_key_file,
    ]
    for secret in secrets:
        _expect_outside(secret, paths.public_dir, f"log {log.name}: secrets and private bundles")
    if settings.service.data_dir == paths.public_dir:
        raise ConfigurationError(
            f"log {log.name}: expected public_dir apart from data_dir, found the same folder"
        )
    _expect_outside(settings.service.data_dir, paths.public_dir, f"log {log.name}: data_dir")
    if paths.high_water_file is not None:
        for folder in (settings.service.data_dir, paths.public_dir):
            _expect_outside(paths.high_water_file, folder, f"log {log.name}: high_water_file")
    elif not (log.allow_unguarded_start or _guarded_outside(settings, log)):
        raise ConfigurationError(
            f"log {log.name}: expected a rollback guard (high_water_file, high_water_dir, witnesses or a "
            "chain), found none; allow_unguarded_start = true goes on without and says so in the log"
        )
    if log.publish_interval_s > log.max_merge_delay_s:
        raise ConfigurationError(
            f"log {log.name}: expected publish_interval_s <= max_merge_delay_s ({log.max_merge_delay_s}), "
            f"found {log.publish_interval_s}"
        )


def _guarded_outside(settings: Settings, log: LogSettings) -> bool:
    """Whether a chain or witnesses remember the log."""
    return settings.anchoring.mode == "rpc" or (witnessing_of(log) is not None and log.witness_guard != "off")


def _check_witnesses(log: LogSettings) -> None:
    """Every witness counts once and can be reached, and what is to wait for a quorum can get one."""
    witnessing = witnessing_of(log)
    if witnessing is None:
        for name, is_set in (
            ("witness_guard", log.witness_guard is not None),
            ('when_no_quorum = "hold"', log.when_no_quorum == "hold"),
        ):
            if is_set:
                raise ConfigurationError(f"log {log.name}: expected witnesses beside {name}, found none")
        return
    if log.when_no_quorum == "hold" and witnessing.policy.quorum is None:
        raise ConfigurationError(
            f'log {log.name}: expected a quorum for when_no_quorum = "hold", found quorum none: nothing '
            "would ever be published"
        )
    if log.witness_timeout_s >= log.max_merge_delay_s:
        raise ConfigurationError(
            f"log {log.name}: expected witness_timeout_s < max_merge_delay_s ({log.max_merge_delay_s}), "
            f"found {log.witness_timeout_s}"
        )


def _expect_outside(path: Path, folder: Path, what: str) -> None:
    """Refuse `path` inside `folder`."""
    if path.is_relative_to(folder):
        raise ConfigurationError(f"{what}: expected outside {folder}, found {path}")

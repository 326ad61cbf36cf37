"""Reaching an S3, GCS or Azure bucket by URL, and what its failures say. The one place that builds a client.

Spec: `auditlog/spec/api.md`, "Buckets". Stands on nothing but `auditlog.errors`, so that the service's stores
and a verifier's source share it; obstore, which only the service's extra brings, is imported in functions.
Promises: every request has a time-out and few retries, of transient failures only. Must never: let a
credential, or the words of a server, into a message.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from auditlog.errors import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Client

SCHEMES = ("s3", "gs", "az")
URL_PATTERN = r"^(s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]{1,254}(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$"
"""A bucket and a prefix. No user part and no query, so that nothing in it can be a secret; no `..`."""

REQUEST_S = 30
"""One request whole, from connecting to the last byte; the largest staged commit is some 34 MB."""
_CONNECT_S = 5
_RETRIES = 4
_RETRY_S = 20
"""After this many seconds a request that failed is not made again."""

_URL = re.compile(URL_PATTERN)
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_KIND = re.compile(r"kind: (Connect|Timeout|Request|Interrupted|Decode)\b")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_KINDS = {
    "Connect": "no connection",
    "Timeout": "no answer in time",
    "Request": "a request that could not be sent",
    "Interrupted": "a connection that was cut",
    "Decode": "an answer cut short",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketAccess:
    """How an S3 bucket is reached. What is None comes from the environment, as other tools of the provider
    read it (AWS_*); GCS and Azure know their environment only (GOOGLE_*, AZURE_*).
    """

    endpoint: str | None = None
    """URL of an S3-compatible server; None: the provider's own."""
    region: str | None = None
    allow_http: bool = False
    """Speak without TLS. The signature hides the secret key, but nothing hides the entries."""
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)


def open_client(url: str, access: BucketAccess) -> Client:
    """A client of the bucket and prefix that `url` names; nothing is sent yet.

    Raises:
        ConfigurationError: the URL, or what the environment says; or obstore is not installed.
    """
    if not _URL.fullmatch(url):
        raise ConfigurationError(
            # Not what was found: a key or a signature may stand in it.
            "expected a bucket such as s3://bucket/prefix (or gs://, az://), found another address"
        )
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise ConfigurationError(
            "expected obstore for a bucket, found it not installed: pip install 'auditlog[service]'"
        ) from None
    options: dict[str, Any] = {
        "client_options": {
            "timeout": timedelta(seconds=REQUEST_S),
            "connect_timeout": timedelta(seconds=_CONNECT_S),
        },
        "retry_config": {
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=_RETRY_S),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=2),
                "base": 2,
            },
        },
    }
    # The client reads this variable only when it is given no options at all.
    if access.allow_http or os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true"):
        options["client_options"]["allow_http"] = True
    if url.startswith("s3://"):
        options["config"] = _s3_config(access)
    try:
        return from_url(url, **options)
    except (BaseError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"expected a usable bucket at {url}, found {type(error).__name__}: see the variables of its "
            "provider in the environment"
        ) from None


def _s3_config(access: BucketAccess) -> dict[str, Any]:
    given = {
        "endpoint": access.endpoint,
        "region": access.region,
        "access_key_id": access.access_key_id,
        "secret_access_key": access.secret_access_key,
        "session_token": access.session_token,
    }
    # The whole engine rests on conditional writes: the environment must not be able to turn them off. And one
    # object is deleted as one, since some servers know no other way.
    fixed = {"conditional_put": "etag", "disable_bulk_delete": True}
    return {**fixed, **{name: value for name, value in given.items() if value is not None}}


def failures() -> tuple[type[Exception], ...]:
    """Every exception a request of a client may end in."""
    from obstore.exceptions import BaseError

    return (BaseError, OSError, ValueError, TimeoutError)


def is_missing(error: Exception) -> bool:
    """Whether the answer was that there is no such object, in a bucket that is there."""
    # A bucket that is gone is not an empty one: taking it for one would begin a second history.
    return isinstance(error, FileNotFoundError) and not any(word in str(error) for word in _NO_BUCKET)


def describe(error: Exception) -> str:
    """What went wrong, in our own words: kind, status and error code, nothing else the server said
    (attacker-controlled, and it may repeat what was signed).
    """
    text = str(error)
    code, status, kind = _CODE.search(text), _STATUS.search(text), _KIND.search(text)
    said = [f"status {status[1]}"] if status else [_KINDS[kind[1]]] if kind else []
    if code:
        said.append(code[1])
    return f"{type(error).__name__}{': ' if said else ''}{' '.join(said)}"

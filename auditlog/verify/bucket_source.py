"""A log in an S3, GCS or Azure bucket, read by its URL.

Spec: `auditlog/spec/log.md`, "Reading a log". What comes out is attacker-controlled, as from every source.
The endpoint and the credentials are those of the provider's own variables (`AWS_ENDPOINT_URL`, `AWS_REGION`,
`AWS_SKIP_SIGNATURE=true` for a bucket that is open to all). Nothing is ever written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from auditlog.bucket_client import BucketAccess, describe, failures, is_missing, open_client
from auditlog.core.retention import RETENTION_PATH
from auditlog.core.tiles import parse_path
from auditlog.errors import SourceError
from auditlog.verify.sources import CHECKPOINT_PATH, MAX_OBJECT_BYTES


class BucketSource:
    """A `LogSource` on a bucket and prefix. Each request has the client's time-out, all together a budget."""

    def __init__(
        self,
        url: str,
        access: BucketAccess | None = None,
        *,
        budget_s: float = math.inf,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read before the first `fetch`.

        Raises:
            ConfigurationError: no bucket's URL, a contradiction in the environment, or obstore is missing.
        """
        self._url, self._client = url, open_client(url, access or BucketAccess())
        self._left_s, self._monotonic = budget_s, monotonic

    def fetch(self, path: str) -> bytes:
        """GET one object; raises `SourceError`."""
        if path not in (CHECKPOINT_PATH, RETENTION_PATH):
            parse_path(path)
        if self._left_s <= 0:
            raise SourceError(
                f"expected {path} within the budget, found the log too slow", reason="unreachable"
            )
        started = self._monotonic()
        try:
            return self._get(path)
        finally:
            self._left_s -= self._monotonic() - started

    def _get(self, path: str) -> bytes:
        import obstore
        from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

        try:
            result = obstore.get(self._client, path)
            if result.meta["size"] > MAX_OBJECT_BYTES:
                raise SourceError(
                    f"expected at most {MAX_OBJECT_BYTES} bytes at {path}, found more", reason="unreachable"
                )
            return result.bytes().to_bytes()
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise SourceError(f"expected to read {path}, found {describe(error)}", reason="refused") from None
        except failures() as error:
            if is_missing(error):
                raise SourceError(
                    f"expected {path} in the log, found no such object", reason="missing"
                ) from None
            raise SourceError(
                f"expected an answer for {path}, found {describe(error)}", reason="unreachable"
            ) from None

    def __str__(self) -> str:
        return self._url

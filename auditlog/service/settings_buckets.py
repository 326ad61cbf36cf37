"""What the configuration says about buckets.

Spec: auditlog/spec/api.md, section "Buckets". Promises: no credential is a setting, only its file's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from auditlog.service.settings_types import BucketUrl, ConfigPath, Strict


class BucketsSettings(Strict):
    """How the buckets of the logs are reached; what is missing comes from the provider's own variables."""

    root: BucketUrl | None = None
    """Logs that name neither a folder nor a store for something keep it below `root/NAME/`."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")
    """URL of an S3-compatible server."""
    region: str | None = Field(default=None, min_length=1, max_length=64)
    allow_http: bool = False
    access_key_id_file: ConfigPath | None = None
    secret_access_key_file: ConfigPath | None = None
    session_token_file: ConfigPath | None = None


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """The buckets of one log; None where it keeps that in a folder."""

    public: str | None
    private: str | None
    staging: str | None

    @property
    def all(self) -> list[str]:
        """Those there are."""
        return [url for url in (self.public, self.private, self.staging) if url is not None]

    @classmethod
    def of(
        cls,
        root: str | None,
        name: str,
        *,
        public: tuple[str | None, Path | None],
        private: tuple[str | None, Path | None],
        staging: str | None,
    ) -> StoreUrls:
        """Those of the log `name`, from its (store, folder) settings: a folder that is named stays one."""

        def place(store: str | None, folder: Path | None, part: str) -> str | None:
            return store or (f"{root}/{name}/{part}" if root is not None and folder is None else None)

        return cls(place(*public, "public"), place(*private, "private"), place(staging, None, "staging"))

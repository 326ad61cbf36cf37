"""Bearer tokens at rest: only their SHA-256, with the scopes and logs they are good for (spec/api.md)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import RowMapping, delete, insert, select

from auditlog.storage.sql import schema
from auditlog.storage.sql.database import Database


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """One token. `sha256` is of the token's UTF-8 bytes; `logs` None means every log.

    `expires_us` in Unix microseconds, None for never; `producers` is the pattern of the producer names it may
    enrol and submit for, None for every name.
    """

    sha256: bytes
    name: str
    scopes: frozenset[str]
    logs: frozenset[str] | None = None
    expires_us: int | None = None
    producers: str | None = None


class SqlTokens:
    """The tokens of one service."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: TokenRecord) -> None:
        """Keep a token, in the place of an older record of the same token."""
        with self._database.write() as connection:
            connection.execute(delete(schema.token).where(schema.token.c.sha256 == record.sha256))
            connection.execute(
                insert(schema.token).values(
                    sha256=record.sha256,
                    name=record.name,
                    scopes=" ".join(sorted(record.scopes)),
                    logs=None if record.logs is None else " ".join(sorted(record.logs)),
                    expires_us=record.expires_us,
                    producers=record.producers,
                )
            )

    def find(self, sha256: bytes) -> TokenRecord | None:
        """The token with this digest. A digest cannot be guessed byte by byte, so time tells nothing."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(schema.token).where(schema.token.c.sha256 == sha256))
                .mappings()
                .first()
            )
        return _record(row) if row else None

    def all(self) -> list[TokenRecord]:
        """Every token, by name."""
        with self._database.read() as connection:
            rows = connection.execute(select(schema.token).order_by(schema.token.c.name)).mappings().all()
        return [_record(row) for row in rows]

    def revoke(self, name: str) -> int:
        """Forget every token of this name; how many there were."""
        with self._database.write() as connection:
            return connection.execute(delete(schema.token).where(schema.token.c.name == name)).rowcount


def _record(row: RowMapping) -> TokenRecord:
    logs = row["logs"]
    return TokenRecord(
        bytes(row["sha256"]),
        row["name"],
        frozenset(row["scopes"].split()),
        None if logs is None else frozenset(logs.split()),
        row["expires_us"],
        row["producers"],
    )

"""Rows of `entry_facet`: which blocks hold entries of a property. Derived from the log, rebuilt at will.

Contract: `auditlog.storage.ports.IndexState`. Every read is a range of the primary key, with one step into
it for each further property; the limit bounds how many rows are looked at, not only how many are returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, and_, select, tuple_

from auditlog.storage.records import FacetBlock, FacetSpan
from auditlog.storage.sql import schema
from auditlog.storage.sql.database import Database


def facet_query(origin: str, span: FacetSpan, others: Sequence[tuple[int, int]]) -> Select[Any]:
    """Rows of `span` in its order, beside them the places of each of `others` (facet, value) or NULL."""
    driver = schema.entry_facet.alias("driver")
    beside = [schema.entry_facet.alias(f"beside_{number}") for number in range(len(others))]
    joined = driver
    for table, (facet, value) in zip(beside, others, strict=True):
        # LEFT: a property that nothing has would otherwise be looked for in every block there is.
        joined = joined.outerjoin(  # type: ignore[assignment]
            table,
            and_(
                table.c.log_id == driver.c.log_id,
                table.c.facet == facet,
                table.c.value == value,
                table.c.block == driver.c.block,
            ),
        )
    mine = select(schema.log.c.log_id).where(schema.log.c.origin == origin).scalar_subquery()
    query = (
        select(driver.c.value, driver.c.block, driver.c.places, *(table.c.places for table in beside))
        .select_from(joined)
        .where(driver.c.log_id == mine, driver.c.facet == span.facet)
        .where(driver.c.value >= span.low, driver.c.value <= span.high)
        .limit(span.limit)
    )
    place = tuple_(driver.c.value, driver.c.block)
    if span.start is not None:
        start = tuple_(*span.start)
        query = query.where(place <= start if span.newest else place >= start)
    if span.newest:
        return query.order_by(driver.c.value.desc(), driver.c.block.desc())
    return query.order_by(driver.c.value, driver.c.block)


def facet_blocks(
    database: Database, origin: str, span: FacetSpan, others: Sequence[tuple[int, int]]
) -> list[FacetBlock]:
    """Read a span; see the port."""
    with database.read() as connection:
        rows = connection.execute(facet_query(origin, span, others)).all()
    return [
        FacetBlock(
            int(row[0]), int(row[1]), bytes(row[2]), tuple(None if x is None else bytes(x) for x in row[3:])
        )
        for row in rows
    ]

"""Rows of facets and gaps in memory, read as `auditlog.storage.sql` reads them from tables."""

from __future__ import annotations

from collections.abc import Sequence

from auditlog.storage.records import FacetBlock, FacetRow, FacetSpan, GapReach


def blocks_among(
    rows: Sequence[FacetRow], span: FacetSpan, others: Sequence[tuple[int, int]]
) -> list[FacetBlock]:
    """`IndexState.facet_blocks` over these rows."""
    found = [row for row in rows if row.facet == span.facet and span.low <= row.value <= span.high]
    found.sort(key=lambda row: (row.value, row.block), reverse=span.newest)
    if span.start is not None:
        start, newest = span.start, span.newest
        found = [
            row
            for row in found
            if ((row.value, row.block) <= start if newest else (row.value, row.block) >= start)
        ]
    places = {(row.facet, row.value, row.block): row.places for row in rows}
    return [
        FacetBlock(
            row.value, row.block, row.places, tuple(places.get((*other, row.block)) for other in others)
        )
        for row in found[: span.limit]
    ]


def reaches_among(rows: Sequence[GapReach], producer: bytes, instance: str, seq: int) -> list[GapReach]:
    """`IndexState.gaps_covering` over these rows, without a limit."""
    found = [
        row
        for row in rows
        if (row.producer, row.instance) == (producer, instance)
        if row.after_seq < seq and (row.own_seq is None or row.own_seq > seq)
    ]
    return sorted(found, key=lambda row: (-row.after_seq, row.index))

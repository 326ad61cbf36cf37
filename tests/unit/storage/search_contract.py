"""What a store of facets does, as tests; and that no search goes through a table."""

from __future__ import annotations

import random

from sqlalchemy import Connection, insert, select

from auditlog.storage.ports import LogState
from auditlog.storage.records import FacetRow, FacetSpan, IndexRows
from auditlog.storage.sql import schema
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.facets import facet_query

TIME, KIND, STATUS = 1, 2, 6


class SearchContract:
    """Rows of facets, whatever keeps them."""

    def test_facets_are_read_in_order_from_anywhere(self, state: LogState) -> None:
        """A span gives its rows by (value, block), either way, from a place on, with what stands beside."""
        rows = IndexRows(0, 1024)
        rows.facets += [FacetRow(TIME, 100 + block // 2, block, bytes([block])) for block in range(4)]
        rows.facets += [FacetRow(TIME, 101, 0, b"\x00\x01"), FacetRow(KIND, -5, 2, b"")]
        state.add_index_rows(rows)
        every = FacetSpan(TIME, 100, 101)
        found = state.facet_blocks(every, [(KIND, -5)])
        assert [(row.value, row.block) for row in found] == [(100, 0), (100, 1), (101, 0), (101, 2), (101, 3)]
        assert [row.others for row in found] == [(None,), (None,), (None,), (b"",), (None,)]
        assert found[2].places == b"\x00\x01"
        newest = FacetSpan(TIME, 100, 101, (101, 0), newest=True, limit=2)
        assert [(row.value, row.block) for row in state.facet_blocks(newest, [])] == [(101, 0), (100, 1)]
        later = FacetSpan(TIME, 0, 2**40, (100, 1), limit=2)
        assert [(row.value, row.block) for row in state.facet_blocks(later, [])] == [(100, 1), (101, 0)]
        assert state.facet_blocks(FacetSpan(STATUS, 0, 999), []) == []
        state.clear_index()
        assert state.facet_blocks(every, []) == []

    def test_ids_are_read_in_pieces(self, state: LogState) -> None:
        """Decisions of one id from an index on, as many as asked for."""
        rows = IndexRows(0, 9)
        rows.decisions += ["same"] * 9
        state.add_index_rows(rows)
        assert state.indices_by_decision("same", above=3, limit=2) == [4, 5]
        assert state.indices_by_decision("same", above=8) == []


def spans() -> list[tuple[FacetSpan, list[tuple[int, int]]]]:
    """Searches of every shape."""
    found = []
    for others in ([], [(KIND, 7)], [(KIND, 7), (STATUS, 200)]):
        for newest in (False, True):
            for start in (None, (500, 900)):
                found.append((FacetSpan(TIME, 400, 600, start, newest), others))
                found.append((FacetSpan(STATUS, 503, 503, start and (503, 900), newest), others))
    return found


def populate(database: Database, origin: str, blocks: int = 3000) -> None:
    """Rows of three facets for so many blocks."""
    rng = random.Random(1)
    with database.write() as connection:
        mine = connection.execute(
            select(schema.log.c.log_id).where(schema.log.c.origin == origin)
        ).scalar_one()
        values = {TIME: range(1000), KIND: range(12), STATUS: (200, 404, 503)}
        rows = {
            (mine, facet, rng.choice(values[facet]), block) for block in range(blocks) for facet in values
        }
        names = ("log_id", "facet", "value", "block")
        connection.execute(
            insert(schema.entry_facet),
            [dict(zip(names, row, strict=True)) | {"places": bytes(32)} for row in sorted(rows)],
        )


def explained(connection: Connection, prefix: str, span: FacetSpan, others: list[tuple[int, int]]) -> str:
    """What the database says it would do."""
    query = facet_query("a.example/log", span, others).compile(
        connection.engine, compile_kwargs={"render_postcompile": True}
    )
    parameters = (
        query.params if query.positiontup is None else tuple(query.params[n] for n in query.positiontup)
    )
    rows = connection.exec_driver_sql(f"{prefix} {query}", parameters).all()
    return "\n".join(" ".join(map(str, row)) for row in rows)

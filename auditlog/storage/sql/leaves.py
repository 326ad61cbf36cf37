"""Keys of `leaf_index`, which finds entries by leaf hash: how they are made, and how they are looked up.

Spec: auditlog/spec/decisions/0011-leaf-keys-by-era.md. Leaf hashes are random: keys that began with them
would touch nearly every page of a large table in each step of the index. So a key begins with the era of its
entry, 65,536 entries that follow each other, and a step writes to the pages of one era. A look-up is one
statement that searches by key in every era there is; that is bounded by the size of the index, and by 65,536
eras, from where on they come again. Promises: every entry with the hash is found. Must never: read the table
through.
"""

from __future__ import annotations

ERA_BITS = 16
"""An era is 2**16 entries: its pages fit many times into memory, and eras remain few."""
_KEPT_BITS = 16
"""So many bits of the number of an era are in a key of 64; the others are of the hash."""
_LAST_ERA = 2**_KEPT_BITS - 1
_HASH_BITS = 64 - _KEPT_BITS
_HASH_MASK = 2**_HASH_BITS - 1


def leaf_number(leaf_hash: bytes) -> int:
    """The first eight bytes as a signed number: what keys are made of."""
    return int.from_bytes(leaf_hash[:8], "big", signed=True)


def key_of_era(era: str, number: str) -> str:
    """SQL of a key, from SQL of an era and of a `leaf_number`, of 64 bits each: the era and the first 48 bits
    of the hash, signed. Bits of the era that have no place fall away. Whoever looks compares whole hashes, so
    hashes that begin alike cost a look and no wrong answer.
    """
    return f"((({era}) << {_HASH_BITS}) | ((({number}) >> {_KEPT_BITS}) & {_HASH_MASK}))"


def key_of_entry(index: str, number: str) -> str:
    """SQL of the key of an entry, from SQL of its index, of 64 bits, and of its `leaf_number`."""
    return key_of_era(f"({index}) >> {ERA_BITS}", number)


def _look_up(eras: str, leaves: str, older: str) -> str:
    """A release before 0010 of the migrations writes `leaf_number` itself, perhaps still, beside this one:
    that key is searched as well, so that nothing it wrote is missed.
    """
    return f"{eras} {leaves} UNION {older} ORDER BY 1"


_LAST = f"(index_size - 1) >> {ERA_BITS}"

LOOK_UP = {
    # CROSS has SQLite go through the eras and search by key for each, whatever it believes of the table.
    "sqlite": _look_up(
        f"""
WITH RECURSIVE era(log_id, number, last) AS (
    SELECT log_id, 0, min({_LAST}, {_LAST_ERA}) FROM log WHERE origin = :origin AND index_size > 0
    UNION ALL SELECT log_id, number + 1, last FROM era WHERE number < last
)""",  # noqa: S608 - numbers of ours alone
        f"""
SELECT leaf.entry_index FROM era CROSS JOIN leaf_index AS leaf
WHERE leaf.log_id = era.log_id AND leaf.leaf_key = {key_of_era("era.number", ":number")}""",  # noqa: S608
        """
SELECT leaf.entry_index FROM log CROSS JOIN leaf_index AS leaf
WHERE log.origin = :origin AND leaf.log_id = log.log_id AND leaf.leaf_key = :number""",
    ),
    # OFFSET keeps the search apart from the join, which might else be made by reading the table through.
    "postgresql": _look_up(
        "",
        f"""
SELECT leaf.entry_index FROM log
CROSS JOIN LATERAL generate_series(CAST(0 AS BIGINT), least({_LAST}, {_LAST_ERA})) AS era(number)
CROSS JOIN LATERAL (
    SELECT found.entry_index FROM leaf_index AS found WHERE found.log_id = log.log_id
    AND found.leaf_key = {key_of_era("era.number", "CAST(%(number)s AS BIGINT)")} OFFSET 0
) AS leaf
WHERE log.origin = %(origin)s""",  # noqa: S608
        """
SELECT leaf.entry_index FROM log CROSS JOIN LATERAL (
    SELECT found.entry_index FROM leaf_index AS found
    WHERE found.log_id = log.log_id AND found.leaf_key = CAST(%(number)s AS BIGINT) OFFSET 0
) AS leaf
WHERE log.origin = %(origin)s""",
    ),
}
"""Indices of entries of the log `origin` that may have the leaf hash of `number`, ascending, each once."""

"""Importing the chain libraries without what they do to the rest of the process.

py-evm and py_ecc raise the interpreter's recursion limit when imported, to 12,288 and 100,000 frames.
After that a deeply nested JSON text, which anyone may send to the service, overflows the C stack and ends the
process instead of raising RecursionError. Our contract calls nothing, so the old limit is enough for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def chain_libraries() -> Iterator[None]:
    """Import web3, eth-account or eth-tester in this block; the recursion limit is put back at its end."""
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)

"""The memory implementation keeps both contracts, and fails in the three ways it is told to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from auditlog.errors import StorageError
from auditlog.storage.memory import Fault, MemoryState, MemoryStore
from auditlog.storage.ports import LogState
from tests.unit.storage.contract import GENESIS, StateContract, StorageContract


class TestMemoryStore(StorageContract):
    """`MemoryStore`."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        """An empty store."""
        return MemoryStore()


class TestMemoryState(StateContract):
    """`MemoryState`."""

    @pytest.fixture
    def make_state(self) -> Callable[[str], LogState]:
        """One state for each origin."""
        states: dict[str, MemoryState] = {}
        return lambda origin: states.setdefault(origin, MemoryState())


@pytest.mark.parametrize(
    ("fault", "held"), [(Fault.REFUSED, None), (Fault.STORED, b"abcd"), (Fault.TORN, b"ab")]
)
def test_a_fault_leaves_what_it_says(fault: Fault, held: bytes | None) -> None:
    """Refused leaves nothing, stored all, torn half; each is an error to the caller."""
    store = MemoryStore(lambda operation, path: fault)
    with pytest.raises(StorageError, match=fault.value):
        store.put_new("a", b"abcd")
    assert store.get("a") == held


@pytest.mark.parametrize(
    ("fault", "committed"), [(Fault.REFUSED, False), (Fault.STORED, True), (Fault.TORN, False)]
)
def test_a_transaction_is_never_torn(fault: Fault, committed: bool) -> None:
    """A commit happens whole or not at all, whatever is reported."""
    state = MemoryState(lambda operation, path: fault)
    with pytest.raises(StorageError):
        state.commit(GENESIS)
    assert (state.read() is not None) == committed

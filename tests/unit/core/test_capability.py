"""Receipt capabilities: the quick form gives the same answers as the library's HMAC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog.core.capability import ReceiptCapabilities, is_receipt_capability, receipt_capability


@given(st.binary(max_size=64), st.text(max_size=60, alphabet=st.characters(exclude_categories=["Cs"])))
def test_both_forms_agree(key: bytes, name: str) -> None:
    """Whatever the key and the id are."""
    quick = ReceiptCapabilities(key)(name)
    assert quick == receipt_capability(key, name)
    assert is_receipt_capability(key, name, quick)


def test_a_key_longer_than_a_block_is_refused() -> None:
    """It would be hashed first, which nobody here needs."""
    with pytest.raises(ValueError, match="64"):
        ReceiptCapabilities(bytes(65))

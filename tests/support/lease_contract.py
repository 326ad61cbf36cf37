"""The lease port as tests; a class for each database gives the fixture `leases`."""

from __future__ import annotations

from auditlog.storage.leases import Leases


class LeaseContract:
    """What `auditlog.storage.leases.Leases` promises."""

    def test_a_lease_nobody_held_is_no_row(self, leases: Leases) -> None:
        """Looking makes nothing."""
        assert leases.look("a") is None
        assert leases.look("a") is None

    def test_taking_is_a_compare_and_swap(self, leases: Leases) -> None:
        """Only what was seen is taken over; each taking is a new term."""
        first = leases.take("a", None, "one", 5)
        assert first is not None
        assert (first.holder, first.term, first.beat, first.renewed_us) == ("one", 1, 0, 5)
        assert leases.take("a", None, "two", 6) is None
        assert leases.look("a") == first
        second = leases.take("a", first, "two", 7)
        assert second is not None
        assert (second.holder, second.term) == ("two", 2)
        assert leases.take("a", first, "three", 8) is None
        assert leases.look("a") == second

    def test_a_renewal_counts_and_ends_with_the_term(self, leases: Leases) -> None:
        """Each renewal is another beat; whoever lost it renews nothing."""
        held = leases.take("a", None, "one", 1)
        assert held is not None
        renewed = leases.renew(held, 2)
        assert renewed is not None
        assert (renewed.term, renewed.beat, renewed.renewed_us) == (1, 1, 2)
        assert leases.take("a", held, "two", 3) is None, "a row that was renewed is not the one that was seen"
        again = leases.renew(held, 3)
        assert again is not None, "a renewal that somebody forgot, or was told had failed, is no other holder"
        taken = leases.take("a", again, "two", 4)
        assert taken is not None
        assert leases.renew(again, 5) is None
        assert leases.renew(renewed, 5) is None
        assert leases.look("a") == taken

    def test_giving_back_frees_it_unless_it_is_lost(self, leases: Leases) -> None:
        """The row stays and has no holder; another's is left alone."""
        held = leases.take("a", None, "one", 1)
        assert held is not None
        leases.give_back(held)
        free = leases.look("a")
        assert free is not None
        assert (free.holder, free.term) == ("", 1)
        taken = leases.take("a", free, "two", 2)
        leases.give_back(held)
        assert leases.look("a") == taken

    def test_leases_do_not_know_each_other(self, leases: Leases) -> None:
        """One row each."""
        assert leases.take("a", None, "one", 1) is not None
        assert leases.take("b", None, "two", 1) is not None

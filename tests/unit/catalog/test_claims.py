from catalog.runs.claim_watch import ClaimWatch


def test_a_claim_is_alive_while_it_changes() -> None:
    """A claim that changes is alive; one that has not changed for six seconds is dead, and so is a missing one."""
    watch = ClaimWatch()
    assert not watch.is_alive("", 0.0)
    assert watch.is_alive("beat 1", 1.0)
    assert watch.is_alive("beat 2", 6.0)
    assert watch.is_alive("beat 2", 11.0)
    assert not watch.is_alive("beat 2", 12.0)
    assert watch.is_alive("beat 3", 13.0)
    assert not watch.is_alive("", 14.0)
